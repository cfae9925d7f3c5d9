"""The vision tower's patch embedding as a matrix product.

Kernel and stride of the parent's 3-D convolution are equal, so each patch meets each weight once: a matrix product of
the same parameters. On a CPU the convolution takes half of a training step of nano's tower. Training uses this;
the model itself keeps the parent's layer, whose results this matches to rounding.
"""

from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel


class PatchConvolution(Protocol):
    """The parent's layer."""

    proj: nn.Conv3d


class LinearPatchEmbedding(nn.Module):
    """Shares its parameters with the layer it stands in for, under the same names."""

    def __init__(self, convolution: PatchConvolution) -> None:
        super().__init__()
        self.proj = convolution.proj

    def forward(self, patches: Tensor) -> Tensor:
        """patches [N, channels * frames * side * side] -> [N, hidden size]."""
        weight = self.proj.weight.flatten(1)
        return functional.linear(patches.to(weight.dtype), weight, self.proj.bias)


def use_linear_patch_embedding(model: Qwen2_5_VLModel | Qwen3VLModel) -> None:
    """Replace the patch embedding of `model.visual`; parameters, their names and saved files stay the same."""
    # The tower only calls this layer, so another one may stand in for the declared class.
    model.visual.set_submodule("patch_embed", LinearPatchEmbedding(model.visual.patch_embed))
