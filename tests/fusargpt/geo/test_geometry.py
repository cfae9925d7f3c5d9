import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.earth import wrap_longitude
from fusargpt.geo.geometry import Geometry, crs_name
from fusargpt.geo.mapping import WGS84, project

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

WIDTH, HEIGHT = 400, 300
METRES_PER_DEGREE = 111_195


def affine(x: float, y: float, step: float, angle: float = 0, north_up: bool = True) -> Affine:
    """The origin, the pixel size and a rotation in degrees."""
    cosine, sine = step * np.cos(np.radians(angle)), step * np.sin(np.radians(angle))
    return Affine(cosine, sine, x, sine, -cosine, y) if north_up else Affine(cosine, -sine, x, sine, cosine, y)


def window(left: int, top: int, width: int, height: int) -> Window:
    return Window.from_slices((top, top + height), (left, left + width))


def random_pixels(seed: int = 0) -> np.ndarray:
    # Somewhat beyond the image as well.
    return np.random.default_rng(seed).uniform(-50, 450, (50, 2))


def write(path: Path, **georeference: Any) -> Path:
    rpcs, gcps = georeference.pop("rpcs", None), georeference.pop("gcps", None)
    with rasterio.open(
        path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=1, dtype="uint8", **georeference
    ) as dataset:
        if gcps is not None:
            dataset.gcps = gcps
        if rpcs is not None:
            dataset.rpcs = rpcs
    return path


def geometry_of(path: Path, **arguments: Any) -> Geometry | None:
    with rasterio.open(path) as dataset:
        return Geometry.of(dataset, **arguments)


utm = st.builds(
    lambda zone, south, x, y, step, angle, north_up: Geometry.from_affine(
        affine(x, y, step, angle, north_up), f"EPSG:32{7 if south else 6}{zone:02}", WIDTH, HEIGHT
    ),
    st.integers(1, 60),
    st.booleans(),
    st.floats(2e5, 8e5),
    st.floats(5e5, 9e6),
    st.floats(0.5, 100),
    st.floats(-180, 180),
    st.booleans(),
)
geographic = st.builds(
    lambda x, y, step, angle: Geometry.from_affine(affine(x, y, step, angle), "EPSG:4326", WIDTH, HEIGHT),
    # As archives count longitude: from -180 or from 0.
    st.floats(-180, 360),
    st.floats(-80, 80),
    st.floats(1e-5, 1e-2),
    st.floats(-180, 180),
)
polar = st.builds(
    lambda crs, x, y, step, angle: Geometry.from_affine(affine(x, y, step, angle), crs, WIDTH, HEIGHT),
    st.sampled_from(["EPSG:3413", "EPSG:3031"]),
    st.floats(-3e6, 3e6),
    st.floats(-3e6, 3e6),
    st.floats(1, 100),
    st.floats(-180, 180),
)


@settings(max_examples=40, deadline=None)
@given(st.one_of(utm, geographic, polar), st.integers(0, 2**32 - 1))
def test_pixels_are_found_again_from_where_they_lie_to_a_millionth(geometry: Any, seed: int):
    pixels = random_pixels(seed)
    lonlat = geometry.to_lonlat(pixels)
    assert (np.abs(lonlat) <= (180, 90)).all()
    np.testing.assert_allclose(geometry.to_pixel(lonlat), pixels, rtol=0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.one_of(utm, geographic, polar), st.integers(0, 2**32 - 1))
def test_every_pixel_of_a_window_lies_within_its_bounds(geometry: Any, seed: int):
    left, top = np.random.default_rng(seed).integers(0, 200, 2)
    part = window(int(left), int(top), 100, 80)
    west, south, east, north = geometry.bounds(part)
    assert -180 <= west < 180
    assert west < east <= west + 360
    inside = np.random.default_rng(seed).uniform((left, top), (left + 100, top + 80), (200, 2))
    longitude, latitude = geometry.to_lonlat(inside).T
    longitude = np.where(longitude < west - 1e-6, longitude + 360, longitude)
    # The outline is followed by points; the curve between two of them leaves the box by next to nothing.
    slack = 1e-4 * (north - south)
    assert longitude.min() >= west - slack * 10 and longitude.max() <= east + slack * 10
    assert latitude.min() >= south - slack and latitude.max() <= north + slack


def test_the_corner_and_the_centre_of_the_first_pixel_by_hand():
    geometry = Geometry.from_affine(affine(-118, 34, 0.001), "EPSG:4326", WIDTH, HEIGHT)
    np.testing.assert_allclose(
        geometry.to_lonlat(np.array([[0.0, 0.0], [0.5, 0.5]])), [[-118, 34], [-117.9995, 33.9995]]
    )
    assert geometry.bounds() == pytest.approx((-118, 33.7, -117.6, 34))
    assert geometry.bounds(window(100, 50, 10, 20)) == pytest.approx((-117.9, 33.93, -117.89, 33.95))


def test_a_rotated_image_has_the_bounds_of_its_four_corners():
    geometry = Geometry.from_affine(affine(400_000, 3_700_000, 10, 30), "EPSG:32611", WIDTH, HEIGHT)
    corners = geometry.to_lonlat(np.array([[0.0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]))
    west, south, east, north = geometry.bounds()
    np.testing.assert_allclose((west, south), corners.min(axis=0), atol=1e-6)
    np.testing.assert_allclose((east, north), corners.max(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("transform", "crs", "expected"),
    [
        (affine(500_000, 3_700_000, 20, 30), "EPSG:32611", 20 / 0.9996),  # a UTM zone is drawn smaller in its middle
        (affine(0, 0.15, 0.001), "EPSG:4326", 111.0),  # at the equator a degree is 111.3 km one way, 110.6 the other
        (affine(0, 60.15, 0.001), "EPSG:4326", 111.4 * 0.5**0.5),  # at 60 degrees north, half as wide
        (Affine(3, 0, 500_000, 0, -12, 0), "EPSG:32611", 6 / 0.9996),  # oblong: the area counts
        (affine(-6000, 4500, 30), "EPSG:3413", 30.9),  # at the pole itself, drawn smaller by 3 %
    ],
)
def test_resolution_is_in_metres_on_the_ground(transform: Affine, crs: str, expected: float):
    assert Geometry.from_affine(transform, crs, WIDTH, HEIGHT).resolution_m() == pytest.approx(expected, rel=3e-3)


@pytest.mark.parametrize(
    ("transform", "crs"),
    [(affine(179.8, 60, 0.001), "EPSG:4326"), (affine(655_000, 6_600_000, 60), "EPSG:32660")],
)
def test_bounds_across_the_antimeridian_run_on_beyond_180(transform: Affine, crs: str):
    geometry = Geometry.from_affine(transform, crs, WIDTH, HEIGHT)
    west, _, east, _ = geometry.bounds()
    assert 179 < west < 180 < east < 181
    beyond = np.array([[east - 0.01, 59.8]])
    wrapped = np.array([[wrap_longitude(east - 0.01), 59.8]])
    assert wrapped[0, 0] < -179
    np.testing.assert_allclose(geometry.to_pixel(wrapped), geometry.to_pixel(beyond), atol=1e-6)
    np.testing.assert_allclose(geometry.to_lonlat(geometry.to_pixel(beyond)), wrapped)


def test_a_scene_just_west_of_the_antimeridian_keeps_its_longitudes():
    geometry = Geometry.from_affine(affine(179, 60, 0.0025), "EPSG:4326", WIDTH, HEIGHT)
    west, _, east, _ = geometry.bounds()
    assert (west, east) == pytest.approx((179, 180))


def test_bounds_around_a_pole_are_the_cap_and_windows_beside_it_have_their_own():
    geometry = Geometry.from_affine(affine(-6000, 4500, 30), "EPSG:3413", WIDTH, HEIGHT)
    assert geometry.bounds() == pytest.approx((-180, 89.9308, 180, 90), abs=1e-4)
    south = Geometry.from_affine(affine(-6000, 4500, 30), "EPSG:3031", WIDTH, HEIGHT)
    assert south.bounds() == pytest.approx((-180, -90, 180, -89.9308), abs=1e-3)
    # The pole is the lower right corner of this quarter: a quarter of all longitudes, up to 90 degrees.
    west, south, east, north = geometry.bounds(window(0, 0, 200, 150))
    assert north == pytest.approx(90)
    assert east - west == pytest.approx(90, abs=1e-6)
    assert 89.9 < south < 90
    np.testing.assert_allclose(geometry.to_pixel(np.array([[12.0, 90.0]])), [[200, 150]], atol=1e-6)


def test_places_on_the_other_side_of_the_earth_have_no_pixel_and_cost_the_others_nothing():
    geometry = Geometry.from_affine(affine(400_000, 3_700_000, 10), "EPSG:32611", WIDTH, HEIGHT)
    place = geometry.to_lonlat(np.array([[10.0, 20.0]]))
    lonlat = np.concatenate([place, [[63, -33], [-27, 0], [np.nan, 0], [-118, 97]]])
    pixels = geometry.to_pixel(lonlat)
    np.testing.assert_allclose(pixels[0], [10, 20], atol=1e-6)
    assert np.isnan(pixels[1:]).all()


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:6933", "EPSG:3395"])
def test_projections_that_go_on_beyond_the_antimeridian_are_found_again(crs: str):
    edge = project(WGS84, crs, np.array([[179.999, 50.0]]))[0]
    geometry = Geometry.from_affine(affine(edge[0], edge[1], 40), crs, WIDTH, HEIGHT)
    pixels = random_pixels()
    lonlat = geometry.to_lonlat(pixels)
    assert (np.abs(lonlat[:, 0]) <= 180).all() and (lonlat[:, 0] < -179).any()
    np.testing.assert_allclose(geometry.to_pixel(lonlat), pixels, atol=1e-5)
    west, _, east, _ = geometry.bounds()
    assert 179 < west < 180 < east < 181


def test_a_datum_is_not_guessed_from_its_ellipsoid():
    # As alike as ED50 / UTM zone 32N is, which lies 120 m away.
    own = "+proj=utm +zone=32 +ellps=intl +units=m +no_defs"
    geometry = Geometry.from_affine(affine(4e5, 55e5, 10), CRS.from_string(own), WIDTH, HEIGHT)
    assert geometry.crs.startswith("PROJCS")
    expected = project(own, WGS84, np.array([[4e5, 55e5]]))
    np.testing.assert_allclose(geometry.to_lonlat(np.array([[0.0, 0.0]])), expected, atol=1e-9)
    for known in ("EPSG:32611", "OGC:CRS84", "EPSG:23032"):
        assert crs_name(known) == known
    assert crs_name(CRS.from_string("+proj=utm +zone=11 +datum=WGS84")) == "EPSG:32611"


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:1/crs",
        "https://spatialreference.org/ref/epsg/4326/",
        "/vsicurl/http://127.0.0.1:1/crs.prj",
        "/etc/passwd",
        "crs.prj",
        "ESRI::crs.prj",
        "+init=/etc/passwd:1",
        "+proj=longlat +nadgrids=http://127.0.0.1:1/grid",
        "EPSG:4326\nhttp://127.0.0.1:1/",
        "",
    ],
)
def test_a_crs_is_a_code_or_wkt_and_nothing_that_is_opened(text: str, monkeypatch: pytest.MonkeyPatch):
    # Without the class there is nothing to ask GDAL with.
    monkeypatch.delattr("fusargpt.geo.geometry.CRS")
    with pytest.raises(InputError, match="not a code or WKT; expected one as 'EPSG:32611'"):
        crs_name(text)


def test_codes_and_wkt_of_any_version_are_crs():
    known = CRS.from_epsg(32611)
    for text in (
        "EPSG:32611",
        " epsg:32611 ",
        "urn:ogc:def:crs:EPSG::32611",
        known.to_wkt(),
        known.to_wkt(version="WKT2_2019"),
    ):
        assert crs_name(text) == "EPSG:32611"
    assert crs_name("OGC:CRS84") == "OGC:CRS84" and crs_name("ESRI:54009") == "ESRI:54009"


def test_a_geometry_can_be_sent_to_another_process():
    geometry = Geometry.from_affine(affine(400_000, 3_700_000, 10), "EPSG:32611", WIDTH, HEIGHT)
    assert pickle.loads(pickle.dumps(geometry)) == geometry


def control_points(longitude: float, latitude: float, rows: int = 10, columns: int = 21) -> list[GroundControlPoint]:
    """As of a Sentinel-1 GRD: ground range along the rows and azimuth along the columns, turned and bent."""
    points = []
    for row in np.linspace(0, HEIGHT, rows):
        for column in np.linspace(0, WIDTH, columns):
            x, y = place_by_hand(column, row, longitude, latitude)
            points.append(GroundControlPoint(row=row, col=column, x=float(wrap_longitude(x)), y=y))
    return points


def place_by_hand(column: np.ndarray, row: np.ndarray, longitude: float, latitude: float):
    east = 100 * column - 20 * row + 0.02 * column**2
    south = 15 * column + 100 * row + 0.01 * column * row
    north = latitude - south / METRES_PER_DEGREE
    return longitude + east / METRES_PER_DEGREE / np.cos(np.radians(north)), north


@pytest.mark.parametrize(("longitude", "latitude"), [(10, 45), (179.8, -16), (-60, 84)])
def test_control_points_place_pixels_between_them(tmp_path: Path, longitude: float, latitude: int):
    points = control_points(longitude, latitude)
    geometry = geometry_of(write(tmp_path / "grd.tif", gcps=(points, "EPSG:4326")))
    assert geometry is not None
    assert (geometry.kind, geometry.crs) == ("gcps", "EPSG:4326")
    pixels = np.random.default_rng(0).uniform(0, (WIDTH, HEIGHT), (50, 2))
    lonlat = geometry.to_lonlat(pixels)
    np.testing.assert_allclose(geometry.to_pixel(lonlat), pixels, rtol=0, atol=1e-5)
    expected = np.stack(place_by_hand(pixels[:, 0], pixels[:, 1], longitude, latitude), axis=1)
    in_pixels = geometry.to_pixel(np.stack([wrap_longitude(expected[:, 0]), expected[:, 1]], axis=1))
    np.testing.assert_allclose(in_pixels, pixels, atol=0.05)
    assert geometry.resolution_m() == pytest.approx(105, rel=0.05)


def test_control_points_in_a_projection_are_as_good(tmp_path: Path):
    points = [
        GroundControlPoint(row=row, col=column, x=4e5 + 30 * column, y=37e5 - 30 * row)
        for row in (0, HEIGHT)
        for column in (0, WIDTH)
    ]
    geometry = geometry_of(write(tmp_path / "grd.tif", gcps=(points, "EPSG:32611")))
    assert geometry is not None
    same = Geometry.from_affine(affine(4e5, 37e5, 30), "EPSG:32611", WIDTH, HEIGHT)
    pixels = np.random.default_rng(0).uniform(0, (WIDTH, HEIGHT), (50, 2))
    np.testing.assert_allclose(geometry.to_pixel(same.to_lonlat(pixels)), pixels, atol=0.01)


def test_many_control_points_are_thinned_to_an_even_grid(tmp_path: Path):
    # GeoTIFF writes as many as fit its tag.
    points = control_points(10, 45, 25, 20)
    geometry = geometry_of(write(tmp_path / "grd.tif", gcps=(points, "EPSG:4326")))
    assert geometry is not None
    pixels = np.random.default_rng(0).uniform(0, (WIDTH, HEIGHT), (20, 2))
    expected = np.stack(place_by_hand(pixels[:, 0], pixels[:, 1], 10, 45), axis=1)
    np.testing.assert_allclose(geometry.to_pixel(expected), pixels, atol=0.05)


def polynomial(**terms: float) -> str:
    """Twenty coefficients, in the order 1, longitude, latitude, height, longitude * latitude, ..."""
    names = ["one", "lon", "lat", "height", "lon_lat"]
    return " ".join(str(value) for value in [terms.get(name, 0.0) for name in names] + [0.0] * 15)


def rpcs(longitude: float = 10) -> RPC:
    return RPC.from_gdal(
        {
            "HEIGHT_OFF": "120",
            "HEIGHT_SCALE": "500",
            "LAT_OFF": "45",
            "LAT_SCALE": "0.15",
            "LONG_OFF": str(longitude),
            "LONG_SCALE": "0.2",
            "LINE_OFF": "149.5",
            "LINE_SCALE": "150",
            "SAMP_OFF": "199.5",
            "SAMP_SCALE": "200",
            "LINE_NUM_COEFF": polynomial(lat=-1, lon=0.1, height=0.05, lon_lat=0.003),
            "LINE_DEN_COEFF": polynomial(one=1, lon=0.001),
            "SAMP_NUM_COEFF": polynomial(lon=1, lat=0.12, height=-0.25, lon_lat=0.004),
            "SAMP_DEN_COEFF": polynomial(one=1, lat=0.002),
        }
    )


@pytest.mark.parametrize("longitude", [10, 179.95])
def test_rpcs_place_pixels_at_the_middle_height(tmp_path: Path, longitude: float):
    geometry = geometry_of(write(tmp_path / "slc.tif", rpcs=rpcs(longitude)))
    assert geometry is not None
    assert (geometry.kind, geometry.crs) == ("rpcs", "EPSG:4326")
    # RPCs count from pixel centres: their offset (199.5, 149.5) is the middle of the image.
    np.testing.assert_allclose(geometry.to_pixel(np.array([[longitude, 45.0]])), [[200, 150]], atol=1e-9)
    pixels = np.random.default_rng(0).uniform(0, (WIDTH, HEIGHT), (50, 2))
    np.testing.assert_allclose(geometry.to_pixel(geometry.to_lonlat(pixels)), pixels, rtol=0, atol=1e-5)
    west, _, east, _ = geometry.bounds()
    assert west < longitude < east


def test_height_moves_places_of_rpcs(tmp_path: Path):
    path = write(tmp_path / "slc.tif", rpcs=rpcs())
    geometry = geometry_of(path, height_m=620)
    assert geometry is not None
    # One height scale above the middle: by the height terms a quarter and a twentieth of half the image.
    np.testing.assert_allclose(geometry.to_pixel(np.array([[10.0, 45.0]])), [[150, 157.5]], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SAMP_NUM_COEFF": polynomial()}, "RPCs that cannot be used"),
        ({"LAT_OFF": "95"}, "not on Earth|do not agree"),
    ],
)
def test_rpcs_that_place_nothing_are_refused(tmp_path: Path, change: dict[str, Any], message: str):
    path = write(tmp_path / "slc.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="RPC", **(rpcs().to_gdal() | change))
    with pytest.raises(InputError, match=message):
        geometry_of(path)


def test_rpcs_beside_the_image_that_are_not_whole_are_refused(tmp_path: Path):
    path = write(tmp_path / "slc.tif")
    (tmp_path / "slc.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="RPC"><MDI key="LINE_OFF">12 pixels</MDI></Metadata></PAMDataset>'
    )
    with pytest.raises(InputError, match="RPCs that cannot be read"):
        geometry_of(path)


def test_no_georeference_is_none(tmp_path: Path):
    assert geometry_of(write(tmp_path / "chip.tif")) is None


def test_the_crs_can_be_told_where_it_is_missing_or_wrong(tmp_path: Path):
    expected = Geometry.from_affine(affine(4e5, 37e5, 30), "EPSG:32611", WIDTH, HEIGHT)
    missing = write(tmp_path / "missing.tif", transform=affine(4e5, 37e5, 30))
    wrong = write(tmp_path / "wrong.tif", transform=affine(4e5, 37e5, 30), crs="EPSG:4326")
    for path in (missing, wrong):
        assert geometry_of(path, crs="EPSG:32611") == expected
        with pytest.raises(InputError):
            geometry_of(path)


@pytest.mark.parametrize(
    ("transform", "crs", "message"),
    [
        (affine(4e5, 37e5, 30), "EPSG:4326", r"pixel \(0, 0\) at longitude 400000, latitude 3.7e\+06 .* not on Earth"),
        (affine(-118, 34, 0.001), "EPSG:32611", "pixels of 0.001 m .* are these degrees, with a CRS in metres"),
        (affine(4e5, 37e5, 30), "EPSG:99999", "'EPSG:99999': not known"),
        (affine(4e5, 37e5, 30), "nowhere", "'nowhere': not a code or WKT"),
        (affine(4e5, 37e5, 30), 'LOCAL_CS["plan",UNIT["metre",1]]', "not on Earth"),
        (Affine(0, 0, 1, 0, 0, 1), "EPSG:4326", "expected finite numbers that span an area"),
        (Affine(np.nan, 0, 1, 0, 1, 1), "EPSG:4326", "expected finite numbers that span an area"),
    ],
)
def test_a_georeference_that_is_not_on_earth_is_refused(
    transform: Affine, crs: str, message: str, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(InputError, match=message) as caught:
        Geometry.from_affine(transform, crs, WIDTH, HEIGHT)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("points", "crs", "message"),
    [
        (control_points(10, 45)[:2], "EPSG:4326", "2 ground control points that span no area"),
        (control_points(10, 45)[:21], "EPSG:4326", "21 ground control points that span no area"),
        ([*control_points(10, 45), GroundControlPoint(50, 50, 10, 45)], "EPSG:4326", "not on Earth"),
        (
            [GroundControlPoint(0, i, 1e6, 2e6) for i in range(5)],
            "EPSG:4326",
            r"at \(1e\+06, 2e\+06\) of EPSG:4326: not on Earth",
        ),
    ],
)
def test_control_points_that_place_nothing_are_refused(tmp_path: Path, points: Any, crs: str, message: str):
    path = write(tmp_path / "grd.tif", gcps=(points, crs))
    with pytest.raises(InputError, match=message):
        geometry_of(path)


@pytest.mark.parametrize(
    ("georeference", "arguments", "message"),
    [
        ({}, {"crs": "EPSG:32611"}, "no transform, control points or RPCs"),
        ({}, {"height_m": 10.0}, "no RPCs"),
        ({"rpcs": rpcs()}, {"crs": "EPSG:32611"}, "in WGS84"),
        ({"transform": affine(10, 45, 0.001), "crs": "EPSG:4326"}, {"height_m": 10.0}, "an affine transform"),
        ({"gcps": (control_points(10, 45), "EPSG:4326")}, {"height_m": 10.0}, "ground control points"),
    ],
)
def test_arguments_without_use_are_refused(
    tmp_path: Path, georeference: dict[str, Any], arguments: dict[str, Any], message: str
):
    path = write(tmp_path / "scene.tif", **georeference)
    with pytest.raises(InputError, match=f"has no use|{message}"):
        geometry_of(path, **arguments)


def test_points_are_pairs():
    geometry = Geometry.from_affine(affine(10, 45, 0.001), "EPSG:4326", WIDTH, HEIGHT)
    with pytest.raises(InputError, match=r"shape \[2\]; expected \[N, 2\]"):
        geometry.to_pixel(np.array([10.0, 45.0]))
    assert geometry.to_pixel(np.empty((0, 2))).shape == (0, 2)
