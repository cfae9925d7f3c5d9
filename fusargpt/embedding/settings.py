"""What a user can choose about what is embedded. No torch here."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fusargpt.checkpoints import KLIP_NANO
from fusargpt.geo.remote import shown
from fusargpt.scenes.tile_settings import TileSettings

_OF_THE_RUN = ("model", "batch_size", "device")
_NO_NODATA = "none"


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings(TileSettings):
    """The options of `fusargpt embed`; tiles are those of a scene. See `fusargpt.scenes.tile_settings.TileSettings`.

    Attributes:
        model: folder, or owner/name on the Hub.
        batch_size: images embedded at a time.
        split: of a dataset.
        configs: of a dataset; None takes all.
    """

    model: str = str(KLIP_NANO)
    batch_size: int = 32
    split: str = "test"
    configs: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """How images were read, as plain JSON, without secrets."""
        chosen = {name: value for name, value in asdict(self).items() if name not in _OF_THE_RUN}
        if self.nodata is not None and math.isnan(self.nodata):
            chosen["nodata"] = _NO_NODATA
        return {**chosen, "aef": None if self.aef is None else shown(self.aef)}

    @staticmethod
    def from_json(chosen: Mapping[str, Any], model: str, device: str | None) -> "EmbeddingSettings":
        """What `as_json` gave; raises TypeError or InputError for anything else."""
        told = dict(chosen)
        if told["nodata"] == _NO_NODATA:
            told["nodata"] = math.nan
        for name in ("decibels", "configs"):
            told[name] = None if told[name] is None else tuple(told[name])
        return EmbeddingSettings(model=model, device=device, **told)
