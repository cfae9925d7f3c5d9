"""The model card: metadata that the Hub reads, with the numbers that were measured, and a snippet that runs."""

import json

import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from fusargpt.checkpoints import NANO
from fusargpt.geo.image import read_image
from fusargpt.geo.prior import load_prior
from tests.pages import python_snippets
from tests.paths import ROOT

CARD = "modeling_fusargpt/README.md"
EXAMPLES = ROOT / "space_app" / "examples"


def results() -> list[EvalResult]:
    found = ModelCard.load(ROOT / CARD).data
    assert isinstance(found, ModelCardData)
    assert (found.license, found.library_name) == ("apache-2.0", "transformers")
    assert found.pipeline_tag == "image-text-to-text"
    assert found.model_name == "fusargpt-nano" and found.eval_results
    return found.eval_results


def test_scores_on_simulated_scenes_are_those_of_nanos_card() -> None:
    rows = [line.strip("|").split("|") for line in (NANO / "README.md").read_text().splitlines() if line[:1] == "|"]
    # task, metric, n, prior true, none, shuffled, trained without a prior, majority
    measured = {(row[0].strip(), row[1].strip()): row[3].split()[0] for row in rows if len(row) == 8}
    found = [result for result in results() if result.dataset_type == "fusargpt-simulator"]
    assert {result.task_name for result in found} == {"describe", "count", "localize", "classify", "detect"}
    for result in found:
        assert float(measured[str(result.task_name), result.metric_type]) == result.metric_value


def test_scores_on_ssdd_are_those_of_the_committed_results() -> None:
    scores = json.loads((ROOT / "benchmarks" / "results" / "ssdd" / "scores.json").read_text())["scores"]
    found = [result for result in results() if result.dataset_type == "ssdd"]
    assert len(found) > 4 and len(found) + 14 == len(results())
    for result in found:
        measured = scores[result.task_name][result.metric_type]["fusargpt-nano, prior none"]
        assert measured["n"] == 60 and round(100 * measured["value"], 1) == result.metric_value


def test_the_snippet_answers(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = python_snippets(CARD)
    prior = load_prior(EXAMPLES / "harbour.npz")
    image = read_image(EXAMPLES / "harbour.tif")
    given = {"embeddings": prior.embeddings, "positions": prior.positions, "image": image, "MODEL": str(NANO)}
    exec(snippet, given)
    assert capsys.readouterr().out.strip().isdigit()
