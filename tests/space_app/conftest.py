"""One tiny model and one server for all tests of the page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fusargpt.inference.predict import FusarGpt
from space_app import launch
from space_app.demo import Demo
from space_app.fields import EXAMPLES, SIMULATED, open_fields
from space_app.interface import build
from space_app.limits import Scratch, Visitors
from space_app.scene_search import SceneSearch
from tests.fusargpt.embedding.bright import bright_embedder
from tests.paths import ROOT
from tests.tiny import stir_tlm, tiny_model, tiny_processor

MAX_NEW_TOKENS = 8
UPLOAD_LIMIT = 2**20
VISITOR_LIMIT = 20  # all tests are one visitor


@pytest.fixture(scope="session")
def predictor() -> FusarGpt:
    model = tiny_model()
    stir_tlm(model)
    return FusarGpt(model, tiny_processor())


@pytest.fixture(scope="session")
def demo(predictor: FusarGpt) -> Demo:
    fields = open_fields({SIMULATED: str(EXAMPLES / "aef")})
    visitors = Visitors(VISITOR_LIMIT)
    search = SceneSearch(bright_embedder()[0])
    return Demo(predictor, "tiny", fields, MAX_NEW_TOKENS, scratch=Scratch(), visitors=visitors, scene_search=search)


@pytest.fixture(scope="session")
def address(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with a small upload limit, ending in /."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        patch.setattr(launch, "MAX_UPLOAD_BYTES", UPLOAD_LIMIT)
        page = build(demo)
        yield launch.launch(page, wait=False)
        page.close()


@pytest.fixture
def image() -> str:
    return str(EXAMPLES / "harbour.tif")


@pytest.fixture
def prior() -> str:
    return str(EXAMPLES / "harbour.npz")


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where the browser tests leave pictures of what they saw."""
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
