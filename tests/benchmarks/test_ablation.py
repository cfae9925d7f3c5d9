"""The ablation's cells, their recipes, and what is said of results."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.ablation import run
from benchmarks.ablation.cells import CELLS, FUSIONS, SEEDS, Cell
from benchmarks.ablation.report import METRICS, draw, report
from fusargpt.checkpoints import NANO_BACKBONE
from fusargpt.errors import InputError
from fusargpt.geo.blank import BLANK
from modeling_fusargpt import FusarGptForConditionalGeneration
from tests.answering import by_batches
from trl_recipes.arguments import parse
from trl_recipes.model.checkpoint import load_model

REFERENCES = {
    "describe": ["Mostly water, with crops in the upper left."] * 4,
    "count": ["1", "2", "3", "4"],
    "localize": ["1", "2, 3", "None", "5"],
    "classify": ["ship", "None", "aircraft", "ship"],
    "detect": ['[{"bbox_2d": [10, 10, 20, 20], "label": "ship"}]'] * 4,
}
WRONG = {"describe": "Snow.", "count": "9", "localize": "9", "classify": "None of them", "detect": "None"}


def write_result(results: Path, cell: Cell, right: int) -> None:
    """A cell that answers the first `right` scenes of every task as they are, with any prior."""
    answers = {
        task: {
            "reference": references,
            **dict.fromkeys(run.PRIORS, references[:right] + [WRONG[task]] * (len(references) - right)),
        }
        for task, references in REFERENCES.items()
    }
    run.write(run.result_path(results, cell), {"cell": vars(cell), "scenes": 4, "answers": answers})


def test_every_fusion_and_the_single_stage_have_the_same_seeds():
    for variant in (*FUSIONS, "one-stage"):
        assert [cell.seed for cell in CELLS.values() if cell.variant == variant] == list(SEEDS)


def test_the_two_stages_take_as_many_steps_as_the_single_one():
    steps = {
        name: parse([str(run.RECIPES / f"{name}.yaml")])[1].max_steps for name in ("stage1", "stage2", "one_stage")
    }
    assert steps["stage1"] + steps["stage2"] == steps["one_stage"]


def test_recipes_differ_in_nothing_but_what_is_compared():
    recipes = [yaml.safe_load((run.RECIPES / f"{name}.yaml").read_text()) for name in ("stage1", "stage2", "one_stage")]
    different = {key for recipe in recipes for key in recipe if any(recipe[key] != other.get(key) for other in recipes)}
    about_data = {"dataset_name", "pairs_per_sequence", "earlier_answers"}
    assert different == {"model_name_or_path", "output_dir", "train", "max_steps"} | about_data


@pytest.mark.parametrize("cell", [Cell("concat", 1, fusion="concat"), Cell("sigma-4", 0, sigma=4.0)])
def test_a_cell_starts_as_the_backbone_with_a_fusion_of_its_own(cell: Cell, tmp_path: Path):
    backbone = load_model(str(NANO_BACKBONE))
    start = FusarGptForConditionalGeneration.from_pretrained(run.make_initial(cell, NANO_BACKBONE, tmp_path / "start"))
    assert (start.model.tlm.config.fusion, start.model.tlm.config.sigma) == (cell.fusion, cell.sigma)
    weights = backbone.state_dict()
    assert all((value == weights[name]).all() for name, value in start.state_dict().items() if ".tlm." not in name)


def test_a_report_pools_seeds_and_compares_over_those_that_are_shared(tmp_path: Path):
    for name, right in {"tlm-0": 4, "tlm-1": 2, "none-0": 0}.items():
        write_result(tmp_path, CELLS[name], right)
    text = report(tmp_path)
    assert "3 of 20 cells are done." in text
    scores = next(line for line in text.splitlines() if line.startswith("| tlm | 2 | true |"))
    assert scores.split("|")[5].split()[0] == "75.0"  # counts: all of one seed, half of the other
    difference = next(line for line in text.splitlines() if line.startswith("| none | 0 |"))
    assert difference.split("|")[4].split()[0] == "100.0"
    assert len(difference.split("|")) == 4 + len(METRICS)
    assert "| tlm | 8 | 6 | 0 | 0 | 2 |" in text  # of two seeds, "9" instead of 3 and 4
    draw(tmp_path, tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 0


def test_a_report_says_what_each_prior_at_test_costs_where_it_was_asked(tmp_path: Path):
    for name in ("tlm-0", "sum-0", "none-0"):
        write_result(tmp_path, CELLS[name], 4)
    path = run.result_path(tmp_path, CELLS["tlm-0"])
    found = run.read(path)
    found["answers"]["count"]["blind"] = ["9"] * 4
    run.write(path, found)
    older = run.result_path(tmp_path, CELLS["sum-0"])
    found = run.read(older)
    for of_task in found["answers"].values():
        del of_task["blind"]
    run.write(older, found)
    text = report(tmp_path)
    costs = [line.split("|")[5].split()[0] for line in text.splitlines() if line.startswith("| tlm | 1 | blind |")]
    assert costs == ["0.0", "100.0"]  # the score, and true minus it
    assert "| sum | 1 | shuffled |" in text and "| sum | 1 | blind |" not in text
    assert "| none | 1 | blind |" not in text
    draw(tmp_path, tmp_path / "scores.png")


def test_results_about_other_numbers_of_scenes_do_not_mix(tmp_path: Path):
    cell = CELLS["tlm-0"]
    write_result(tmp_path, cell, 4)
    run.run_cell(cell, NANO_BACKBONE, tmp_path / "build", tmp_path, scenes=4)  # is there, and so nothing is done
    assert not (tmp_path / "build").exists()
    with pytest.raises(InputError, match="answers about 4 scenes, expected 5"):
        run.run_cell(cell, NANO_BACKBONE, tmp_path / "build", tmp_path, scenes=5)


class Oracle:
    """Answers every question with the image's mean and the number of anchors, but for one, at which it stumbles."""

    def __init__(self) -> None:
        self.stumbles_at: int | None = 7
        self.asked = 0

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        return image.size

    @by_batches
    def in_turn(self, images: Any, questions: Any, priors: Any, *_: Any) -> list[str]:
        if len(images) > 1 or self.asked == self.stumbles_at:
            self.asked += len(images) == 1
            raise RuntimeError("no")
        self.asked += 1
        (image,), (question,), (prior,) = images, questions, priors
        return [f"{question} {np.asarray(image).mean():.4f} {0 if prior is None else prior.embeddings.sum():.4f}"]


def test_a_question_that_fails_costs_no_other_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    oracle = Oracle()
    monkeypatch.setattr(run, "load", lambda model: oracle)
    cell = CELLS["tlm-0"]
    with pytest.raises(InputError, match=r"tlm-0, prior true: 1 questions without an answer; .*: no"):
        run.ask(cell, tmp_path, 3, tmp_path / "answers")
    assert oracle.asked == 15
    oracle.stumbles_at = None
    answers = run.ask(cell, tmp_path, 3, tmp_path / "answers")
    assert oracle.asked == 15 + 1 + 3 * 15
    described = answers["describe"]
    assert set(described) == {"reference", *run.PRIORS} and all(len(texts) == 3 for texts in described.values())
    own, other = (described[setting] for setting in ("true", "shuffled"))
    # Every scene has the prior of the next one.
    assert [text.split()[-1] for text in other] == [text.split()[-1] for text in own[1:] + own[:1]]
    assert [text.split()[-1] for text in described["none"]] == ["0.0000"] * 3
    # Blind: the scene's own prior, and nothing to see.
    assert [text.split()[-1] for text in described["blind"]] == [text.split()[-1] for text in own]
    assert {text.split()[-2] for text in described["blind"]} == {f"{BLANK:.4f}"}
    assert f"{BLANK:.4f}" not in {text.split()[-2] for text in own}
