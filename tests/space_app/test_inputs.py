from pathlib import Path

import numpy as np
import pytest

from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior, save_prior
from fusargpt.geo.reading import Reading
from fusargpt.tasks.prompts import PROMPTS, TARGET_TASKS, prompt
from space_app.inputs import MAX_ANCHORS, MAX_QUESTION, Told, read_question, read_small_prior
from tests.tiny import random_prior


@pytest.mark.parametrize("task", PROMPTS)
def test_a_task_asks_its_own_question(task: str):
    assert read_question(task, "aircraft", "ignored") == prompt(task, "aircraft")


def test_a_target_can_be_chosen_where_the_question_names_one():
    assert {task for task in PROMPTS if prompt(task, "ship") != prompt(task, "aircraft")} == set(TARGET_TASKS)


def test_a_free_question_is_asked_as_it_is():
    assert read_question("free", "ship", " Is there a bridge? ") == "Is there a bridge?"


@pytest.mark.parametrize(("question", "message"), [("  ", "Write a question"), ("?" * (MAX_QUESTION + 1), "at most")])
def test_no_question_and_an_endless_one_are_refused(question: str, message: str):
    with pytest.raises(InputError, match=message):
        read_question("free", "ship", question)


@pytest.mark.parametrize(("task", "target"), [("guess", "ship"), ("count", "{whale}")])
def test_unknown_choices_raise(task: str, target: str):
    with pytest.raises(ValueError, match=r"expected (one of|the name of a class)"):
        read_question(task, target, "")


def test_a_prior_of_too_many_anchors_is_refused(tmp_path: Path):
    arrays = random_prior(1)
    count = MAX_ANCHORS + 1
    prior = Prior(np.repeat(arrays["prior_embeddings"], count, 0), np.repeat(arrays["prior_positions"], count, 0))
    save_prior(tmp_path / "prior.npz", prior)
    with pytest.raises(InputError, match="4,097 anchors; at most 4,096"):
        read_small_prior(str(tmp_path / "prior.npz"))


def test_what_is_told_of_a_file_is_read(tmp_path: Path):
    assert Told().reading() == Reading()
    told = Told(2, "power", " -9999", "EPSG:32611 ", 120, "VH")
    assert told.reading() == Reading(
        stored="power", nodata=-9999, crs="EPSG:32611", height_m=120, band=2, polarization="VH"
    )
    # The band's control shows 1 where none was chosen.
    assert Told(1, polarization="VH").reading() == Reading(polarization="VH")
    nodata = Told(nodata="none").reading().nodata
    assert nodata is not None and nodata != nodata
    for wrong, said in (
        (Told(1.5), "Band: found 1.5"),
        (Told(nodata="-"), "Nodata: found '-'; expected a number, or none"),
    ):
        with pytest.raises(InputError, match=said):
            wrong.reading()
