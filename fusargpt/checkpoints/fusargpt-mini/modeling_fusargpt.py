"""FUSAR-GPT as a difference to its backbone: the TLM modulates the visual tokens before the language model reads them.

The TLM lives in the inner model, because training loops may call that one and apply `lm_head` themselves. The
difference is written once, in `ModulatedModel` and `ModulatedForConditionalGeneration`; each backbone adds two classes
that name it. Those of Qwen2.5-VL stand here, those of Qwen3-VL in `modeling_fusargpt_qwen3`.
"""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel, initialization
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig, Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLModel
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig, Qwen3VLVisionConfig
from transformers.utils.generic import can_return_tuple

from .artefacts import LoadsArtefacts
from .configuration_fusargpt import FusarGptConfig, FusarGptQwen3Config, TlmConfig
from .prepared import PreparedBatch, tower_arguments
from .tlm import TokenwiseLinearModulation, check_priors
from .windows import WINDOWS_TOGETHER

PRIOR_FIELDS = ("prior_embeddings", "prior_positions", "prior_mask")
_BESIDE = (*PRIOR_FIELDS, "prepared")  # the backbone's arguments

# Published Qwen2.5-VL checkpoints name the language model `model.*` and the vision tower `visual.*`. Conversions are
# looked up by class, so without these ours would load such a checkpoint without its language model.
_TO_LANGUAGE_MODEL = (r"^model(?!\.(language_model|visual|tlm))", "model.language_model")
register_checkpoint_conversion_mapping("FusarGptModel", [WeightRenaming(*_TO_LANGUAGE_MODEL)], overwrite=True)
register_checkpoint_conversion_mapping(
    "FusarGptForConditionalGeneration",
    [WeightRenaming(r"^visual", "model.visual"), WeightRenaming(*_TO_LANGUAGE_MODEL)],
    overwrite=True,
)


def _parts(
    config: FusarGptConfig | FusarGptQwen3Config,
) -> tuple[Qwen2_5_VLTextConfig | Qwen3VLTextConfig, Qwen2_5_VLVisionConfig | Qwen3VLVisionConfig, TlmConfig]:
    """The configurations of language model, vision tower and TLM, whose fields transformers leaves untyped."""
    return (
        cast(Qwen2_5_VLTextConfig | Qwen3VLTextConfig, config.text_config),
        cast(Qwen2_5_VLVisionConfig | Qwen3VLVisionConfig, config.vision_config),
        cast(TlmConfig, config.tlm_config),
    )


class _WithDeepstack(Protocol):
    """What Qwen3-VL's vision tower returns beside the visual tokens."""

    deepstack_features: list[tuple[Tensor, ...]]


class _BackboneModel(Protocol):
    """What the difference asks of the backbone's inner model, which follows it among the bases."""

    def get_image_features(
        self, pixel_values: Tensor, image_grid_thw: Tensor, **kwargs: object
    ) -> BaseModelOutputWithPooling: ...

    def forward(self, **kwargs: object) -> BaseModelOutputWithPast: ...


class _BackboneForConditionalGeneration(Protocol):
    """The same of the backbone with its language head."""

    def forward(self, **kwargs: object) -> CausalLMOutputWithPast: ...

    def prepare_inputs_for_generation(self, **kwargs: object) -> dict[str, Any]: ...


def by_the_names_of(backbone: type, ours: Callable[..., Any]) -> Callable[..., Any]:
    """The method `ours`, called as that of `backbone` is, with the prior, and what was prepared, beside.

    `generate` and the trainer look up by name what a method takes, and releases of transformers rename it (the cache
    is `past_key_values` up to 5.23). So the names, and their order, are those of the backbone that is installed.

    Args:
        backbone: Has a method of the same name.
        ours: Takes all that the backbone's names as one dictionary, then what is beside them and what has no name.
    """
    signature = inspect.signature(getattr(backbone, ours.__name__))
    *named, further = signature.parameters.values()
    beside = [value for name, value in inspect.signature(ours).parameters.items() if name in _BESIDE]
    names = [parameter.name for parameter in named[1:]]

    @wraps(ours)
    def method(self: Any, *values: Any, **keywords: Any) -> Any:
        arguments = dict(zip(names, values, strict=False))
        arguments |= {name: keywords.pop(name) for name in names if name in keywords}
        return ours(self, arguments, **keywords)

    vars(method)["__signature__"] = signature.replace(parameters=[*named, *beside, further])
    return method


class ModulatedModel(LoadsArtefacts):
    """The inner model's difference to its backbone, which follows it among the bases: a TLM behind the vision tower."""

    config: FusarGptConfig | FusarGptQwen3Config

    def __init__(self, config: FusarGptConfig | FusarGptQwen3Config):
        text_config, vision_config, tlm_config = _parts(config)
        # No other name says it, and transformers takes ours for a package's as long as there is no tower.
        unchosen = vision_config._attn_implementation in (None, WINDOWS_TOGETHER)  # pyright: ignore[reportPrivateUsage]
        if unchosen:
            vision_config._attn_implementation = None  # pyright: ignore[reportPrivateUsage]
        super().__init__(config)
        if unchosen:
            self.set_attn_implementation({"vision_config": WINDOWS_TOGETHER})
        self.tlm = TokenwiseLinearModulation(tlm_config, text_config.hidden_size, vision_config.spatial_merge_size)
        if config.weights == "tlm":
            # It comes from a file of its own, or stays new; the backbone's files are not reported to lack it.
            self._keys_to_ignore_on_load_missing = [r"^(model\.)?tlm\."]
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if not isinstance(module, TokenwiseLinearModulation) or module.config.fusion == "none":
            return
        first = module.input_projection
        initialization.kaiming_uniform_(first.weight, a=math.sqrt(5))
        initialization.uniform_(first.bias, -1 / math.sqrt(first.in_features), 1 / math.sqrt(first.in_features))
        initialization.zeros_(module.output_bias)
        # One zero layer makes the identity; two of them would leave both without a gradient.
        if module.config.fusion == "concat":
            initialization.kaiming_uniform_(module.output_projection.weight, a=math.sqrt(5))
            initialization.zeros_(module.fusion_projection.weight)
        else:
            initialization.zeros_(module.output_projection.weight)

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: Tensor,
        image_grid_thw: Tensor,
        prior_embeddings: Tensor | None = None,
        prior_positions: Tensor | None = None,
        prior_mask: Tensor | None = None,
        prepared: PreparedBatch | None = None,
        **kwargs: object,
    ) -> BaseModelOutputWithPooling:
        """Visual tokens of every image, modulated by its prior.

        Args:
            pixel_values: Patches of all images, as the processor makes them.
            image_grid_thw: `[num_images, 3]`, patches of every image along time, height and width.
            prior_embeddings: float `[num_images, S, prior_size]`, unit vectors, zero in padding; all three prior fields
                or none.
            prior_positions: float `[num_images, S, 2]`, (y, x) in [0, 1]; 0 and 1 are the centres of the first and
                last row or column.
            prior_mask: bool `[num_images, S]`, False for padding.
            prepared: What was derived from the grids before; the priors have been checked then.

        Returns:
            An output whose `pooler_output` holds `[h w, C]` for each image; of Qwen3-VL also `deepstack_features`,
            which hold the same for each level.

        Raises:
            ValueError: If a prior field is missing, does not fit the images, or holds NaN or positions off the image.
        """
        parent = cast(_BackboneModel, super())
        # Read once here, and then nowhere else.
        grids = image_grid_thw.cpu() if prepared is None else torch.tensor(prepared["grids"])
        if prepared is None:
            derived = tower_arguments(_parts(self.config)[1], grids)
            tower = {
                name: value.to(image_grid_thw.device) if isinstance(value, Tensor) else value
                for name, value in derived.items()
            }
        else:
            tower = prepared["tower"]
        outputs = parent.get_image_features(pixel_values, grids, return_dict=True, **{**tower, **kwargs})
        return self.modulate(outputs, grids, prior_embeddings, prior_positions, prior_mask, prepared)

    def modulate(
        self,
        outputs: BaseModelOutputWithPooling,
        image_grid_thw: Tensor,
        prior_embeddings: Tensor | None = None,
        prior_positions: Tensor | None = None,
        prior_mask: Tensor | None = None,
        prepared: PreparedBatch | None = None,
    ) -> BaseModelOutputWithPooling:
        """`outputs` of the vision tower with its visual tokens modulated by the priors; what is given stays as it is.

        Deep-stack features are modulated as well where `tlm_config.deepstack` says so.

        Args:
            outputs: Its `pooler_output` holds `[h w, C]` for each image, not modulated yet.
            image_grid_thw: As in `get_image_features`, and so are the three prior fields and `prepared`.

        Raises:
            ValueError: If tokens do not fit their grid, a prior field is missing, does not fit the images, or holds NaN
                or positions off the image.
        """
        _, vision_config, tlm_config = _parts(self.config)
        num_images = len(image_grid_thw)
        values = prepared is None
        priors = check_priors(prior_embeddings, prior_positions, prior_mask, num_images, tlm_config.prior_size, values)
        if priors is None:
            return outputs
        # One [h w, C] for each image, whatever the parent's annotation says.
        levels = [cast(tuple[Tensor, ...], outputs.pooler_output)]
        if tlm_config.deepstack == "modulated":
            levels += cast(_WithDeepstack, outputs).deepstack_features
        grids = image_grid_thw.tolist() if prepared is None else prepared["grids"]
        patch_grids = [(height, width) for _, height, width in grids]
        expected = [height * width // vision_config.spatial_merge_size**2 for height, width in patch_grids]
        found = [len(image_tokens) for image_tokens in levels[0]]
        if found != expected:
            raise ValueError(f"pooler_output: found {found} tokens an image, expected {expected} for image_grid_thw.")
        modulated = self.tlm(torch.stack([torch.cat(tokens) for tokens in levels]), patch_grids, *priors)
        first, *others = [tokens.split(found) for tokens in modulated]
        return replace(outputs, pooler_output=first, **({"deepstack_features": others} if others else {}))

    @can_return_tuple
    def forward(
        self,
        arguments: dict[str, Any],
        prior_embeddings: Tensor | None = None,
        prior_positions: Tensor | None = None,
        prior_mask: Tensor | None = None,
        prepared: PreparedBatch | None = None,
        **kwargs: object,
    ) -> tuple[object, ...] | BaseModelOutputWithPast:
        """As the parent's, with the prior that `get_image_features` describes.

        The visual tokens of `mm_encoder_outputs["image"]`, computed before, stand in for `pixel_values`: they are
        modulated where a prior is given beside them, and taken as they are where none is. With `prepared`, which
        `BatchPreparation` works out, the mask of right-padded rows is left out.

        Raises:
            ValueError: If a prior is given without images, or is not a usable one, or if `prepared` is given without
                images or positions.
        """
        priors: dict[str, Tensor | None] = dict(
            zip(PRIOR_FIELDS, (prior_embeddings, prior_positions, prior_mask), strict=True)
        )
        pixel_values, videos = arguments.get("pixel_values"), arguments.get("pixel_values_videos")
        grids, encoder_outputs = arguments.get("image_grid_thw"), arguments.get("mm_encoder_outputs")
        encoded = None if encoder_outputs is None else encoder_outputs.get("image")
        has_images = grids is not None and (pixel_values is not None or encoded is not None)
        is_whole = has_images and (pixel_values is None) != (encoded is None) and videos is None
        if prepared is not None and not (is_whole and arguments.get("position_ids") is not None):
            raise ValueError(
                "prepared: found without images and position_ids, expected position_ids and either pixel_values or "
                "mm_encoder_outputs, of one batch, as TripletCollator makes them."
            )
        if not has_images:
            check_no_priors(priors)
        elif encoder_outputs is None and videos is None:
            pixels, patches = cast(Tensor, pixel_values), cast(Tensor, grids)
            features = self.get_image_features(
                pixels, patches, *priors.values(), prepared=prepared, **kwargs, return_dict=True
            )
            arguments = {**arguments, "pixel_values": None, "mm_encoder_outputs": {"image": features}}
        elif any(value is not None for value in priors.values()):
            if encoded is None or pixel_values is not None or videos is not None:
                raise ValueError(
                    "prior_embeddings: found beside pixel_values_videos, or both pixel_values and mm_encoder_outputs; "
                    "expected pixel_values or mm_encoder_outputs of images alone."
                )
            modulated = self.modulate(encoded, cast(Tensor, grids), **priors, prepared=prepared)
            arguments = {**arguments, "mm_encoder_outputs": {**(encoder_outputs or {}), "image": modulated}}
        if prepared is not None:
            arguments = self.with_images_placed({**arguments, "attention_mask": None}, prepared)
        parent = cast(_BackboneModel, super())
        return parent.forward(**arguments, **kwargs)

    def with_images_placed(self, arguments: dict[str, Any], prepared: PreparedBatch) -> dict[str, Any]:
        """The parent's arguments with the visual tokens among those of the text, if that needs no mask of places.

        Here they are left to the parent.
        """
        return arguments


class ModulatedForConditionalGeneration(LoadsArtefacts, GenerationMixin):
    """The difference of the model with its language head to its backbone, which follows it among the bases."""

    config: FusarGptConfig | FusarGptQwen3Config
    inner_class: ClassVar[type[ModulatedModel]]

    def __init__(self, config: FusarGptConfig | FusarGptQwen3Config):
        # Past the backbone's constructor, which would build a model only to be thrown away.
        PreTrainedModel.__init__(self, config)
        self.model = self.inner_class(config)
        text_config = _parts(config)[0]
        self.lm_head = nn.Linear(text_config.hidden_size, text_config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        arguments: dict[str, Any],
        prior_embeddings: Tensor | None = None,
        prior_positions: Tensor | None = None,
        prior_mask: Tensor | None = None,
        prepared: PreparedBatch | None = None,
        **kwargs: object,
    ) -> tuple[object, ...] | CausalLMOutputWithPast:
        """As the parent's, with what `ModulatedModel.forward` takes beside.

        Raises:
            ValueError: As that one.
        """
        priors: dict[str, Tensor | None] = dict(
            zip(PRIOR_FIELDS, (prior_embeddings, prior_positions, prior_mask), strict=True)
        )
        parent = cast(_BackboneForConditionalGeneration, super())
        return parent.forward(**arguments, **priors, prepared=prepared, **kwargs)

    # The parent is annotated to return a tensor, and returns this.
    def _prepare_multimodal_encoder_kwargs_for_generation(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, model_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        # `generate` encodes and modulates every image here, once, before it expands beams or returned sequences, and
        # drops the encoder's arguments. It would drop a prior beside images encoded before, or without an image, just
        # as quietly.
        if model_kwargs.get("prepared") is not None:
            raise ValueError("prepared: found in generate, expected None; it is of rows that are padded on the right.")
        if model_kwargs.get("pixel_values") is None:
            priors = {name: model_kwargs.get(name) for name in PRIOR_FIELDS}
            encoded = (model_kwargs.get("mm_encoder_outputs") or {}).get("image")
            grid = model_kwargs.get("image_grid_thw")
            if encoded is None or grid is None:
                check_no_priors(priors)
            else:
                modulated = self.model.modulate(encoded, grid, **priors)
                model_kwargs["mm_encoder_outputs"] = {**model_kwargs["mm_encoder_outputs"], "image": modulated}
        parent: Any = super()
        return parent._prepare_multimodal_encoder_kwargs_for_generation(model_kwargs)

    def prepare_inputs_for_generation(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, arguments: dict[str, Any], **kwargs: Any
    ) -> dict[str, Any]:
        """As the parent's; the prior, like `pixel_values`, is passed on in the first step only."""
        parent = cast(_BackboneForConditionalGeneration, super())
        inputs = parent.prepare_inputs_for_generation(**arguments, **kwargs)
        if not arguments.get("is_first_iteration") and kwargs.get("use_cache", True):
            for name in PRIOR_FIELDS:
                inputs.pop(name, None)
        return inputs


def check_no_priors(priors: dict[str, Tensor | None]) -> None:
    """Raises ValueError if a prior is given where there is no image that it could belong to."""
    for name, value in priors.items():
        if value is not None:
            raise ValueError(
                f"{name}: found shape {list(value.shape)} without pixel_values (or mm_encoder_outputs with "
                "image_grid_thw), expected images as well."
            )


# The arguments of `forward` and `get_image_features` are passed by keyword: their order is not the parent's. As
# transformers' own classes do, each narrows the type of its `config`, from which transformers takes `config_class`.
class FusarGptModel(ModulatedModel, Qwen2_5_VLModel):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Qwen2.5-VL without its language head, with a TLM behind the vision tower."""

    config: FusarGptConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    forward = by_the_names_of(Qwen2_5_VLModel, ModulatedModel.forward)

    def with_images_placed(self, arguments: dict[str, Any], prepared: PreparedBatch) -> dict[str, Any]:
        """The visual tokens stand where `prepared` says, which the parent would look for."""
        embedded = self.get_input_embeddings()(arguments["input_ids"])
        images = torch.cat(arguments["mm_encoder_outputs"]["image"].pooler_output).to(embedded)
        placed = embedded.flatten(0, 1).index_copy(0, prepared["image_places"], images)
        return {**arguments, "input_ids": None, "mm_encoder_outputs": None, "inputs_embeds": placed.view_as(embedded)}


class FusarGptForConditionalGeneration(  # pyright: ignore[reportIncompatibleMethodOverride]
    ModulatedForConditionalGeneration, Qwen2_5_VLForConditionalGeneration
):
    """FUSAR-GPT on Qwen2.5-VL: SAR images, their geospatial prior and a question in, an answer out."""

    config: FusarGptConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    model: FusarGptModel
    inner_class = FusarGptModel
    forward = by_the_names_of(Qwen2_5_VLForConditionalGeneration, ModulatedForConditionalGeneration.forward)
    prepare_inputs_for_generation = by_the_names_of(
        Qwen2_5_VLForConditionalGeneration, ModulatedForConditionalGeneration.prepare_inputs_for_generation
    )


__all__ = [
    "FusarGptForConditionalGeneration",
    "FusarGptModel",
    "ModulatedForConditionalGeneration",
    "ModulatedModel",
    "by_the_names_of",
]
