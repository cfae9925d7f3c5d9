# pyright: reportMissingImports=false, reportUntypedBaseClass=false, reportUntypedClassDecorator=false
# vLLM has an environment of its own, see docs/how-to/serve.md.
"""What vLLM does with a request before a model sees it: FUSAR-GPT's own processor, and priors in the cache keys.

A request carries its priors in `mm_processor_kwargs`, offline as over HTTP: `{"priors": [prior, ...]}` with one entry
an image, as `FusarGptProcessor` takes them. vLLM's processor of Qwen2-VL does the rest; there is no video.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vllm.model_executor.models.qwen2_vl import (
    Qwen2VLDummyInputsBuilder,
    Qwen2VLMultiModalProcessor,
    Qwen2VLProcessingInfo,
)
from vllm.multimodal.hasher import MultiModalHasher
from vllm.multimodal.inputs import MultiModalFieldConfig

from fusargpt.geo.prior import PRIOR_FIELDS
from modeling_fusargpt import AnyFusarGptConfig, FusarGptConfig, FusarGptProcessor, FusarGptQwen3Config
from modeling_fusargpt.processing_fusargpt import batch_priors

PRIORS = "priors"
MAX_ANCHORS = 4096
"""Of one image; a grid of 64 x 64. What a request may ask of the server's memory grows with them."""


class FusarGptProcessingInfo(Qwen2VLProcessingInfo):
    """Configuration and processor of the model that is served."""

    def get_hf_config(self) -> AnyFusarGptConfig:
        return self.ctx.get_hf_config((FusarGptConfig, FusarGptQwen3Config))

    def get_hf_processor(self, **kwargs: object) -> FusarGptProcessor:
        # vLLM hands the arguments of a call to the constructor as well.
        kwargs.pop(PRIORS, None)
        return self.ctx.get_hf_processor(FusarGptProcessor, **kwargs)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        return {"image": self.get_max_image_tokens()}


class FusarGptDummyInputsBuilder(Qwen2VLDummyInputsBuilder):
    """The largest images, by which vLLM measures memory. A prior adds little to them."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return self.info.get_hf_processor().image_token * mm_counts.get("image", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]) -> Any:
        width, height = self.info.get_image_size_with_most_features()
        images = self._get_dummy_images(
            width=width, height=height, num_images=mm_counts.get("image", 0), overrides=mm_options.get("image")
        )
        return {"image": images}


class FusarGptMultiModalProcessor(Qwen2VLMultiModalProcessor):
    """Binds each prior to its image: in the processor's call, in the cache's keys, in what the model gets."""

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """As the parent's.

        Raises:
            ValueError: as many priors as there are not images, a prior that `FusarGptProcessor` refuses, one of too
                many anchors, or other arguments beside. vLLM's server answers it with status 400.
        """
        num_images = inputs.mm_data_items.get_count("image", strict=False)
        options = dict(inputs.hf_processor_mm_kwargs)
        priors = _checked(options.pop(PRIORS, None), num_images)
        if options:
            # Such as the size to which images are enlarged, which is the server's to decide.
            raise ValueError(f"mm_processor_kwargs: found {sorted(options)}, expected priors alone.")
        return super().apply(replace(inputs, hf_processor_mm_kwargs={PRIORS: priors}), timing_ctx)

    def _get_mm_hashes(self, inputs: Any) -> Any:
        # These are the keys of the processor's, the encoder's and the prefix cache. Each image's holds its own prior,
        # also where the client names the image by an id of its own (`uuid`).
        options = dict(inputs.hf_processor_mm_kwargs)
        priors = options.pop(PRIORS)
        hashes = dict(super()._get_mm_hashes(replace(inputs, hf_processor_mm_kwargs=options)))
        algorithm = self.info.ctx.get_mm_config().mm_hasher_algorithm
        hashes["image"] = [
            image
            if prior is None
            else MultiModalHasher.hash_kwargs(algorithm, image=image, prior=batch_priors([prior]))
            for image, prior in zip(hashes.get("image", []), priors, strict=True)
        ]
        return hashes

    def _get_cache_missing_processor_kwargs(self, inputs: Any, mm_is_cached: Mapping[str, Sequence[bool]]) -> Any:
        options = inputs.hf_processor_mm_kwargs
        pairs = zip(options[PRIORS], mm_is_cached.get("image", []), strict=True)
        return {**options, PRIORS: [prior for prior, is_cached in pairs if not is_cached]}

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, object]) -> Any:
        fields = dict(super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs))
        return fields | {name: MultiModalFieldConfig.batched("image") for name in PRIOR_FIELDS}


def _checked(priors: Any, num_images: int) -> list[Mapping[str, Any] | None]:
    """One entry an image. An image without a prior has None, which becomes a prior without anchors."""
    if priors is None:
        return [None] * num_images
    if not isinstance(priors, list | tuple):
        raise ValueError(f"priors: found {type(priors).__name__}, expected a list with one entry for each image.")
    if len(priors) != num_images:
        raise ValueError(f"priors: found {len(priors)} entries, expected one for each of the {num_images} images.")
    anchors = batch_priors(priors)["prior_mask"].sum(1) if priors else []
    for index, count in enumerate(anchors):
        if count > MAX_ANCHORS:
            raise ValueError(f"priors[{index}]: found {count} anchors, expected at most {MAX_ANCHORS}.")
    return list(priors)
