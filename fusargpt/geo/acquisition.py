"""What the tags and the name of a file say about its acquisition: date, sensor, polarization of each band.

Nothing is guessed: what is not found, or found contradictory, stays unknown.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import rasterio

from fusargpt.errors import InputError

POLARIZATIONS = ("HH", "HV", "VH", "VV", "RH", "RV", "CH", "CV")
"""Transmitted first; R is circular, right-handed, which RCM's products call C."""


@dataclass(frozen=True)
class Acquisition:
    """How an image was acquired, as a model may be told; what is unknown is None.

    Attributes:
        resolution_m: ground metres of a pixel.
        sensor: as "Sentinel-1A".
        polarization: of `POLARIZATIONS`.
        acquired: the day.
    """

    resolution_m: float | None = None
    sensor: str | None = None
    polarization: str | None = None
    acquired: date | None = None

    def known(self) -> dict[str, float | str | date]:
        """What is known, by the names of the fields."""
        return {name: value for name, value in asdict(self).items() if value is not None}


# In this order. TIFFTAG_DATETIME is not among them: it is the day on which the file was written.
_DATE_TAGS = (
    "ACQUISITION_DATE",
    "ACQUISITION_DATETIME",
    "ACQUISITIONDATETIME",
    "ACQUISITION_TIME",
    "ACQUISITION_START_TIME",
    "ACQUISITION_START_UTC",
    "FIRST_LINE_TIME",
    "DATETIME",
)
_SENSOR_TAGS = ("SENSOR", "SATELLITE", "SATELLITE_NAME", "SATELLITEID", "PLATFORM", "MISSION")
_POLARIZATION_TAGS = ("POLARIZATION", "POLARISATION", "POLARIZATIONS", "POLARISATIONS")
_DESCRIPTION_TAG = "TIFFTAG_IMAGEDESCRIPTION"

# Orbit and frame, then the day: ALOS2014410740-140829.
_ALOS2 = re.compile(r"ALOS2\d{9}-(\d{6})(?!\d)")

_NOT_BEFORE = 1978  # Seasat, the first SAR in orbit
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

# In this order: the first that is found. SAOCOM's products begin as Sentinel-1's do, as S1A_OPER_SAR_EOSSP.
_SENSORS = {
    r"(?:^|[^a-z0-9])saocom-?1?[-_ ]?([ab])(?![a-z0-9])": "SAOCOM-1{}",
    r"(?:^|[^a-z0-9])s1([ab])[-_]oper[-_]sar[-_]eossp": "SAOCOM-1{}",
    r"(?:^|[^a-z0-9])sentinel[-_ ]?1[-_ ]?([a-d])(?![a-z0-9])": "Sentinel-1{}",
    r"(?:^|[^a-z0-9])s1([a-d])(?![a-z0-9]|[-_]oper)": "Sentinel-1{}",
    r"(?:^|[^a-z0-9])sentinel[-_ ]?1(?![a-z0-9])": "Sentinel-1",
    r"(?:^|[^a-z0-9])(?:tsx1?|terrasar-?x)(?![a-z0-9])": "TerraSAR-X",
    r"(?:^|[^a-z0-9])(?:tdx1?|tandem-?x)(?![a-z0-9])": "TanDEM-X",
    r"(?:^|[^a-z0-9])paz1?(?![a-z0-9])": "PAZ",
    r"(?:^|[^a-z0-9])(?:rs1|radarsat-?1)(?![a-z0-9])": "RADARSAT-1",
    r"(?:^|[^a-z0-9])(?:rs2|radarsat-?2)(?![a-z0-9])": "RADARSAT-2",
    r"(?:^|[^a-z0-9])rcm-?([1-3])(?![a-z0-9])": "RCM-{}",
    r"(?:^|[^a-z0-9])(?:csg|cosmo-?skymed second generation)(?![a-z])": "COSMO-SkyMed Second Generation",
    r"(?:^|[^a-z0-9])(?:csk(?:s?[1-4])?|cosmo-?skymed)(?![a-z])": "COSMO-SkyMed",
    r"(?:^|[^a-z0-9])(?:k5|kompsat-?5)(?![a-z0-9])": "KOMPSAT-5",
    r"(?:^|[^a-z0-9])gf-?3(?:[bc])?(?![a-z0-9])": "Gaofen-3",
    r"(?:^|[^a-z0-9])(?:palsar-?2|alos-?2)": "ALOS-2 PALSAR-2",
    r"(?:^|[^a-z0-9])iceye": "ICEYE",
    r"(?:^|[^a-z0-9])capella": "Capella",
    r"(?:^|[^a-z0-9])umbra": "Umbra",
    r"(?:^|[^a-z0-9])novasar": "NovaSAR",
    r"(?:^|[^a-z0-9])strix": "StriX",
}
# Of Sentinel-1 product names, as 1SDV: level, class, then the polarizations.
_SENTINEL1_POLARIZATIONS = {"SV": ("VV",), "SH": ("HH",), "DV": ("VV", "VH"), "DH": ("HH", "HV")}


def file_stem(path_or_url: str) -> str:
    """The file's name without folder, extension and, of a URL, the query."""
    path = unquote(urlsplit(path_or_url).path) if "://" in path_or_url else path_or_url.replace("\\", "/")
    return PurePosixPath(path).stem


def acquired_on(tags: Mapping[str, str], stem: str) -> date | None:
    """From the acquisition tags, then the file name; None where neither has one."""
    for name in _DATE_TAGS:
        if name in tags and (found := parse_date(tags[name])):
            return found
    return _date_of_name(stem)


def sensor_of(tags: Mapping[str, str], stem: str) -> str:
    """From the tags, then the file name; "" where neither has one."""
    for name in _SENSOR_TAGS:
        if value := tags.get(name, "").strip():
            return _known_sensor(value) or value
    return _known_sensor(tags.get(_DESCRIPTION_TAG, "")) or _known_sensor(stem)


def polarizations_of(dataset: rasterio.DatasetReader, tags: Mapping[str, str], stem: str) -> tuple[str, ...]:
    """One a band, "" where unknown: from the bands' descriptions and tags, then the file's tags, then its name."""
    of_bands = []
    for band, description in enumerate(dataset.descriptions, 1):
        own = _upper_keys(dataset.tags(band))
        texts = [own[name] for name in _POLARIZATION_TAGS if name in own] + [description or ""]
        found = [names[0] for names in map(_polarizations_in, texts) if len(names) == 1]
        of_bands.append(found[0] if found else "")
    if any(of_bands):
        return tuple(of_bands)
    product = re.search(r"_1S([SD][VH])_", stem.upper())
    candidates = [_polarizations_in(tags.get(name, "")) for name in _POLARIZATION_TAGS]
    of_name = _polarizations_in(stem)
    if not sensor_of(tags, stem).startswith("RCM"):
        # In other names CH is a country, CV a curriculum.
        of_name = tuple(name for name in of_name if name[0] != "C")
    candidates += [of_name, _SENTINEL1_POLARIZATIONS[product[1]] if product else ()]
    return next((names for names in candidates if len(names) == dataset.count), ("",) * dataset.count)


def told_polarizations(told: str, count: int) -> tuple[str, ...]:
    """One a band from an argument such as "VV" or "VV+VH".

    Raises:
        InputError: another number of them than bands, or one that does not exist.
    """
    names = tuple(name for name in re.split(r"[\s,+/&]+", told.strip().upper()) if name)
    if len(names) != count or not set(names) <= set(POLARIZATIONS):
        raise InputError(
            f"polarization: found {told!r} for {count} band{'s' * (count > 1)}; expected one a band of "
            f"{', '.join(POLARIZATIONS)}, as 'VV' or 'VV+VH'"
        )
    return names


def tags_of(dataset: rasterio.DatasetReader) -> dict[str, str]:
    """The tags of a file, keys in upper case; those that GDAL keeps for imagery win."""
    return _upper_keys(dataset.tags()) | _upper_keys(dataset.tags(ns="IMAGERY"))


def parse_date(text: str) -> date | None:
    """The day that a text begins with: 2021-01-05, 2021:01:05, 2021/01/05, 20210105 or 05-JAN-2021, then any time."""
    text = text.strip()
    if match := re.match(r"(\d{4})([-:/]?)(\d{2})\2(\d{2})(?!\d)", text):
        return _day(int(match[1]), int(match[3]), int(match[4]))
    if (match := re.match(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})(?!\d)", text)) and match[2].upper() in _MONTHS:
        return _day(int(match[3]), _MONTHS.index(match[2].upper()) + 1, int(match[1]))
    return None


def _date_of_name(stem: str) -> date | None:
    # A start, and perhaps an end, to the second: the start counts. Of several that are not, as of a pair, too.
    for match in re.finditer(r"(?<!\d)(\d{8})[Tt]?([01]\d|2[0-3])[0-5]\d[0-5]\d(?!\d)", stem):
        if found := parse_date(match[1]):
            return found
    if (match := _ALOS2.search(stem.upper())) and (found := parse_date(f"20{match[1]}")):
        return found
    texts = re.findall(r"(?<!\d)(?:\d{8}|\d{4}-\d{2}-\d{2})(?!\d)", stem)
    days = {found for text in texts if (found := parse_date(text))}
    # Two days are a period or a pair.
    return days.pop() if len(days) == 1 else None


def _day(year: int, month: int, day: int) -> date | None:
    try:
        found = date(year, month, day)
    except ValueError:
        return None
    return found if _NOT_BEFORE <= year <= date.today().year + 1 else None


def _known_sensor(text: str) -> str:
    for pattern, name in _SENSORS.items():
        if match := re.search(pattern, text.lower()):
            return name.format(*(group.upper() for group in match.groups()))
    return ""


def _polarizations_in(text: str) -> tuple[str, ...]:
    """Those that stand alone in a text, or two joined, in order and each once."""
    found = re.findall(r"(?<![A-Z0-9])((?:[HV]{2}){1,4}|(?:[RC][HV]){1,2})(?![A-Z0-9])", text.upper())
    names = [joined[start : start + 2] for joined in found for start in range(0, len(joined), 2)]
    return tuple(dict.fromkeys(names))


def _upper_keys(tags: Mapping[str, str]) -> dict[str, str]:
    return {name.upper(): value for name, value in tags.items()}
