import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusargpt.errors import InputError
from fusargpt.geo.reading import Reading
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.stac import asset_of, is_item
from tests.fusargpt.geo.safe_products import STEM, write_product
from tests.fusargpt.geo.stac_items import ID, POWER, write_item


@pytest.fixture
def item(tmp_path: Path) -> Path:
    return write_item(tmp_path)


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def changed(item: Path, **changes: Any) -> Path:
    return write(item, json.loads(item.read_text()) | changes)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.mark.parametrize(("polarization", "taken", "factor"), [(None, "VV", 1), ("VV", "VV", 1), ("vh", "VH", 0.1)])
def test_the_asset_of_the_polarization_is_read(item: Path, polarization: str | None, taken: str, factor: float):
    with SarScene.open(item, Reading(polarization=polarization)) as scene:
        np.testing.assert_allclose(scene.read()[0], POWER * np.float32(factor))
        assert (scene.polarization, scene.sensor, scene.stored) == (taken, "Sentinel-1A", "power")
        assert str(scene.acquired) == "2023-06-28" and scene.calibrated
        assert scene.placed().crs == "EPSG:32633"


def test_an_item_on_a_server_names_assets_beside_it(item: Path, server: str, tmp_path: Path):
    (tmp_path / "items").mkdir()
    for number, url in enumerate((f"{server}/item.json", f"{server}/items/{ID}")):
        if number:
            changed(item).rename(tmp_path / "items" / ID)
        found = asset_of(url, "VH")
        assert is_item(url) and found.href == f"{url.rpartition('/')[0]}/iw-vh.rtc.tiff"


def test_assets_of_a_grd_product_are_calibrated_by_the_tables_beside_them(tmp_path: Path):
    digital = np.random.default_rng(0).integers(1, 400, (60, 60)).astype(np.uint16)
    folder = write_product(tmp_path, {"VV": digital})
    stem = STEM.format("vv", 1)
    assets = {
        "vv": {"href": f"{folder.name}/measurement/{stem}.tiff", "roles": ["data"]},
        "schema-calibration-vv": {"href": f"{folder.name}/annotation/calibration/calibration-{stem}.xml"},
        "schema-noise-vv": {"href": f"{folder.name}/annotation/calibration/noise-{stem}.xml"},
    }
    about = {"type": "Feature", "stac_version": "1.0.0", "properties": {"platform": "sentinel-1a"}}
    item = write(tmp_path / "grd.json", {**about, "collection": "sentinel-1-grd", "assets": assets})
    with SarScene.open(item) as scene, SarScene.open(folder) as product:
        np.testing.assert_array_equal(scene.read()[0], product.read()[0])
        assert scene.calibrated and scene.stored == "power"
    # Tables that are not to be had without an account leave digital numbers.
    assets["schema-noise-vv"]["href"] = "s3://sentinel-s1-l1c/noise.xml"
    write(item, {**about, "assets": assets})
    with SarScene.open(item) as scene:
        assert scene.stored == "amplitude" and not scene.calibrated


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"type": "FeatureCollection"}, "no STAC item: found 'FeatureCollection'"),
        ({"stac_version": 1}, "no STAC item"),
        ({"assets": []}, "assets: found list"),
        ({"assets": {}}, "no asset is a GeoTIFF of one polarization; found none"),
        ({"assets": {"vv": {"title": "x"}}}, "assets: vv: no href"),
        ({"assets": {"vh": {"href": "vh.tif"}}}, "no asset is 'VV'; found VH"),
        (
            {"assets": {"vv": {"href": "a.tif"}, "b": {"href": "b.tif", "sar:polarizations": ["VV"]}}},
            "two assets are images in VV",
        ),
        ({"assets": {"vv": {"href": "nowhere.tif"}}}, r"nowhere\.tif: no such file"),
        ({"assets": {"vv": {"href": "ftp://example.org/vv.tif"}}}, "expected a local file or an http, https, s3 or gs"),
    ],
)
def test_what_is_wrong_with_an_item_is_one_line(item: Path, changes: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said) as caught:
        SarScene.open(changed(item, **changes), Reading(polarization="VV"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", '{"a": NaN}', "[" * 100_000, "[]"])
def test_what_is_no_item_is_one_line(tmp_path: Path, content: str):
    path = tmp_path / "item.json"
    path.write_text(content)
    with pytest.raises(InputError, match="STAC item"):
        SarScene.open(path)


@pytest.mark.parametrize(
    ("href", "said"),
    [("file:///etc/passwd.tif", "another kind, file"), ("http://localhost:9/vv.tif", "private network")],
)
def test_an_item_on_a_server_names_nothing_of_this_machine(item: Path, server: str, href: str, said: str):
    changed(item, assets={"vv": {"href": href}})
    with pytest.raises(InputError, match=said):
        asset_of(f"{server}/item.json")


def test_a_file_that_is_not_there_names_its_address(server: str):
    with pytest.raises(InputError, match=r"/none\.json: cannot be read \(status 404\)"):
        asset_of(f"{server}/none.json")
