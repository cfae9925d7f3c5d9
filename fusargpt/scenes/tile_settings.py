"""What a user can choose about how a scene is read, cut into tiles and given anchors. No torch here."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fusargpt.alphaearth.anchor_settings import AnchorSettings
from fusargpt.errors import InputError, check
from fusargpt.geo.reading import Reading
from fusargpt.geo.remote import identity
from fusargpt.geo.stored import Stored

SMALLEST_TILE, _LARGEST_TILE = 28, 8192
"""Pixels."""


@dataclass(frozen=True, kw_only=True)
class TileSettings(AnchorSettings):
    """The options that all runs over a scene have, beside those of its anchors.

    Attributes:
        model: folder, or owner/name on the Hub.
        tile: side of a tile in pixels of the scene; None takes the size in which the model sees a chip of 504 x 504, so
            that no pixel is resized; of a smaller scene its longer side; where pixels are coarser than all that the
            model was trained on, as its processor says (`coarsest_pixel_m`; fusargpt-mini: 10 m), so many fewer that
            they are enlarged to it.
        resolution_m: metres that a pixel has as the model sees it; the tile's side follows from it. Instead of `tile`.
        overlap: pixels of the scene that neighbouring tiles share at least; None takes a quarter of the tile where
            boxes are merged, and 0 for grids.
        band: from 1. With neither this nor `polarization`, band 1.
        polarization: as "VV": of the band to take, or what it is where the file does not say.
        stored: what the values are, "grey", "decibels", "amplitude", "power" or "iq"; None detects it.
        nodata: the value that marks pixels without data; NaN for none. None takes what the file says.
        crs: of the file's transform or control points, as "EPSG:32611"; None takes the file's.
        height_m: of the ground above the ellipsoid, for files placed by RPCs.
        stretch: "scene" gives all tiles the grey levels of the whole scene, as the builder of triplets does; "tile"
            gives each its own.
        decibels: (low, high) that become black and white in every tile, instead of `stretch`. For calibrated
            backscatter and a model that was trained with fixed limits: fusargpt-mini with (-25, 0) in VV and (-33, -8)
            in VH.
        no_prior: answer from the image alone.
        batch_size: tiles answered at a time.
        device: as torch names it; None takes a GPU where there is one.

    Raises:
        InputError: a value outside its range, or two that do not go together.
    """

    model: str
    tile: int | None = None
    resolution_m: float | None = None
    overlap: int | None = None
    band: int | None = None
    polarization: str | None = None
    stored: Stored | None = None
    nodata: float | None = None
    crs: str | None = None
    height_m: float | None = None
    stretch: Literal["scene", "tile"] = "scene"
    decibels: tuple[float, float] | None = None
    no_prior: bool = False
    batch_size: int = 64
    device: str | None = None

    def __post_init__(self) -> None:
        if self.tile is not None:
            fits = SMALLEST_TILE <= self.tile <= _LARGEST_TILE
            check("tile", self.tile, fits, f"{SMALLEST_TILE} to {_LARGEST_TILE} pixels")
            if self.resolution_m is not None:
                raise InputError("tile and resolution: expected one of them; the tile follows from the resolution")
        if self.resolution_m is not None:
            check("resolution", self.resolution_m, 0.05 <= self.resolution_m <= 1000, "0.05 to 1000 metres")
        if self.overlap is not None:
            check("overlap", self.overlap, self.overlap >= 0, "0 or more pixels")
        # Raises on what it does not know.
        _ = self.reading
        check("stretch", self.stretch, self.stretch in ("scene", "tile"), "scene or tile")
        if self.decibels is not None:
            low, high = self.decibels
            check("decibels", f"{low:g} to {high:g}", -100 <= low < high <= 100, "two of -100 to 100, ascending")
            if self.stretch != "scene":
                raise InputError("stretch and decibels: expected one of them")
        super().__post_init__()
        check("batch-size", self.batch_size, self.batch_size >= 1, "1 or more")

    def check_prior(self) -> None:
        """Raises InputError unless a prior was chosen, or none: a user should know that there is one to have."""
        if self.no_prior == (self.aef is not None):
            raise InputError(
                "aef and no_prior: expected one of them; name the root of an AlphaEarth field with aef (--aef), or "
                "answer from the image alone with no_prior (--no-prior)"
            )

    @property
    def reading(self) -> Reading:
        """How the scene is to be read."""
        return Reading(
            stored=self.stored,
            nodata=self.nodata,
            crs=self.crs,
            height_m=self.height_m,
            band=self.band,
            polarization=self.polarization,
        )

    @property
    def limits_why(self) -> str:
        """Where the limits of the grey levels come from."""
        if self.decibels is not None:
            return "told"
        return (
            "1st and 99.5th percentile of the scene" if self.stretch == "scene" else "of the scene; tiles have theirs"
        )

    def conditions(self, scene: str, tile: int, overlap: int) -> dict[str, object]:
        """What the answers of a run depend on, as plain JSON; a run that was cut goes on only under the same."""
        chosen = asdict(self) | {"tile": tile, "overlap": overlap}
        chosen["decibels"] = None if self.decibels is None else list(self.decibels)
        # Where batches end changes no answer.
        for name in ("batch_size", "device"):
            del chosen[name]
        chosen["aef"] = None if self.aef is None else identity(self.aef)
        return {"scene": stamp(scene), **chosen, "model": stamp(self.model)}


def stamp(name: str) -> str:
    """A file, weights or measurements of a folder, or a name on a server (no secrets), with sizes and times of local
    changes."""
    path = Path(name)
    files = [path] if path.is_file() else sorted([*path.glob("*.safetensors"), *path.glob("measurement/*")])
    return " ".join([identity(name), *(f"{file.stat().st_size}@{file.stat().st_mtime_ns}" for file in files)])
