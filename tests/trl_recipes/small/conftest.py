"""Mini before training, for the tests of its making."""

from pathlib import Path

import pytest

from trl_recipes.small import model as small_model
from trl_recipes.small.sizes import MINI


@pytest.fixture(scope="package")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_model, "CORPUS_SCENES", 60)
        small_model.build(MINI, folder, seed=0)
    return folder
