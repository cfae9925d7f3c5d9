"""What is said of a raster before it is read, and what was made of it: told, found in the file, or assumed."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fusargpt.errors import InputError
from fusargpt.geo.radiometry import Stretch
from fusargpt.geo.stored import Stored, check_stored


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a raster is to be read; what is None is left to the file. What is given here wins over what the file says.

    Attributes:
        stored: what the values are. None detects it, see `fusargpt.geo.stored`.
        nodata: the value that marks pixels without data; NaN says that there is none. None takes the file's nodata
            value, mask or alpha band, and what fills it without being named.
        crs: of the transform or the control points, as "EPSG:32611". None takes the file's.
        height_m: of the ground above the ellipsoid, for RPCs. None takes the middle of the heights they are for.
        band: from 1. With neither this nor `polarization`, the first that is not said to be an angle; of 8-bit red,
            green and blue the luma.
        polarization: as "VV": the band that the file says it is, or what the chosen or only band is where the file does
            not say.

    Raises:
        InputError: another kind of values, a band below 1, or a height that is no number.
    """

    stored: Stored | None = None
    nodata: float | None = None
    crs: str | None = None
    height_m: float | None = None
    band: int | None = None
    polarization: str | None = None

    def __post_init__(self) -> None:
        if self.stored is not None:
            check_stored(self.stored)
        if self.band is not None and self.band < 1:
            raise InputError(f"band: found {self.band}; expected 1 or more")
        if self.height_m is not None and not math.isfinite(self.height_m):
            raise InputError(f"height_m: found {self.height_m}; expected a number of metres")
        if self.nodata is not None and math.isinf(self.nodata):
            raise InputError(f"nodata: found {self.nodata}; expected a number, or nan where no value marks nodata")

    def check_picture(self, found: str) -> None:
        """Raise InputError for what has no use for a PNG or JPEG; `found` says what the file is."""
        if self.band not in (None, 1):
            raise InputError(f"band {self.band} of {found}; bands can be chosen in TIFF files only")
        for name, value in (("crs", self.crs), ("height_m", self.height_m)):
            if value is not None:
                raise InputError(f"{name}: found {value!r} for {found}, which has no georeference; leave it out")


def choose_band(known: tuple[str, ...], reading: Reading, others: tuple[str, ...] = ()) -> tuple[int, str]:
    """The band, from 1, that is to be read, and its polarization, "" where nobody says.

    Args:
        known: one a band, "" where the file does not say.
        reading: what the user says.
        others: one a band, what it is said to be that is no backscatter, "" where it may be some; empty says nothing.

    Raises:
        InputError: no such band or polarization, one that contradicts the file, several bands of which none is known to
            be the polarization, or one that is no backscatter.
    """
    others = others or ("",) * len(known)
    wanted, band = reading.polarization, reading.band
    wanted = None if wanted is None else wanted.upper()
    if band is None and wanted is not None and wanted not in known:
        one_image = len(known) == 1 or (len(known) == 2 and reading.stored == "iq")
        if not one_image or any(known):
            found = ", ".join(name or "unknown" for name in known)
            raise InputError(
                f"polarization: no band is {wanted!r}; found {found}. Say which band it is with band (--band)"
            )
    elif band is None and wanted is not None:
        band = known.index(wanted) + 1
    if band is None:
        band = next((number for number, other in enumerate(others, 1) if not other), 1)
    if band > len(known):
        raise InputError(f"no band {band}; the file has {len(known)}")
    if others[band - 1]:
        cure = "choose another with band (--band)" if "" in others else "expected a band of backscatter"
        raise InputError(f"band {band} is {others[band - 1]!r}, an angle and no backscatter; {cure}")
    if wanted is not None and known[band - 1] not in ("", wanted):
        raise InputError(f"polarization: found {wanted!r}; band {band} of the file is {known[band - 1]}")
    return band, known[band - 1] or wanted or ""


@dataclass(frozen=True)
class ReadAs:
    """What a band was read as, each with the reason: what `str` says in one line, and provenance keeps.

    Attributes:
        band: from 1.
        polarization: "" where unknown.
        stored: what the values are.
        stored_why: told, or what in the file says so.
        nodata: the values that mark pixels without data; empty where there are none or a mask does.
        nodata_why: likewise.
        limits: decibels that become black and white; None for grey levels, which are taken as they are.
        limits_why: likewise.
        place: what the georeference is; "" for a PNG or JPEG.
    """

    band: int
    polarization: str
    stored: Stored
    stored_why: str
    nodata: tuple[float, ...]
    nodata_why: str
    limits: tuple[float, float] | None
    limits_why: str
    place: str = ""

    @staticmethod
    def of_picture(
        stored: Stored, why: str, stretch: Stretch | None, reading: Reading, nodata: tuple[float, ...]
    ) -> "ReadAs":
        """Of a PNG or JPEG."""
        told = "told" if reading.nodata is not None else "found among the values" if nodata else "none named"
        limits = None if stretch is None else (stretch.low, stretch.high)
        limits_why = "taken as they are" if stretch is None else "1st and 99.5th percentile of the image"
        return ReadAs(1, (reading.polarization or "").upper(), stored, why, nodata, told, limits, limits_why)

    @property
    def is_picture(self) -> bool:
        """Whether nothing was assumed: 8-bit grey levels or colours of a PNG or JPEG."""
        return self.limits is None and not self.place

    @property
    def kind(self) -> str:
        """Without the limits: what files of one kind have in common."""
        marks = ", ".join(f"{value:g}" for value in self.nodata)
        nodata = f"no data is {marks} ({self.nodata_why})" if marks else f"nodata: {self.nodata_why}"
        name = f"band {self.band}" + (f" ({self.polarization})" if self.polarization else "")
        place = f"; {self.place}" if self.place else ""
        return f"{name} read as {self.stored} ({self.stored_why}); {nodata}{place}"

    def __str__(self) -> str:
        if self.limits is None:
            return f"{self.kind}; grey levels {self.limits_why}"
        return f"{self.kind}; black at {self.limits[0]:.1f} dB, white at {self.limits[1]:.1f} dB ({self.limits_why})"

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; a nodata of NaN is text."""
        return {
            "band": self.band,
            "polarization": self.polarization,
            "stored": self.stored,
            "stored_why": self.stored_why,
            "nodata": [value if math.isfinite(value) else str(value) for value in self.nodata],
            "nodata_why": self.nodata_why,
            "limits_db": None if self.limits is None else list(self.limits),
            "limits_why": self.limits_why,
            "place": self.place,
        }


def kinds_read(lines: Iterable[str]) -> list[tuple[str, int]]:
    """What files were read as but for their limits, which are each file's own, and how many; the most first.

    Args:
        lines: `str` of a `ReadAs` for each file; "" tells nothing.
    """
    return Counter(line.rpartition("; ")[0] for line in lines if line).most_common()
