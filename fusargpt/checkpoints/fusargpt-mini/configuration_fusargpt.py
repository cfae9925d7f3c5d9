"""Configurations of FUSAR-GPT: those of Qwen2.5-VL and Qwen3-VL, with a typed sub-configuration for the TLM."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
from typing import Any, ClassVar, Literal, Self, cast

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

Weights = Literal["whole", "tlm", "adapter"]


def _auto_map(module: str, name: str) -> dict[str, str]:
    """Written to every saved config.json, so that one folder serves all auto classes whichever model saved it."""
    return {
        "AutoConfig": f"configuration_fusargpt.{name}Config",
        "AutoModel": f"{module}.{name}Model",
        "AutoModelForImageTextToText": f"{module}.{name}ForConditionalGeneration",
        "AutoProcessor": "processing_fusargpt.FusarGptProcessor",
    }


@strict
class TlmConfig(PreTrainedConfig):
    r"""Configuration of Token-wise Linear Modulation (FUSAR-GPT, arXiv 2602.19190, section 3.2).

    Args:
        prior_size: Width of an anchor's embedding; 64 for AlphaEarth Foundations.
        hidden_size: Width D of the layer between the prior and the modulation. `None` means `max(128, 4 * C)` for
            visual tokens of width C, the width of the authors' release.
        sigma: Standard deviation of the Gaussian alignment, in cells of `gaussian_grid`; positive.
        gaussian_grid: `"patch"`, the authors' release: weights computed on the patch grid, sigma in patches, then
            resized to the token grid. `"token"`, the paper's text: computed on the token grid, sigma in tokens.
        fusion: How the prior enters the visual tokens: `"tlm"`, or for the ablation `"sum"`, `"concat"` or `"none"`.
        deepstack: What becomes of Qwen3-VL's deep-stack features, the tokens of earlier vision layers that are added
            to the first language layers. `"untouched"`: they stay the backbone's, the prior acts on the visual tokens
            alone. `"modulated"`: each level is fused with the prior as the visual tokens are, by the same weights.
            Qwen2.5-VL has none, and takes `"untouched"` only.

    Raises:
        ValueError: On an unknown key.
        huggingface_hub.errors.StrictDataclassError: On a value of the wrong type or out of range.
    """

    model_type = "fusargpt_tlm"
    base_config_key = "tlm_config"

    prior_size: int = 64
    hidden_size: int | None = None
    sigma: float | int = 2.0
    gaussian_grid: Literal["patch", "token"] = "patch"
    fusion: Literal["tlm", "sum", "concat", "none"] = "tlm"
    deepstack: Literal["untouched", "modulated"] = "untouched"

    def __post_init__(self, **kwargs: object) -> None:
        # The parent turns every further key into an attribute, which would let a misspelt option pass unnoticed.
        known_to_parent = {"model_type", "torch_dtype", "attn_implementation", "experts_implementation"}
        known_to_parent |= {"name_or_path", "_name_or_path", "output_attentions", "num_labels"}
        unknown = sorted(set(kwargs) - known_to_parent)
        if unknown:
            raise ValueError(
                f"tlm_config: unknown keys {unknown}; expected prior_size, hidden_size, sigma, gaussian_grid, fusion, "
                "deepstack."
            )
        super().__post_init__(**kwargs)

    def validate_ranges(self) -> None:
        for name in ("prior_size", "hidden_size", "sigma"):
            value = self.__dict__[name]
            if value is not None and not value > 0:
                raise ValueError(f"tlm_config.{name}: found {value}, expected a positive number.")


class _OnBackbone(PreTrainedConfig):
    """Reads the config.json of FUSAR-GPT and of its published backbone, and no other; says what lies beside it."""

    backbone_type: ClassVar[str]

    weights: Weights = "whole"
    base_model_name_or_path: str | None = None
    base_model_revision: str | None = None

    @classmethod
    def from_dict(cls, config_dict: dict[str, object], **kwargs: object) -> Self:
        """As the parent's. ValueError for a `model_type` that these classes would read as a model of random weights."""
        found = config_dict.get("model_type", cls.model_type)
        if found not in (cls.model_type, cls.backbone_type):
            raise ValueError(
                f"model_type: found {found!r}, expected {cls.model_type!r} or {cls.backbone_type!r} for {cls.__name__}."
            )
        return super().from_dict(config_dict, **kwargs)


@strict
class FusarGptConfig(_OnBackbone, Qwen2_5_VLConfig):
    r"""Configuration of FUSAR-GPT on Qwen2.5-VL. Takes everything that `Qwen2_5_VLConfig` takes, and `tlm_config`.

    Args:
        tlm_config: A `TlmConfig` or a dict of its arguments; `None` for the defaults.
        weights: What the folder with this configuration holds: `"whole"` a model, `"tlm"` the TLM alone, `"adapter"` a
            LoRA adapter. `from_pretrained` takes the rest from the base.
        base_model_name_or_path: Of a TLM alone: the model that it was trained on, a Hub id or a folder; one that begins
            with `./` or `../` is beside the folder with this configuration. An adapter's is in `adapter_config.json`.
        base_model_revision: Branch, tag or commit of a base on the Hub.

    Raises:
        huggingface_hub.errors.StrictDataclassError: On `deepstack="modulated"`, which this backbone does not have.

    Example:

    ```python
    >>> config = FusarGptConfig(tlm_config={"gaussian_grid": "token"})
    >>> config.tlm_config.sigma
    2.0
    ```
    """

    model_type = "fusargpt"
    backbone_type: ClassVar[str] = "qwen2_5_vl"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {**Qwen2_5_VLConfig.sub_configs_defaults, "tlm_config": TlmConfig}

    tlm_config: dict[str, Any] | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs: object) -> None:
        kwargs.setdefault("auto_map", _auto_map("modeling_fusargpt", "FusarGpt"))
        super().__post_init__(**kwargs)

    def validate_deepstack(self) -> None:
        deepstack = cast(TlmConfig, self.tlm_config).deepstack
        if deepstack != "untouched":
            raise ValueError(
                f"tlm_config.deepstack: found {deepstack!r}, expected 'untouched'; Qwen2.5-VL has no such features."
            )


@strict
class FusarGptQwen3Config(_OnBackbone, Qwen3VLConfig):
    r"""Configuration of FUSAR-GPT on Qwen3-VL. Takes everything that `Qwen3VLConfig` takes, and `tlm_config`.

    Args:
        tlm_config: A `TlmConfig` or a dict of its arguments; `None` for the defaults.
        weights, base_model_name_or_path, base_model_revision: As of `FusarGptConfig`.
    """

    model_type = "fusargpt_qwen3"
    backbone_type: ClassVar[str] = "qwen3_vl"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {**Qwen3VLConfig.sub_configs_defaults, "tlm_config": TlmConfig}

    tlm_config: dict[str, Any] | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs: object) -> None:
        kwargs.setdefault("auto_map", _auto_map("modeling_fusargpt_qwen3", "FusarGptQwen3"))
        super().__post_init__(**kwargs)


__all__ = ["FusarGptConfig", "FusarGptQwen3Config", "TlmConfig"]
