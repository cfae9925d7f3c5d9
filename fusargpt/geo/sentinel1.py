"""Sentinel-1 GRD products: what their annotation says of each polarization, and where its measurement lies."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from rasterio.control import GroundControlPoint

from fusargpt.errors import InputError, naming
from fusargpt.geo.acquisition import POLARIZATIONS
from fusargpt.geo.annotation_xml import number, parse_xml, text, time, vectors, whole
from fusargpt.geo.calibration import Calibration
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.mapping import WGS84, ControlPointMapping
from fusargpt.geo.safe_files import SafeFiles

_TIFF = (".tif", ".tiff")


@dataclass(frozen=True)
class Annotation:
    """What the annotation of one polarization says.

    Attributes:
        sensor: as "Sentinel-1A".
        polarization: as "VV".
        started: when its first line was acquired, UTC.
        orbit: absolute, as 49191.
        direction: "ascending" or "descending".
        width: pixels.
        height: lines.
        points: of the geolocation grid, at pixel centres.
    """

    sensor: str
    polarization: str
    started: datetime
    orbit: int
    direction: str
    width: int
    height: int
    points: tuple[GroundControlPoint, ...]

    @staticmethod
    def of(content: bytes) -> "Annotation":
        """From an annotation file.

        Raises:
            InputError: another file, another product than a GRD, or something that is missing.
        """
        root = parse_xml(content, "product")
        kind = text(root, "adsHeader/productType")
        if kind != "GRD":
            raise InputError(f"productType: found {kind!r}; expected a GRD product")
        grid = vectors(root, "geolocationGrid/geolocationGridPointList/geolocationGridPoint")
        return Annotation(
            sensor=f"Sentinel-1{text(root, 'adsHeader/missionId').removeprefix('S1')}",
            polarization=text(root, "adsHeader/polarisation").upper(),
            started=time(root, "adsHeader/startTime"),
            orbit=whole(root, "adsHeader/absoluteOrbitNumber"),
            direction=text(root, "generalAnnotation/productInformation/pass").lower(),
            width=whole(root, "imageAnnotation/imageInformation/numberOfSamples"),
            height=whole(root, "imageAnnotation/imageInformation/numberOfLines"),
            points=tuple(
                # The grid's line and pixel number samples: the first one's centre is half a pixel from its corner.
                GroundControlPoint(
                    row=number(point, "line") + 0.5,
                    col=number(point, "pixel") + 0.5,
                    x=number(point, "longitude"),
                    y=number(point, "latitude"),
                )
                for point in grid
            ),
        )

    def geometry(self) -> Geometry:
        """The georeference by the geolocation grid, which is for the terrain's height as ESA's processor knows it."""
        mapping = ControlPointMapping.of(self.points, WGS84, self.width, self.height)
        return Geometry("gcps", WGS84, self.width, self.height, mapping)

    def as_json(self) -> dict[str, Any]:
        """For provenance."""
        return {"orbit": self.orbit, "pass": self.direction, "started": f"{self.started.isoformat()}Z"}


@dataclass(frozen=True)
class Measurement:
    """One polarization of a product.

    Attributes:
        files: of the product.
        polarization: as "VV".
        raster: path of the TIFF inside the product.
        annotation_file: likewise of its annotation.
        calibration_file: likewise.
        noise_file: likewise.
    """

    files: SafeFiles
    polarization: str
    raster: str
    annotation_file: str
    calibration_file: str
    noise_file: str

    @property
    def gdal_path(self) -> str:
        """By what GDAL opens the measurement."""
        return self.files.gdal_path(self.raster)

    @cached_property
    def annotation(self) -> Annotation:
        """Raises InputError as `Annotation.of`, and for one of another polarization than its name says."""
        with naming(f"{self.files.path}: {self.annotation_file}"):
            found = Annotation.of(self.files.read(self.annotation_file))
            if found.polarization != self.polarization:
                raise InputError(f"polarisation: found {found.polarization}; expected {self.polarization} as its name")
            return found

    def calibration(self) -> Calibration:
        """Raises InputError for tables that are not what they should be."""
        with naming(f"{self.files.path}: {self.calibration_file}"):
            sigma_nought = Calibration.sigma_nought_of(self.files.read(self.calibration_file))
        with naming(f"{self.files.path}: {self.noise_file}"):
            return Calibration(sigma_nought, *Calibration.noise_of(self.files.read(self.noise_file)))


def measurements(path: str | Path) -> tuple[Measurement, ...]:
    """The polarizations of a product, in its own order: the co-polarized one first.

    Args:
        path: of a .SAFE folder, its manifest, or a zip of it.

    Raises:
        InputError: no product, or one in which a file of a polarization is missing or there twice.
    """
    files = SafeFiles.of(path)
    rasters = files.within("measurement", _TIFF)
    if not rasters:
        raise InputError(f"{files.path}: no measurement/*.tiff; expected a whole Sentinel-1 GRD product")
    tables = files.within("annotation/calibration", (".xml",))
    of_kinds = {
        "annotation": files.within("annotation", (".xml",)),
        "calibration": [table for table in tables if PurePosixPath(table).name.startswith("calibration-")],
        "noise": [table for table in tables if PurePosixPath(table).name.startswith("noise-")],
    }
    found: list[Measurement] = []
    for raster in sorted(rasters, key=_place_in_product):
        polarization = _polarization_of(raster)
        if not polarization:
            raise InputError(f"{files.path}: {raster}: a name without polarization; expected one as s1a-iw-grd-vv-...")
        if polarization in {known.polarization for known in found}:
            raise InputError(f"{files.path}: two measurements in {polarization}; expected one")
        parts = [_one(files, kind, names, polarization) for kind, names in of_kinds.items()]
        found.append(Measurement(files, polarization, raster, *parts))
    return tuple(found)


def _one(files: SafeFiles, kind: str, names: list[str], polarization: str) -> str:
    found = [name for name in names if _polarization_of(name) == polarization]
    if len(found) != 1:
        raise InputError(
            f"{files.path}: found {len(found)} {kind} files in {polarization}; expected one: the product is not whole"
        )
    return found[0]


def _polarization_of(name: str) -> str:
    """By the name of a file, as s1a-iw-grd-vv-20230628t210705-...-001.xml or iw-vv.tiff; "" where it has none."""
    parts = re.split(r"[-.]", PurePosixPath(name).name.upper())
    return next((part for part in parts if part in POLARIZATIONS), "")


def _place_in_product(name: str) -> tuple[bool, str]:
    """Co-polarized first, by whose number in the product names end; cloud stores' names have no number."""
    polarization = _polarization_of(name)
    return len(set(polarization)) > 1, name
