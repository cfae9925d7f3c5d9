"""The linear layers of the language model in 8 or 4 bits, so that a 7B fits into the memory of more machines.

Vision tower, merger, TLM, embeddings and lm_head stay as they are: they hold a fifth of the weights, and boxes hang on
what the tower sees.
"""

from typing import Any, cast

import torch
from torch import nn

from fusargpt.errors import InputError
from fusargpt.inference.number_types import Quantization
from fusargpt.installation import command_for
from modeling_fusargpt import AnyFusarGpt

NF4_BLOCK = 64
"""Weights that share a scale; kernels for CPUs take whole blocks alone."""


def quantize_language_model(model: AnyFusarGpt, quantization: Quantization) -> None:
    """Quantize layer after layer, in place and on the model's device.

    Raises:
        InputError: the package that the quantization needs is not installed, or a width that it does not take.
    """
    layers: Any = model.model.language_model.layers
    quantize_linear_layers(layers, quantization)


def quantize_linear_layers(module: nn.Module, quantization: Quantization) -> None:
    """All linear layers below `module`, in place.

    Args:
        module: with its weights.
        quantization: "int8": of each output channel by its largest weight, products in the type of the weights before
            (torchao). "nf4": in blocks of 64 (QLoRA, arXiv 2305.14314), likewise (bitsandbytes).

    Raises:
        InputError: as `quantize_language_model`.
    """
    if quantization == "none":
        return
    try:
        if quantization == "int8":
            from torchao.quantization import Int8WeightOnlyConfig, quantize_

            quantize_(module, Int8WeightOnlyConfig())
            return
        for name, layer in list(module.named_modules()):
            if isinstance(layer, nn.Linear):
                # First, so that a package that is missing is told before a width.
                quantized = in_4_bits(layer, True, layer.weight.dtype, layer.weight.device)
                if layer.in_features % NF4_BLOCK:
                    raise InputError(
                        f"quantization: nf4 takes layers whose width is a multiple of {NF4_BLOCK}; this model has one "
                        f"of {layer.in_features}; take int8"
                    )
                module.set_submodule(name, quantized)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in _PACKAGES:
            raise
        raise InputError(
            f"quantization: {quantization} needs {package}; this brings it: {command_for('quantized')}"
        ) from error


def in_4_bits(layer: nn.Linear, double: bool, compute_type: torch.dtype, device: torch.device) -> nn.Module:
    """A linear layer with NF4 weights; on the meta device nothing is computed.

    Args:
        layer: whose weights it gets.
        double: whether the scales of blocks are quantized themselves, which saves 0.37 bits a weight.
        compute_type: in which products are computed.
        device: on which the quantized weights lie.

    Raises:
        ModuleNotFoundError: bitsandbytes is not installed.
    """
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    # nn.Linear declares its bias as there, and has None without one.
    bias = cast(nn.Parameter | None, layer.bias)
    quantized = Linear4bit(
        layer.in_features,
        layer.out_features,
        bias is not None,
        compute_type,
        double,
        "nf4",
        device=torch.device("meta"),
    )
    # Its type is that of the parameter it becomes, which is not declared.
    weight: Any = cast(Any, Params4bit)(
        layer.weight.data,
        requires_grad=False,
        module=quantized,
        quant_type="nf4",
        compress_statistics=double,
    )
    quantized.weight = weight.to(device)
    if bias is not None:
        quantized.bias = nn.Parameter(bias.data.to(device), requires_grad=False)
    return quantized


_PACKAGES = ("torchao", "bitsandbytes")
