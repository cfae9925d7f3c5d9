"""A part of the inputs of `python -m tests.fuzz`, some of each kind, with another seed than by hand."""

from importlib import import_module
from pathlib import Path

import pytest

from fusargpt.cli.main import VERBS
from tests.fuzz.campaign import run
from tests.fuzz.kinds import KINDS, commands
from tests.fuzz.material import Material

SEED = 14
EACH = 4
"""Inputs of a kind, and more of those that take milliseconds."""


def test_every_verb_is_tried(tmp_path: Path):
    used = "model klip pictures features harbour dataset field release released_backbone stage1 recipe"
    for name in used.split():
        (tmp_path / name).touch()
    assert set(commands(Material(tmp_path))) == set(VERBS)


@pytest.mark.slow
def test_no_input_ends_in_a_traceback_hangs_or_costs_others():
    inputs = [(name, number) for name, (weight, _) in KINDS.items() for number in range(max(EACH, weight))]
    found = [finding for _, _, finding in run(inputs, SEED) if finding is not None]
    assert not found, "\n".join(map(str, found))
    # Imported only now, if nothing else has: what is put in their place must not stay for the tests that follow.
    load, *others = (
        import_module(f"fusargpt.{name}").load
        for name in ("inference.loading", "scenes.ask_scene", "evaluation.answerers")
    )
    assert load.__module__ == "fusargpt.inference.loading" and others == [load, load]
