"""A checkpoint as a loaded model: its files checked, read and put together."""

from pathlib import Path
from typing import Literal, cast

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from fusargpt.checkpoints import DEFAULT, check_model_name, shipped
from fusargpt.errors import InputError, naming, one_line
from fusargpt.inference.backbones import model_class, read_config, read_processor
from fusargpt.inference.chat_template import check_template
from fusargpt.inference.devices import chosen_device, chosen_dtype
from fusargpt.inference.faces import LoadingReport
from fusargpt.inference.number_types import Dtype, Quantization
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.quantization import quantize_language_model
from modeling_fusargpt import AnyFusarGpt
from modeling_fusargpt.artefacts import ADAPTER_CONFIG_FILE, ArtefactError
from modeling_fusargpt.processing_fusargpt import FusarGptProcessor

# One of them says what a model is; an adapter as peft writes it has the second alone.
_DESCRIPTIONS = ("config.json", ADAPTER_CONFIG_FILE)
_PICKLES = ("pytorch_model*.bin", "adapter_model*.bin", "model*.bin")


def load(
    model: str | Path = DEFAULT,
    device: str | None = None,
    dtype: Dtype | None = None,
    quantization: Quantization = "none",
) -> FusarGpt:
    """Load a FUSAR-GPT checkpoint, or a Qwen2.5-VL or Qwen3-VL backbone whose TLM then does nothing.

    Args:
        model: a folder with model and processor, the Hub's `owner/name`, or the name of a model that comes with the
            package; without it that is fusargpt-mini. What a stage has left with `save: trained`,
            a TLM or an adapter that names its base, is loaded as one model, and so is an adapter as peft or TRL's
            trainer writes it.
        device: as torch names it; None takes a GPU where there is one.
        dtype: of weights and products; None takes float32 on the CPU, else bfloat16. In bfloat16 weights take half of
            the memory; on many a CPU it is slow (`fusargpt.inference.devices.is_faster_in_bfloat16`).
        quantization: of the language model's linear layers, once they are loaded in `dtype`: "int8" or "nf4", see
            `fusargpt.inference.quantization`; "none" leaves them as they are.

    Raises:
        InputError: no such folder or repository, a model of another type, files that are missing or damaged, those of
            a base among them, a device that torch cannot use, or a package that a quantization needs.
    """
    device = chosen_device(device)
    loaded, processor = load_parts(str(model), chosen_dtype(dtype, device))
    # transformers wraps `to` in a way that hides its signature.
    loaded.to(device)  # pyright: ignore[reportArgumentType]
    if quantization != "none":
        quantize_language_model(loaded, quantization)
    return FusarGpt(loaded.eval(), processor)


def load_parts(name: str, dtype: torch.dtype | Literal["auto"]) -> tuple[AnyFusarGpt, FusarGptProcessor]:
    """Model and processor on the CPU; otherwise as `load`. With the dtype "auto", that of the model's configuration."""
    name = shipped(name)
    check_name(name)
    try:
        config, is_backbone = read_config(name)
        processor = read_processor(name)
        with naming(name):
            check_template(processor)
            if config.image_token_id != processor.image_token_id:
                found = f"{config.image_token_id} in config.json and {processor.image_token_id} in the tokenizer"
                raise InputError(f"the token of images is {found}; expected one")
            if processor.tokenizer.pad_token_id is None:
                raise InputError("the tokenizer has no pad_token; expected one, with which batches are filled up")
        loaded, report = cast(
            tuple[AnyFusarGpt, LoadingReport],
            model_class(config).from_pretrained(
                name, dtype=dtype, merge_adapter=True, use_safetensors=True, output_loading_info=True
            ),
        )
    except InputError:
        raise
    except ArtefactError as error:
        raise InputError(str(error)) from error
    # What transformers, tokenizers and safetensors raise on files that are missing, damaged or do not fit: of any type.
    except Exception as error:
        raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error
    _check_report(name, is_backbone, report)
    return loaded, processor


def check_name(name: str) -> None:
    """Raises InputError for a name that is neither a model folder nor a model on the Hub that can be read."""
    check_model_name(name)
    folder = Path(name)
    if folder.is_dir():
        if not any((folder / file).is_file() for file in _DESCRIPTIONS):
            found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
            raise InputError(f"{name}: found {found}; expected a model folder with {' or '.join(_DESCRIPTIONS)}")
        # Which of the two a library reads is its own choice, and a pickle can run code.
        if pickles := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
            raise InputError(
                f"{name}: found {pickles[0]}, weights in a pickle; expected safetensors alone. Remove the file where "
                "safetensors lie beside it, or write them by save_pretrained"
            )
    elif not any(isinstance(try_to_load_from_cache(name, file), str) for file in _DESCRIPTIONS):
        _check_on_hub(name)


def _check_on_hub(name: str) -> None:
    """Ask once; `from_pretrained` would retry for half a minute without a network."""
    for file in _DESCRIPTIONS:
        try:
            get_hf_file_metadata(hf_hub_url(name, file))
            return
        except EntryNotFoundError:
            continue
        except HfHubHTTPError as error:
            raise InputError(
                f"{name}: neither a folder nor a model on the Hub that you can read: {one_line(error)}"
            ) from error
        # The HTTP client's errors, whose classes differ between releases of huggingface_hub.
        except Exception as error:
            raise InputError(f"{name}: not a folder, and the Hub cannot be reached: {one_line(error)}") from error
    raise InputError(f"{name}: a repository on the Hub without {' or '.join(_DESCRIPTIONS)}; expected a model's")


def _check_report(name: str, is_backbone: bool, report: LoadingReport) -> None:
    """Weights that the files lack would be random; only a backbone's TLM may be missing."""
    missing = [key for key in report["missing_keys"] if not (is_backbone and ".tlm." in key)]
    if missing:
        raise InputError(f"{name}: {len(missing)} weights are missing, {sorted(missing)[0]} among them")
