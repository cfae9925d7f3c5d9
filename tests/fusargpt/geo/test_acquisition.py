from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.geo.acquisition import parse_date
from fusargpt.geo.sar_scene import SarScene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

GRD = "S1A_IW_GRDH_1SDV_20210105T135000_20210105T135025_036006_043777_ABCD.tif"


def write(
    path: Path,
    count: int = 1,
    tags: dict[str, str] | None = None,
    imagery: dict[str, str] | None = None,
    descriptions: tuple[str, ...] = (),
) -> Path:
    with rasterio.open(path, "w", driver="GTiff", width=40, height=30, count=count, dtype="float32") as dataset:
        dataset.write(np.ones((count, 30, 40), np.float32))
        dataset.update_tags(**(tags or {}))
        if imagery:
            dataset.update_tags(ns="IMAGERY", **imagery)
        for band, description in enumerate(descriptions, 1):
            dataset.set_band_description(band, description)
    return path


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("scene.tif", {}, None),
        ("scene.tif", {"ACQUISITION_DATE": "2021-01-05"}, date(2021, 1, 5)),
        ("scene.tif", {"acquisition_start_utc": "2021-01-05T13:50:00.123Z"}, date(2021, 1, 5)),
        ("scene.tif", {"FIRST_LINE_TIME": "05-JAN-2021 13:50:00.1"}, date(2021, 1, 5)),
        # The day on which the file was written is not that of its acquisition.
        ("scene.tif", {"TIFFTAG_DATETIME": "2021:01:05 13:50:00"}, None),
        ("scene.tif", {"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}, None),
        (GRD, {}, date(2021, 1, 5)),
        ("s1a-iw-grd-vv-20210105t235959-20210106t000024-036006-043777-001.tiff", {}, date(2021, 1, 5)),
        ("sentinel1_vv_port_of_la_2021-01-05.tif", {}, date(2021, 1, 5)),
        # The TIFF's own date is that of processing.
        (GRD, {"TIFFTAG_DATETIME": "2022:06:01 10:00:00"}, date(2021, 1, 5)),
        (GRD, {"ACQUISITION_DATE": "2021-01-04"}, date(2021, 1, 4)),
        ("CAPELLA_C02_SM_GEO_HH_20181227091736_20181227091740.tif", {}, date(2018, 12, 27)),
        ("CSKS1_SCS_B_HI_16_HH_RA_SF_20110430062021_20110430062028.tif", {}, date(2011, 4, 30)),
        ("CSG_SSAR1_DGM_B_0204_STR_010_HH_RA_F_20200401235959_20200402000004_1_F.tif", {}, date(2020, 4, 1)),
        ("K5_20150518142210_000000_09444_A_UH28_HH_GTC_B_L1D.tif", {}, date(2015, 5, 18)),
        ("ICEYE_X7_GRD_SM_36582_20200927T213024.tif", {}, date(2020, 9, 27)),
        ("2023-01-27-01-50-29_UMBRA-04_GEC.tif", {}, date(2023, 1, 27)),
        ("TSX1_SAR__MGD_SE___SM_S_SRA_20090105T051122_20090105T051130.tif", {}, date(2009, 1, 5)),
        ("RS2_OK76385_PK678063_DK606752_FQ2_20080415_143807_HH_VV_HV_VH_SLC.tif", {}, date(2008, 4, 15)),
        ("IMG-HH-ALOS2014410740-140829-UBSR2.1GUD.tif", {}, date(2014, 8, 29)),
        ("scene_20181227991736.tif", {}, None),  # no time of a day
        ("mosaic_20210101_20211231.tif", {}, None),  # a period
        ("frame_20219999.tif", {}, None),
        ("chip_19010105.tif", {}, None),  # before there were satellites
        ("chip_120210105.tif", {}, None),  # a number
    ],
)
def test_the_date_comes_from_tags_then_the_name(tmp_path: Path, name: str, tags: dict[str, Any], expected: Any):
    with SarScene.open(write(tmp_path / name, tags=tags)) as scene:
        assert scene.acquired == expected


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("scene.tif", {}, ""),
        (GRD, {}, "Sentinel-1A"),
        ("s1c-iw-grd-vv-20250105t135000.tiff", {}, "Sentinel-1C"),
        ("sentinel1_vv_port_of_la_2021-01-05.tif", {}, "Sentinel-1"),
        ("RS2_OK1234_FQ2.tif", {}, "RADARSAT-2"),
        ("TSX1_SAR__MGD.tif", {}, "TerraSAR-X"),
        ("CAPELLA_C02_SM_GEO_HH_20181227091736_20181227091740.tif", {}, "Capella"),
        ("CSKS1_SCS_B_HI_16_HH_RA_SF_20110430062021_20110430062028.tif", {}, "COSMO-SkyMed"),
        ("CSG_SSAR1_DGM_B_0204.tif", {}, "COSMO-SkyMed Second Generation"),
        ("K5_20150518142210_000000_09444_A_UH28_HH.tif", {}, "KOMPSAT-5"),
        ("2023-01-27-01-50-29_UMBRA-04_GEC.tif", {}, "Umbra"),
        ("RCM3_OK1050595_PK1050601_1_SC30MCPB.tif", {}, "RCM-3"),
        # SAOCOM's products begin as Sentinel-1's do.
        ("S1A_OPER_SAR_EOSSP__CORE_L1B_OLF_20190905T105013.tif", {}, "SAOCOM-1A"),
        ("S1B_OPER_XYZ.tif", {}, ""),
        ("OPERA_L2_RTC-S1_T069-147170-IW1_20231012T010203Z_S1A_30_v1.0_VV.tif", {}, "Sentinel-1A"),
        ("gains1a_map.tif", {}, ""),
        ("scene.tif", {"SENSOR": "SENTINEL-1B"}, "Sentinel-1B"),
        ("scene.tif", {"SATELLITE": "Biomass"}, "Biomass"),
        ("scene.tif", {"TIFFTAG_IMAGEDESCRIPTION": "Sentinel-1A IW GRD HR L1"}, "Sentinel-1A"),
        (GRD, {"PLATFORM": "Sentinel-1B"}, "Sentinel-1B"),
    ],
)
def test_the_sensor_comes_from_tags_then_the_name(tmp_path: Path, name: str, tags: dict[str, Any], expected: str):
    with SarScene.open(write(tmp_path / name, tags=tags)) as scene:
        assert scene.sensor == expected


def test_tags_that_gdal_keeps_for_imagery_count(tmp_path: Path):
    path = write(tmp_path / "scene.tif", imagery={"SATELLITEID": "ICEYE-X2", "ACQUISITIONDATETIME": "2021-01-05 13:50"})
    with SarScene.open(path) as scene:
        assert (scene.sensor, scene.acquired) == ("ICEYE", date(2021, 1, 5))


@pytest.mark.parametrize(
    ("name", "count", "tags", "descriptions", "expected"),
    [
        ("scene.tif", 1, {}, (), ("",)),
        ("scene.tif", 2, {}, ("VV", "VH"), ("VV", "VH")),
        ("scene.tif", 3, {}, ("sigma0_VH_dB", "Sigma0 VV", "incidence angle"), ("VH", "VV", "")),
        ("scene.tif", 1, {"POLARISATION": "hh"}, (), ("HH",)),
        ("scene.tif", 2, {"POLARIZATIONS": "VV VH"}, (), ("VV", "VH")),
        ("S1A__IW___A_20150309T173017_VV_grd_mli.tif", 1, {}, (), ("VV",)),
        ("s1a-iw-grd-vh-20210105t135000.tiff", 1, {}, (), ("VH",)),
        (GRD, 2, {}, (), ("VV", "VH")),
        (GRD, 1, {}, (), ("",)),  # one of the two, the name does not say which
        ("S1B_EW_GRDM_1SSH_20210105T135000.tif", 1, {}, (), ("HH",)),
        ("scene_VVVH.tif", 2, {}, (), ("VV", "VH")),
        ("savvy_vh2.tif", 1, {}, (), ("",)),
        ("scene.tif", 2, {}, ("RH", "RV"), ("RH", "RV")),
        ("scene.tif", 2, {"POLARIZATIONS": "CH CV"}, (), ("CH", "CV")),
        ("RCM1_OK1052165_PK1_1_5M2_20200119_123456_CH_CV_GRD.tif", 2, {}, (), ("CH", "CV")),
        ("RCM2_OK1_PK1_1_SC30M_20200119_123456_RH_RV_GRC.tif", 2, {}, (), ("RH", "RV")),
        ("grindelwald_CH_20200119.tif", 1, {}, (), ("",)),  # a country
    ],
)
def test_polarizations_come_from_bands_then_tags_then_the_name(
    tmp_path: Path,
    name: str,
    count: int,
    tags: dict[str, Any],
    descriptions: Any,
    expected: tuple[str, str, str] | tuple[str, str] | tuple[str],
):
    with SarScene.open(write(tmp_path / name, count, tags, descriptions=descriptions)) as scene:
        assert scene.polarizations == expected


def test_arguments_win(tmp_path: Path):
    path = write(
        tmp_path / GRD, 2, {"SENSOR": "Sentinel-1B", "ACQUISITION_DATE": "2021-01-04"}, descriptions=("VV", "VH")
    )
    with SarScene.open(path, polarizations="hh+HV", acquired=date(2020, 2, 3), sensor="Seasat") as scene:
        assert (scene.polarizations, scene.acquired, scene.sensor) == (("HH", "HV"), date(2020, 2, 3), "Seasat")
        assert scene.band_of("HV") == 2
        with pytest.raises(InputError, match="no band is 'VV'; found HH, HV"):
            scene.band_of("VV")


@pytest.mark.parametrize("told", ["VV", "VV+VH+HH", "VV+XX", ""])
def test_polarizations_told_are_one_a_band(tmp_path: Path, told: str):
    path = write(tmp_path / "scene.tif", 2)
    with pytest.raises(InputError, match=r"scene.tif: polarization: found '.*' for 2 bands; expected one a band"):
        SarScene.open(path, polarizations=told)


@given(st.dates(date(1978, 1, 1), date(2020, 12, 31)), st.sampled_from(["%Y-%m-%d", "%Y%m%d", "%Y:%m:%d", "%d-%b-%Y"]))
def test_dates_are_read_as_they_are_written(day: Any, written: str):
    assert parse_date(day.strftime(written)) == day
    assert parse_date(day.strftime(written + " 23:59:59.9")) == day


@given(st.text(max_size=20))
def test_no_text_breaks_the_parser(text: str):
    assert parse_date(text) is None or isinstance(parse_date(text), date)
