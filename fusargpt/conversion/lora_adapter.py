"""LoRA adapters of Qwen2.5-VL as peft saves them, read onto FUSAR-GPT's layers without peft.

Every tensor of the file finds its layer and every layer that the adapter names finds its tensors, or the adapter is
refused; peft itself warns and goes on.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, TypeGuard, cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fusargpt.errors import InputError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_REQUIRED = {"peft_type", "r", "lora_alpha", "target_modules"}
# What decides the product that is added to a weight.
_READ = _REQUIRED | {"rank_pattern", "alpha_pattern", "use_rslora", "exclude_modules"}
# What leaves no trace in the answers of a trained adapter.
_WITHOUT_EFFECT = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
}
# The values with which a layer still computes W x + scale B A x, on the backbone's own W. What a newer peft adds does
# so at its default.
_PLAIN: dict[str, tuple[object, ...]] = {
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "bias": ("none",),
    "corda_config": (None,),
    "ensure_weight_tying": (False,),
    "eva_config": (None,),
    "fan_in_fan_out": (False,),
    "init_lora_weights": (True, False, "gaussian", "orthogonal"),
    "kasa_config": (None,),
    "layer_replication": (None,),
    "layers_pattern": (None, [], ""),
    "layers_to_transform": (None, []),
    "loftq_config": (None, {}),
    "lora_bias": (False,),
    "lora_ga_config": (None,),
    "megatron_config": (None,),
    "modules_to_save": (None, []),
    "monteclora_config": (None,),
    "target_parameters": (None, []),
    "trainable_token_indices": (None,),
    "use_bdlora": (None, False),
    "use_dora": (False,),
    "use_qalora": (False,),
    "velora_config": (None,),
}
_TENSOR_NAME = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<half>[AB])\.weight")
# Layers of the backbone, and what Qwen2.5-VL called them before its parts moved into `model`.
_OLD_NAMES = (("model.visual.", "visual."), ("model.language_model.", "model."))


class _Config(TypedDict):
    """What is read of an adapter's configuration, once checked."""

    r: int
    lora_alpha: float
    target_modules: object
    exclude_modules: NotRequired[object]
    rank_pattern: NotRequired[object]
    alpha_pattern: NotRequired[object]
    use_rslora: NotRequired[bool]


@dataclass(frozen=True, eq=False)
class LoraLayer:
    """What LoRA adds to the weight of one linear layer, `scale B A`.

    Args:
        down: A, `[r, in]`.
        up: B, `[out, r]`.
        scale: alpha / r, or alpha / sqrt(r) of an adapter trained with rank-stabilised LoRA.
    """

    down: Tensor
    up: Tensor
    scale: float

    def difference(self) -> Tensor:
        """`[out, in]` in float32."""
        return self.scale * (self.up.float() @ self.down.float())


def read_adapter(folder: Path, linear_layers: Mapping[str, tuple[int, int]]) -> dict[str, LoraLayer]:
    """The LoRA of every layer that the adapter in `folder` changes.

    Args:
        folder: holds `adapter_config.json` and `adapter_model.safetensors`, saved for Qwen2.5-VL, by the names of its
            layers of today (`model.visual`, `model.language_model.layers`) or of before (`visual`, `model.layers`).
        linear_layers: (out, in) of each linear layer that may be adapted, by its name in FUSAR-GPT.

    Returns:
        Name in FUSAR-GPT -> its LoRA; the values are finite.

    Raises:
        InputError: a file that is missing or damaged, a setting that is not plain LoRA or not known, and a tensor that
            has no layer, or a layer that has no tensor.
    """
    config = _read_config(folder / CONFIG_FILE)
    path = folder / WEIGHTS_FILE
    halves = _read_halves(path)
    names = _naming(path, set(halves), linear_layers)
    _check_targets(path, config, set(halves), names)
    config_path = folder / CONFIG_FILE
    ranks = _by_layer(config_path, "rank_pattern", config.get("rank_pattern"), config["r"], halves)
    alphas = _by_layer(config_path, "alpha_pattern", config.get("alpha_pattern"), config["lora_alpha"], halves)
    layers: dict[str, LoraLayer] = {}
    for saved_name, pair in halves.items():
        name, rank = names[saved_name], ranks[saved_name]
        out_features, in_features = linear_layers[name]
        for half, expected in (("A", (rank, in_features)), ("B", (out_features, rank))):
            if tuple(pair[half].shape) != expected:
                raise InputError(
                    f"{path}: {saved_name}.lora_{half}: found shape {list(pair[half].shape)}, expected "
                    f"{list(expected)} for rank {rank} on this backbone; is base (--base) the model it was trained on?"
                )
        scale = alphas[saved_name] / (math.sqrt(rank) if config.get("use_rslora") else rank)
        layers[name] = LoraLayer(pair["A"], pair["B"], scale)
    return layers


def write_adapter(folder: Path, layers: Mapping[str, LoraLayer], base: str) -> None:
    """Write `layers` as a peft adapter by FUSAR-GPT's names.

    Args:
        folder: exists.
        layers: as `read_adapter` returns them, at least one.
        base: folder or Hub id of the model that the adapter belongs to.
    """
    # Without "model." they also name the layers of the model without its head.
    ends = {name.removeprefix("model."): layer for name, layer in layers.items()}
    first = next(iter(layers.values()))
    rank, alpha = len(first.down), first.scale * len(first.down)
    deviating_ranks = {name: len(layer.down) for name, layer in ends.items() if len(layer.down) != rank}
    alphas = {name: layer.scale * len(layer.down) for name, layer in ends.items()}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(ends),
        # peft reads the keys of patterns as regular expressions.
        "rank_pattern": {re.escape(name): found for name, found in deviating_ranks.items()},
        "alpha_pattern": {re.escape(name): found for name, found in alphas.items() if found != alpha},
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    tensors = {}
    for name, layer in layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.down.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.up.contiguous()
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def read_json_object(path: Path) -> dict[str, object]:
    """The object that a JSON file holds. InputError when it cannot be read or is no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a folder of the authors' release") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: found {type(value).__name__}, expected a JSON object")
    return value


def _read_config(path: Path) -> _Config:
    config = read_json_object(path)
    if missing := sorted(_REQUIRED - config.keys()):
        raise InputError(f"{path}: {missing[0]} is missing; expected the configuration of a LoRA adapter")
    if config["peft_type"] != "LORA":
        raise InputError(f"{path}: peft_type: found {config['peft_type']!r}, expected 'LORA'")
    settings = config.keys() - _READ - _WITHOUT_EFFECT
    plain = _PLAIN if settings <= _PLAIN.keys() else {**_plain_in_peft(), **_PLAIN}
    for key in sorted(settings):
        if key not in plain:
            raise InputError(f"{path}: {key}: an unknown setting, which may change the model; remove it if it does not")
        if config[key] not in plain[key]:
            found, expected = json.dumps(config[key]), " or ".join(json.dumps(value) for value in plain[key])
            raise InputError(f"{path}: {key}: found {found}, expected {expected}; only plain LoRA is read")
    rank = config["r"]
    if type(rank) is not int or rank < 1:
        raise InputError(f"{path}: r: found {rank!r}, expected a positive whole number")
    if not _is_number(config["lora_alpha"]):
        raise InputError(f"{path}: lora_alpha: found {config['lora_alpha']!r}, expected a number")
    if type(config.get("use_rslora", False)) is not bool:
        raise InputError(f"{path}: use_rslora: found {config['use_rslora']!r}, expected true or false")
    return cast(_Config, config)


def _plain_in_peft() -> dict[str, tuple[object, ...]]:
    """Every setting that the installed peft knows, with its default; none where there is no peft."""
    try:
        from peft import LoraConfig
    except ImportError:
        return {}
    return {key: (default,) for key, default in LoraConfig().to_dict().items()}


def _read_halves(path: Path) -> dict[str, dict[str, Tensor]]:
    """Layer's name in the file -> {"A": tensor, "B": tensor}."""
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a folder of the authors' release") from error
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {error}") from error
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR_NAME.fullmatch(name)
        if match is None:
            raise InputError(
                f"{path}: found the tensor {name}, expected base_model.model.<layer>.lora_A.weight and .lora_B.weight"
            )
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise InputError(f"{path}: {name}: found {tensor.dtype}, NaN or infinity, expected finite numbers")
        halves.setdefault(match["layer"], {})[match["half"]] = tensor
    if not halves:
        raise InputError(f"{path}: found no tensors, expected those of a LoRA adapter")
    for layer, pair in halves.items():
        for half in "AB":
            if half not in pair:
                raise InputError(f"{path}: base_model.model.{layer}.lora_{half}.weight is missing")
    return halves


def _naming(path: Path, found: set[str], linear_layers: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Layer's name in the file -> its name in FUSAR-GPT, for every layer of the backbone in the file's naming."""
    todays = {name: name for name in linear_layers}
    before = {_old_name(name): name for name in linear_layers}
    naming = max((todays, before), key=lambda names: len(found & names.keys()))
    unknown = sorted(found - naming.keys())
    if unknown:
        raise InputError(
            f"{path}: found weights for {unknown[0]} ({len(unknown)} such layers), which is no linear layer of this "
            f"backbone; expected names such as {next(iter(naming))}; is base (--base) the model it was trained on?"
        )
    return naming


def _old_name(name: str) -> str:
    for todays, before in _OLD_NAMES:
        if name.startswith(todays):
            return before + name.removeprefix(todays)
    return name


def _check_targets(path: Path, config: _Config, found: set[str], names: Mapping[str, str]) -> None:
    """The file must hold exactly the layers that its configuration selects among those of the backbone."""
    config_path = path.with_name(CONFIG_FILE)
    selected = {
        name
        for name in names
        if _selects(config_path, "target_modules", config["target_modules"], name)
        and not _selects(config_path, "exclude_modules", config.get("exclude_modules") or [], name)
    }
    if missing := sorted(selected - found):
        raise InputError(
            f"{path}: found no weights for {missing[0]} ({len(missing)} such layers), which target_modules of "
            f"{CONFIG_FILE} names"
        )
    if extra := sorted(found - selected):
        raise InputError(
            f"{path}: found weights for {extra[0]} ({len(extra)} such layers), which target_modules of {CONFIG_FILE} "
            "does not name; they would be dropped"
        )


def _selects(path: Path, key: str, patterns: object, name: str) -> bool:
    """As peft does: a text is a regular expression of whole names, a list holds names or their ends."""
    if isinstance(patterns, str):
        try:
            return re.fullmatch(patterns, name) is not None
        except re.error as error:
            raise InputError(f"{path}: {key}: found {patterns!r}, which is no regular expression: {error}") from error
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise InputError(f"{path}: {key}: found {patterns!r}, expected a text or a list of texts")
    return any(name == pattern or name.endswith(f".{pattern}") for pattern in patterns)


def _by_layer(path: Path, key: str, patterns: object, default: float, halves: Mapping[str, object]) -> dict[str, float]:
    """Rank or alpha of every layer. As in peft, the first pattern that a layer's name ends in decides."""
    patterns = patterns or {}
    if not isinstance(patterns, dict):
        raise InputError(f"{path}: {key}: found {type(patterns).__name__}, expected an object")
    values = dict.fromkeys(halves, default)
    decided = set()
    for pattern, value in patterns.items():
        if not _is_number(value) or value <= 0 or (key == "rank_pattern" and type(value) is not int):
            raise InputError(f"{path}: {key}: {pattern}: found {value!r}, expected a positive number")
        try:
            expression = re.compile(rf"(.*\.)?({pattern})$")
        except re.error as error:
            raise InputError(f"{path}: {key}: {pattern}: is no regular expression: {error}") from error
        matched = {name for name in halves if expression.match(name)} - decided
        if not matched:
            raise InputError(f"{path}: {key}: {pattern}: decides none of the adapter's layers and would be ignored")
        values.update(dict.fromkeys(matched, value))
        decided |= matched
    return values


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "LoraLayer", "read_adapter", "read_json_object", "write_adapter"]
