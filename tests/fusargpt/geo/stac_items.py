"""Items of STAC as archives publish them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

POWER = np.random.default_rng(0).gamma(4, 0.01, (60, 60)).astype(np.float32)
ID = "S1A_IW_GRDH_1SDV_20230628T210705_20230628T210730_049191_05EA4D_rtc"


def write_item(folder: Path) -> Path:
    """An item with its rasters, in the layout of Planetary Computer's sentinel-1-rtc, with relative addresses."""
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": "float32", "count": 1, "width": 60, "height": 60}
    profile |= {"nodata": -32768, "crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_500_000)}
    for name, factor in (("vv", 1), ("vh", 0.1)):
        with rasterio.open(folder / f"iw-{name}.rtc.tiff", "w", **profile) as dataset:
            dataset.write(POWER * np.float32(factor), 1)
    cog = {"type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data"]}
    content = {
        "id": ID,
        "type": "Feature",
        "stac_version": "1.0.0",
        "collection": "sentinel-1-rtc",
        "geometry": None,
        "properties": {
            "datetime": "2023-06-28T21:07:17Z",
            "platform": "SENTINEL-1A",
            "sar:polarizations": ["VV", "VH"],
        },
        "links": [],
        "assets": {
            "vh": {"href": "./iw-vh.rtc.tiff", **cog},
            "vv": {"href": "./iw-vv.rtc.tiff", **cog},
            "tilejson": {"href": "https://example.org/tilejson.json", "type": "application/json", "roles": ["tiles"]},
            "rendered_preview": {"href": "preview.tif", "type": "image/tiff", "roles": ["overview"]},
        },
    }
    path = folder / "item.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
