"""Configuration of FUSAR-GPT: a Qwen2.5-VL configuration with a typed sub-configuration for the TLM."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

# Written to every saved config.json, so that one folder serves all auto classes whichever of the models saved it.
AUTO_MAP = {
    "AutoConfig": "configuration_fusargpt.FusarGptConfig",
    "AutoModel": "modeling_fusargpt.FusarGptModel",
    "AutoModelForImageTextToText": "modeling_fusargpt.FusarGptForConditionalGeneration",
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

    def __post_init__(self, **kwargs):
        # The parent turns every further key into an attribute, which would let a misspelt option pass unnoticed.
        known_to_parent = {"model_type", "torch_dtype", "attn_implementation", "experts_implementation"}
        known_to_parent |= {"name_or_path", "_name_or_path", "output_attentions", "num_labels"}
        unknown = sorted(set(kwargs) - known_to_parent)
        if unknown:
            raise ValueError(
                f"tlm_config: unknown keys {unknown}; expected prior_size, hidden_size, sigma, gaussian_grid, fusion."
            )
        super().__post_init__(**kwargs)

    def validate_ranges(self) -> None:
        for name in ("prior_size", "hidden_size", "sigma"):
            value = self.__dict__[name]
            if value is not None and not value > 0:
                raise ValueError(f"tlm_config.{name}: found {value}, expected a positive number.")


@strict
class FusarGptConfig(Qwen2_5_VLConfig):
    r"""Configuration of FUSAR-GPT. Takes everything that `Qwen2_5_VLConfig` takes, and `tlm_config`.

    Args:
        tlm_config: A `TlmConfig` or a dict of its arguments; `None` for the defaults.

    Example:

    ```python
    >>> config = FusarGptConfig(tlm_config={"gaussian_grid": "token"})
    >>> config.tlm_config.sigma
    2.0
    ```
    """

    model_type = "fusargpt"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {**Qwen2_5_VLConfig.sub_configs_defaults, "tlm_config": TlmConfig}

    tlm_config: dict | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs):
        kwargs.setdefault("auto_map", dict(AUTO_MAP))
        super().__post_init__(**kwargs)


__all__ = ["FusarGptConfig", "TlmConfig"]
