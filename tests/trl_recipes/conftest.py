import pytest
from datasets import config as datasets_config
from transformers.utils import logging


@pytest.fixture(autouse=True)
def own_dataset_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")
    logging.disable_progress_bar()
