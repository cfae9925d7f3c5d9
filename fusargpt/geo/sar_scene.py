"""A SAR scene of any size: where it lies, when and how it was acquired, and chips of it as the model sees them."""

import re
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from fusargpt.errors import InputError, NoDataError, naming
from fusargpt.geo.acquisition import acquired_on, file_stem, polarizations_of, sensor_of, tags_of, told_polarizations
from fusargpt.geo.bands import Band
from fusargpt.geo.calibration import Calibration
from fusargpt.geo.evidence import no_backscatter
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.headers import check_upright
from fusargpt.geo.opened_product import open_product
from fusargpt.geo.radiometry import Stretch, choose_stretch, to_8bit
from fusargpt.geo.raster import Raster, check_blocks, described, gdal_settings, whole_colours
from fusargpt.geo.reading import ReadAs, Reading, choose_band
from fusargpt.geo.remote import is_remote, open_raster, shown
from fusargpt.geo.safe_files import is_safe
from fusargpt.geo.sentinel1 import Annotation
from fusargpt.geo.stac import asset_of, is_item
from fusargpt.geo.stored import Kind, Stored

_PERCENTILES = "1st and 99.5th percentile of the scene"


@dataclass(eq=False)
class SarScene:
    """An open SAR image. Made by `SarScene.open`; a context manager; not to be shared by threads.

    Attributes:
        path: file or URL, as given.
        width: pixels.
        height: pixels.
        polarizations: one a band, as ("VV", "VH"); "" where unknown.
        band: that is read where no other is named, from 1.
        polarization: of that band; "" where unknown.
        geometry: None where the file has no georeference, or none that can be used.
        problem: why the file's georeference cannot be used, in one line; "" where it is, or where there is none.
        acquired: day of acquisition; None where unknown.
        sensor: as "Sentinel-1A"; "" where unknown.
        product: what the annotation of a Sentinel-1 product says; None for other files.
        calibrated: the values are known for backscatter by their source, and not by their looks alone.
    """

    path: str
    width: int
    height: int
    polarizations: tuple[str, ...]
    band: int
    polarization: str
    geometry: Geometry | None
    problem: str
    acquired: date | None
    sensor: str
    _raster: Raster = field(repr=False)
    product: Annotation | None = field(default=None, repr=False)
    calibrated: bool = False

    @staticmethod
    def open(
        path_or_url: str | Path,
        reading: Reading | None = None,
        *,
        polarizations: str | None = None,
        acquired: date | None = None,
        sensor: str | None = None,
    ) -> "SarScene":
        """Open a scene; of the pixels nothing is read yet. What is given here wins over what the file says.

        Args:
            path_or_url: a GeoTIFF, COG or plain TIFF of 8 or 16-bit, float or complex values, one band or more; a local
                file or an http(s), s3 or gs URL. Or a Sentinel-1 GRD product, a local .SAFE folder or .zip, of which
                one polarization is read, calibrated; or a STAC item, local or at an http(s) address, of which the
                image of one polarization is read.
            reading: how it is to be read; None leaves all to the file.
            polarizations: one a band, as "VV" or "VV+VH". None looks at band descriptions and tags, file tags and name.
            acquired: day. None looks at acquisition tags, then the file name. The date of the file's writing is not
                looked at.
            sensor: None looks at tags and the file name.

        Raises:
            InputError: not found, no TIFF, a damaged or turned one, a server that does not answer in time, or an
                argument that does not fit the file. A georeference of the file's own that is not on Earth is told in
                `problem`.
        """
        reading = reading or Reading()
        if not is_remote(path_or_url) and is_safe(path_or_url):
            product = open_product(str(path_or_url), reading, polarizations)
            about = product.annotation
            return SarScene(
                path=str(path_or_url),
                width=about.width,
                height=about.height,
                polarizations=(about.polarization,),
                band=1,
                polarization=about.polarization,
                geometry=product.geometry,
                problem=product.problem and f"{path_or_url}: {product.problem}",
                acquired=about.started.date() if acquired is None else acquired,
                sensor=about.sensor if sensor is None else sensor,
                product=about,
                calibrated=True,
                _raster=product.raster,
            )
        if is_item(path_or_url):
            return _of_item(path_or_url, reading, polarizations, acquired, sensor)
        with gdal_settings(path_or_url):
            dataset = open_raster(path_or_url)
            try:
                with naming(shown(path_or_url)):
                    check_blocks(dataset)
                    if not is_remote(path_or_url):
                        check_upright(path_or_url)
                    tags, stem = tags_of(dataset), file_stem(str(path_or_url))
                    others = tuple(no_backscatter(dataset, number) for number in dataset.indexes)
                    names = (
                        # The phase of VV is no image of VV.
                        tuple(
                            "" if other else name
                            for name, other in zip(polarizations_of(dataset, tags, stem), others, strict=True)
                        )
                        if polarizations is None
                        else told_polarizations(polarizations, dataset.count)
                    )
                    band, polarization = choose_band(names, reading, others)
                    # What does not fit the file is said at once.
                    Band.of(dataset, band, reading.stored, reading.nodata, whole_colours(dataset, reading, names))
                    geometry, problem = _placed(dataset, reading)
                    return SarScene(
                        path=str(path_or_url),
                        width=dataset.width,
                        height=dataset.height,
                        polarizations=names,
                        band=band,
                        polarization=polarization,
                        geometry=geometry,
                        problem=problem and f"{shown(path_or_url)}: {problem}",
                        acquired=acquired_on(tags, stem) if acquired is None else acquired,
                        sensor=sensor_of(tags, stem) if sensor is None else sensor,
                        _raster=Raster(str(path_or_url), dataset, reading),
                    )
            except InputError:
                dataset.close()
                raise

    def calibrate(self, calibration: Calibration) -> None:
        """Read the digital numbers of a scene of one band as sigma nought from now on.

        Raises:
            InputError: another number of bands, or values that are not digital numbers of a GRD product.
        """
        dataset = self._raster.dataset
        if dataset.count != 1 or dataset.dtypes[0] != "uint16":
            raise InputError(
                f"{shown(self.path)}: {dataset.count} bands of {dataset.dtypes[0]}; expected one of uint16"
            )
        self._raster = Raster(self._raster.path, dataset, self._raster.reading, calibration)
        self.calibrated = True

    def __enter__(self) -> "SarScene":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._raster.dataset.close()

    @property
    def stored(self) -> Stored:
        """What the values of `band` are; see `read_as`."""
        return self._raster.look(self.band).kind.stored

    def band_of(self, polarization: str) -> int:
        """The band, from 1, of a polarization.

        Raises:
            InputError: the scene does not have it, or does not say.
        """
        if polarization not in self.polarizations:
            found = ", ".join(name or "unknown" for name in self.polarizations)
            raise InputError(f"{shown(self.path)}: no band is {polarization!r}; found {found}")
        return self.polarizations.index(polarization) + 1

    def read(self, window: Window | None = None, band: int | None = None) -> tuple[np.ndarray, NDArray[np.bool_]]:
        """Stored values of a window, and where they hold data.

        Args:
            window: whole pixels; may reach over the edge. None reads the whole scene, if it is small enough.
            band: from 1; None takes the scene's `band`.

        Returns:
            values [h, w], of the stored type (float32 for float64 and scaled ones, complex64 for complex ones, grey
            levels for palettes), 0 outside the scene; and bool [h, w], False on nodata, on what fills the raster
            without being named, on zeros that are no signal, on NaN and outside the scene.

        Raises:
            InputError: no such band, a window of fractional pixels, of more than 67 million or wholly outside, damaged
                data, values that fit two kinds, or a server that does not answer in time.
        """
        return self._raster.read(self.band if band is None else band, window)

    def stretch(self, band: int | None = None, decibels: tuple[float, float] | None = None) -> Stretch | None:
        """Limits for the whole scene, by the rule of `fusargpt.geo.radiometry`; None for 8-bit grey levels.

        The same file always gives the same limits. They are percentiles of about 4 million pixels (of all up to that
        number), at full resolution, because overviews are averages with less speckle. The pixels come from blocks of
        the file evenly spread over the scene, 16 million pixels of them or 36 blocks if these are more; only where
        these hold next to no data more are read. Blocks of a local file that are damaged are passed over, unless all
        are.

        Args:
            band: from 1; None takes the scene's `band`.
            decibels: (low, high) instead of percentiles.

        Raises:
            NoDataError: no pixel holds data.
            InputError: values that cannot be stretched, what `read` raises, or limits in decibels for grey levels, for
                values that may be amplitude or power, or beyond all values of the scene.
        """
        band = self.band if band is None else band
        known = self._raster.look(band)
        with naming(shown(self.path)):
            if known.kind.stored == "grey":
                if decibels is not None:
                    raise InputError("decibels: the file holds 8-bit grey levels, which are not scaled; leave it out")
                return None
        sample = self._raster.sample(band)
        with naming(shown(self.path)):
            stretch = choose_stretch(sample, stored=known.kind.stored)
            if decibels is None or stretch is None:
                return stretch
            return _told_limits(decibels, stretch, known.kind)

    def read_as(
        self, band: int | None = None, stretch: Stretch | None = None, limits_why: str = _PERCENTILES
    ) -> ReadAs:
        """What a band is read as, and why.

        Args:
            band: from 1; None takes the scene's `band`.
            stretch: what grey levels are made by.
            limits_why: where its limits come from.

        Raises:
            InputError: what `read` raises.
        """
        band = self.band if band is None else band
        known, told = self._raster.look(band), self._raster.reading
        flags = [flag.name for flag in self._raster.dataset.mask_flag_enums[band - 1]]
        named = self._raster.dataset.nodatavals[band - 1]
        if self._raster.calibration is not None:
            nodata, why = (0.0,), "digital numbers of the product"
        elif told.nodata is not None:
            nodata, why = (told.nodata,), "told"
        elif known.fill:
            also = () if named is None or "nodata" not in flags else (float(named),)
            nodata, why = (*also, *known.fill), "found among the values; the file does not name all of it"
        elif "nodata" in flags and named is not None:
            nodata, why = (float(named),), "named by the file"
        else:
            nodata, why = (), "none named" if "all_valid" in flags else "by the mask of the file"
        return ReadAs(
            band=band,
            polarization=self.polarization if band == self.band else self.polarizations[band - 1],
            stored=known.kind.stored,
            stored_why=known.kind.why,
            nodata=nodata,
            nodata_why=why,
            limits=None if stretch is None else (stretch.low, stretch.high),
            limits_why="taken as they are" if stretch is None else limits_why,
            place=self._place(),
        )

    def placed(self) -> Geometry:
        """The georeference, where one is needed.

        Raises:
            InputError: there is none, or none that can be used; says why and what to do.
        """
        if self.geometry is None:
            raise InputError(self.problem or f"{shown(self.path)}: no georeference")
        return self.geometry

    def chip(self, window: Window, band: int | None = None, stretch: Stretch | None = None) -> NDArray[np.uint8]:
        """Grey levels uint8 [h, w] of a window, as the model sees them; nodata and what lies outside are 0.

        Args:
            window: whole pixels; may reach over the edge.
            band: from 1; None takes the scene's `band`.
            stretch: of the whole scene, from `stretch`, or of another one. None takes the window's own limits.

        Raises:
            NoDataError: no pixel of the window holds data.
            InputError: what `read` and `to_8bit` raise.
        """
        values, valid = self.read(window, band)
        with naming(f"{shown(self.path)}: {described(window)}"):
            if not valid.any():
                raise NoDataError("no pixel holds data: all are nodata, NaN or, where they are linear, 0")
            stored = self._raster.look(self.band if band is None else band).kind.stored
            return to_8bit(values, valid, stretch, stored if stretch is None else stretch.stored)[0]

    def _place(self) -> str:
        told = self._raster.reading
        if self.geometry is None:
            return "no georeference" if not self.problem else "georeference not used"
        crs = self.geometry.crs if self.geometry.crs.startswith(("EPSG:", "OGC:", "ESRI:")) else "the file's own CRS"
        height = f" at {told.height_m:g} m, told" if told.height_m is not None else " at their middle height"
        kind = {"affine": "", "gcps": " by ground control points", "rpcs": f" by RPCs{height}"}[self.geometry.kind]
        return f"in {crs}{' (told)' if told.crs else ''}{kind}"


def _placed(dataset: rasterio.DatasetReader, reading: Reading) -> tuple[Geometry | None, str]:
    """The georeference, or why it cannot be used; what the user says of it has to fit."""
    try:
        return Geometry.of(dataset, crs=reading.crs, height_m=reading.height_m), ""
    except InputError as error:
        if reading.crs is not None or reading.height_m is not None:
            raise
        return None, str(error)


def _of_item(
    item: str | Path, reading: Reading, polarizations: str | None, acquired: date | None, sensor: str | None
) -> SarScene:
    """The image of a STAC item."""
    asset = asset_of(item, reading.polarization)
    calibration = None
    if asset.calibration is not None and reading.stored is None and reading.nodata is None:
        calibration = Calibration.of(*asset.calibration)
    try:
        scene = SarScene.open(
            asset.href,
            replace(reading, polarization=asset.polarization),
            polarizations=polarizations,
            acquired=asset.acquired if acquired is None else acquired,
            sensor=asset.sensor or None if sensor is None else sensor,
        )
    except InputError as error:
        if re.match(r"https://\w+\.blob\.core\.windows\.net/[^?]*$", asset.href):
            raise InputError(
                f"{error}; Planetary Computer's items are to be signed first, by planetary_computer.sign"
            ) from error
        raise
    scene.calibrated = asset.terrain_corrected
    if calibration is not None:
        try:
            scene.calibrate(calibration)
        except InputError:
            scene.close()
            raise
    return scene


def _told_limits(decibels: tuple[float, float], own: Stretch, kind: Kind) -> Stretch:
    low, high = decibels
    if not kind.sure:
        raise InputError(
            "decibels: the values fit amplitude and power alike, whose decibels differ by a factor of two; say which "
            "they are with stored (--stored)"
        )
    if own.high <= low or own.low >= high:
        colour = "black" if own.high <= low else "white"
        raise InputError(
            f"decibels: found {low:g} to {high:g}, but the values, read as {own.stored} ({kind.why}), lie at "
            f"{own.low:.1f} to {own.high:.1f} dB, so that all would be {colour}; give other limits, or say what the "
            "values are with stored (--stored)"
        )
    return Stretch(low, high, own.stored)
