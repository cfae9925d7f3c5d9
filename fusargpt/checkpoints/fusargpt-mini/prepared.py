"""What a model derives from a batch's image grids and tokens, worked out where these are integers still.

A GPU is waited for wherever a number is read that it holds, and `image_grid_thw` would be read in a dozen places of a
pass. Who makes a batch has the numbers at hand: `BatchPreparation` works out from them what the model then takes as
`prepared`. A model that is given nothing derives the same itself.
"""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
from dataclasses import dataclass
from typing import TypedDict, cast

from torch import Tensor
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
from transformers.utils.generic import is_flash_attention_requested
from transformers.vision_utils import (
    get_vision_attention_seqlens,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from .windows import equal_windows_together

VisionConfig = Qwen2_5_VLVisionConfig | Qwen3VLVisionConfig
TowerArguments = dict[str, Tensor | int]


class PreparedBatch(TypedDict):
    """Of a batch whose rows are padded on the right, whose image tokens are as many as its images have, and whose
    priors have been checked: with it none of these is looked at again, and the language model needs no mask, since
    nothing reads backwards into padding.

    Attributes:
        grids: patches of every image along time, height and width.
        tower: what the vision tower takes beside pixels and grids; nothing where visual tokens were computed before.
        image_places: int64 `[image tokens]`, where they stand among the tokens of all rows, one row after the other.
    """

    grids: list[list[int]]
    tower: TowerArguments
    image_places: Tensor


@dataclass(frozen=True)
class BatchPreparation:
    """Prepares the batches of one model, without holding its weights: the processes of a data loader can have it.

    Attributes:
        vision_config: of the model's tower, its attention included.
        image_token_id: of the tokens that stand for an image's.
    """

    vision_config: VisionConfig
    image_token_id: int

    def __call__(self, input_ids: Tensor, image_grid_thw: Tensor, encodes: bool) -> PreparedBatch:
        """
        Args:
            input_ids: int64 `[batch, tokens]`, not on a GPU.
            image_grid_thw: int64 `[num_images, 3]`, not on a GPU.
            encodes: whether the tower will run.
        """
        return {
            "grids": image_grid_thw.tolist(),
            "tower": tower_arguments(self.vision_config, image_grid_thw) if encodes else {},
            "image_places": (input_ids.flatten() == self.image_token_id).nonzero()[:, 0],
        }


def tower_arguments(config: VisionConfig, grids: Tensor) -> TowerArguments:
    """What a tower derives from the grids of its images, to be given to it.

    Where windows are attended together those of equal length stand together.

    Args:
        config: of the tower.
        grids: int64 `[num_images, 3]`, patches along time, height and width, not on a GPU.
    """
    merge = config.spatial_merge_size
    boundaries, longest = get_vision_attention_seqlens(grids, config)
    arguments: TowerArguments = {"position_ids": get_vision_position_ids(grids, merge), "cu_seqlens": boundaries}
    if longest is not None:
        arguments["max_seqlen"] = longest
    if isinstance(config, Qwen3VLVisionConfig):
        side = int(config.num_position_embeddings**0.5)
        # How the tower fits its table of positions to a grid.
        indices, weights = get_vision_interpolation_indices_and_weights(
            grids, side, mode="bilinear", align_corners=True, spatial_merge_size=merge
        )
        return {**arguments, "interp_indices": indices, "interp_weights": weights}
    patch = cast(int, config.patch_size)
    if is_flash_attention_requested(config):
        return arguments | equal_windows_together(grids, config.window_size // merge // patch, merge)
    order, ends = get_vision_window_index(grids, merge, config.window_size, patch)
    return {**arguments, "window_index": order, "cu_window_seqlens": ends}


__all__ = ["BatchPreparation", "PreparedBatch", "TowerArguments", "VisionConfig", "tower_arguments"]
