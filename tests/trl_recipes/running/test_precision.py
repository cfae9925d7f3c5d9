"""Without matrix units for bfloat16, `bf16_on_cpu: with_units` computes in float32; a resumed run goes on as begun."""

import json
from pathlib import Path

import pytest
import torch

from fusargpt.errors import InputError
from fusargpt.inference.devices import has_bfloat16_units
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes import sft
from trl_recipes.running.atomic_runs import checkpoints
from trl_recipes.running.precision import computes_in_bfloat16

FIELDS = {"train": "tlm", "bf16": True, "bf16_on_cpu": "with_units", "resume": True}
SAVING = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}


@pytest.mark.parametrize(
    ("found", "units"),
    [
        ({"avx2": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, False),
        ({"avx512_bf16": True, "amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
    ],
)
def test_units_are_those_of_the_processor(found: dict[str, bool], units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_bfloat16_units() is units


@pytest.mark.parametrize("units", [False, True])
def test_a_run_computes_in_what_the_processor_has_and_goes_on_in_it(
    units: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_base(tmp_path)
    write_triplets(tmp_path / "data")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units})
    used: list[bool] = []
    train = sft._train  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(
        sft, "_train", lambda recipe, config, *others: (used.append(config.bf16), train(recipe, config, *others))
    )
    given = arguments(tmp_path, tmp_path / "out", **FIELDS, **SAVING)
    sft.main(given)
    assert used == [units]
    assert computes_in_bfloat16(tmp_path / "out", resume=True) is units
    # On another processor the checkpoints say how they go on, and a run that starts afresh takes what is there.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not units})
    assert computes_in_bfloat16(tmp_path / "out", resume=True) is units
    assert computes_in_bfloat16(tmp_path / "out", resume=False) is not units
    (tmp_path / "out" / checkpoints(tmp_path / "out")[-1].name / "trainer_state.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match="does not say in which type its run computes"):
        computes_in_bfloat16(tmp_path / "out", resume=True)
