"""Floating point operations of a stage, from sizes alone: what training one sequence costs in each part of the model.

Counted are matrix products, two operations for a multiplication with its addition, as `torch.utils.flop_counter` counts
them; norms, activations and softmax are left out by both. Attention counts every pair of tokens, seen or not.
"""

from dataclasses import dataclass

from trl_recipes.arguments import Train
from trl_recipes.planning.sizes import Linear, Sizes


@dataclass(frozen=True)
class Shape:
    """One sequence: an image, its prior, and what is said about it.

    Attributes:
        rows: patches down the image, a multiple of the merge size.
        columns: patches across it.
        text_tokens: all tokens but the visual ones.
        scored_tokens: positions at which the loss is computed: those of the answers on a GPU. (On a CPU TRL computes
            it at all positions but the last, and drops what is not an answer.)
        anchors: of the prior; None for training without.
    """

    rows: int
    columns: int
    text_tokens: int
    scored_tokens: int
    anchors: int | None

    def visual_tokens(self, sizes: Sizes) -> int:
        return self.rows * self.columns // sizes.merge**2

    def tokens(self, sizes: Sizes) -> int:
        return self.visual_tokens(sizes) + self.text_tokens


@dataclass(frozen=True)
class Stage:
    """What of a recipe decides which products are computed.

    Attributes:
        train: as in the recipe.
        lora_r: rank of LoRA.
        checkpointing: whether layers are computed a second time in the backward pass.
        feature_cache: whether visual tokens come from a cache, so that the tower is not run.
        eager: whether attention keeps its scores; otherwise it computes them a second time in the backward pass.
    """

    train: Train
    lora_r: int
    checkpointing: bool
    feature_cache: bool
    eager: bool = False

    @property
    def trains_lora(self) -> bool:
        return self.train in ("lora", "tlm+lora")

    @property
    def trains_tlm(self) -> bool:
        return self.train in ("tlm", "tlm+lora")

    @property
    def trains_language_model(self) -> bool:
        return self.train in ("language", "all")

    @property
    def gradient_reaches_tower(self) -> bool:
        """A frozen one runs without autograd, under checkpointing too."""
        return self.train == "all"

    @property
    def gradient_reaches_first_layer(self) -> bool:
        """Whether the inputs of the first language layer need a gradient, and with them its q, k and v."""
        return self.train != "lora" or self.checkpointing


@dataclass(frozen=True)
class Work:
    """FLOPs: of the forward pass, of the backward pass, and of what the latter computes a second time."""

    forward: int = 0
    backward: int = 0
    recomputed: int = 0

    @property
    def total(self) -> int:
        return self.forward + self.backward + self.recomputed

    def __add__(self, other: "Work") -> "Work":
        return Work(self.forward + other.forward, self.backward + other.backward, self.recomputed + other.recomputed)


def sequence_flops(sizes: Sizes, shape: Shape, stage: Stage) -> dict[str, Work]:
    """FLOPs of one training step on one sequence, by part of the model; those of LoRA are the adapter's alone."""
    return {
        "vision tower": _vision_tower(sizes, shape, stage),
        "merger": _merger(sizes, shape, stage),
        "TLM": _tlm(sizes, shape, stage),
        "language model": _language_model(sizes, shape, stage),
        "LoRA": _lora(sizes, shape, stage),
        "lm_head": _head(sizes, shape, stage),
    }


def _vision_tower(sizes: Sizes, shape: Shape, stage: Stage) -> Work:
    if stage.feature_cache:
        return Work()
    patches = shape.rows * shape.columns
    whole = sizes.vision_layers_of_whole_images
    pairs = whole * patches**2 + (sizes.vision_layers - whole) * _pairs_in_windows(sizes, shape)
    attention = 4 * sizes.vision_hidden * pairs
    linear = sizes.vision_layers * sum(layer.flops(patches) for layer in sizes.vision_layer)
    embedding = Linear(sizes.patch_values, sizes.vision_hidden).flops(patches)
    forward = embedding + linear + attention
    if not stage.gradient_reaches_tower:
        return Work(forward)
    trained = stage.train == "all"
    backward = linear + _attention_backward(attention, stage) + trained * (linear + embedding)
    down = sizes.vision_layers * sizes.vision_layer[-1].flops(patches)
    return Work(forward, backward, stage.checkpointing * (linear + attention - down))


def _pairs_in_windows(sizes: Sizes, shape: Shape) -> int:
    """Pairs of patches that share a window, the last windows of a row or column being cut off by the edge."""

    def squares(side: int) -> int:
        whole, rest = divmod(side, sizes.window)
        return whole * sizes.window**2 + rest**2

    return squares(shape.rows) * squares(shape.columns)


def _merger(sizes: Sizes, shape: Shape, stage: Stage) -> Work:
    if stage.feature_cache:
        return Work()
    forward = sum(layer.flops(shape.visual_tokens(sizes)) for layer in sizes.merger)
    return Work(forward, forward * (stage.gradient_reaches_tower + (stage.train == "all")))


def _tlm(sizes: Sizes, shape: Shape, stage: Stage) -> Work:
    if shape.anchors is None or not sizes.tlm:
        return Work()
    first, second, *fusion = sizes.tlm
    tokens = shape.visual_tokens(sizes)
    # The TLM applies its second layer to anchors or to tokens, whichever multiplies less.
    to_anchors = second.flops(shape.anchors) + 2 * tokens * shape.anchors * second.outputs
    to_tokens = second.flops(tokens) + 2 * tokens * shape.anchors * second.inputs
    embed, align_and_project = first.flops(shape.anchors), min(to_anchors, to_tokens)
    fuse = sum(layer.flops(tokens) for layer in fusion)
    forward = embed + align_and_project + fuse
    through = fuse if stage.gradient_reaches_tower else 0
    if not stage.trains_tlm:
        return Work(forward, through)
    project = second.flops(shape.anchors if to_anchors <= to_tokens else tokens)
    # The prior and where its anchors lie need no gradient.
    return Work(forward, embed + align_and_project + project + 2 * fuse)


def _language_model(sizes: Sizes, shape: Shape, stage: Stage) -> Work:
    tokens = shape.tokens(sizes)
    layer = sum(part.flops(tokens) for part in sizes.language_layer)
    attention = sizes.layers * 4 * sizes.query * tokens**2
    linear = sizes.layers * layer
    to_inputs = linear
    if not stage.gradient_reaches_first_layer:
        to_inputs -= sum(part.flops(tokens) for part in sizes.language_layer[:3])
    backward = to_inputs + _attention_backward(attention, stage) + stage.trains_language_model * linear
    # A layer is computed again up to the last thing that its backward pass needs, which is before `down` is applied.
    down = 0 if stage.trains_lora else sizes.layers * sizes.language_layer[-1].flops(tokens)
    return Work(linear + attention, backward, stage.checkpointing * (linear + attention - down))


def _lora(sizes: Sizes, shape: Shape, stage: Stage) -> Work:
    if not stage.trains_lora:
        return Work()
    tokens, rank = shape.tokens(sizes), stage.lora_r
    to_rank = [Linear(part.inputs, rank).flops(tokens) for part in sizes.language_layer]
    from_rank = [Linear(rank, part.outputs).flops(tokens) for part in sizes.language_layer]
    forward = sizes.layers * (sum(to_rank) + sum(from_rank))
    unneeded = 0 if stage.gradient_reaches_first_layer else sum(to_rank[:3])
    recomputed = forward - sizes.layers * from_rank[-1]
    return Work(forward, 2 * forward - unneeded, stage.checkpointing * recomputed)


def _head(sizes: Sizes, shape: Shape, stage: Stage) -> Work:
    # TRL keeps no logits: the backward pass computes them once more.
    forward = sizes.head.flops(shape.scored_tokens)
    return Work(forward, forward * (1 + stage.trains_language_model), forward)


def _attention_backward(forward: int, stage: Stage) -> int:
    """Four products where the forward pass has two, and a fifth where the scores were not kept."""
    return 2 * forward if stage.eager else 5 * forward // 2
