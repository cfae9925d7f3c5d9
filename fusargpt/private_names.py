# pyright: reportPrivateUsage=false
"""Every name of other packages that the code touches though its package does not promise it.

A name is private that begins with an underscore, or that neither its package's documentation nor its top level offers.
What the library and the recipes call of these they call through the functions below. What is overridden, what remote
code uses (it can import nothing of ours) and what belongs to the classes that vLLM loads stays where it is. All of it
is listed, with the signature that is relied on; `tests/fusargpt/test_private_names.py` holds the list against what is
installed, and the code against the list.

Nothing is imported before it is needed.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, TrainingArguments
    from transformers.hf_argparser import DataClassType
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
    from trl.trainer.utils import FusedCausalLMOutput

CALLED: dict[str, str | None] = {
    # Called below. Parameters as they are passed, those behind * by name; None where nothing is called.
    "rasterio._err:CPLE_BaseError": None,
    "transformers:Qwen2_5_VLProcessor._get_num_multimodal_tokens": "self, *, image_sizes",
    "transformers.dynamic_module_utils:custom_object_save": "obj, folder",
    "transformers.hf_argparser:DataClassType": None,
    "transformers.trainer_callback:ExportableState": None,
    "transformers.trainer_callback:ExportableState.state": "self",
    "transformers.trainer_pt_utils:nested_gather": "tensors, parallel_mode",
    "trl.trainer.utils:FusedCausalLMOutput": None,
    # Derived from by trl_recipes/data.
    "trl.trainer.sft_trainer:DataCollatorForVisionLanguageModeling": (
        "processor, max_length, *, pad_to_multiple_of, assistant_only_loss, chat_template"
    ),
    # Called by trl_recipes/running on itself.
    "transformers:Trainer.save_model": "self, output_dir, *, _internal_call",
    "transformers:Trainer._prepare_inputs": "self, inputs",
    "transformers:Trainer._save_optimizer_and_scheduler": "self, output_dir",
    "transformers:Trainer._save_rng_state": "self, output_dir",
    "transformers:Trainer._save_scaler": "self, output_dir",
    # Called by modeling_fusargpt.
    "peft.tuners.lora:LoraLayer": None,
    "transformers.conversion_mapping:register_checkpoint_conversion_mapping": (
        "model_type_or_class_name, mapping, *, overwrite"
    ),
    "transformers.core_model_loading:WeightRenaming": "source_patterns, target_patterns",
    "transformers.processing_utils:MultiModalData": None,
    "transformers.utils.generic:can_return_tuple": "func",
    "transformers.utils.generic:is_flash_attention_requested": "config",
    "transformers.utils.hub:cached_file": "path_or_repo_id, filename",
    "transformers.utils.hub:cached_files": "path_or_repo_id, filenames, *, _raise_exceptions_for_missing_entries",
    "transformers.vision_utils:get_vision_attention_seqlens": "grid_thw, config",
    "transformers.vision_utils:get_vision_interpolation_indices_and_weights": (
        "grid_thw, num_grid_per_side, *, mode, align_corners, spatial_merge_size"
    ),
    "transformers.vision_utils:get_vision_position_ids": "grid_thw, spatial_merge_size",
    "transformers.vision_utils:get_vision_window_index": "grid_thw, spatial_merge_size, window_size, patch_size",
    # Called by modeling_fusarklip.
    "transformers.models.blip.modeling_blip_text:BlipTextOnlyMLMHead": "config",
    "transformers.utils.generic:ModelOutput": None,
    "transformers.utils.generic:TransformersKwargs": None,
    "transformers.utils.generic:merge_with_config_defaults": "func",
    "transformers.utils.output_capturing:capture_outputs": "*, tie_last_hidden_states",
    # Called by fusargpt/serving within vLLM.
    "vllm.lora.utils:get_adapter_absolute_path": "lora_path",
    "vllm.lora.worker_manager:WorkerLoRAManager": None,
    "vllm.lora.worker_manager:WorkerLoRAManager._load_adapter": "self, lora_request",
    "vllm.config:VllmConfig": None,
    "vllm.model_executor.models.interfaces:SupportsMultiModal._mark_tower_model": "self, vllm_config, modalities",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLForConditionalGeneration": None,
    "vllm.model_executor.models.qwen2_vl:Qwen2VLDummyInputsBuilder": None,
    "vllm.model_executor.models.qwen2_vl:Qwen2VLDummyInputsBuilder._get_dummy_images": (
        "self, *, width, height, num_images, overrides"
    ),
    "vllm.model_executor.models.qwen2_vl:Qwen2VLMultiModalDataParser": (
        "spatial_merge_size, *, expected_hidden_size, allow_missing_mm_embeddings"
    ),
    "vllm.model_executor.models.qwen2_vl:Qwen2VLMultiModalProcessor": None,
    "vllm.model_executor.models.qwen2_vl:Qwen2VLProcessingInfo": None,
    "vllm.model_executor.models.qwen2_vl:Qwen2VLProcessingInfo._get_expected_hidden_size": "self",
    "vllm.model_executor.models.qwen3_vl:Qwen3VLForConditionalGeneration": None,
    "vllm.model_executor.models.utils:WeightsMapper": "*, orig_to_new_prefix",
    "vllm.multimodal:MULTIMODAL_REGISTRY": None,
    "vllm.multimodal:MULTIMODAL_REGISTRY.register_processor": "processor, *, info, dummy_inputs",
    "vllm.multimodal.hasher:MultiModalHasher": None,
    "vllm.multimodal.hasher:MultiModalHasher.hash_kwargs": "algorithm, *, image, prior",
    "vllm.multimodal.inputs:MultiModalFieldConfig": None,
    "vllm.multimodal.inputs:MultiModalFieldConfig.batched": "modality",
    "vllm.multimodal.media:MediaWithBytes": None,
    "vllm.platforms:current_platform": None,
}

OVERRIDDEN: dict[str, str] = {
    # All parameters: what the parent is called with, ours is.
    "transformers:GenerationMixin._prepare_multimodal_encoder_kwargs_for_generation": "self, model_kwargs",
    "transformers:PreTrainedModel._init_weights": "self, module",
    "transformers:Qwen2_5_VLProcessor._get_num_multimodal_tokens": "self, image_sizes, video_sizes, **kwargs",
    "transformers:Qwen2_5_VLProcessor._process_images": "self, images, **kwargs",
    "transformers:Trainer._finalize_training": "self, trial, num_train_samples, start_time",
    "transformers:Trainer._get_dataloader": (
        "self, dataset, description, batch_size, sampler_fn, is_training, dataloader_key"
    ),
    "transformers:Trainer._get_train_sampler": "self, train_dataset",
    "transformers:Trainer._load_best_model": "self",
    "transformers:Trainer._load_from_checkpoint": "self, resume_from_checkpoint, model",
    "transformers:Trainer._run_epoch": (
        "self, model, epoch, train_dataloader, steps_in_epoch, num_update_steps_per_epoch, trial, "
        "ignore_keys_for_eval, start_time, resume_from_checkpoint, epochs_trained, steps_trained_in_current_epoch"
    ),
    "transformers:Trainer._save": "self, output_dir, state_dict",
    "transformers:Trainer._save_checkpoint": "self, model, trial",
    "trl.trainer.sft_trainer:DataCollatorForVisionLanguageModeling.torch_call": "self, examples",
    "trl:GRPOTrainer._compute_loss": "self, model, inputs",
    "trl:GRPOTrainer._generate_and_score_completions": "self, inputs",
    "trl:GRPOTrainer._get_per_token_logps_and_entropies": (
        "self, model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, compute_aux_loss, "
        "pixel_values, image_grid_thw, num_images, pixel_attention_mask, spatial_shapes, num_tiles, image_sizes, "
        "token_type_ids, mm_token_type_ids, image_position_ids"
    ),
    "trl:GRPOTrainer._get_train_sampler": "self, dataset",
    "vllm.model_executor.models.qwen2_vl:Qwen2VLMultiModalDataParser._parse_image_data": "self, data",
    "vllm.model_executor.models.qwen2_vl:Qwen2VLMultiModalProcessor._get_cache_missing_processor_kwargs": (
        "self, inputs, mm_is_cached"
    ),
    "vllm.model_executor.models.qwen2_vl:Qwen2VLMultiModalProcessor._get_mm_fields_config": (
        "self, hf_inputs, hf_processor_mm_kwargs"
    ),
    "vllm.model_executor.models.qwen2_vl:Qwen2VLMultiModalProcessor._get_mm_hashes": "self, inputs",
}

ATTRIBUTES: tuple[str, ...] = (
    # Read or set; of the class, or of what its methods have made.
    "transformers:PreTrainedConfig._attn_implementation",
    "transformers:PreTrainedConfig._commit_hash",
    "transformers:PreTrainedModel._hf_peft_config_loaded",
    "transformers:PreTrainedModel._keys_to_ignore_on_load_missing",
    "transformers:PreTrainedModel._keys_to_ignore_on_load_unexpected",
    "transformers:PreTrainedModel._tied_weights_keys",
    "transformers:Trainer._globalstep_last_logged",
    "transformers:Trainer._total_loss_scalar",
    "transformers:Trainer._tr_loss",
    "trl:GRPOTrainer._metrics",
    "trl:SFTTrainer._metrics",
    "trl:SFTTrainer._total_train_tokens",
    "vllm.lora.worker_manager:WorkerLoRAManager._adapter_manager",
)


def gdal_error() -> type[Exception]:
    """GDAL's own error, which rasterio lets through from transformers of coordinates and exports no name for."""
    from rasterio._err import CPLE_BaseError

    return CPLE_BaseError


def commit_of(config: "PreTrainedConfig") -> str | None:
    """The Hub's commit that a configuration was read from; None for one from a folder."""
    return config._commit_hash


def attention_of(config: "PreTrainedConfig") -> str:
    """The attention that a model with this configuration computes with, as `attn_implementation` names it."""
    return str(config._attn_implementation)  # pyright: ignore[reportPrivateUsage]  # no other name says it


def count_image_tokens(processor: "Qwen2_5_VLProcessor", height: int, width: int) -> int:
    """Tokens of an image of this size. ValueError for a size that the image processor refuses."""
    return processor._get_num_multimodal_tokens(image_sizes=[(height, width)])["num_image_tokens"][0]


def save_code(model: type, folder: Path) -> None:
    """Copy the module that defines a model's class, and what it imports from beside itself, into `folder`."""
    from transformers.dynamic_module_utils import custom_object_save

    custom_object_save(model, folder)


def parsed_types(*types: type) -> "list[DataClassType]":
    """Data classes as transformers' parser of arguments has them declared."""
    return cast("list[DataClassType]", list(types))


def gather_losses(loss: "Tensor", args: "TrainingArguments") -> "Tensor":
    """The losses [processes] of all processes; of one alone as it is."""
    from transformers.trainer_pt_utils import nested_gather

    gathered: Any = nested_gather(loss, args.parallel_mode)
    return gathered


def exported_states(parts: Iterable[object]) -> dict[str, list[object]]:
    """By class, the states of those callbacks and controls that a checkpoint keeps."""
    from transformers.trainer_callback import ExportableState

    states: dict[str, list[object]] = {}
    for part in parts:
        if isinstance(part, ExportableState):
            states.setdefault(type(part).__name__, []).append(part.state())
    return states


def is_fused_output(outputs: object) -> "TypeGuard[FusedCausalLMOutput]":
    """Whether these are a model's outputs of which TRL has computed the loss without keeping logits."""
    from trl.trainer.utils import FusedCausalLMOutput

    return isinstance(outputs, FusedCausalLMOutput)
