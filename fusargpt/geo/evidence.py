"""What the words of a raster, in its bands' descriptions and units, its tags and its name, say about its values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import rasterio

Kind = Literal["decibels", "amplitude", "power"]

# Decibels first: "Sigma0_VV_db" and "intensity in dB" are decibels.
_WORDS: tuple[tuple[Kind, str], ...] = (
    ("decibels", r"(?<![a-z])(?:db|decibels?|10 ?\*? ?log10)(?![a-z])"),
    ("amplitude", r"(?<![a-z])(?:amplitudes?|magnitude|modulus|amp)(?![a-z])"),
    ("power", r"(?<![a-z])(?:power|intensity|mli)(?![a-z])"),
)
# HyP3's names say radiometry and scale in a code, as gpuned: gamma-0, power.
_HYP3 = re.compile(r"_rtc\d+_[a-z]_[gs]([pad])[a-z]{4}(?![a-z])")
_HYP3_KINDS: dict[str, Kind] = {"p": "power", "a": "amplitude", "d": "decibels"}
# Terrain-corrected backscatter of floating-point numbers is given as power: SNAP's band names, OPERA's and Planetary
# Computer's products.
_BACKSCATTER = re.compile(r"(?<![a-z])(?:sigma|gamma|beta)[-_ ]?(?:0|nought|naught|zero)|(?<![a-z])rtc(?![a-z])")
_TAGS = (
    "TIFFTAG_IMAGEDESCRIPTION",
    "UNITS",
    "UNIT",
    "BAND_UNIT",
    "UNITTYPE",
    "RADIOMETRY",
    "RADIOMETRIC_TYPE",
    "SCALE_TYPE",
    "DATA_SCALE",
    "BACKSCATTER",
)
_LONGEST_TAG = 400  # of those that hold a whole header, words say nothing

# Angles: of the phase of an interferogram or a complex image, and of incidence, as terrain correction adds them.
_NO_BACKSCATTER = re.compile(r"(?<![a-z])(?<!in[-_ ])(?:phase|theta|lia|inc[-_ ]?(?:angles?|map))(?![a-z])|incidence")

_REAL = r"(?:i|re|real|in[- _]?phase)"
_IMAGINARY = r"(?:q|im|imag|imaginary|quadrature|quad)"
_PART = re.compile(rf"(?:^|[^a-z])(?:(?P<real>{_REAL})|(?P<imaginary>{_IMAGINARY}))(?:[^a-z]|$)")


@dataclass(frozen=True)
class Words:
    """What the words say.

    Attributes:
        kind: of the values; None where they do not say it.
        why: where it stands.
        backscatter: they name a backscatter coefficient, which floating-point numbers give as power.
    """

    kind: Kind | None = None
    why: str = ""
    backscatter: str = ""


def words_about(dataset: rasterio.DatasetReader, band: int, name: str, tags: Mapping[str, str]) -> Words:
    """What description, unit and tags of a band, then the file's tags, then its name say.

    Args:
        dataset: open.
        band: from 1.
        name: of the file, or the path of a URL.
        tags: of the file, keys in upper case.
    """
    own = [dataset.units[band - 1] or "", dataset.descriptions[band - 1] or ""]
    own += [text for key, text in dataset.tags(band).items() if not key.startswith("STATISTICS")]
    of_file = [tags.get(key, "") for key in _TAGS]
    sources = (("the band's own words say so", own), ("the file's tags say so", of_file), ("its name says so", [name]))
    backscatter = ""
    for why, texts in sources:
        text = " ".join(text.lower() for text in texts if len(text) <= _LONGEST_TAG)
        if match := _HYP3.search(text):
            return Words(_HYP3_KINDS[match[1]], why)
        for kind, pattern in _WORDS:
            if re.search(pattern, text):
                return Words(kind, why)
        if not backscatter and _BACKSCATTER.search(text):
            backscatter = why
    return Words(backscatter=backscatter)


def no_backscatter(dataset: rasterio.DatasetReader, band: int) -> str:
    """What a band, from 1, is said to be that is no backscatter, as "local incidence angle"; "" where it is not."""
    for text in _names_of(dataset, band):
        if len(text) <= _LONGEST_TAG and _NO_BACKSCATTER.search(text.lower()):
            return text
    return ""


def complex_pair(dataset: rasterio.DatasetReader, band: int) -> tuple[int, int] | None:
    """The bands, from 1, of the real and the imaginary part, one of which is `band`; None where no words say so."""
    parts = [_part_of(dataset, number) for number in range(1, dataset.count + 1)]
    if parts[band - 1] == "real" and band < dataset.count and parts[band] == "imaginary":
        return band, band + 1
    if parts[band - 1] == "imaginary" and band > 1 and parts[band - 2] == "real":
        return band - 1, band
    # All real parts first, then all imaginary ones.
    real, imaginary = ([i for i, part in enumerate(parts, 1) if part == name] for name in ("real", "imaginary"))
    if len(real) == len(imaginary) and band in real + imaginary:
        return next(pair for pair in zip(real, imaginary, strict=True) if band in pair)
    return None


def _part_of(dataset: rasterio.DatasetReader, band: int) -> str:
    for text in [*_names_of(dataset, band), dataset.units[band - 1] or ""]:
        if match := _PART.search(text.lower()):
            return "real" if match["real"] else "imaginary"
    return ""


def _names_of(dataset: rasterio.DatasetReader, band: int) -> list[str]:
    tags = dataset.tags(band)
    named = [text for key, text in tags.items() if key.upper() in ("NAME", "BAND_NAME", "DESCRIPTION", "LONG_NAME")]
    return [dataset.descriptions[band - 1] or "", *named]
