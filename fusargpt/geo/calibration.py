"""From the digital numbers of a Sentinel-1 product to sigma nought, its thermal noise taken off.

    sigma0 = (DN^2 - noise) / A^2

with A of the calibration annotation's `sigmaNought` and the noise annotation's table (Sentinel-1 Product Specification,
S1-RS-MDA-52-7441, Radiometric Calibration of Level-1 Products; Thermal Denoising, MPC-0392). Since version 2.9 of ESA's
processor noise has a table along range and factors along azimuth, which are multiplied; before, one table.

What lies below the noise becomes negative, as noise varies; it stays, darker than all limits, since it is data.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError, naming
from fusargpt.geo.annotation_xml import parse_xml, vectors
from fusargpt.geo.fetching import read_bytes
from fusargpt.geo.look_up_table import AzimuthBlock, LookUpTable
from fusargpt.geo.remote import shown
from fusargpt.geo.safe_files import MAX_TEXT_BYTES

WHY = "sigma0 by the product's calibration, thermal noise taken off"


@dataclass(frozen=True, eq=False)
class Calibration:
    """The tables of one polarization of a product.

    Attributes:
        sigma_nought: A, by whose square power is divided.
        noise: along range, or all of it; of squared digital numbers.
        azimuth: what it is multiplied by along azimuth.
    """

    sigma_nought: LookUpTable
    noise: LookUpTable
    azimuth: tuple[AzimuthBlock, ...] = ()

    @staticmethod
    def of(calibration: str | Path, noise: str | Path) -> "Calibration":
        """From the files, local or at http(s) addresses, of both annotations; raises InputError for others."""
        with naming(shown(calibration)):
            sigma_nought = Calibration.sigma_nought_of(read_bytes(calibration, MAX_TEXT_BYTES))
        with naming(shown(noise)):
            return Calibration(sigma_nought, *Calibration.noise_of(read_bytes(noise, MAX_TEXT_BYTES)))

    @staticmethod
    def sigma_nought_of(content: bytes) -> LookUpTable:
        """From a calibration annotation; raises InputError for another file, or values that are not above 0."""
        root = parse_xml(content, "calibration")
        table = LookUpTable.of(root, "calibrationVectorList/calibrationVector", "sigmaNought")
        if min(values.min() for values in table.values) <= 0:
            raise InputError("sigmaNought: found a value that is not above 0")
        return table

    @staticmethod
    def noise_of(content: bytes) -> tuple[LookUpTable, tuple[AzimuthBlock, ...]]:
        """From a noise annotation of either form; raises InputError for another file."""
        root = parse_xml(content, "noise")
        if root.find("noiseVectorList") is not None:
            return LookUpTable.of(root, "noiseVectorList/noiseVector", "noiseLut"), ()
        along_range = LookUpTable.of(root, "noiseRangeVectorList/noiseRangeVector", "noiseRangeLut")
        blocks = vectors(root, "noiseAzimuthVectorList/noiseAzimuthVector")
        return along_range, tuple(AzimuthBlock.of(block) for block in blocks)

    def sigma0(
        self, digital: np.ndarray, valid: NDArray[np.bool_], top: int, left: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Power of a window, and where it holds data: not where the digital number is 0, as at a product's border.

        Args:
            digital: numbers [height, width].
            valid: bool [height, width].
            top: line of the window's first row.
            left: pixel of its first column.
        """
        height, width = digital.shape
        noise = np.array(self.noise.over(top, left, height, width))
        for block in self.azimuth:
            block.multiply(noise, top, left)
        power = np.square(digital, dtype=np.float64) - noise
        power /= np.square(self.sigma_nought.over(top, left, height, width))
        return power.astype(np.float32), valid & (digital != 0)
