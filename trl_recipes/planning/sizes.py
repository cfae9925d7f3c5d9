"""The sizes of a model, read from its configuration alone, and the model that a recipe starts from."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig, Qwen2_5_VLVisionConfig

from fusargpt.errors import InputError, one_line
from modeling_fusargpt import FusarGptConfig, TlmConfig
from modeling_fusargpt.artefacts import ADAPTER_CONFIG_FILE, HUB_ID, ArtefactError, read_artefact


@dataclass(frozen=True)
class Linear:
    """A linear layer `inputs -> outputs`."""

    inputs: int
    outputs: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs + self.bias * self.outputs

    def flops(self, rows: int) -> int:
        """Of one product; the gradients of its input and of its weights each cost the same once more."""
        return 2 * rows * self.inputs * self.outputs


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model that its work and its memory depend on; `sizes_of` reads them from a configuration."""

    hidden: int
    query: int
    key_value: int
    heads: int
    intermediate: int
    layers: int
    vocabulary: int
    tied: bool
    vision_hidden: int
    vision_heads: int
    vision_intermediate: int
    vision_layers: int
    vision_layers_of_whole_images: int
    patch: int
    patch_values: int
    merge: int
    window: int
    prior: int
    tlm_hidden: int
    fusion: str

    @property
    def language_layer(self) -> tuple[Linear, ...]:
        """q, k, v, o, gate, up and down of one decoder layer."""
        return (
            Linear(self.hidden, self.query, bias=True),
            Linear(self.hidden, self.key_value, bias=True),
            Linear(self.hidden, self.key_value, bias=True),
            Linear(self.query, self.hidden),
            Linear(self.hidden, self.intermediate),
            Linear(self.hidden, self.intermediate),
            Linear(self.intermediate, self.hidden),
        )

    @property
    def vision_layer(self) -> tuple[Linear, ...]:
        """qkv, projection, gate, up and down of one block of the vision tower."""
        width, inner = self.vision_hidden, self.vision_intermediate
        pairs = ((width, 3 * width), (width, width), (width, inner), (width, inner), (inner, width))
        return tuple(Linear(inputs, outputs, bias=True) for inputs, outputs in pairs)

    @property
    def merger(self) -> tuple[Linear, ...]:
        width = self.vision_hidden * self.merge**2
        return Linear(width, width, bias=True), Linear(width, self.hidden, bias=True)

    @property
    def tlm(self) -> tuple[Linear, ...]:
        if self.fusion == "none":
            return ()
        field = self.hidden * (2 if self.fusion == "tlm" else 1)
        first, second = Linear(self.prior, self.tlm_hidden, bias=True), Linear(self.tlm_hidden, field, bias=True)
        return (first, second, Linear(2 * self.hidden, self.hidden)) if self.fusion == "concat" else (first, second)

    @property
    def head(self) -> Linear:
        return Linear(self.hidden, self.vocabulary)

    def lora(self, rank: int) -> int:
        """Parameters of the adapter on every linear layer of the language model."""
        return self.layers * sum(rank * (layer.inputs + layer.outputs) for layer in self.language_layer)

    def parameters(self) -> dict[str, int]:
        """By part, named as in the table that training prints; a head that is tied to the embeddings counts there."""
        norms = 2 * self.vision_hidden
        tower = self.vision_layers * (sum(layer.parameters for layer in self.vision_layer) + norms)
        language = self.layers * (sum(layer.parameters for layer in self.language_layer) + 2 * self.hidden)
        return {
            "vision tower": tower + self.patch_values * self.vision_hidden,
            "merger": sum(layer.parameters for layer in self.merger) + self.vision_hidden,
            "TLM": sum(layer.parameters for layer in self.tlm),
            "language model": language + self.hidden + self.head.parameters,
            "lm_head": 0 if self.tied else self.head.parameters,
        }


def sizes_of(config: FusarGptConfig) -> Sizes:
    """The sizes of a model with this configuration."""
    text, vision = cast(Qwen2_5_VLTextConfig, config.text_config), cast(Qwen2_5_VLVisionConfig, config.vision_config)
    tlm, patch, frames = cast(TlmConfig, config.tlm_config), vision.patch_size, vision.temporal_patch_size
    assert isinstance(patch, int) and isinstance(frames, int) and text.num_key_value_heads is not None
    whole = [index for index in vision.fullatt_block_indexes if index < vision.depth]
    return Sizes(
        hidden=text.hidden_size,
        query=text.hidden_size,
        key_value=text.hidden_size // text.num_attention_heads * text.num_key_value_heads,
        heads=text.num_attention_heads,
        intermediate=text.intermediate_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        tied=config.tie_word_embeddings,
        vision_hidden=vision.hidden_size,
        vision_heads=vision.num_heads,
        vision_intermediate=vision.intermediate_size,
        vision_layers=vision.depth,
        vision_layers_of_whole_images=len(whole),
        patch=patch,
        patch_values=vision.in_channels * frames * patch**2,
        merge=vision.spatial_merge_size,
        window=vision.window_size // patch,
        prior=tlm.prior_size,
        tlm_hidden=tlm.hidden_size if tlm.hidden_size is not None else max(128, 4 * text.hidden_size),
        fusion=tlm.fusion,
    )


QWEN_7B = "Qwen/Qwen2.5-VL-7B-Instruct"


def qwen_7b_config(**fields: Any) -> FusarGptConfig:
    """The 7B with a TLM of the default sizes, from config.json of that model on the Hub, so that no Hub is needed.

    Args:
        **fields: of `FusarGptConfig` beside the configurations of tower and language model, such as token ids.
    """
    return FusarGptConfig(
        text_config={
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 3584,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        tie_word_embeddings=False,
        **fields,
    )


QWEN_7B_SIZES = sizes_of(qwen_7b_config())


def find_model(name: str, revision: str = "main", recipes: Path | None = None) -> tuple[str, Sizes, int | None]:
    """The model behind a recipe's `model_name_or_path`: its name, its sizes, and the image size that it fixes, if any.

    Follows what a stage has left to its base, and a stage that has not run yet to its recipe's model. The 7B backbone
    is known without the Hub.

    Raises:
        InputError: no such model, or one of another kind.
    """
    tlm: dict[str, object] | None = None
    outputs = _outputs(recipes) if recipes is not None else {}
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        folder = Path(name)
        base = _base(folder)
        if base is not None:
            if tlm is None and (folder / "config.json").is_file():
                tlm = _read_json(folder / "config.json").get("tlm_config")
            name, revision = base
        elif name == QWEN_7B:
            return name, replace(QWEN_7B_SIZES, **_tlm_fields(tlm)), None
        elif (folder / "config.json").is_file():
            return name, _sizes(name, revision, tlm), _image_size(folder / "processor_config.json")
        elif name in outputs:
            name = outputs[name]
        elif not folder.exists() and HUB_ID.fullmatch(name):
            return name, _sizes(name, revision, tlm), None
        else:
            raise InputError(
                f"model_name_or_path: there is no model at {name}; run the stage that makes it, or plan with "
                f"--model_name_or_path {QWEN_7B} or the folder of a model of the same size"
            )
    raise InputError(f"model_name_or_path: {name} leads back to itself, by way of {', '.join(sorted(seen))}")


def _outputs(recipes: Path) -> dict[str, str]:
    """Which model each recipe of a folder starts from, by the folder that it leaves its result in."""
    found = {}
    for path in sorted(recipes.glob("*.yaml")):
        try:
            fields = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError):
            continue  # another file, which is not what was asked about
        if isinstance(fields, dict) and {"output_dir", "model_name_or_path"} <= set(fields):
            found[str(fields["output_dir"])] = str(fields["model_name_or_path"])
    return found


def _sizes(name: str, revision: str, tlm: dict[str, object] | None) -> Sizes:
    try:
        kind = FusarGptConfig.get_config_dict(name, revision=revision)[0].get("model_type")
        if kind not in ("fusargpt", "qwen2_5_vl"):
            raise InputError(f"model_name_or_path: {name} is of type {kind}; a plan knows fusargpt and qwen2_5_vl")
        config = FusarGptConfig.from_pretrained(name, revision=revision)
    except InputError:
        raise
    # What transformers raises on values that it does not expect: of any type.
    except Exception as error:
        raise InputError(
            f"model_name_or_path: the configuration of {name} cannot be read ({one_line(error)})"
        ) from error
    return replace(sizes_of(config), **_tlm_fields(tlm))


def _tlm_fields(tlm: dict[str, object] | None) -> dict[str, Any]:
    names = {"prior_size": "prior", "hidden_size": "tlm_hidden", "fusion": "fusion"}
    return {names[key]: value for key, value in (tlm or {}).items() if key in names and value is not None}


def _base(folder: Path) -> tuple[str, str] | None:
    """Name and revision of what a stage's TLM or adapter belongs to; None for a whole model, or where there is none."""
    if not any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG_FILE)):
        return None
    try:
        artefact = read_artefact(str(folder))
    except ArtefactError as error:
        raise InputError(f"model_name_or_path: {error}") from error
    return None if artefact.base is None else (artefact.base, artefact.base_revision or "main")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a JSON file that a stage has written") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {type(content).__name__}; expected a JSON object")
    return content


def _image_size(path: Path) -> int | None:
    """The side of the square that a processor makes of every image; None where it keeps their sizes."""
    if not path.is_file():
        return None
    processor = _read_json(path)
    size = processor.get("image_processor", {}).get("size", {})
    if processor.get("image_size") is None and size.get("shortest_edge") == size.get("longest_edge") is not None:
        return round(math.sqrt(size["shortest_edge"]))
    return processor.get("image_size")
