"""The authors' released weights in this package's format.

Their release is a LoRA adapter on Qwen2.5-VL (`adapter_config.json`, `adapter_model.safetensors`) beside the TLM
(`vec64_film.pt`) and, in newer runs, `tlm_config.json`. Everything in it is used or known to be without effect;
anything else is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig, Qwen2_5_VLVisionConfig

from fusargpt.conversion.card_origins import read_origin
from fusargpt.conversion.lora_adapter import CONFIG_FILE, WEIGHTS_FILE, LoraLayer, read_adapter, write_adapter
from fusargpt.conversion.model_card import Card, Origin, table, write_card
from fusargpt.conversion.release_tlm import TLM_FILE, ReleaseTlm, read_tlm
from fusargpt.conversion.released import REPOSITORY
from fusargpt.conversion.write_artefacts import complete_adapter, write_tlm
from fusargpt.errors import InputError, one_line
from fusargpt.files import check_free, new_folder
from fusargpt.inference.backbones import PROCESSOR_FILES
from fusargpt.inference.faces import LoadingReport
from fusargpt.inference.loading import check_name
from modeling_fusargpt.artefacts import say_whether_tied, untie
from modeling_fusargpt.configuration_fusargpt import FusarGptConfig, TlmConfig
from modeling_fusargpt.modeling_fusargpt import FusarGptForConditionalGeneration
from modeling_fusargpt.processing_fusargpt import PRIOR_SIZE, FusarGptProcessor

# What a Trainer leaves beside weights. Other files of weights would be left out without a word.
_TRAINING_STATE = {"training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"}
_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl"}
# Marks an adapter of theirs that was trained without the prior.
_WITHOUT_PRIOR_FILE = "image_text_config.json"
_BACKBONE_TYPE = "qwen2_5_vl"
# What transformers and safetensors raise on files that are missing, damaged or do not fit each other.
_LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError, StrictDataclassError)


@dataclass(frozen=True)
class Conversion:
    """What `convert` has read and written.

    Args:
        language_layers: linear layers of the language model that the adapter changes.
        vision_layers: those of the vision tower.
        sigma: of the Gaussian alignment, in patches.
        hidden_size: of the TLM.
        image_size: side in pixels of the square that images are squeezed to.
        processor: folder or Hub id that the processor is from.
    """

    language_layers: int
    vision_layers: int
    sigma: float
    hidden_size: int
    image_size: int
    processor: str


def convert(source: Path, base: str, out: Path, *, merge: bool = True, dtype: torch.dtype | None = None) -> Conversion:
    """Write the release in `source` to `out`, which appears when it is complete.

    Args:
        source: folder of one model of the release (`fusargpt.conversion.released`), for example its `stage2/detection`.
        base: folder or Hub id of the Qwen2.5-VL model that it was trained on.
        out: new or empty folder.
        merge: True: a whole model, the adapter added to the backbone's weights in float32, with code and processor;
            loads by `AutoModelForImageTextToText` and `fusargpt.inference.loading.load`. False: the adapter and, in
            `tlm/`, the TLM, both by this package's names and both naming what they belong to, as stages with
            `save: trained` leave them; loads by the same.
        dtype: of a whole model's weights; None takes the backbone's. Without merging they keep the release's own.

    Raises:
        InputError: for anything that is missing, damaged or not known, in `source` or in `base`, and an `out` that is
            in the way or cannot be written.
    """
    check_free(out)
    _check_source(source)
    config = _backbone_config(base)
    tlm = read_tlm(source, _parts(config)[0].hidden_size)
    config.tlm_config = TlmConfig(
        prior_size=PRIOR_SIZE, hidden_size=tlm.hidden_size, sigma=tlm.sigma, gaussian_grid="patch", fusion="tlm"
    )
    layers = read_adapter(source, _linear_layers(config))
    processor_source = str(source) if any((source / name).is_file() for name in PROCESSOR_FILES) else base
    processor = _processor(processor_source, tlm.image_size, config)

    in_vision = sum(name.startswith("model.visual.") for name in layers)
    done = Conversion(
        language_layers=len(layers) - in_vision,
        vision_layers=in_vision,
        sigma=tlm.sigma,
        hidden_size=tlm.hidden_size,
        image_size=tlm.image_size,
        processor=processor_source,
    )
    # The folder first: whether it can be written is known before minutes are spent on the backbone.
    with new_folder(out) as folder:
        if merge:
            _merged_model(base, config, layers, tlm, dtype).save_pretrained(folder)
        else:
            _write_apart(folder, out, base, config, layers, tlm)
            processor.save_pretrained(folder / "tlm")
        processor.save_pretrained(folder)
        _write_cards(folder, out.resolve().name, source.resolve().name, read_origin(base), done, merge)
    return done


def _check_source(source: Path) -> None:
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; expected one of the authors' release, downloaded")
    if not (source / CONFIG_FILE).is_file():
        within = sorted(
            str(path.parent) for pattern in ("*", "*/*") for path in source.glob(f"{pattern}/{CONFIG_FILE}")
        )
        hint = f"; found it in {', '.join(within)}: give one of them, or its name as --model" if within else ""
        raise InputError(f"{source}: found no {CONFIG_FILE}, expected a folder of the authors' release{hint}")
    if (source / _WITHOUT_PRIOR_FILE).is_file():
        raise InputError(
            f"{source / _WITHOUT_PRIOR_FILE}: marks an adapter without a TLM, expected one trained with the prior; "
            "peft loads it onto its backbone as it is"
        )
    for path in sorted(source.iterdir()):
        known = path.name in {WEIGHTS_FILE, TLM_FILE, *_TRAINING_STATE} or path.name.startswith("rng_state")
        if path.suffix in _WEIGHT_SUFFIXES and not known:
            raise InputError(
                f"{path}: weights of an unknown kind, expected only {WEIGHTS_FILE} and {TLM_FILE}; remove it if they "
                "are to be left out"
            )


def _backbone_config(base: str) -> FusarGptConfig:
    check_name(base)
    try:
        model_type = AutoConfig.from_pretrained(base).model_type
        if model_type != _BACKBONE_TYPE:
            raise InputError(f"{base}: a model of type {model_type}; expected the backbone, of type {_BACKBONE_TYPE}")
        return FusarGptConfig.from_pretrained(base)
    except InputError:
        raise
    except _LOADING_ERRORS as error:
        raise InputError(f"{base}: the backbone's configuration cannot be read: {one_line(error)}") from error


def _parts(config: FusarGptConfig) -> tuple[Qwen2_5_VLTextConfig, Qwen2_5_VLVisionConfig]:
    return cast(Qwen2_5_VLTextConfig, config.text_config), cast(Qwen2_5_VLVisionConfig, config.vision_config)


def _linear_layers(config: FusarGptConfig) -> dict[str, tuple[int, int]]:
    """(out, in) of the layers that an adapter may change, without their weights."""
    with torch.device("meta"):
        model = FusarGptForConditionalGeneration(config)
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith("model.tlm.")
    }


def _processor(source: str, image_size: int, config: FusarGptConfig) -> FusarGptProcessor:
    """The processor in `source`, squeezing images; InputError unless it cuts patches and places images as the model."""
    try:
        found = FusarGptProcessor.from_pretrained(source)
    except _LOADING_ERRORS as error:
        raise InputError(f"{source}: the processor cannot be loaded: {one_line(error)}") from error
    vision_config = _parts(config)[1]
    for name, in_processor, in_model in (
        ("patch_size", found.image_processor.patch_size, vision_config.patch_size),
        ("merge_size", found.image_processor.merge_size, vision_config.spatial_merge_size),
        ("image_token_id", found.image_token_id, config.image_token_id),
    ):
        if in_processor != in_model:
            raise InputError(
                f"{source}: {name} of the processor: found {in_processor}, expected {in_model} of base (--base)"
            )
    try:
        return FusarGptProcessor(found.image_processor, found.tokenizer, found.chat_template, image_size)
    except ValueError as error:
        raise InputError(f"{source}: {one_line(error)}") from error


@torch.no_grad()
def _merged_model(
    base: str, config: FusarGptConfig, layers: Mapping[str, LoraLayer], tlm: ReleaseTlm, dtype: torch.dtype | None
) -> FusarGptForConditionalGeneration:
    try:
        model, report = cast(
            tuple[FusarGptForConditionalGeneration, LoadingReport],
            FusarGptForConditionalGeneration.from_pretrained(
                base, config=config, dtype=dtype or "auto", output_loading_info=True
            ),
        )
    except _LOADING_ERRORS as error:
        raise InputError(f"{base}: the backbone cannot be loaded: {one_line(error)}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("model.tlm."))
    for what, names in (("lacks", missing), ("has unknown", sorted(report["unexpected_keys"]))):
        if names:
            raise InputError(f"{base}: the backbone {what} weights, {names[0]} among {len(names)}")
    if "lm_head" in layers:
        untie(model.get_input_embeddings(), model.lm_head)
        say_whether_tied(model)
    for name, layer in layers.items():
        weight = cast(Tensor, model.get_submodule(name).weight)
        # Rounded once, to the type in which it is written.
        weight.copy_(weight.float() + layer.difference())
    model.model.tlm.load_state_dict(tlm.weights)
    return model


def _write_apart(
    folder: Path, out: Path, base: str, config: FusarGptConfig, layers: Mapping[str, LoraLayer], tlm: ReleaseTlm
) -> None:
    """The adapter in `folder` and the TLM in its `tlm/`, for `out` to be their place; each names what it belongs to."""
    write_tlm(folder / "tlm", config, tlm.weights, base, place=out / "tlm")
    write_adapter(folder, layers, "./tlm")
    complete_adapter(folder, config, str(folder / "tlm"))


def _write_cards(folder: Path, title: str, source: str, base: Origin, done: Conversion, merge: bool) -> None:
    release = f"`{source}` of the release of FUSAR-GPT by its authors (arXiv 2602.19190, `{REPOSITORY}` on the Hub)"
    sections = {
        "Conversion": table(
            ("part", "what was read"),
            (
                ("LoRA", f"{done.language_layers} language layers, {done.vision_layers} vision layers"),
                ("TLM", f"hidden size {done.hidden_size}, sigma {done.sigma:g} patches"),
                ("images", f"squeezed to {done.image_size} x {done.image_size} pixels"),
            ),
        )
        + "\n\nOn what it was trained, and how it scores, its authors say; nothing was measured here."
    }
    if merge:
        summary = f"{release}, its TLM and its LoRA adapter merged with `{base.name}` into one whole model."
        write_card(folder, Card(title, "whole", summary, base, sections, tags=["alphaearth"]))
        return
    tlm = Card(
        f"{title}-tlm", "tlm", f"The TLM of {release}.", base, sections, path=f"{title}/tlm", tags=["alphaearth"]
    )
    write_card(folder / "tlm", tlm)
    adapter = f"The LoRA adapter of {release}, on its TLM, which is in `tlm/`, and `{base.name}`."
    on = replace(base, name="tlm", place="folder")
    write_card(folder, Card(title, "adapter", adapter, on, sections, tags=["alphaearth"]))
