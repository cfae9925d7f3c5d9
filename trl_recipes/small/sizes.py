"""The two small models that are made from nothing: how large each is, and how its tower and its pointing are trained.

Floating-point operations of one forward pass, in 10^9, of an image and a question with its answer of 60 tokens:

| part | nano | mini |
|---|---|---|
| pixels, visual tokens | 168, 36 | 336, 144 |
| vision tower, linear layers and patches | 0.7 | 6.2 |
| vision tower, attention | 0.1 | 0.8 |
| merger | 0.1 | 0.4 |
| language model | 0.5 | 2.2 |

A processor core reaches some 50 x 10^9 a second here, and a training step costs three times a forward pass. So the
tower is what mini's hours go into: of its six layers four attend within windows of 112 pixels, and width and depth are
the largest with which it sees tens of thousands of images in an afternoon. `python -m trl_recipes.small.model` prints
what each part holds.
"""

from dataclasses import dataclass

PATCH_PIXELS = 14
MERGE = 2
TOKEN_PIXELS = PATCH_PIXELS * MERGE
SLOTS = 2
"""Objects that a visual token is asked about; of the tokens with ships in SSDD's chips 2 % hold more."""


@dataclass(frozen=True)
class DenseStage:
    """A stage on dense targets: how many pictures it sees, and how.

    Attributes:
        pictures: drawn, each seen once; of mini's pointing, questions, those that are stored over and over.
        batch_size: pictures of a step.
        learning_rate: the highest, of a cosine.
        matrix_learning_rate: the highest of the layers' matrices, by Muon; None leaves them to AdamW, as all else.
        optical_share: of simulated scenes, those shown in the optical-like rendering.
    """

    pictures: int
    batch_size: int
    learning_rate: float
    optical_share: float
    matrix_learning_rate: float | None = None


@dataclass(frozen=True)
class SmallModel:
    """A small model, whole numbers throughout; widths in channels.

    Attributes:
        name: of its folder of recipes, and of `build/NAME`.
        image_size: pixels along a side of the square that it sees, a multiple of the token's 28.
        vocabulary: tokens of its tokenizer; every number up to `image_size` is one.
        most_objects: in an image that it is taught to point at.
        pointed: boxes of an answer that pointing learns first, those at its beginning.
        vision_depth, vision_width, vision_intermediate, vision_heads: of the tower.
        full_attention: the layers of the tower that attend to the whole image, the others within windows.
        text_depth, text_width, text_intermediate, text_heads: of the language model.
        pointing_layer: of the language model, the one whose states tell where targets are; those above are left to
            language.
        number_waves: whether the embeddings of numbers begin as waves, so that near numbers are near.
        attention_weight: in pointing, of the loss of heads that should look at the object whose box is said. 150 steps
            from one tower of mini, one run each, on 160 questions that were kept apart: the median error of a
            coordinate among the first three boxes was 62 pixels without it, 47 with it, and 40 with waves besides.
        squeezes: whether its processor makes a square of every image; otherwise it keeps the aspect ratio.
        coarsest_pixel_m: metres of a pixel beyond which scenes are enlarged for it. Of mini 10, the coarsest that
            scenes of its training are rendered in (`PIXEL_SIZES_M` of `trl_recipes.small.scenes`), and what IW GRD
            products of Sentinel-1 have. None where scenes stay as they are.
        overlap_weight: in the tower's loss, of 1 - GIoU beside the distances of edges, which are the same for large and
            small objects. 150 steps from one checkpoint of mini's tower, with its learning rate falling to 0, one run
            each, told boxes of F1@0.50 56.6 with it and 54.3 without on SSDD's 60 validation chips, 47.2 and 42.9 on 60
            of its training chips, each at the best of five probabilities (`trl_recipes.small.dense_scores`).
        real_chips: whether it is trained on pictures of many sources, real chips among them, and not on the scenes of
            version 1 of the simulator alone.
        tower, pointing, pointing_all: its dense stages; the last goes on from pointing with whole answers, None where
            that has them.
    """

    name: str
    image_size: int
    vocabulary: int
    most_objects: int
    pointed: int
    vision_depth: int
    vision_width: int
    vision_intermediate: int
    vision_heads: int
    full_attention: tuple[int, ...]
    text_depth: int
    text_width: int
    text_intermediate: int
    text_heads: int
    pointing_layer: int
    number_waves: bool
    attention_weight: float
    squeezes: bool
    coarsest_pixel_m: float | None
    overlap_weight: float
    real_chips: bool
    tower: DenseStage
    pointing: DenseStage
    pointing_all: DenseStage | None

    @property
    def grid(self) -> int:
        """Visual tokens along a side."""
        return self.image_size // TOKEN_PIXELS


NANO = SmallModel(
    name="nano",
    image_size=168,
    vocabulary=1024,
    most_objects=6,
    pointed=6,
    vision_depth=5,
    vision_width=192,
    vision_intermediate=512,
    vision_heads=6,
    # 36 tokens are few: every layer attends to the whole image.
    full_attention=(0, 1, 2, 3, 4),
    text_depth=6,
    text_width=192,
    text_intermediate=512,
    text_heads=6,
    pointing_layer=3,
    number_waves=False,
    attention_weight=0.0,
    squeezes=False,
    coarsest_pixel_m=None,
    overlap_weight=0.0,
    real_chips=False,
    tower=DenseStage(pictures=48_000, batch_size=48, learning_rate=1e-3, optical_share=0.6),
    pointing=DenseStage(pictures=16_800, batch_size=24, learning_rate=1.5e-3, optical_share=0.7),
    pointing_all=None,
)
MINI = SmallModel(
    name="mini",
    image_size=336,
    vocabulary=1280,
    most_objects=32,
    pointed=3,
    vision_depth=6,
    vision_width=256,
    vision_intermediate=768,
    vision_heads=8,
    full_attention=(2, 5),
    text_depth=6,
    text_width=256,
    text_intermediate=768,
    text_heads=8,
    pointing_layer=3,
    number_waves=True,
    attention_weight=1.0,
    squeezes=True,
    coarsest_pixel_m=10.0,
    overlap_weight=4.0,
    real_chips=True,
    tower=DenseStage(51_200, batch_size=16, learning_rate=7e-4, optical_share=0.0, matrix_learning_rate=2e-3),
    pointing=DenseStage(24_000, batch_size=16, learning_rate=1.5e-3, optical_share=0.0, matrix_learning_rate=4e-3),
    pointing_all=DenseStage(12_800, batch_size=16, learning_rate=1e-3, optical_share=0.0, matrix_learning_rate=2e-3),
)
SMALL_MODELS = {model.name: model for model in (NANO, MINI)}
