# pyright: reportMissingImports=false, reportUntypedBaseClass=false, reportUntypedClassDecorator=false
# vLLM has an environment of its own, see docs/how-to/serve.md.
"""FUSAR-GPT in vLLM as a difference to vLLM's own Qwen2.5-VL and Qwen3-VL: the TLM modulates what the tower returns."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from vllm.config import VllmConfig
from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from vllm.model_executor.models.qwen3_vl import Qwen3VLForConditionalGeneration
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY

from fusargpt.serving.vllm_processing import (
    PRIOR_FIELDS,
    FusarGptDummyInputsBuilder,
    FusarGptMultiModalProcessor,
    FusarGptProcessingInfo,
)
from modeling_fusargpt import AnyFusarGptConfig, TlmConfig, TokenwiseLinearModulation

_register_processor = MULTIMODAL_REGISTRY.register_processor(
    FusarGptMultiModalProcessor, info=FusarGptProcessingInfo, dummy_inputs=FusarGptDummyInputsBuilder
)


def _with_tlm(backbone: WeightsMapper) -> WeightsMapper:
    """A checkpoint's names -> vLLM's. The TLM's come first: it would take `model.tlm` for the language model's."""
    return WeightsMapper(orig_to_new_prefix={"model.tlm.": "tlm.", **backbone.orig_to_new_prefix})


class ModulatedByPrior:
    """The difference, which the backbone follows among the bases."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        config: AnyFusarGptConfig = vllm_config.model_config.hf_config
        if config.weights != "whole":
            raise ValueError(
                f"{vllm_config.model_config.model}: holds {config.weights} weights alone; `fusargpt merge` writes the "
                "whole model. An adapter can also be named in --lora-modules beside the model it was trained on"
            )
        backbone: Any = super()
        backbone.__init__(vllm_config=vllm_config, prefix=prefix)
        text_config, vision_config = cast(Any, config.text_config), cast(Any, config.vision_config)
        self.channels: int = text_config.hidden_size
        with backbone._mark_tower_model(vllm_config, {"image"}):
            self.tlm = TokenwiseLinearModulation(
                cast(TlmConfig, config.tlm_config), self.channels, vision_config.spatial_merge_size
            )

    def embed_multimodal(self, **fields: Any) -> Sequence[Tensor]:
        """The visual tokens of each image, modulated by its prior.

        Args:
            **fields: those of the backbone, and for each image `prior_embeddings` `[S, prior_size]`, `prior_positions`
                `[S, 2]` and `prior_mask` `[S]`, stacked where all have the same S. An image without a prior has S = 0.

        Returns:
            For each image `[h w, C]`, on Qwen3-VL `[h w, (1 + levels) C]` with the deep-stack features behind.
        """
        priors = [fields.pop(name) for name in PRIOR_FIELDS]
        backbone: Any = super()
        images: Sequence[Tensor] = backbone.embed_multimodal(**fields)
        if not any(len(mask) for mask in priors[-1]):
            return images
        grids = [(rows, columns) for _, rows, columns in fields["image_grid_thw"].tolist()]
        embeddings, positions, mask = (pad_sequence(list(field), batch_first=True) for field in priors)
        levels = torch.cat(list(images)).unflatten(1, (-1, self.channels)).transpose(0, 1)
        count = len(levels) if self.tlm.config.deepstack == "modulated" else 1
        modulated = self.tlm(levels[:count], grids, embeddings, positions, mask)
        tokens = torch.cat([modulated, levels[count:]]).transpose(0, 1).flatten(1)
        return tokens.split([len(image) for image in images])

    def get_encoder_cudagraph_config(self) -> Any:
        """No graphs of the vision encoder: vLLM replays them past `embed_multimodal`, and so past the TLM."""
        backbone: Any = super()
        return replace(backbone.get_encoder_cudagraph_config(), modalities=[])


@_register_processor
class FusarGptForConditionalGeneration(ModulatedByPrior, Qwen2_5_VLForConditionalGeneration):
    """FUSAR-GPT on Qwen2.5-VL."""

    hf_to_vllm_mapper = _with_tlm(Qwen2_5_VLForConditionalGeneration.hf_to_vllm_mapper)


@_register_processor
class FusarGptQwen3ForConditionalGeneration(ModulatedByPrior, Qwen3VLForConditionalGeneration):
    """FUSAR-GPT on Qwen3-VL."""

    hf_to_vllm_mapper = _with_tlm(Qwen3VLForConditionalGeneration.hf_to_vllm_mapper)
