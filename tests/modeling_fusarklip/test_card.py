"""The model card: metadata that the Hub reads, no number that was not measured, and a snippet that runs."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData

from tests.modeling_fusarklip.tiny_klip import pictures, tiny_klip, tiny_klip_processor
from tests.pages import python_snippets, text
from tests.paths import ROOT
from tests.tiny import random_prior

CARD = "modeling_fusarklip/README.md"


def test_the_hub_reads_the_card():
    found = ModelCard.load(ROOT / CARD).data
    assert isinstance(found, ModelCardData)
    assert (found.license, found.library_name) == ("apache-2.0", "transformers")
    assert found.pipeline_tag == "zero-shot-image-classification"
    assert not found.eval_results


def test_every_file_is_in_its_table():
    files = {path.name for path in (ROOT / CARD).parent.glob("*.py")} - {"__init__.py", "transformers_release.py"}
    assert all(f"`{name}`" in text(CARD) for name in files)


def test_the_snippet_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tiny_klip().save_pretrained(tmp_path)
    tiny_klip_processor().save_pretrained(tmp_path)
    (snippet,) = python_snippets(CARD)
    prior = random_prior(4)
    given = {"MODEL": str(tmp_path), "image": pictures(1)[0]}
    given |= {"embeddings": prior["prior_embeddings"], "positions": prior["prior_positions"]}
    exec(snippet, given)
    assert capsys.readouterr().out.strip() in ("two ships in the north", "forest, no roads")
