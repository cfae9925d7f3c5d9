"""An average of the towers over the steps, for soft targets, and a queue of past images and texts with their facts."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class MomentumTowers(nn.Module):
    """Copies of the towers and projections that follow them slowly and have no gradient; always in evaluation mode.

    Args:
        towers: The modules to follow, by name.
    """

    started: Tensor

    def __init__(self, towers: dict[str, nn.Module]):
        super().__init__()
        self.towers = nn.ModuleDict({name: deepcopy(module) for name, module in towers.items()})
        self.requires_grad_(False)
        # Until the first step they are copies of whatever weights the model was loaded with.
        self.register_buffer("started", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> "MomentumTowers":
        return super().train(False)

    @torch.no_grad()
    def follow(self, towers: dict[str, nn.Module], decay: float) -> None:
        """One step: `decay` of the average and the rest of what the towers are now."""
        decay = decay if int(self.started) else 0.0
        for name, module in towers.items():
            for average, now in zip(self.towers[name].parameters(), module.parameters(), strict=True):
                average.mul_(decay).add_(now, alpha=1 - decay)
        self.started.fill_(1)


class FactQueue(nn.Module):
    """The last `size` images and texts: unit vectors and facts, the oldest overwritten first.

    Args:
        size: Places.
        channels: Width of the vectors.
        dimensions: Facts of an image or a text.
    """

    images: Tensor
    texts: Tensor
    image_facts: Tensor
    text_facts: Tensor
    written: Tensor

    def __init__(self, size: int, channels: int, dimensions: int):
        super().__init__()
        for name in ("images", "texts"):
            self.register_buffer(name, torch.zeros(size, channels))
        for name in ("image_facts", "text_facts"):
            self.register_buffer(name, torch.zeros(size, dimensions, dtype=torch.int64))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    def entries(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images `[K, C]`, texts `[K, C]` and their facts `[K, F]` each; K is the size once the queue is full."""
        filled = min(int(self.written), len(self.images))
        fields = (self.images, self.texts, self.image_facts, self.text_facts)
        images, texts, image_facts, text_facts = (field[:filled].clone() for field in fields)
        return images, texts, image_facts, text_facts

    @torch.no_grad()
    def push(self, images: Tensor, texts: Tensor, image_facts: Tensor, text_facts: Tensor) -> None:
        """Appends the rows of a batch; of more rows than places the last stay."""
        size = len(self.images)
        first = int(self.written) + max(len(images) - size, 0)
        places = torch.arange(first, int(self.written) + len(images), device=images.device) % size
        for field, rows in (
            (self.images, images),
            (self.texts, texts),
            (self.image_facts, image_facts),
            (self.text_facts, text_facts),
        ):
            field[places] = rows[-size:].to(field.dtype)
        self.written += len(images)
