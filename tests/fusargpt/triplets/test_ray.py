"""The same dataset from a Ray cluster."""

from pathlib import Path

import pytest

from fusargpt.triplets.build import Report, build
from fusargpt.triplets.settings import BuildSettings
from tests.fusargpt.triplets.places import CHIP, write_manifest

pytestmark = pytest.mark.slow


# Ray announces its own future changes; a test cannot act on them.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")
def test_ray_writes_the_same_shards(built: Report, places: Path, tmp_path: Path, ray_cluster: None) -> None:
    from fusargpt.triplets.ray_build import run_on_ray

    manifest = places / "manifest.jsonl"
    bad = write_manifest(places / "ray.jsonl", [])
    bad.write_text(manifest.read_text() + '{"scene": "scene0.tif", "id": "x", "boxes": [{"label": "ship"}]}\n')
    report = build(bad, tmp_path / "out", BuildSettings(aef=str(places / "aef"), chip_size=CHIP), run=run_on_ray)
    assert report.shards == built.shards
    assert all((report.folder / name).read_bytes() == (built.folder / name).read_bytes() for name in built.shards)
    assert [failure.row.number for failure in report.failures] == [4]
