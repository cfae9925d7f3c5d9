"""Where a processor is no faster in bfloat16, `bf16_on_cpu: where_faster` computes in float32; a resumed run goes on as
begun."""

import json
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import pytest
import torch

from fusargpt.errors import InputError
from fusargpt.inference import devices
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes import sft
from trl_recipes.running.atomic_runs import checkpoints
from trl_recipes.running.precision import computes_in_bfloat16

FIELDS = {"train": "tlm", "bf16": True, "bf16_on_cpu": "where_faster", "resume": True}
SAVING = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}


def let_products_take(monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: Sequence[float]) -> None:
    """Timed products of float32 take that long, those of bfloat16 these times by turns."""
    turns = cycle(bfloat16)
    monkeypatch.setattr(devices, "product_seconds", lambda dtype: float32 if dtype == torch.float32 else next(turns))
    devices.is_faster_in_bfloat16.cache_clear()


@pytest.fixture(autouse=True)
def forgets_what_was_timed() -> Iterator[None]:
    yield
    devices.is_faster_in_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("bfloat16", "faster"),
    [
        pytest.param([6.6], False, id="converted"),
        pytest.param([1.1], False, id="as fast"),
        pytest.param([0.9], False, id="too little to gain by"),
        pytest.param([0.45], True, id="twice as fast"),
        pytest.param([3.0, 0.45], True, id="disturbed at times"),
        pytest.param([0.1, 0.9, 0.9, 0.9, 0.9, 0.9], False, id="the first is not counted"),
    ],
)
def test_products_tell_what_is_faster(bfloat16: list[float], faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    let_products_take(monkeypatch, 1.0, bfloat16)
    assert devices.is_faster_in_bfloat16() is faster


def test_a_product_takes_time() -> None:
    assert devices.product_seconds(torch.float32) > 0
    assert devices.product_seconds(torch.bfloat16) > 0


@pytest.mark.parametrize("faster", [False, True])
def test_a_run_computes_in_what_is_faster_and_goes_on_in_it(
    faster: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_base(tmp_path)
    write_triplets(tmp_path / "data")
    let_products_take(monkeypatch, 1.0, [0.4 if faster else 1.0])
    used: list[bool] = []
    train = sft._train  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(
        sft, "_train", lambda recipe, config, *others: (used.append(config.bf16), train(recipe, config, *others))
    )
    given = arguments(tmp_path, tmp_path / "out", **FIELDS, **SAVING)
    sft.main(given)
    assert used == [faster]
    assert computes_in_bfloat16(tmp_path / "out", resume=True) is faster
    # On another processor the checkpoints say how they go on, and a run that starts afresh takes what is there.
    let_products_take(monkeypatch, 1.0, [1.0 if faster else 0.4])
    assert computes_in_bfloat16(tmp_path / "out", resume=True) is faster
    assert computes_in_bfloat16(tmp_path / "out", resume=False) is not faster
    (tmp_path / "out" / checkpoints(tmp_path / "out")[-1].name / "trainer_state.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match="does not say in which type its run computes"):
        computes_in_bfloat16(tmp_path / "out", resume=True)
