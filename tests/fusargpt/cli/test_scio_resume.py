"""A cleaning killed at any moment, and started again with the same command, ends in the same bytes."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fusargpt.cli.main import main
from fusargpt.scio import chunks, run
from fusargpt.scio import round as round_
from fusargpt.scio.judge import Judge
from tests.fusargpt.scio.cleaning import write_captions_with_errors
from tests.trl_recipes.klip.phases import klip_arguments, write_klip_base
from tests.trl_recipes.running.killing import at_call, run_until
from trl_recipes.klip.trainer import KlipTrainer

FIELDS = {
    "itm": 1.0,
    "mlm": 1.0,
    "frozen": "below_geography",
    "resume": True,
    "max_steps": 4,
    "save_strategy": "steps",
    "save_steps": 2,
    "save_total_limit": 1,
}
KILLS = [
    at_call(round_, "write_readme"),  # the first half's captions are written, but for their place
    at_call(KlipTrainer, "training_step", 4),  # in the first fit, behind a checkpoint
    at_call(KlipTrainer, "training_step", 3),  # in the second
    at_call(chunks, "output_file", 3),  # in screening
    at_call(Judge, "fill", 2),  # in reconstruction
    at_call(run, "write_page"),  # when all is written but the page
]


@pytest.mark.slow
def test_a_cleaning_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    write_klip_base(tmp_path)
    write_captions_with_errors(tmp_path / "data", 48)
    commands = {}
    for name in ("whole", "cut"):
        (recipe,) = klip_arguments(tmp_path, tmp_path / f"of the {name}", **FIELDS)
        run_of = ["--rounds", "1", "--min-auroc", "0.01", "--batch-rows", "8", "--precision", "0.3", "--device", "cpu"]
        commands[name] = ["scio", str(tmp_path / "data"), "--recipe", recipe, "--out", str(tmp_path / name), *run_of]
    recipes = [(tmp_path / f"of the {name}.json") for name in commands]
    recipes[1].write_bytes(recipes[0].read_bytes())
    _run(commands["whole"])
    for patch in KILLS:
        run_until(commands["cut"], patch, _run)
    _run(commands["cut"])
    written = [
        path.relative_to(tmp_path / "whole")
        for pattern in (
            "*",
            "captions/*",
            "rounds/*/*/screen/*",
            "rounds/*/*/reconstruct/*",
            "rounds/*/*/model/*.safetensors",
        )
        for path in (tmp_path / "whole").glob(pattern)
        if path.is_file()
    ]
    assert len(written) > 12
    for path in written:
        assert (tmp_path / "whole" / path).read_bytes() == (tmp_path / "cut" / path).read_bytes(), path


def _run(command: Sequence[str]) -> None:
    assert main(command) == 0
