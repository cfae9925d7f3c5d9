"""What the card of a built dataset says, and the way of the dataset to the Hub."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import HfApi
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.embeddings import ATTRIBUTION
from fusargpt.triplets.build import Report, build
from fusargpt.triplets.card import build_of
from fusargpt.triplets.publish import push
from fusargpt.triplets.settings import BuildSettings
from tests.fusargpt.cli.hub_server import REPO, Hub, serve_hub
from tests.fusargpt.triplets.places import decibels, write_manifest, write_raster


def header(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_the_header_tells_datasets_what_is_there(built: Report) -> None:
    found = header(built.folder)
    assert found["pretty_name"] == "harbours" and found["license"] == "cc-by-4.0" and "alphaearth" in found["tags"]
    assert [config["config_name"] for config in found["configs"]] == ["captions", "instructions"]
    for config in found["configs"]:
        assert {item["split"] for item in config["data_files"]} == set(built.scenes)
        assert all(list(built.folder.glob(item["path"])) for item in config["data_files"])
        # By which load_dataset tells this build from others.
        assert config["description"] == build_of((built.folder / config["config_name"]).glob("*.parquet"))
    assert len({config["description"] for config in found["configs"]}) == 2


def test_a_build_is_known_by_what_its_shards_hold(tmp_path: Path) -> None:
    shards = [tmp_path / name for name in ("one.parquet", "other.parquet")]
    for shard in shards:
        pq.write_table(pa.table({"value": [1, 2]}), shard)
    first = build_of(shards)
    assert build_of(reversed(shards)) == first != build_of(shards[:1])
    pq.write_table(pa.table({"value": [1, 3]}), shards[1])
    assert build_of(shards) != first


def test_the_text_tells_people_what_is_there(built: Report) -> None:
    text = (built.folder / "README.md").read_text()
    # Six chips a scene, each described and asked four questions.
    for split in ("train", "validation", "test"):
        assert f"| {split} | 1 | 6 | 6 | 6 | 6 | 6 |\n" in text
    for expected in (ATTRIBUTION, "Sentinel-1A, VV: 90 rows", "acquired from 2021-06-01 to 2021-06-03", "chips: 18"):
        assert expected in text
    assert "licence of the scenes: cc-by-4.0 (3 scenes)" in text and "Chips of 112 pixels" in text


def test_its_pictures_show_places_and_chips(built: Report) -> None:
    with Image.open(built.folder / "map.png") as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=2**20)
    # Marks in the colours of the three splits, and land and sea of the surroundings.
    assert {(246, 241, 227), (230, 238, 244)} <= {colour for _, colour in colours or ()}
    assert {(37, 99, 168), (217, 123, 22), (179, 38, 58)} <= {colour for _, colour in colours or ()}
    with Image.open(built.folder / "contact_sheet.jpg") as sheet:
        # All eighteen in rows of eight.
        assert sheet.size == (8 * 116 - 4, 3 * 116 - 4)


def test_without_georeference_and_priors(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", decibels(1, 112, 112), None)
    rows = [{"scene": "a.tif", "boxes": [], "license": "On request", "split": "test"}]
    settings = BuildSettings(chip_size=0, missing_prior="empty")
    out = build(write_manifest(tmp_path / "m.jsonl", rows), tmp_path / "out", settings, workers=0, title="Sea").folder
    text, found = (out / "README.md").read_text(), header(out)
    assert found["license"] == "other" and "alphaearth" not in found["tags"] and found["pretty_name"] == "Sea"
    assert [item["split"] for item in found["configs"][0]["data_files"]] == ["test"]
    assert ATTRIBUTION not in text and "map.png" not in text and not (out / "map.png").exists()
    assert "Whether the splits share places is not known." in text and "share no place" not in text
    assert "licence of the scenes: On request" in text and "Every scene is one chip" in text


@pytest.fixture
def hub():
    with serve_hub() as hub:
        yield hub


def client(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.address, token="hf_test")


def test_a_dataset_is_uploaded_and_its_old_shards_go(built: Report, hub: Hub) -> None:
    hub.files["captions/train-00000-of-00009.parquet"] = b"old"
    hub.files["notes.md"] = b"theirs"
    address = push(built.folder, REPO, private=True, api=client(hub))
    assert address == f"{hub.address}/datasets/{REPO}/commit/1"
    assert [(item["organization"], item["name"], item["type"]) for item in hub.created] == [
        ("someone", "harbours", "dataset")
    ]
    assert hub.created[0]["visibility" if "visibility" in hub.created[0] else "private"] in (True, "private")
    expected = {"README.md", "build.json", "contact_sheet.jpg", "map.png", *built.shards}
    assert set(hub.files) == {*expected, "notes.md"}
    assert all(hub.files[name] == (built.folder / name).read_bytes() for name in expected)


def test_what_the_hub_refuses_is_said_in_one_line(built: Report, hub: Hub) -> None:
    hub.refuse = True
    with pytest.raises(InputError, match=r"someone/harbours: the Hub refuses or cannot be reached: .*401") as caught:
        push(built.folder, REPO, api=client(hub))
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(InputError, match="the Hub refuses or cannot be reached"):
        push(built.folder, "no such/name/at all", api=client(hub))


def nested_aliases() -> bytes:
    """A header of half a kilobyte, of which a reader of YAML makes 10 ** 20 items."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join(10 * [f'*a{n - 1}'])}]" for n in range(1, 21))]
    return "\n".join(["---", *lines, "configs: *a20", "---", ""]).encode()


def test_folders_that_are_not_ready(built: Report, tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(InputError, match=r"no README\.md; expected a folder that 'fusargpt triplets build' made"):
        push(tmp_path, REPO, api=client(hub))
    card = (built.folder / "README.md").read_text()
    (tmp_path / "README.md").write_text(card)
    with pytest.raises(InputError, match="the build has not finished"):
        push(tmp_path, REPO, api=client(hub))
    (tmp_path / "failures.jsonl").write_text("{}\n{}\n")
    with pytest.raises(InputError, match="scenes that failed: 2; build again, or push without them: partly"):
        push(tmp_path, REPO, api=client(hub))
    with pytest.raises(InputError, match=r"the card names captions/.*but there is no such file"):
        push(tmp_path, REPO, partly=True, api=client(hub))
    for wrong in (b"\xff", b"# Title\n", b"---\n: [\n---\n", b"---\nconfigs: [3]\n---\n", nested_aliases()):
        (tmp_path / "README.md").write_bytes(wrong)
        with pytest.raises(InputError, match=r"README\.md: no configs with data files in its YAML"):
            push(tmp_path, REPO, partly=True, api=client(hub))
    assert hub.created == []
