"""Places and the dataset that is built from them, made once for the tests that only look at it."""

from pathlib import Path

import pytest

from fusargpt.triplets.build import Report, build
from fusargpt.triplets.settings import BuildSettings
from tests.fusargpt.triplets.places import CHIP, write_places


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    write_places(folder)
    return folder


@pytest.fixture(scope="session")
def built(places: Path) -> Report:
    settings = BuildSettings(aef=str(places / "aef"), chip_size=CHIP)
    return build(places / "manifest.jsonl", places / "harbours", settings, workers=0)
