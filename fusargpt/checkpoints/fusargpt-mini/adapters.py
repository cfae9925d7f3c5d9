"""transformers' methods for the adapters in a model, where they work with the peft that can be installed.

transformers 5.23 takes peft 0.20 for them. 5.24 refuses any before 0.22, which is not out: with peft 0.21.2 all of its
own but `load_adapter` raise a ValueError. Each method here does what the one of its name does there, by peft's
functions for models of other libraries.
"""

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel


def _peft() -> Any:
    # By a call: transformers would ask for peft as soon as it reads an import, also for models without adapters.
    try:
        import_module("peft.functional")
        return import_module("peft")
    except ImportError as error:
        raise ValueError(f"adapters take peft: {error}; pip install peft") from error


class HasAdapters(PreTrainedModel):
    """A model into which adapters can be put, and between which it switches.

    Every method but `add_adapter` raises a ValueError where there is no adapter, or none of the name given.
    """

    peft_config: dict[str, Any]

    @property
    def is_gradient_checkpointing(self) -> bool:
        """What transformers calls `is_activation_checkpointing`, by the name that peft asks for; without a warning."""
        return self.is_activation_checkpointing

    def add_adapter(self, adapter_config: Any, adapter_name: str | None = None) -> None:
        """Put a new adapter into the model, to be trained, and make it the active one.

        Args:
            adapter_config: a PeftConfig of a method that goes into layers, as LoRA; its base becomes this model's name.
            adapter_name: `default` when None.

        Raises:
            TypeError: a configuration that is not peft's.
            ValueError: the model has an adapter of that name.
        """
        peft, name = _peft(), adapter_name or "default"
        if not isinstance(adapter_config, peft.PeftConfig):
            raise TypeError(f"adapter_config: found {type(adapter_config).__name__}, expected a PeftConfig")
        if self._hf_peft_config_loaded and name in self.peft_config:
            raise ValueError(f"adapter_name: there is an adapter {name} already; delete it, or choose another name")
        base = str(self.name_or_path)
        adapter_config.base_model_name_or_path = os.path.abspath(base) if os.path.isdir(base) else base
        peft.inject_adapter_in_model(adapter_config, self, name)
        self._hf_peft_config_loaded = True
        self.set_adapter(name)

    def set_adapter(self, adapter_name: list[str] | str) -> None:
        """Use this adapter, or these together, and no other; their weights take gradients."""
        self._check_names(adapter_name)
        _peft().functional.set_adapter(self, adapter_name)

    def disable_adapters(self) -> None:
        """Answer as without any adapter."""
        self._enable(False)

    def enable_adapters(self) -> None:
        """Use the active adapters again."""
        self._enable(True)

    def active_adapters(self) -> list[str]:
        """The names of the adapters in use."""
        self._check_names([])
        layer: Any = next(self._parts(_peft().tuners.tuners_utils.BaseTunerLayer))
        return list(layer.active_adapters)

    def get_adapter_state_dict(
        self, adapter_name: str | None = None, state_dict: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The weights of an adapter, the (first) active one when None, by their names in `state_dict` or this model."""
        name = self.active_adapters()[0] if adapter_name is None else adapter_name
        self._check_names(name)
        return _peft().get_peft_model_state_dict(self, state_dict, name, save_embedding_layers=False)

    def delete_adapter(self, adapter_names: list[str] | str) -> None:
        """Take adapters out of the model."""
        self._check_names(adapter_names)
        for name in [adapter_names] if isinstance(adapter_names, str) else adapter_names:
            _peft().functional.delete_adapter(self, name, prefix=f"{self.peft_config[name].peft_type.value.lower()}_")
            self.peft_config.pop(name, None)
        if not self.peft_config:
            del self.peft_config
            self._hf_peft_config_loaded = False

    def _check_names(self, names: list[str] | str) -> None:
        if not self._hf_peft_config_loaded:
            raise ValueError("the model has no adapter; add or load one first")
        for name in [names] if isinstance(names, str) else names:
            if name not in self.peft_config:
                raise ValueError(f"found the adapter name {name!r}, expected {' or '.join(self.peft_config)}")

    def _enable(self, enabled: bool) -> None:
        self._check_names([])
        peft = _peft()
        # What trains in full beside LoRA, as the TLM, too.
        for module in self._parts(peft.tuners.tuners_utils.BaseTunerLayer, peft.utils.ModulesToSaveWrapper):
            module.enable_adapters(enabled)

    def _parts(self, *types: type) -> Iterator[Any]:
        return (module for module in self.modules() if isinstance(module, types))


__all__ = ["HasAdapters"]
