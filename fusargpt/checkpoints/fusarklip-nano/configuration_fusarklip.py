"""Configuration of FUSAR-KLIP: that of BLIP, with typed sub-configurations for prior, acquisition and losses."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
from dataclasses import field
from typing import Any, ClassVar, Literal, Self, cast

from huggingface_hub.dataclasses import strict
from transformers import BlipConfig, BlipTextConfig, BlipVisionConfig, PreTrainedConfig

DIMENSIONS = 16
"""Parts of a description: eight of landforms, eight of targets."""
SENSORS = (
    "Sentinel-1",
    "Gaofen-3",
    "Qilu-1",
    "Hongtu-1",
    "TerraSAR-X",
    "TanDEM-X",
    "PAZ",
    "RADARSAT-1",
    "RADARSAT-2",
    "RCM",
    "COSMO-SkyMed",
    "KOMPSAT-5",
    "ALOS-2",
    "SAOCOM-1",
    "ICEYE",
    "Capella",
    "Umbra",
    "simulated SAR",
    "simulated optical",
)
"""Families of sensors; a name that begins with one of them, as Sentinel-1A, is of that family."""
POLARIZATIONS = ("HH", "HV", "VH", "VV", "RH", "RV")
"""Transmitted first; R is circular, right-handed."""

CLASSIFIER_INPUTS = ("prior", "acquisition")

AUTO_MAP = {
    "AutoConfig": "configuration_fusarklip.FusarKlipConfig",
    "AutoModel": "modeling_fusarklip.FusarKlipModel",
    "AutoModelForZeroShotImageClassification": "modeling_fusarklip.FusarKlipModel",
    "AutoModelForImageTextToText": "modeling_fusarklip.FusarKlipForConditionalGeneration",
    "AutoModelForImageClassification": "modeling_fusarklip.FusarKlipForImageClassification",
    "AutoProcessor": "processing_fusarklip.FusarKlipProcessor",
}
"""Written to every saved config.json, so that one folder serves all auto classes whichever model saved it."""


class _Strict(PreTrainedConfig):
    """A sub-configuration that takes its own fields and no other."""

    own_fields: ClassVar[tuple[str, ...]]

    def __post_init__(self, **kwargs: object) -> None:
        # The parent turns every further key into an attribute, which would let a misspelt option pass unnoticed.
        known_to_parent = {"model_type", "torch_dtype", "attn_implementation", "experts_implementation"}
        known_to_parent |= {"name_or_path", "_name_or_path", "output_attentions", "num_labels"}
        unknown = sorted(set(kwargs) - known_to_parent)
        if unknown:
            raise ValueError(f"{self.base_config_key}: unknown keys {unknown}; expected {', '.join(self.own_fields)}.")
        super().__post_init__(**kwargs)

    def found(self, name: str, expected: str) -> ValueError:
        return ValueError(f"{self.base_config_key}.{name}: found {self.__dict__[name]!r}, expected {expected}.")


@strict
class TlmConfig(_Strict):
    r"""Configuration of Token-wise Linear Modulation (FUSAR-GPT, arXiv 2602.19190, section 3.2) of the patch tokens.

    Args:
        prior_size: Width of an anchor's embedding; 64 for AlphaEarth Foundations.
        hidden_size: Width of the layer between the prior and the modulation. `None` means `max(128, 4 * C)` for patch
            tokens of width C.
        sigma: Standard deviation of the Gaussian alignment, in patches; positive.
        gaussian_grid: `"patch"`: weights are normalised before and after the mask of the anchors; `"token"`: once. The
            grids are the same here, where a token is a patch.
        fusion: How the prior enters the patch tokens: `"tlm"`, or for the ablation `"sum"`, `"concat"` or `"none"`.

    Raises:
        ValueError: On an unknown key.
        huggingface_hub.errors.StrictDataclassError: On a value of the wrong type or out of range.
    """

    model_type = "fusarklip_tlm"
    base_config_key = "tlm_config"
    own_fields: ClassVar[tuple[str, ...]] = ("prior_size", "hidden_size", "sigma", "gaussian_grid", "fusion")

    prior_size: int = 64
    hidden_size: int | None = None
    sigma: float | int = 2.0
    gaussian_grid: Literal["patch", "token"] = "patch"
    fusion: Literal["tlm", "sum", "concat", "none"] = "tlm"

    def validate_ranges(self) -> None:
        for name in ("prior_size", "hidden_size", "sigma"):
            value = self.__dict__[name]
            if value is not None and not value > 0:
                raise self.found(name, "a positive number")


@strict
class GeographyConfig(_Strict):
    r"""Configuration of what is told of an acquisition, each field of which may be unknown.

    Args:
        sensors: Families of sensors; an image's is one of them by its place from 1, and 0 where it is unknown.
        polarizations: Alike.
        resolution_octaves: Frequencies of the Fourier features of log2 of the resolution in metres a pixel: half a
            period over 8, 4, 2 ... doublings.
        hidden_size: Width of the layer within the token; `None` means that of the tower.
        location: Where coordinates go: `"off"` nowhere; `"text"` into a sentence before the text (by the processor);
            `"token"` into the acquisition token, as Fourier features of the unit vector. On land-cover probes
            coordinates were memory of places: good on a random split, at chance in a new region.
        location_octaves: Frequencies of those features: 1, 2, 4 ... half-periods an earth radius.
        drop_field: Probability in training that a known field of an image is taken for unknown, each by itself.
        drop_all: Probability in training that an image is taken for one of which nothing is known.

    Raises:
        ValueError: On an unknown key.
        huggingface_hub.errors.StrictDataclassError: On a value of the wrong type or out of range.
    """

    model_type = "fusarklip_geography"
    base_config_key = "geography_config"
    own_fields: ClassVar[tuple[str, ...]] = (
        "sensors",
        "polarizations",
        "resolution_octaves",
        "hidden_size",
        "location",
        "location_octaves",
        "drop_field",
        "drop_all",
    )

    sensors: list[str] = field(default_factory=lambda: list(SENSORS))
    polarizations: list[str] = field(default_factory=lambda: list(POLARIZATIONS))
    resolution_octaves: int = 4
    hidden_size: int | None = None
    location: Literal["off", "text", "token"] = "off"
    location_octaves: int = 8
    drop_field: float | int = 0.3
    drop_all: float | int = 0.2

    def validate_ranges(self) -> None:
        for name in ("resolution_octaves", "location_octaves", "hidden_size"):
            value = self.__dict__[name]
            if value is not None and value < 1:
                raise self.found(name, "a positive number")
        for name in ("drop_field", "drop_all"):
            if not 0 <= self.__dict__[name] <= 1:
                raise self.found(name, "a probability")
        for name in ("sensors", "polarizations"):
            names = self.__dict__[name]
            if len(set(names)) < len(names) or "" in names:
                raise self.found(name, "names that differ")


@strict
class LossesConfig(_Strict):
    r"""Configuration of the losses of pre-training; what weighs 0 is not computed.

    Args:
        contrastive: `"softmax"`, cross-entropy against all that is true of an image or a text in equal shares (UniCL),
            or `"sigmoid"`, each pair by itself (SigLIP).
        itc: Weight of that contrast between images and texts.
        itm: Weight of matching: whether a text is true of an image, over true pairs and false ones.
        match_share: Share of a batch that is matched, above 0.
        hard_negatives: Share of the false pairs that are drawn by their likeness (BLIP: 1); the others are any that
            are false. A head that begins at random learns nothing of hard ones alone.
        mlm: Weight of the reconstruction of masked words and parts from image and text.
        lm: Weight of causal captioning.
        word_share: Share of a batch whose words are said, masked (mlm) or one after the other (lm), above 0.
        mim: Weight of masked image modelling, which needs pixels (no `image_states`).
        momentum: Decay of an average of the towers (BLIP: 0.995) that gives the softmax contrast soft targets; `None`
            for none.
        alpha: Share of those soft targets, unless `forward` is told another.
        queue_size: Past images and texts, with their facts, that the contrast is taken against as well; 0 for none.
        mask_words: Probability that a word of a part is masked.
        mask_part: Probability that one whole part of a text is masked instead.
        mask_patches: Share of the patches that masked image modelling hides.

    Raises:
        ValueError: On an unknown key.
        huggingface_hub.errors.StrictDataclassError: On a value of the wrong type or out of range.
    """

    model_type = "fusarklip_losses"
    base_config_key = "losses_config"
    own_fields: ClassVar[tuple[str, ...]] = (
        "contrastive",
        "itc",
        "itm",
        "match_share",
        "hard_negatives",
        "mlm",
        "lm",
        "word_share",
        "mim",
        "momentum",
        "alpha",
        "queue_size",
        "mask_words",
        "mask_part",
        "mask_patches",
    )

    contrastive: Literal["softmax", "sigmoid"] = "softmax"
    itc: float | int = 1.0
    itm: float | int = 1.0
    match_share: float | int = 1.0
    hard_negatives: float | int = 1.0
    mlm: float | int = 1.0
    lm: float | int = 0.0
    word_share: float | int = 1.0
    mim: float | int = 0.0
    momentum: float | None = None
    alpha: float | int = 0.4
    queue_size: int = 0
    mask_words: float | int = 0.35
    mask_part: float | int = 0.5
    mask_patches: float | int = 0.6

    def validate_ranges(self) -> None:
        for name in ("itc", "itm", "mlm", "lm", "mim", "queue_size"):
            if not self.__dict__[name] >= 0:
                raise self.found(name, "0 or a positive number")
        for name in ("match_share", "word_share"):
            if not 0 < self.__dict__[name] <= 1:
                raise self.found(name, "a share above 0, up to 1")
        for name in ("hard_negatives", "alpha", "mask_words", "mask_part", "mask_patches", "momentum"):
            value = self.__dict__[name]
            if value is not None and not 0 <= value <= 1:
                raise self.found(name, "a number within [0, 1]")
        if self.momentum is not None and self.contrastive == "sigmoid":
            raise self.found("momentum", "None with the sigmoid contrast, which takes no soft targets")


@strict
class FusarKlipConfig(BlipConfig):
    r"""Configuration of FUSAR-KLIP. Takes everything that `BlipConfig` takes, and:

    Args:
        tlm_config: A `TlmConfig` or a dict of its arguments; `None` for the defaults.
        geography_config: A `GeographyConfig` or a dict of its arguments; `None` for the defaults.
        losses_config: A `LossesConfig` or a dict of its arguments; `None` for the defaults.
        geography_layer: Layers of the image tower below the place where the prior modulates the patch tokens and the
            acquisition token joins; 0 for before the first. What those layers give depends on the pixels alone.
        mask_token_id: The token that stands for a masked word; BERT's by default.
        max_text_tokens: Tokens that a text may have. A longer one is refused, never cut.
        classifier_inputs: What beside the image a classifier was fine-tuned with, of `"prior"` and `"acquisition"`; it
            does not look at the other.

    Raises:
        huggingface_hub.errors.StrictDataclassError: On a value of the wrong type or out of range, such as images or
            patches that are no squares.

    Example:

    ```python
    >>> config = FusarKlipConfig(losses_config={"itm": 0, "mlm": 0}, geography_layer=4)
    >>> config.losses_config.itc
    1.0
    ```
    """

    model_type = "fusarklip"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        **BlipConfig.sub_configs_defaults,
        "tlm_config": TlmConfig,
        "geography_config": GeographyConfig,
        "losses_config": LossesConfig,
    }

    tlm_config: dict[str, Any] | PreTrainedConfig | None = None
    geography_config: dict[str, Any] | PreTrainedConfig | None = None
    losses_config: dict[str, Any] | PreTrainedConfig | None = None
    geography_layer: int = 0
    mask_token_id: int = 103
    max_text_tokens: int = 256
    classifier_inputs: list[str] = field(default_factory=lambda: list(CLASSIFIER_INPUTS))

    def __post_init__(self, **kwargs: object) -> None:
        kwargs.setdefault("auto_map", dict(AUTO_MAP))
        super().__post_init__(**kwargs)

    def validate_sizes(self) -> None:
        vision, text = self.vision, self.text
        for name, value in (("image_size", vision.image_size), ("patch_size", vision.patch_size)):
            if not isinstance(value, int):
                raise ValueError(f"vision_config.{name}: found {value!r}, expected one number: the side of a square.")
        if not 0 <= self.geography_layer < vision.num_hidden_layers:
            raise ValueError(
                f"geography_layer: found {self.geography_layer}, expected 0 to {vision.num_hidden_layers - 1}: a layer "
                "of the image tower has to follow."
            )
        if not set(self.classifier_inputs) <= set(CLASSIFIER_INPUTS):
            raise ValueError(
                f"classifier_inputs: found {self.classifier_inputs}, expected of {', '.join(CLASSIFIER_INPUTS)}."
            )
        if not 0 <= self.mask_token_id < text.vocab_size:
            raise ValueError(f"mask_token_id: found {self.mask_token_id}, expected one of {text.vocab_size} tokens.")
        if not 2 < self.max_text_tokens <= text.max_position_embeddings:
            raise ValueError(
                f"max_text_tokens: found {self.max_text_tokens}, expected 3 to text_config.max_position_embeddings, "
                f"{text.max_position_embeddings}."
            )

    @classmethod
    def from_dict(cls, config_dict: dict[str, object], **kwargs: object) -> Self:
        """As the parent's. ValueError for a `model_type` that this class would read as a model of random weights."""
        found = config_dict.get("model_type", cls.model_type)
        if found not in (cls.model_type, BlipConfig.model_type):
            raise ValueError(
                f"model_type: found {found!r}, expected {cls.model_type!r} or {BlipConfig.model_type!r} for "
                f"{cls.__name__}."
            )
        return super().from_dict(config_dict, **kwargs)

    # What transformers leaves untyped, with the types that it has.
    @property
    def vision(self) -> BlipVisionConfig:
        return cast(BlipVisionConfig, self.vision_config)

    @property
    def text(self) -> BlipTextConfig:
        return cast(BlipTextConfig, self.text_config)

    @property
    def tlm(self) -> TlmConfig:
        return cast(TlmConfig, self.tlm_config)

    @property
    def geography(self) -> GeographyConfig:
        return cast(GeographyConfig, self.geography_config)

    @property
    def losses(self) -> LossesConfig:
        return cast(LossesConfig, self.losses_config)


__all__ = ["FusarKlipConfig", "GeographyConfig", "LossesConfig", "TlmConfig"]
