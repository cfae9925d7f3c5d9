"""What is told of an acquisition, as one more token of the image tower; each field of it may be unknown."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .configuration_fusarklip import GeographyConfig

ACQUISITION_FIELDS = ("resolution_m", "sensor", "polarization", "month", "location")


class Acquisition(NamedTuple):
    """Of a batch of B images; 0 stands for what is unknown.

    Attributes:
        resolution_m: float32 `[B]`, metres of ground a pixel.
        sensor: int64 `[B]`, place in `GeographyConfig.sensors` from 1.
        polarization: int64 `[B]`, alike.
        month: int64 `[B]`, 1 to 12.
        location: float32 `[B, 3]`, unit vector from the centre of the earth: x to (0, 0), z to the north pole.
    """

    resolution_m: Tensor
    sensor: Tensor
    polarization: Tensor
    month: Tensor
    location: Tensor

    def known(self) -> Tensor:
        """bool `[B]`: images of which anything is known."""
        return torch.stack([*(field != 0 for field in self[:4]), (self.location != 0).any(-1)]).any(0)

    def drop(self, drop_field: float, drop_all: float) -> "Acquisition":
        """With fields taken for unknown by chance, by torch's generator: each by itself, and all of an image."""
        chance = torch.rand(len(self) + 1, len(self.month), device=self.month.device)
        kept = (chance[:-1] >= drop_field) & (chance[-1] >= drop_all)
        return Acquisition(
            self.resolution_m * kept[0],
            self.sensor * kept[1],
            self.polarization * kept[2],
            self.month * kept[3],
            self.location * kept[4][:, None],
        )


class AcquisitionToken(nn.Module):
    """The token `[B, C]` of an acquisition: numbers through a layer, plus an embedding of each name.

    Numbers are Fourier features of log2 of the resolution, and sine and cosine of the month, each 0 beside a 0 where
    unknown and beside a 1 where known; names have an entry for unknown.

    Args:
        config: Configuration of the geography.
        channels: Width C of the tower.
    """

    def __init__(self, config: GeographyConfig, channels: int):
        super().__init__()
        self.config = config
        hidden_size = config.hidden_size if config.hidden_size is not None else channels
        self.input_projection = nn.Linear(2 * config.resolution_octaves + 4, hidden_size)
        self.output_projection = nn.Linear(hidden_size, channels)
        self.sensor = nn.Embedding(len(config.sensors) + 1, channels)
        self.polarization = nn.Embedding(len(config.polarizations) + 1, channels)
        if config.location == "token":
            self.location_projection = nn.Linear(6 * config.location_octaves, channels, bias=False)

    def forward(self, acquisition: Acquisition) -> Tensor:
        dtype = self.input_projection.weight.dtype
        known = acquisition.resolution_m != 0
        octaves = torch.log2(acquisition.resolution_m.masked_fill(~known, 1))
        scales = 2.0 ** torch.arange(self.config.resolution_octaves, device=octaves.device)
        angles = octaves[:, None] * scales * (math.pi / 8)
        resolution = torch.cat([angles.sin(), angles.cos(), torch.ones_like(octaves)[:, None]], -1) * known[:, None]
        dated = acquisition.month != 0
        angle = acquisition.month * (2 * math.pi / 12)
        month = torch.stack([angle.sin(), angle.cos(), torch.ones_like(angle)], -1) * dated[:, None]
        numbers = torch.cat([resolution, month], -1).to(dtype)
        token = self.output_projection(nn.functional.silu(self.input_projection(numbers)))
        token = token + self.sensor(acquisition.sensor) + self.polarization(acquisition.polarization)
        if self.config.location == "token":
            scales = math.pi * 2.0 ** torch.arange(self.config.location_octaves, device=octaves.device)
            angles = (acquisition.location[..., None] * scales).flatten(1)
            located = (acquisition.location != 0).any(-1, keepdim=True)
            token = token + self.location_projection((torch.cat([angles.sin(), angles.cos()], -1) * located).to(dtype))
        return token


def check_acquisition(fields: dict[str, Tensor | None], num_images: int, config: GeographyConfig) -> Acquisition | None:
    """The acquisition, which is then a usable one, or None where no field of it is given.

    Args:
        fields: Those of `ACQUISITION_FIELDS`, shaped as in `Acquisition`; None for a field of which nothing is known.
        num_images: Images B in the batch.
        config: Says which codes there are, and whether the model takes a location.

    Raises:
        ValueError: If a field has a wrong shape, dtype or value, or if a location is given to a model that takes none.
            The message names the field, what was found and what was expected.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        return None
    if "location" in given and config.location != "token":
        raise ValueError(
            f"location: found shape {list(given['location'].shape)}, expected None; geography_config.location is "
            f"{config.location!r}."
        )
    device = next(iter(given.values())).device
    largest = {"sensor": len(config.sensors), "polarization": len(config.polarizations), "month": 12}
    read: dict[str, Tensor] = {}
    for name in ACQUISITION_FIELDS:
        shape = (num_images, 3) if name == "location" else (num_images,)
        dtype = torch.int64 if name in largest else torch.float32
        if name not in given:
            read[name] = torch.zeros(shape, dtype=dtype, device=device)
            continue
        value = given[name]
        if tuple(value.shape) != shape:
            raise ValueError(
                f"{name}: found shape {list(value.shape)}, expected {list(shape)} for the {num_images} images of this "
                "batch, in their order."
            )
        if value.is_floating_point() == (name in largest) or value.dtype == torch.bool:
            expected = "whole numbers" if name in largest else "floating point numbers"
            raise ValueError(f"{name}: found dtype {value.dtype}, expected {expected}.")
        read[name] = value.to(dtype)
    acquisition = Acquisition(**read)
    norms = acquisition.location.norm(dim=-1)
    wrong = {
        "resolution_m": ~(acquisition.resolution_m.isfinite() & (acquisition.resolution_m >= 0)),
        **{name: (read[name] < 0) | (read[name] > most) for name, most in largest.items()},
        "location": ~((norms == 0) | ((norms - 1).abs() < 0.01)),
    }
    expected = {
        "resolution_m": "metres a pixel, or 0 where unknown",
        **{name: f"0 (unknown) to {most}" for name, most in largest.items()},
        "location": "unit vectors, or 0 where unknown",
    }
    # One wait for the device instead of five.
    found = torch.stack([rows.any() for rows in wrong.values()]).tolist()
    for (name, rows), is_wrong in zip(wrong.items(), found, strict=True):
        if is_wrong:
            raise ValueError(f"{name}: found {read[name][rows][0].tolist()}, expected {expected[name]}.")
    return acquisition
