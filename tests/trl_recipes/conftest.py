from pathlib import Path

import pytest
from datasets import config as datasets_config
from transformers.utils import logging

from trl_recipes.small import model as small_model
from trl_recipes.small.sizes import MINI


@pytest.fixture(autouse=True)
def own_dataset_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")
    logging.disable_progress_bar()


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mini before training, for the tests of its making."""
    folder = tmp_path_factory.mktemp("mini")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_model, "CORPUS_SCENES", 60)
        small_model.build(MINI, folder, seed=0)
    return folder
