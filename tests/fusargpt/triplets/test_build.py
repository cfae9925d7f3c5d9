"""From a manifest to shards: what is in them, and that their bytes depend on scenes and settings alone."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from datasets import load_dataset
from PIL import Image
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo import remote
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.sar_scene import SarScene
from fusargpt.triplets.build import Report, build
from fusargpt.triplets.manifest import read_manifest
from fusargpt.triplets.scene_files import open_scene
from fusargpt.triplets.scene_rows import Part, chips_of
from fusargpt.triplets.settings import BuildSettings
from fusargpt.triplets.splits import gap_km
from fusargpt.triplets.workers import Crash, run_all
from tests.fusargpt.alphaearth.range_server import serve
from tests.fusargpt.triplets.crashing import crash_on, raise_on
from tests.fusargpt.triplets.places import (
    CHIP,
    CORNERS,
    CRS,
    HEIGHT,
    WIDTH,
    YEAR,
    decibels,
    place_of,
    write_manifest,
    write_raster,
)


def settings(folder: Path, **changes: Any) -> BuildSettings:
    chosen: dict[str, Any] = {"aef": str(folder / "aef"), "chip_size": CHIP, **changes}
    return BuildSettings(**chosen)


def shards(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("[ci]*/*.parquet"))}


def rows_of(report: Report, config: str, cache: Path, streaming: bool = False) -> list[dict[str, Any]]:
    loaded: Any = load_dataset(str(report.folder), config, cache_dir=str(cache), streaming=streaming)
    return [row for split in loaded.values() for row in split]


@pytest.mark.parametrize("streaming", [False, True])
def test_both_configs_load(built: Report, streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    captions = rows_of(built, "captions", tmp_path, streaming)
    instructions = rows_of(built, "instructions", tmp_path, streaming)
    # 3 x 2 chips a scene; each asked to count, localize, detect and classify.
    assert (len(captions), len(instructions)) == (18, 72)
    assert len({row["id"] for row in captions + instructions}) == 90
    for row in captions + instructions:
        assert row["image"].size == (CHIP, CHIP) and row["image"].mode == "L"
        assert np.shape(row["prior_embeddings"]) == (64, 64)
        assert np.shape(row["prior_positions"]) == np.shape(row["prior_lonlat"]) == (64, 2)
        assert row["prompt"][0]["role"] == "user" and row["completion"][0]["role"] == "assistant"
    row = instructions[0]
    assert (row["year"], row["acquired"], row["sensor"], row["polarization"]) == (
        YEAR,
        f"{YEAR}-06-01",
        "Sentinel-1A",
        "VV",
    )
    assert row["resolution_m"] == pytest.approx(5, rel=0.01) and row["crs"] == "EPSG:4326"


def test_anchors_objects_and_land_cover_are_those_of_the_chip(built: Report, tmp_path: Path) -> None:
    captions = {row["id"]: row for row in rows_of(built, "captions", tmp_path)}
    instructions = {row["id"]: row for row in rows_of(built, "instructions", tmp_path)}
    # The middle chip of the three in a row: the field and the land cover change in the middle of the scene.
    middle = captions["scene1/x94y0/describe"]
    columns = np.array(middle["prior_positions"])[:, 1] * (CHIP - 1)
    right = dequantize(np.array(middle["prior_embeddings"], np.int8))[:, 1] > 0.5
    clear = np.abs(94 + columns + 0.5 - 150) > 4
    assert (right == (94 + columns + 0.5 > 150))[clear].all() and 10 < right.sum() < 54
    west, south, east, north = middle["bounds"]
    longitude, latitude = np.array(middle["prior_lonlat"]).T
    assert ((west < longitude) & (longitude < east) & (south < latitude) & (latitude < north)).all()
    assert "water (50%)" in middle["description"]["terrain"] and "built area (50%)" in middle["description"]["terrain"]
    assert middle["description"]["terrain"] in middle["completion"][0]["content"]
    assert middle["target_description"]["count"] == "no targets"
    corner = captions["scene1/x188y88/describe"]["target_description"]
    assert corner["category"] == "ship (tanker)" and corner["size"] == "100 to 150 m across"
    assert (corner["location"], corner["region"]) == ("in the centre", "built area")

    tanker = instructions["scene1/x188y88/detect-ship"]
    assert tanker["objects"] == [{"bbox_2d": [52, 62, 62, 82], "label": "ship", "fine_label": "tanker"}]
    assert json.loads(tanker["completion"][0]["content"]) == [{"bbox_2d": [52, 62, 62, 82], "label": "ship"}]
    grey = np.asarray(tanker["image"])
    assert grey[62:82, 52:62].min() == 255 and np.median(grey) < 200
    assert instructions["scene1/x94y0/count-ship"]["completion"][0]["content"] == "0"
    assert instructions["scene1/x94y0/classify"]["completion"][0]["content"] == "None"


def test_all_chips_of_a_scene_are_scaled_alike(built: Report, places: Path, tmp_path: Path) -> None:
    with SarScene.open(places / "scene2.tif") as scene:
        whole = scene.chip(Window.from_slices((0, HEIGHT), (0, WIDTH)), stretch=scene.stretch())
    for row in rows_of(built, "captions", tmp_path):
        if row["id"].startswith("scene2/"):
            x, y = map(int, row["id"].removeprefix("scene2/x").removesuffix("/describe").split("y"))
            np.testing.assert_array_equal(np.asarray(row["image"]), whole[y : y + CHIP, x : x + CHIP])


def test_the_splits_share_no_place(built: Report, tmp_path: Path) -> None:
    loaded: Any = load_dataset(str(built.folder), "captions", cache_dir=str(tmp_path))
    found = [(split, row["bounds"], row["id"].partition("/")[0]) for split, rows in loaded.items() for row in rows]
    assert {(scene, split) for split, _, scene in found} == {
        ("scene0", "train"),
        ("scene1", "validation"),
        ("scene2", "test"),
    }
    for split, bounds, _ in found:
        assert all(other == split or gap_km(tuple(bounds), tuple(box)) > 1 for other, box, _ in found)


@pytest.mark.slow
def test_interrupted_runs_and_any_number_of_processes_give_the_same_bytes(
    built: Report, places: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.fusargpt.triplets.crashing", places / "manifest.jsonl", places / "aef", out]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    assert killed.wait(300) == -signal.SIGKILL
    finished = list((out / ".parts").glob("*.json"))
    assert finished and not shards(out)
    _wait_until_gone(killed.pid)
    report = build(places / "manifest.jsonl", out, settings(places), workers=0)
    assert shards(out) == shards(built.folder) and report.shards == built.shards
    assert not (out / ".parts").exists()


def _wait_until_gone(group: int) -> None:
    """The processes of a killed build end by themselves."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("worker processes outlive the build that they belong to")


def test_finished_parts_are_not_built_again(places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def interrupted(function: Callable[..., Any], jobs: Any, workers: int):
        for job, result in run_all(function, jobs, 0):
            done.append(job.part.row.id)
            yield job, result
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(places / "manifest.jsonl", tmp_path / "out", settings(places), workers=0, run=interrupted)

    def counted(function: Callable[..., Any], jobs: Any, workers: int):
        for job, result in run_all(function, jobs, 0):
            done.append(job.part.row.id)
            yield job, result

    build(places / "manifest.jsonl", tmp_path / "out", settings(places), workers=0, run=counted)
    assert done == ["scene0", "scene1", "scene2"]


def test_a_finished_build_is_left_alone_and_another_one_replaces_it(places: Path, tmp_path: Path) -> None:
    manifest = write_manifest(places / "one.jsonl", [{"scene": "scene0.tif", "boxes": []}])
    out = tmp_path / "out"
    first = build(manifest, out, settings(places), workers=0)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert build(manifest, out, settings(places), workers=0) == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == times
    larger = build(manifest, out, settings(places, chip_size=168), workers=0)
    assert sum(larger.shards.values()) < sum(first.shards.values())
    assert set(shards(out)) == set(larger.shards)


def test_failing_scenes_are_named_and_cost_the_others_nothing(built: Report, places: Path, tmp_path: Path) -> None:
    good = [json.loads(line) for line in (places / "manifest.jsonl").read_text().splitlines()]
    for row in good:
        row |= {"scene": str(places / row["scene"]), "land_cover": str(places / row["land_cover"])}
    (tmp_path / "cut.tif").write_bytes((places / "scene0.tif").read_bytes()[:20000])
    blank = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    write_raster(tmp_path / "blank.tif", blank, CORNERS[0])
    write_raster(tmp_path / "early.tif", decibels(1), CORNERS[1], ACQUISITION_DATE="2015-03-09")
    write_raster(tmp_path / "undated.tif", decibels(1), CORNERS[1])
    write_raster(tmp_path / "far.tif", decibels(1), (100_000, 100_000), ACQUISITION_DATE=f"{YEAR}-01-01")
    write_raster(tmp_path / "nowhere.tif", decibels(1), None, ACQUISITION_DATE=f"{YEAR}-01-01")
    bad = [
        ({"scene": "absent.tif"}, "no such file"),
        ({"scene": "cut.tif", "year": YEAR}, "damaged"),
        ({"scene": "blank.tif", "year": YEAR}, "no .*data"),
        ({"scene": "early.tif"}, "year 2015: not in the AlphaEarth field"),
        ({"scene": "undated.tif"}, "the scene has no date; name one as acquired or year"),
        ({"scene": "far.tif"}, "no data of 2021 in the AlphaEarth field.* choose missing_prior empty"),
        ({"scene": "nowhere.tif"}, "the image has no georeference"),
        ({"scene": str(places / "scene1.tif"), "id": "x", "band": 3}, "no band 3; the file has 1"),
        ({"scene": str(places / "scene1.tif"), "id": "y", "boxes": [{"label": "ship"}]}, "boxes, object 1: expected"),
        ({"scene": str(places / "scene1.tif"), "id": "z", "land_cover": "absent.tif"}, r"absent\.tif: no such file"),
    ]
    rows = [row for row, _ in bad[:5]] + good + [row for row, _ in bad[5:]]
    manifest = write_manifest(tmp_path / "m.jsonl", rows)
    report = build(manifest, tmp_path / "out", settings(places), workers=0)
    assert shards(report.folder) == shards(built.folder)
    listed = [json.loads(line) for line in (report.folder / "failures.jsonl").read_text().splitlines()]
    assert [item["row"] for item in listed] == [1, 2, 3, 4, 5, 9, 10, 11, 12, 13]
    for failure, (row, reason) in zip(report.failures, bad, strict=True):
        assert str(failure).startswith(f"{manifest}, row {failure.row.number}: ")
        assert Path(str(row["scene"])).name in str(failure) and len(str(failure).splitlines()) == 1
        with pytest.raises(InputError, match=reason):
            raise InputError(str(failure))

    # When the scenes are repaired, or left out, nothing is listed any more.
    again = build(write_manifest(manifest, good), report.folder, settings(places), workers=0)
    assert again.failures == () and not (report.folder / "failures.jsonl").exists()
    assert shards(report.folder) == shards(built.folder)


def test_a_crashing_job_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # What builds import before the first job takes seconds, and these jobs need none of it.
    monkeypatch.setattr(ForkServerContext, "set_forkserver_preload", lambda *_: None)
    results = dict(run_all(partial(crash_on, culprit=3), range(6), 2))
    assert isinstance(results.pop(3), Crash)
    assert results == {0: 0, 1: 1, 2: 4, 4: 16, 5: 25}
    with pytest.raises(ValueError, match="number 1"):
        list(run_all(partial(raise_on, culprit=1), range(3), 1))


def one_part(manifest: Path, **changes: Any) -> list[Any]:
    """The chips of a manifest's first scene."""
    row = read_manifest(manifest)[0]
    fields: dict[str, Any] = {"missing_prior": "empty", "chip_size": CHIP, **changes}
    chosen = BuildSettings(**fields)
    with open_scene(row) as scene:
        last = 1 if chosen.chip_size == 0 else -(-scene.width // CHIP) * -(-scene.height // CHIP)
    return list(chips_of(Part(row, ("ship",), 0, last), chosen))


def test_chips_without_enough_data_are_left_out_and_counted(tmp_path: Path) -> None:
    values = decibels(3, 112, 448)
    values[:, 50:112] = np.nan  # 55 % of the first chip
    values[:, 112:160] = -9999  # 43 % of the second
    values[:, 224:336] = -20  # nothing to see in the third
    write_raster(tmp_path / "a.tif", values, CORNERS[0], nodata=-9999)
    manifest = write_manifest(tmp_path / "m.jsonl", [{"scene": "a.tif", "boxes": []}])
    chips = one_part(manifest)
    assert [bool(chip.instructions) for chip in chips] == [False, True, False, True]
    assert sum(chip.counts["chips without enough data"] for chip in chips) == 2
    assert [bool(chip.instructions) for chip in one_part(manifest, max_nodata=0.6)] == [True, True, False, True]


def test_what_the_raster_does_not_say_comes_from_the_manifest(places: Path, tmp_path: Path) -> None:
    values = decibels(3, 112, 224)
    values[:, :60] = -30
    with rasterio.open(
        tmp_path / "bare.tif",
        "w",
        driver="GTiff",
        width=224,
        height=112,
        count=1,
        dtype="float32",
        transform=place_of(CORNERS[0])["transform"],
    ) as file:
        file.write(values, 1)
    row = {"scene": "bare.tif", "crs": CRS, "nodata": -30, "acquired": f"{YEAR}-03-04"}
    row |= {"sensor": "ICEYE-X7", "polarization": "HH", "boxes": []}
    first, second = one_part(
        write_manifest(tmp_path / "m.jsonl", [row]), aef=str(places / "aef"), missing_prior="raise"
    )
    assert first.counts["chips without enough data"] == 1
    found = second.instructions[0]
    assert (found["sensor"], found["polarization"], found["acquired"]) == ("ICEYE-X7", "HH", f"{YEAR}-03-04")
    assert len(found["prior_positions"]) == 64 and found["bounds"][0] == pytest.approx(-118.07, abs=0.01)


def test_a_picture_has_no_georeference_to_tell(tmp_path: Path) -> None:
    Image.fromarray(np.arange(112 * 112, dtype=np.uint8).reshape(112, 112)).save(tmp_path / "a.png")
    for name, value in (("crs", CRS), ("nodata", 0), ("height_m", 3), ("stored", "power")):
        (row,) = read_manifest(write_manifest(tmp_path / "m.jsonl", [{"scene": "a.png", name: value}]))
        with pytest.raises(InputError, match=rf"a\.png: {name}: found .* for a .*; leave it out"):
            open_scene(row)


def test_zeros_of_amplitude_images_are_without_data(tmp_path: Path) -> None:
    values = (10 ** (decibels(3, 112, 224) / 20) * 1000).astype(np.uint16)
    values[:, :100] = 0
    write_raster(tmp_path / "a.tif", values, CORNERS[0])
    chips = one_part(write_manifest(tmp_path / "m.jsonl", [{"scene": "a.tif", "boxes": []}]))
    assert [chip.counts["chips"] for chip in chips] == [0, 1]


def test_scenes_are_read_in_windows_of_a_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raster(tmp_path / "a.tif", decibels(3, 448, 560), CORNERS[0])
    manifest = write_manifest(tmp_path / "m.jsonl", [{"scene": "a.tif", "boxes": []}])
    monkeypatch.setattr(SarScene, "stretch", lambda *_: None)
    monkeypatch.setattr(SarScene, "chip", lambda _, window, **__: np.zeros((window.height, window.width), np.uint8))
    read, sizes = SarScene.read, []

    def recorded(scene: SarScene, window: Window):
        sizes.append((window.width, window.height))
        return read(scene, window)

    monkeypatch.setattr(SarScene, "read", recorded)
    assert len(one_part(manifest)) == 20
    assert set(sizes) == {(CHIP, CHIP)}


def test_small_and_whole_scenes_are_resized_to_what_the_model_sees(tmp_path: Path) -> None:
    values = decibels(3, 100, 300)
    write_raster(tmp_path / "a.tif", values, None)
    boxes = [{"bbox_2d": [150, 50, 300, 100], "label": "ship"}]
    row = {"scene": "a.tif", "boxes": boxes, "caption": "Sea."}
    (chip,) = one_part(write_manifest(tmp_path / "m.jsonl", [row]), chip_size=0)
    objects = chip.instructions[0]["objects"]
    assert objects == [{"bbox_2d": [154, 56, 308, 112], "label": "ship", "fine_label": ""}]
    assert chip.instructions[0]["prior_positions"] == [] and chip.instructions[0]["bounds"] is None
    assert chip.captions[0]["completion"][0]["content"] == "Sea." and chip.captions[0]["description"] is None
    targets = chip.captions[0]["target_description"]
    assert targets["count"] == "one ship" and targets["feature"] == "boxes wider than high"
    # Nothing is known of the ground and its scale.
    assert (targets["size"], targets["region"], targets["environment"]) == (None, None, None)
    (squeezed,) = one_part(tmp_path / "m.jsonl", chip_size=0, image_size=168)
    assert squeezed.instructions[0]["objects"][0]["bbox_2d"] == [84, 84, 168, 168]
    # Smaller than a chip along one side only.
    three = one_part(tmp_path / "m.jsonl")
    assert [chip.counts["chips"] for chip in three] == [1, 1, 1]
    assert sum(chip.counts["captions not used"] for chip in three) == 3 and not any(chip.captions for chip in three)


def test_what_is_cut_is_neither_asked_nor_described(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", decibels(3, 112, 224), CORNERS[0])
    write_raster(tmp_path / "cover.tif", np.zeros((112, 224), np.uint8), CORNERS[0])
    boxes = [{"bbox_2d": [100, 10, 130, 20], "label": "ship"}]  # 12 of 30 columns in the first chip
    row = {"scene": "a.tif", "boxes": boxes, "land_cover": "cover.tif"}
    first, second = one_part(write_manifest(tmp_path / "m.jsonl", [row]))
    assert not first.instructions and not first.captions and first.counts["chips with cut objects"] == 1
    assert second.instructions[0]["objects"][0]["bbox_2d"] == [0, 10, 18, 20] and second.captions


def test_targets_are_described_where_they_were_annotated(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", decibels(3, 112, 112), CORNERS[0])
    write_raster(tmp_path / "cover.tif", np.zeros((112, 112), np.uint8), CORNERS[0])
    boxes = [{"bbox_2d": [100, 10, 130, 20], "label": "ship"}]  # 12 of 30 columns, all that there is
    for given, count in (({}, None), ({"boxes": []}, "no targets"), ({"boxes": boxes, "caption": "Sea."}, None)):
        row = {"scene": "a.tif", "land_cover": "cover.tif", **given}
        (chip,) = one_part(write_manifest(tmp_path / "m.jsonl", [row]))
        targets = chip.captions[0]["target_description"]
        assert (targets and targets["count"]) == count
    row = {"scene": "a.tif", "land_cover": "cover.tif", "boxes": [{**boxes[0], "bbox_2d": [20, 10, 50, 20]}]}
    (chip,) = one_part(write_manifest(tmp_path / "m.jsonl", [{**row, "caption": "Sea."}]))
    assert chip.captions[0]["description"] is None
    assert chip.captions[0]["target_description"]["region"] == "water"


def test_chips_without_objects_can_be_thinned_out(places: Path) -> None:
    chips = one_part(places / "manifest.jsonl", keep_empty=0.0)
    assert [bool(chip.instructions) for chip in chips] == [True, False, False, False, False, True]
    assert sum(chip.counts["chips without objects, left out"] for chip in chips) == 4


def test_the_band_of_a_polarization(tmp_path: Path) -> None:
    path = tmp_path / "dual.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=112, height=112, count=2, dtype="float32", **place_of(CORNERS[0])
    ) as file:
        file.write(np.stack([decibels(1, 112, 112), decibels(2, 112, 112)]))
        file.descriptions = ("VV", "VH")
    for row, expected in (
        ({}, (1, "VV")),
        ({"polarization": "VH"}, (2, "VH")),
        ({"band": 2}, (2, "VH")),
    ):
        (found,) = read_manifest(write_manifest(tmp_path / "m.jsonl", [{"scene": "dual.tif", **row}]))
        with open_scene(found) as scene:
            assert (scene.band, scene.polarization) == expected
    for row, message in (
        ({"polarization": "HH"}, "polarization: no band is 'HH'; found VV, VH"),
        ({"polarization": "VV", "band": 2}, "polarization: found 'VV'; band 2 of the file is VH"),
    ):
        (found,) = read_manifest(write_manifest(tmp_path / "m.jsonl", [{"scene": "dual.tif", **row}]))
        with pytest.raises(InputError, match=message):
            open_scene(found)


def test_folders_that_are_not_ours(places: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that no build of a dataset left there"):
        build(places / "manifest.jsonl", tmp_path, settings(places), workers=0)
    with pytest.raises(InputError, match="a file; expected a folder"):
        build(places / "manifest.jsonl", tmp_path / "notes.txt", settings(places), workers=0)
    with pytest.raises(InputError, match=r"notes\.txt.below: cannot be written .*; make room, or name another folder"):
        build(places / "manifest.jsonl", tmp_path / "notes.txt" / "below", settings(places), workers=0)


def test_a_full_disk_is_said_in_one_line_and_costs_no_part(
    built: Report, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"out: cannot be written .*No space left"):
        patch.setattr("fusargpt.triplets.build.write_shards", full)
        build(places / "manifest.jsonl", tmp_path / "out", settings(places), workers=0)

    def nothing_left(_: Any, jobs: Any, __: int) -> Iterator[Any]:
        assert list(jobs) == []
        return iter(())

    report = build(places / "manifest.jsonl", tmp_path / "out", settings(places), workers=0, run=nothing_left)
    assert shards(report.folder) == shards(built.folder)


def test_keys_in_addresses_are_not_shown(places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(remote.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", "0")
    rows = [{"scene": "http://127.0.0.1:9/a.tif?key=secret"}]
    out = tmp_path / "out"
    (failure,) = build(write_manifest(tmp_path / "m.jsonl", rows), out, settings(places), workers=0).failures
    assert "http://127.0.0.1:9/a.tif: cannot be read" in str(failure)
    assert "secret" not in str(failure) + (out / "failures.jsonl").read_text()


def test_a_renewed_signature_builds_nothing_again(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = (places / "manifest.jsonl").read_text().splitlines()
    row = {**json.loads(first), "land_cover": str(places / "cover0.tif")}
    out = tmp_path / "out"
    with serve(places) as server:

        def built_with(signature: str) -> Report:
            signed = {**row, "scene": f"{server.url}/scene0.tif?X-Amz-Signature={signature}"}
            return build(write_manifest(tmp_path / "m.jsonl", [signed]), out, settings(places), workers=0)

        with monkeypatch.context() as patch:
            patch.setattr("fusargpt.triplets.build._write_shards", stopped)
            with pytest.raises(KeyboardInterrupt):
                built_with("first")
        done = {path.name: path.stat().st_mtime_ns for path in (out / ".parts").glob("*.json")}
        assert done
        monkeypatch.setattr("fusargpt.triplets.build.do_job", stopped)
        assert built_with("second").shards
        kept = shards(out)
        # Finished, and left alone with the next one.
        monkeypatch.setattr("fusargpt.triplets.build._run", stopped)
        built_with("third")
        assert shards(out) == kept
    assert "second" not in (out / "build.json").read_text() + (out / "README.md").read_text()


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_scenes_were_read_as_is_told_once_for_each_kind(built: Report) -> None:
    kinds = built.kinds
    assert sum(count for _, count in kinds) == sum(built.scenes.values())
    assert len({kind for kind, _ in kinds}) == len(kinds) < sum(built.scenes.values())
    assert all(" read as " in kind and "black at" not in kind for kind, _ in kinds)


def test_two_builds_in_one_folder(places: Path, tmp_path: Path) -> None:
    def second(*_: Any):
        with pytest.raises(InputError, match=r"out: another run is at work on it \(process \d+ on .*\); wait"):
            build(places / "manifest.jsonl", tmp_path / "out", settings(places), workers=0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(places / "manifest.jsonl", tmp_path / "out", settings(places), workers=0, run=second)


def test_a_field_that_is_not_there_is_said_at_once(places: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.*aef_index\.parquet"):
        build(places / "manifest.jsonl", tmp_path / "out", settings(places, aef=str(tmp_path / "nowhere")), workers=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chip_size": 10}, "chip-size: found 10; expected 0, or 28 to 4096 pixels"),
        ({"overlap": 112}, "overlap: found 112"),
        ({"chip_size": 0, "overlap": 4}, "overlap: found 4; expected 0 where every scene is one chip"),
        ({"max_nodata": 1.0}, "max-nodata"),
        ({"min_visible": 0.0}, "min-visible"),
        ({"anchors": None}, "anchors and anchor-spacing: expected one of them"),
        ({"aef": None}, r"no AlphaEarth root; give one with aef \(--aef\)"),
        ({"shares": (0.5, 0.1, 0.1)}, "split-shares"),
        ({"targets": ("None",)}, "targets: found 'None'; expected the name of a class"),
        ({"targets": ("ship", "Ship")}, "found 'ship' and 'Ship', which are one class in answers"),
        ({"targets": ("ship",), "labels": (("Boat", "vessel"),)}, "label Boat=vessel: expected one of ship, ignore"),
        ({"labels": (("Boat", "a, b"),)}, "label Boat=a, b: found 'a, b'; expected the name of a class"),
        ({"labels": (("Jet", "ship"), ("Jet", "aircraft"))}, "label: found Jet=ship; expected one class for Jet"),
        ({"image_size": 100}, "image-size: found 100; expected a multiple of 28"),
        ({"min_pixels": 5000, "max_pixels": 4000}, "min-pixels"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(Path("x"), **changes)
