"""STAC items: which of their assets is the image in a polarization, and what the item says of it.

Items of SAR as Planetary Computer and Earth Search publish them have one GeoTIFF a polarization under its name, as
"vv"; those of Sentinel-1 GRD products name the calibration tables beside it, as "schema-calibration-vv". An item is a
local file or at an http(s) address (STAC 1.0 and 1.1, item specification).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

from fusargpt.errors import InputError, naming
from fusargpt.geo.acquisition import POLARIZATIONS, parse_date, sensor_of
from fusargpt.geo.fetching import read_bytes
from fusargpt.geo.redirects import check_named
from fusargpt.geo.remote import is_remote, shown

MAX_ITEM_BYTES = 16 * 2**20
_SUFFIXES = (".json", ".geojson")
_NO_IMAGE = {"thumbnail", "overview", "metadata", "visual"}
_TABLES = ("schema-calibration-", "schema-noise-")


@dataclass(frozen=True)
class SarAsset:
    """The image of one polarization.

    Attributes:
        href: file or URL.
        polarization: as "VV".
        acquired: day; None where the item does not say.
        sensor: as "Sentinel-1A"; "" where the item does not say.
        terrain_corrected: gamma nought in power, by the item's collection.
        calibration: file or URL of the calibration and of the noise annotation; None where there are none to be read.
    """

    href: str
    polarization: str
    acquired: date | None
    sensor: str
    terrain_corrected: bool
    calibration: tuple[str, str] | None


def is_item(path_or_url: str | Path) -> bool:
    """Whether this looks like an item: a local .json or .geojson, or an http(s) address of one or in `.../items/`."""
    if not is_remote(path_or_url):
        return Path(path_or_url).suffix.lower() in _SUFFIXES and Path(path_or_url).is_file()
    parts = urlsplit(str(path_or_url))
    path = PurePosixPath(parts.path)
    is_raster = path.suffix.lower() in (".tif", ".tiff")
    return parts.scheme in ("http", "https") and (
        path.suffix.lower() in _SUFFIXES or (path.parent.name == "items" and not is_raster)
    )


def asset_of(path_or_url: str | Path, polarization: str | None = None) -> SarAsset:
    """The image of an item.

    Args:
        path_or_url: of the item.
        polarization: as "VV"; None takes the co-polarized one, or the only one.

    Raises:
        InputError: no item, one that cannot be read, or one without an image in this polarization.
    """
    content = read_bytes(path_or_url, MAX_ITEM_BYTES)
    with naming(shown(path_or_url)):
        item = _item(content)
        images = _images(item["assets"])
        if not images:
            found = ", ".join(list(item["assets"])[:12]) or "none"
            raise InputError(f"no asset is a GeoTIFF of one polarization; found {found}")
        wanted = sorted(images, key=lambda name: len(set(name)))[0] if polarization is None else polarization.upper()
        if wanted not in images:
            raise InputError(f"polarization: no asset is {wanted!r}; found {', '.join(images)}")
        properties = item["properties"]
        when = properties.get("datetime") or properties.get("start_datetime") or ""
        return SarAsset(
            href=_resolved(images[wanted], path_or_url),
            polarization=wanted,
            acquired=parse_date(str(when)),
            sensor=sensor_of({"PLATFORM": str(properties.get("platform", ""))}, ""),
            terrain_corrected=re.search(r"(?<![a-z])rtc(?![a-z])", str(item.get("collection")).lower()) is not None,
            calibration=_calibration(item["assets"], wanted, path_or_url),
        )


def _item(content: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"found {constant}")

    try:
        item = json.loads(content.decode("utf-8-sig"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}); expected a STAC item") from error
    if not isinstance(item, dict) or item.get("type") != "Feature" or not isinstance(item.get("stac_version"), str):
        found = item.get("type") if isinstance(item, dict) else type(item).__name__
        raise InputError(f"no STAC item: found {found!r}; expected a Feature with stac_version, properties and assets")
    for name in ("assets", "properties"):
        if not isinstance(item.get(name), dict):
            raise InputError(f"{name}: found {type(item.get(name)).__name__}; expected an object, as a STAC item has")
    for key, asset in item["assets"].items():
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str) or not asset["href"].strip():
            raise InputError(f"assets: {key}: no href")
    return item


def _images(assets: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """The addresses of the images by their polarizations."""
    found: dict[str, str] = {}
    for key, asset in assets.items():
        path = PurePosixPath(urlsplit(asset["href"]).path)
        is_tiff = str(asset.get("type", "")).startswith("image/tiff") or path.suffix.lower() in (".tif", ".tiff")
        roles = asset.get("roles")
        if not is_tiff or (isinstance(roles, list) and _NO_IMAGE & {str(role) for role in roles}):
            continue
        of_asset = asset.get("sar:polarizations")
        said = of_asset if isinstance(of_asset, list) and len(of_asset) == 1 else [key]
        name = str(said[0]).upper()
        if name not in POLARIZATIONS:
            continue
        if name in found:
            raise InputError(f"two assets are images in {name}; give the address of one itself")
        found[name] = asset["href"]
    return found


def _calibration(assets: Mapping[str, dict[str, Any]], polarization: str, item: str | Path) -> tuple[str, str] | None:
    names = [f"{table}{polarization.lower()}" for table in _TABLES]
    if not all(name in assets for name in names):
        return None
    first, second = (_resolved(assets[name]["href"], item) for name in names)
    # Buckets of stores that ask for an account are read by GDAL alone.
    return (first, second) if all(_can_be_fetched(href) for href in (first, second)) else None


def _can_be_fetched(href: str) -> bool:
    return not is_remote(href) or href.lower().startswith(("http://", "https://"))


def _resolved(href: str, item: str | Path) -> str:
    """The address of an asset, from that of its item; one on a server names no file of this machine."""
    if is_remote(href):
        if is_remote(item):
            check_named(href, str(item))
        return href
    if is_remote(item):
        return urljoin(str(item), href)
    return str(Path(item).parent / href)
