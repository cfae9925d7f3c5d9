"""The sizes of a model, read from its configuration alone, and the model that a recipe starts from."""

import json
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fusargpt.checkpoints import HUB_ID, shipped
from fusargpt.errors import InputError, naming, one_line

if TYPE_CHECKING:
    from modeling_fusargpt import FusarGptConfig

ADAPTER_CONFIG_FILE = "adapter_config.json"
"""As in modeling_fusargpt.artefacts, whose import takes seconds."""


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


def sizes_of(config: Mapping[str, Any]) -> Sizes:
    """The sizes of a model with this configuration, as `config.json` holds it; of what it leaves out, the backbone's.

    Raises:
        InputError: a size that is no whole number above 0, or heads that do not share the width.
    """
    # The published backbones have the language model's fields beside the others.
    inner = config.get("text_config") or {name: config[name] for name in _TEXT if name in config}
    text = _Values(_TEXT, inner)
    vision = _Values(_VISION, config.get("vision_config"))
    tlm = _Values(_TLM, config.get("tlm_config"))
    patch, hidden, heads = vision.whole("patch_size"), text.whole("hidden_size"), text.whole("num_attention_heads")
    if hidden % heads:
        raise InputError(f"hidden_size: found {hidden}; expected a multiple of the {heads} heads")
    depth, whole = vision.whole("depth"), vision["fullatt_block_indexes"]
    return Sizes(
        hidden=hidden,
        query=hidden,
        key_value=hidden
        // heads
        * (heads if text["num_key_value_heads"] is None else text.whole("num_key_value_heads")),
        heads=heads,
        intermediate=text.whole("intermediate_size"),
        layers=text.whole("num_hidden_layers"),
        vocabulary=text.whole("vocab_size"),
        # Configurations before transformers 5 say it inside.
        tied=bool(config.get("tie_word_embeddings") or inner.get("tie_word_embeddings")),
        vision_hidden=vision.whole("hidden_size"),
        vision_heads=vision.whole("num_heads"),
        vision_intermediate=vision.whole("intermediate_size"),
        vision_layers=depth,
        vision_layers_of_whole_images=sum(isinstance(index, int) and index < depth for index in whole),
        patch=patch,
        patch_values=vision.whole("in_channels") * vision.whole("temporal_patch_size") * patch**2,
        merge=vision.whole("spatial_merge_size"),
        window=vision.whole("window_size") // patch,
        prior=tlm.whole("prior_size"),
        tlm_hidden=max(128, 4 * hidden) if tlm["hidden_size"] is None else tlm.whole("hidden_size"),
        fusion=tlm["fusion"],
    )


# What transformers' configurations of Qwen2.5-VL, and that of the TLM, have where nothing is said.
_TEXT: dict[str, Any] = {
    "vocab_size": 152064,
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}
_VISION: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 3584,
    "intermediate_size": 3420,
    "num_heads": 16,
    "in_channels": 3,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": (7, 15, 23, 31),
}
_TLM: dict[str, Any] = {"prior_size": 64, "hidden_size": None, "fusion": "tlm"}


class _Values:
    """Values of one part of a configuration, by name, over what it has where nothing is said."""

    def __init__(self, defaults: dict[str, Any], given: object) -> None:
        if not isinstance(given, Mapping | None):
            raise InputError(f"found {type(given).__name__} in place of a part's configuration; expected a JSON object")
        self._values = defaults | {name: value for name, value in (given or {}).items() if name in defaults}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def whole(self, name: str) -> int:
        value = self._values[name]
        if type(value) is not int or not 0 < value < 2**31:
            raise InputError(f"{name}: found {value!r}; expected a whole number above 0")
        return value


QWEN_7B = "Qwen/Qwen2.5-VL-7B-Instruct"
# From config.json of that model on the Hub, so that no Hub is needed.
_QWEN_7B: dict[str, Any] = {
    "text_config": {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
    "tie_word_embeddings": False,
}


def qwen_7b_config(**fields: Any) -> "FusarGptConfig":
    """The 7B with a TLM of the default sizes.

    Args:
        **fields: of `FusarGptConfig` beside the configurations of tower and language model, such as token ids.
    """
    from modeling_fusargpt import FusarGptConfig

    return FusarGptConfig(**deepcopy(_QWEN_7B), **fields)


QWEN_7B_SIZES = sizes_of(_QWEN_7B)


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
    path = Path(name) / "config.json"
    config = _read_json(path if path.is_file() else _from_hub(name, revision))
    kind = config.get("model_type")
    if kind not in ("fusargpt", "qwen2_5_vl"):
        raise InputError(f"model_name_or_path: {name} is of type {kind}; a plan knows fusargpt and qwen2_5_vl")
    with naming(f"model_name_or_path: the configuration of {name} cannot be read"):
        sizes = sizes_of(config)
    return replace(sizes, **_tlm_fields(tlm))


def _from_hub(name: str, revision: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "config.json", revision=revision))
    # The HTTP client's errors, whose classes differ between releases of huggingface_hub.
    except Exception as error:
        raise InputError(
            f"model_name_or_path: the configuration of {name} cannot be read ({one_line(error)})"
        ) from error


def _tlm_fields(tlm: dict[str, object] | None) -> dict[str, Any]:
    names = {"prior_size": "prior", "hidden_size": "tlm_hidden", "fusion": "fusion"}
    return {names[key]: value for key, value in (tlm or {}).items() if key in names and value is not None}


def _base(folder: Path) -> tuple[str, str] | None:
    """Name and revision of what a stage's TLM or adapter belongs to; None for a whole model, or where there is none.

    By the rules of `modeling_fusargpt.artefacts`, whose import takes seconds.
    """
    described, adapter = folder / "config.json", folder / ADAPTER_CONFIG_FILE
    weights = "adapter" if adapter.is_file() else "whole"
    if described.is_file():
        config = _read_json(described)
        weights = config.get("weights", "whole") if str(config.get("model_type")).startswith("fusargpt") else "whole"
    if weights == "whole":
        return None
    if weights not in ("tlm", "adapter"):
        raise InputError(f"{described}: weights: found {weights!r}, expected whole or tlm or adapter")
    source = described if weights == "tlm" else adapter
    named = _read_json(source)
    base, revision = named.get("base_model_name_or_path"), named.get(f"{'base_model_' * (weights == 'tlm')}revision")
    if not isinstance(base, str) or not base:
        raise InputError(f"model_name_or_path: {source}: base_model_name_or_path: found {base!r}, expected a name")
    beside = folder / base
    if base.split("/")[0] in (".", "..") and (described.is_file() or not Path(base).is_dir()):
        if not beside.is_dir():
            raise InputError(f"model_name_or_path: {source}: names {base}, but there is no folder {beside}")
        base = str(beside.resolve())
    return shipped(base), revision if isinstance(revision, str) else "main"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"model_name_or_path: {path}: cannot be read ({one_line(error)}); expected JSON") from error
    if not isinstance(content, dict):
        raise InputError(f"model_name_or_path: {path}: found {type(content).__name__}, expected a JSON object")
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
