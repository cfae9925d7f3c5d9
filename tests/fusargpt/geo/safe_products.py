"""Small Sentinel-1 GRD products in the layout of real ones, whose tables are easy to compute by hand."""

import zipfile
from pathlib import Path

import numpy as np
import rasterio

NAME = "S1A_IW_GRDH_1SDV_20230628T210705_20230628T210730_049191_05EA4D_21D1"
STEM = "s1a-iw-grd-{}-20230628t210705-20230628t210730-049191-05ea4d-{:03}"

ANNOTATION = """<?xml version="1.0" encoding="UTF-8"?>
<product>
 <adsHeader><missionId>S1A</missionId><productType>{kind}</productType><polarisation>{polarization}</polarisation>
  <mode>IW</mode><swath>IW</swath><startTime>2023-06-28T21:07:05.123456</startTime>
  <stopTime>2023-06-28T21:07:30.123456</stopTime><absoluteOrbitNumber>49191</absoluteOrbitNumber></adsHeader>
 <generalAnnotation><productInformation><pass>Descending</pass></productInformation></generalAnnotation>
 <imageAnnotation><imageInformation><numberOfSamples>{width}</numberOfSamples>
  <numberOfLines>{height}</numberOfLines></imageInformation></imageAnnotation>
 <geolocationGrid><geolocationGridPointList count="{count}">{points}</geolocationGridPointList></geolocationGrid>
</product>
"""
CALIBRATION = """<?xml version="1.0" encoding="UTF-8"?>
<calibration><calibrationVectorList count="2">
 <calibrationVector><line>-10</line><pixel count="2">0 100</pixel><sigmaNought count="2">100 300</sigmaNought>
 </calibrationVector>
 <calibrationVector><line>90</line><pixel count="3">0 50 100</pixel><sigmaNought count="3">200 300 400</sigmaNought>
 </calibrationVector>
</calibrationVectorList></calibration>
"""
"""A is 100 + line + 10 + 2 * pixel."""
NOISE = """<?xml version="1.0" encoding="UTF-8"?>
<noise>
 <noiseRangeVectorList count="2">
  <noiseRangeVector><line>0</line><pixel count="2">0 100</pixel><noiseRangeLut count="2">1000 2000</noiseRangeLut>
  </noiseRangeVector>
  <noiseRangeVector><line>100</line><pixel count="2">0 100</pixel><noiseRangeLut count="2">3000 4000</noiseRangeLut>
  </noiseRangeVector>
 </noiseRangeVectorList>
 <noiseAzimuthVectorList count="2">
  <noiseAzimuthVector><swath>IW1</swath><firstAzimuthLine>0</firstAzimuthLine><firstRangeSample>0</firstRangeSample>
   <lastAzimuthLine>79</lastAzimuthLine><lastRangeSample>49</lastRangeSample>
   <line count="2">0 80</line><noiseAzimuthLut count="2">1 3</noiseAzimuthLut></noiseAzimuthVector>
  <noiseAzimuthVector><swath>IW2</swath><firstAzimuthLine>0</firstAzimuthLine><firstRangeSample>50</firstRangeSample>
   <lastAzimuthLine>79</lastAzimuthLine><lastRangeSample>99</lastRangeSample>
   <line count="1">0</line><noiseAzimuthLut count="1">0.5</noiseAzimuthLut></noiseAzimuthVector>
 </noiseAzimuthVectorList>
</noise>
"""
"""Range: 1000 + 20 * line + 10 * pixel. Azimuth: 1 + line / 40 left of pixel 50, 0.5 from there on."""
OLD_NOISE = """<?xml version="1.0" encoding="UTF-8"?>
<noise><noiseVectorList count="1">
 <noiseVector><line>0</line><pixel count="2">0 100</pixel><noiseLut count="2">1000 2000</noiseLut></noiseVector>
</noiseVectorList></noise>
"""
"""1000 + 10 * pixel."""


def annotation(polarization: str, width: int, height: int, kind: str = "GRD") -> str:
    """The grid is of 0.0001 degrees a pixel eastward and a line southward from 10 degrees east, 50 north."""
    points = [
        f"<geolocationGridPoint><line>{line}</line><pixel>{pixel}</pixel>"
        f"<latitude>{float(50 - line * 1e-4)!r}</latitude>"
        f"<longitude>{float(10 + pixel * 1e-4)!r}</longitude><height>12.5</height></geolocationGridPoint>"
        for line in np.linspace(0, height - 1, 4).astype(int)
        for pixel in np.linspace(0, width - 1, 4).astype(int)
    ]
    return ANNOTATION.format(
        kind=kind, polarization=polarization, width=width, height=height, count=len(points), points="".join(points)
    )


def write_product(root: Path, digital: dict[str, np.ndarray], noise: str = NOISE) -> Path:
    """A .SAFE folder of digital numbers uint16 [height, width] by polarization, as {"VV": ...}."""
    folder = root / f"{NAME}.SAFE"
    for name in ("annotation/calibration", "measurement"):
        (folder / name).mkdir(parents=True)
    (folder / "manifest.safe").write_text("<xfdu:XFDU/>", encoding="utf-8")
    for number, (polarization, values) in enumerate(digital.items(), start=1):
        stem = STEM.format(polarization.lower(), number)
        height, width = values.shape
        (folder / f"annotation/{stem}.xml").write_text(annotation(polarization, width, height), encoding="utf-8")
        (folder / f"annotation/calibration/calibration-{stem}.xml").write_text(CALIBRATION, encoding="utf-8")
        (folder / f"annotation/calibration/noise-{stem}.xml").write_text(noise, encoding="utf-8")
        raster = folder / f"measurement/{stem}.tiff"
        size = {"width": width, "height": height}
        with rasterio.open(raster, "w", driver="GTiff", dtype="uint16", count=1, **size) as dataset:
            dataset.write(values, 1)
    return folder


def packed(folder: Path) -> Path:
    """The folder as the .zip that is downloaded."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path
