"""fusargpt-nano's own tower, which learned from dense targets and answers, and never from texts about whole images."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fusargpt.foundation.features import Features, without_texts
from fusargpt.foundation.places import View
from fusargpt.inference.loading import load
from fusargpt.simulator.simulated_scene import IMAGE_SIZE


class FusarGptTower:
    """The visual tokens of a FUSAR-GPT as its language model gets them, modulated by the prior, and their mean."""

    def __init__(self, folder: str | Path, device: str) -> None:
        self._loaded = load(str(folder), device)
        width, height = self._loaded.seen_size(Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE)))
        self.resize = f"{width} x {height}, the whole picture"

    def features(self, views: Sequence[View]) -> Features:
        encoded = self._loaded.processor(
            # Of one size: pictures of others would have other grids of tokens.
            images=[view.picture.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE)) for view in views],
            priors=[None if view.prior is None else view.prior.columns() for view in views],
            return_tensors="pt",
        )
        model = self._loaded.model
        with torch.inference_mode():
            outputs = model.model.get_image_features(
                **{
                    name: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
                    for name, value in encoded.items()
                },
                return_dict=True,
            )
        pooled = cast(Sequence[Tensor], outputs.pooler_output)
        merge = self._loaded.processor.image_processor.merge_size
        grids = [(int(rows) // merge, int(columns) // merge) for _, rows, columns in encoded["image_grid_thw"]]
        tokens = np.stack(
            [image.float().cpu().numpy().reshape(*grid, -1) for image, grid in zip(pooled, grids, strict=True)]
        )
        return without_texts(tokens.mean((1, 2)), tokens)
