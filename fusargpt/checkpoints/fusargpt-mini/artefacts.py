"""What a stage leaves besides whole models: a folder or Hub repository with the TLM alone, or with a LoRA adapter.

Each names its base: a Hub id, an absolute path, a path from its own folder that begins with `./` or `../`, so that
folders that belong together can be moved together, or a model that comes with the package fusargpt, by its name there.
The base may itself be such an artefact; at the end of the chain stands a whole model. The TLM names its base in
`config.json`, the adapter where peft does, in `adapter_config.json`.
"""

import copy
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast, get_args

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils.hub import cached_file
from transformers.utils.import_utils import is_peft_available

from .adapters import HasAdapters
from .configuration_fusargpt import FusarGptConfig, FusarGptQwen3Config, Weights

TLM_FILE = "tlm.safetensors"
ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_FILE = "adapter_model.safetensors"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
PACKAGE = "fusargpt"
_DOWNLOAD_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


class ArtefactError(ValueError):
    """An artefact that cannot be loaded; the message is one line that names the file and says what to do."""


@dataclass(frozen=True)
class Artefact:
    """A folder or repository of a chain.

    Args:
        name: folder or Hub id.
        download: options with which its files are fetched from the Hub (revision, token, ...).
        weights: what its weights are.
        model_type: of its `config.json`; None where there is none.
        config_file: path of its `config.json`; None for an adapter that peft alone has written.
        base, base_revision: what it is applied to, as the name of the next artefact; None for a whole model.
    """

    name: str
    download: Mapping[str, Any]
    weights: Weights
    model_type: str | None
    config_file: str | None
    base: str | None = None
    base_revision: str | None = None

    def find(self, name: str) -> str | None:
        """Local path of one of its files; None when it has none of that name."""
        return _find(self.name, name, self.download)

    def file(self, name: str) -> str:
        """Local path of one of its files. ArtefactError when it has none of that name."""
        path = self.find(name)
        if path is None:
            raise ArtefactError(f"{self.name}: found no {name}, expected one beside {_config_name(self.weights)}")
        return path


def read_artefact(name: str, download: Mapping[str, Any] | None = None) -> Artefact:
    """What the folder or Hub repository `name` holds.

    Args:
        name: folder or Hub id.
        download: options of `cached_file`.

    Raises:
        ArtefactError: files that cannot be read, that are missing, or a base that is not named as it should be.
    """
    download = download or {}
    config_file = _find(name, "config.json", download)
    config = {} if config_file is None else _read_json(config_file)
    model_type = config.get("model_type")
    ours = model_type in (FusarGptConfig.model_type, FusarGptQwen3Config.model_type)
    weights: Weights = "adapter" if config_file is None else config.get("weights", "whole") if ours else "whole"
    if weights not in get_args(Weights):
        raise ArtefactError(f"{config_file}: weights: found {weights!r}, expected {' or '.join(get_args(Weights))}")
    if weights == "whole":
        return Artefact(name, download, weights, model_type, config_file)
    if weights == "tlm":
        source, names, revision = str(config_file), config, config.get("base_model_revision")
    else:
        source = _find(name, ADAPTER_CONFIG_FILE, download)
        if source is None:
            found = "neither config.json nor" if config_file is None else "no"
            where = "a model" if os.path.isdir(name) else "a model on the Hub that can be reached"
            raise ArtefactError(f"{name}: found {found} {ADAPTER_CONFIG_FILE}, expected {where}")
        names = _read_json(source)
        revision = names.get("revision")
    base = _resolve_base(name, download, source, names.get("base_model_name_or_path"), config_file is not None)
    return Artefact(name, download, weights, model_type, config_file, base, revision)


def read_chain(name: str, download: Mapping[str, Any] | None = None) -> list[Artefact]:
    """The artefact `name`, its base, the base of that, and so on to a whole model.

    Raises:
        ArtefactError: as `read_artefact`; a base that does not exist, and a chain that leads back to itself.
    """
    chain = [read_artefact(name, download)]
    seen = {_identity(chain[0])}
    shared = {key: value for key, value in (download or {}).items() if key not in ("revision", "subfolder")}
    while (of := chain[-1]).base is not None:
        try:
            base = read_artefact(of.base, {**shared, "revision": of.base_revision or "main"})
        except (OSError, ArtefactError) as error:
            reason = " ".join(str(error).split())
            raise ArtefactError(f"{of.name}: its base cannot be read: {reason}") from error
        chain.append(base)
        if _identity(base) in seen:
            way = " -> ".join(artefact.name for artefact in chain)
            raise ArtefactError(f"{name}: its base leads back to itself ({way}); expected a whole model at the end")
        seen.add(_identity(base))
    return chain


def described_by(chain: Sequence[Artefact]) -> Artefact:
    """The first of a chain with a `config.json`, which describes the model: adapters as peft writes them have none."""
    return next(artefact for artefact in chain if artefact.config_file is not None)


class LoadsArtefacts(HasAdapters):
    """`from_pretrained` of models that also load a TLM alone, or an adapter, with the base that it names."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *model_args: object,
        config: PreTrainedConfig | str | os.PathLike[str] | None = None,
        merge_adapter: bool = False,
        **kwargs: Any,
    ) -> Any:
        """As transformers', also for what a stage has left with `save: trained`.

        Args:
            pretrained_model_name_or_path: Folder or Hub id of a whole model, or of an artefact that names its base.
            config: As in transformers. An artefact's own configuration is complete, and not its base's is read.
            merge_adapter: Leave a plain model, the weights of LoRA added to those of its layers. By default the
                adapter stays apart, as it does for every adapter that transformers loads. Adapters that are the base
                of another are always merged.
            **kwargs: As in transformers. `revision` and `subfolder` are of the artefact; it names its base's revision.

        Raises:
            ArtefactError: An artefact that is incomplete, does not fit its base or whose base cannot be found, and an
                adapter without peft to load it.
        """
        load: Any = super().from_pretrained
        adapter_kwargs = dict(kwargs.get("adapter_kwargs") or {})
        # The auto classes go from an adapter on the Hub to its base, and leave its name here.
        top = str(adapter_kwargs.pop("_adapter_model_path", None) or pretrained_model_name_or_path)
        redirected = pretrained_model_name_or_path is not None and top != str(pretrained_model_name_or_path)
        download = {name: kwargs[name] for name in _DOWNLOAD_OPTIONS if kwargs.get(name) is not None}
        if redirected:
            download = {**download, **adapter_kwargs}
        if pretrained_model_name_or_path is None or _is_whole(top, download):
            return load(pretrained_model_name_or_path, *model_args, config=config, **kwargs)

        chain = read_chain(top, download)
        base, config_class = chain[-1], cast(Any, cls.config_class)
        if base.model_type not in (config_class.model_type, config_class.backbone_type):
            raise ArtefactError(
                f"{chain[-2].name}: its base {base.name} is of type {base.model_type}, expected "
                f"{config_class.backbone_type} or {config_class.model_type}"
            )
        for name in ("revision", "subfolder", "adapter_kwargs"):
            kwargs.pop(name, None)
        if redirected and isinstance(config, PreTrainedConfig) and config.name_or_path == pretrained_model_name_or_path:
            config = None  # the base's, which the auto class has read
        if config is None:
            # A path, so that transformers reads it with the keywords that change it.
            config = described_by(chain).config_file
        # A published backbone has no TLM: the artefacts bring it, or it is new and changes nothing.
        weights = "whole" if base.model_type == config_class.model_type else "tlm"
        if isinstance(config, PreTrainedConfig):
            config = copy.deepcopy(config)
            cast(Any, config).weights = weights
        else:
            kwargs["weights"] = weights
        adapter_name, with_report = kwargs.pop("adapter_name", "default"), kwargs.pop("output_loading_info", False)
        revision = base.download.get("revision", "main")
        model, report = load(
            base.name, *model_args, config=config, output_loading_info=True, revision=revision, **kwargs
        )
        model.config.weights = "whole"
        model.config.base_model_name_or_path = model.config.base_model_revision = None
        for artefact in reversed(chain[:-1]):
            if artefact.weights == "tlm":
                load_tlm(cast(nn.Module, model.base_model.tlm), artefact.file(TLM_FILE))
            elif artefact is chain[0] and not merge_adapter:
                _load_adapter(model, artefact, adapter_name)
            else:
                model = _merged(model, artefact)
        # What peft writes as the base of a further adapter.
        model.name_or_path = model.config.name_or_path = top
        return (model, report) if with_report else model

    def save_pretrained(self, save_directory: str | os.PathLike[str], *arguments: Any, **kwargs: Any) -> None:
        """As transformers': a whole model, or the adapter alone, naming its base, where one was loaded and not merged.

        Of several adapters the active one is written.

        Raises:
            ArtefactError: An adapter that is to be pushed at once, or several that are active together.
        """
        if self._hf_peft_config_loaded:
            _save_adapter(self, os.fspath(save_directory), **kwargs)
            return
        self.config.weights = "whole"
        self.config.base_model_name_or_path = self.config.base_model_revision = None
        super().save_pretrained(save_directory, *arguments, **kwargs)


def load_tlm(tlm: nn.Module, path: str | os.PathLike[str]) -> None:
    """Copy the file `path` of a TLM artefact into `tlm`.

    Raises:
        ArtefactError: keys or shapes that are not those of `tlm`, or a `tlm` that is offloaded and holds no weights.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path}: cannot be read as safetensors: {error}") from error
    state = tlm.state_dict()
    expected = {f"tlm.{name}": tuple(tensor.shape) for name, tensor in state.items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        raise ArtefactError(f"{path}: found {found}, expected {expected}; is its base model the right one?")
    if any(tensor.is_meta for tensor in state.values()):
        raise ArtefactError(f"{path}: the device map has offloaded the TLM, expected it on a device; keep it there")
    tlm.load_state_dict({name.removeprefix("tlm."): tensor for name, tensor in weights.items()})


def _load_adapter(model: PreTrainedModel, artefact: Artefact, adapter_name: str) -> None:
    _check_peft(artefact)
    artefact.file(ADAPTER_FILE)
    found = model.load_adapter(artefact.name, adapter_name=adapter_name, adapter_kwargs=dict(artefact.download))
    for part in ("lora_magnitude_vector", "trainable_tokens"):
        if any(part in name for name in found.missing_keys):
            raise ArtefactError(
                f"{artefact.name}: the adapter holds {part}, which transformers does not load into an adapter that "
                "stays apart; load it with merge_adapter=True, or onto its base by peft.PeftModel"
            )
    _check_adapter(model, artefact, set(found.missing_keys), set(found.unexpected_keys))
    # As it is found from here, wherever the model is saved.
    config = cast(Any, model.peft_config[adapter_name])
    config.base_model_name_or_path, config.revision = artefact.base, artefact.base_revision


def _save_adapter(
    model: HasAdapters,
    folder: str,
    is_main_process: bool = True,
    state_dict: dict[str, Tensor] | None = None,
    push_to_hub: bool = False,
    **_: Any,  # about files larger than an adapter
) -> None:
    """What a stage with `save: trained` leaves of an adapter."""
    if push_to_hub:
        raise ArtefactError(
            f"{folder}: push_to_hub: found True, expected False; save the adapter, then push the folder"
        )
    active = model.active_adapters()
    if len(active) != 1:
        found = " and ".join(active)
        raise ArtefactError(f"{folder}: found {found} active together, expected one; set_adapter the one to save")
    if not is_main_process:
        return
    settings = copy.copy(model.peft_config[active[0]])
    settings.base_model_name_or_path = _portable(settings.base_model_name_or_path)
    tensors = model.get_adapter_state_dict(active[0], state_dict)
    # Names in the file begin at the model with its head.
    prefix = "base_model.model." if model.base_model is not model else "base_model.model.model."
    os.makedirs(folder, exist_ok=True)
    custom_object_save(model, folder)
    save_file(
        {f"{prefix}{key}": tensor.detach().cpu().contiguous() for key, tensor in tensors.items()},
        os.path.join(folder, ADAPTER_FILE),
        metadata={"format": "pt"},
    )
    settings.save_pretrained(folder)
    config = copy.deepcopy(model.config)
    cast(Any, config).weights = "adapter"
    config.save_pretrained(folder)


def _merged(model: PreTrainedModel, artefact: Artefact) -> PreTrainedModel:
    _check_peft(artefact)
    try:
        from peft import LoraModel, PeftConfig, PeftModel, PeftType, get_peft_model_state_dict
        from peft.tuners.lora import LoraLayer
    except ImportError as error:
        raise ArtefactError(f"{artefact.name}: the adapter needs peft: {error}") from error
    config = PeftConfig.from_pretrained(artefact.name, **artefact.download)
    if config.peft_type != PeftType.LORA:
        raise ArtefactError(f"{artefact.name}: peft_type: found {config.peft_type}, expected LORA, which can be merged")
    config.task_type = None  # or peft would ask for a model that generates, also where AutoModel loads one without head
    # Names in the file begin at the model with its head.
    names = {} if model.base_model is not model else {"key_mapping": {r"^model\.": ""}}
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()  # before LoRA wraps them
    adapted = PeftModel.from_pretrained(model, artefact.name, config=config, **names, **artefact.download)
    expected = {_plain(name) for name in get_peft_model_state_dict(adapted, save_embedding_layers=False)}
    # Where LoRA is on embeddings or head, peft saves the weights below it too, unless told not to.
    allowed = {_plain(name) for name in get_peft_model_state_dict(adapted, save_embedding_layers=True)}
    with safe_open(artefact.file(ADAPTER_FILE), framework="pt") as file:
        found = {_plain(name) for name in file.keys()}  # noqa: SIM118  (it has no iterator)
    _check_adapter(model, artefact, expected - found, found - expected - allowed)
    if any(isinstance(part, LoraLayer) for part in (model.get_input_embeddings(), model.get_output_embeddings())):
        untie(embeddings, head)
    try:
        merged = cast(PreTrainedModel, cast(LoraModel, adapted.base_model).merge_and_unload())
    except RuntimeError as error:
        raise ArtefactError(f"{artefact.name}: the adapter cannot be merged: {' '.join(str(error).split())}") from error
    say_whether_tied(merged)
    return merged


def untie(embeddings: Any, head: Any) -> None:
    """Give the head weights of its own, where it shares those of the embeddings: what changes one would change both."""
    if head is not None and head.weight is embeddings.weight:
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=head.weight.requires_grad)


def say_whether_tied(model: Any) -> None:
    """Correct a configuration that promises one tensor for embeddings and head where there are two by now."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is not None and head.weight is not embeddings.weight:
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False


def _check_peft(artefact: Artefact) -> None:
    if not is_peft_available():
        raise ArtefactError(f"{artefact.name}: a LoRA adapter, which takes peft to load; pip install peft")


def _check_adapter(model: PreTrainedModel, artefact: Artefact, missing: set[str], unexpected: set[str]) -> None:
    if model.base_model is model:  # AutoModel leaves the head out, with what an adapter adds to it
        unexpected = {name for name in unexpected if not _plain(name).startswith("lm_head.")}
    for what, names in (("lacks weights for", missing), ("has weights that no layer takes,", unexpected)):
        if names:
            raise ArtefactError(
                f"{artefact.name}: the adapter {what} {min(names)} ({len(names)} in all); is {artefact.base} its base?"
            )


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.").removeprefix("model.")


def _is_whole(name: str, download: Mapping[str, Any]) -> bool:
    """Whether there is nothing here to do. What is no model at all is left to transformers' own messages."""
    if not os.path.isdir(name) and not HUB_ID.fullmatch(name):
        return True
    if _find(name, "config.json", download) is None and _find(name, ADAPTER_CONFIG_FILE, download) is None:
        return True
    return read_artefact(name, download).weights == "whole"


def _find(name: str, file: str, download: Mapping[str, Any]) -> str | None:
    return cached_file(name, file, _raise_exceptions_for_missing_entries=False, **download)


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ArtefactError(f"{path}: found {type(content).__name__}, expected a JSON object")
    return content


def _resolve_base(name: str, download: Mapping[str, Any], source: str, base: object, ours: bool) -> str:
    """Folder or Hub id of the base that the file `source` of the artefact `name` gives as `base`."""
    field = f"{source}: base_model_name_or_path: found"
    if not isinstance(base, str) or not base:
        raise ArtefactError(f"{field} {base!r}, expected a Hub id, or a path that begins with /, ./ or ../")
    if not ours and os.path.isdir(base):
        return base  # peft's meaning: from the folder in which the program runs
    if base.split("/")[0] in (".", ".."):
        if not os.path.isdir(name):
            raise ArtefactError(f"{field} {base} on the Hub, expected owner/name; push the base, and name it there")
        path = os.path.realpath(os.path.join(name, download.get("subfolder") or "", base))
    elif os.path.isabs(base):
        path = base
    elif HUB_ID.fullmatch(base):
        return base
    else:
        path = os.path.join(packaged_models(), base)
        if os.sep in base or not os.path.isfile(os.path.join(path, "config.json")):
            raise ArtefactError(
                f"{field} {base}, expected a Hub id, or a path that begins with /, ./ or ../, or the name of a model "
                f"that comes with the package {PACKAGE}, where that is installed"
            )
    if not os.path.isdir(path):
        raise ArtefactError(f"{field} {base}, but there is no folder {path}; put the base there, or name where it is")
    return path


def packaged_models() -> str:
    """Folder of the models that come with the package fusargpt; empty where it is not installed."""
    spec = find_spec(PACKAGE)
    places = None if spec is None else spec.submodule_search_locations
    return os.path.join(next(iter(places)), "checkpoints") if places else ""


def _portable(base: str | None) -> str | None:
    """A base as others find it: by its name where it comes with the package, whatever the folder of that here."""
    packaged = packaged_models()
    if base is None or packaged == "":
        return base
    parent, name = os.path.split(os.path.realpath(base))
    return name if parent == os.path.realpath(packaged) else base


def _identity(artefact: Artefact) -> tuple[str, str, str]:
    if os.path.isdir(artefact.name):
        return os.path.realpath(os.path.join(artefact.name, artefact.download.get("subfolder") or "")), "", ""
    return artefact.name, artefact.download.get("revision") or "main", artefact.download.get("subfolder") or ""


def _config_name(weights: Weights) -> str:
    return ADAPTER_CONFIG_FILE if weights == "adapter" else "config.json"


__all__ = [
    "ADAPTER_CONFIG_FILE",
    "ADAPTER_FILE",
    "HUB_ID",
    "TLM_FILE",
    "Artefact",
    "ArtefactError",
    "LoadsArtefacts",
    "described_by",
    "load_tlm",
    "read_artefact",
    "read_chain",
    "say_whether_tied",
    "untie",
]
