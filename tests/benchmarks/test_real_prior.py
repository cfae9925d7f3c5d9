"""Scenes of points, what is held out, the closed form, and what is said of results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.ablation import run as ablation
from benchmarks.aef_probe import Points
from benchmarks.real_prior import __main__ as command
from benchmarks.real_prior import readout, run
from benchmarks.real_prior.cells import SIGMA, VARIANTS, Cell, grid
from benchmarks.real_prior.reference import reference
from benchmarks.real_prior.regions import BLOCK_DEGREES, BLOCKS, Region, Split, read_region, split, strips
from benchmarks.real_prior.report import read_results as read
from benchmarks.real_prior.report import report, tally, verdict, write_reference, write_report
from benchmarks.real_prior.run import Effort, run_cell, shown
from benchmarks.real_prior.scenes import (
    DESCRIBE,
    SIDES,
    TASKS,
    Ground,
    compose,
    following,
    training_scenes,
)
from benchmarks.real_prior.scenes import (
    test_scenes as asked_scenes,
)
from fusargpt.checkpoints import NANO_BACKBONE
from fusargpt.errors import InputError
from fusargpt.geo.blank import blank
from fusargpt.simulator.rendering import DISPLAY_DB
from modeling_fusargpt import FusarGptConfig, FusarGptProcessor, TlmConfig
from modeling_fusargpt.processing_fusargpt import batch_priors
from modeling_fusargpt.tlm import gaussian_alignment
from tests.benchmarks.made_regions import write_region

NAMES = ("coast", "fields", "city")
ARMS_READ = (("tlm", "true"), ("none", "none"))
EFFORT = Effort(training=32, steps=(1, 1), scenes=16)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("points")
    return [write_region(folder / f"{name}.csv", name, seed=seed) for seed, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def regions(files: list[Path]) -> list[Region]:
    return [read_region(path) for path in files]


def places(parts: Sequence[Region]) -> set[tuple[float, float]]:
    return {tuple(place) for region in parts for place in region.lonlat.tolist()}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("longitude", None, "no column longitude"),
        ("region", None, "no column region"),
        ("latitude", 91.0, "not on Earth"),
        ("region", "elsewhere", "column region: found coast, elsewhere"),
        ("dw_label", 1, "found 0 points of water among 180"),
    ],
)
def test_files_that_are_wrong(files: list[Path], tmp_path: Path, column: str, value: Any, message: str) -> None:
    frame = pd.read_csv(files[0])
    if value is None:
        frame = frame.drop(columns=column)
    elif column == "dw_label":
        frame[column] = value
    else:
        frame.loc[3, column] = value
    frame.to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(InputError, match=rf"points\.csv: .*{message}"):
        read_region(tmp_path / "points.csv")


def test_a_region_is_held_out_whole_and_validation_leaves_it_alone(regions: list[Region]) -> None:
    whole, validation = split(regions, "coast"), split(regions, "coast", validate=True)
    assert [region.name for region in whole.test] == ["coast"] and places(whole.test) == places(regions[:1])
    assert places(whole.train) == places(regions[1:])
    assert places(validation.train) | places(validation.test) == places(regions[1:])
    with pytest.raises(InputError, match=r"held out: hills; expected one of several regions \(coast, fields, city\)"):
        split(regions, "hills")
    with pytest.raises(InputError, match="held out: coast; expected one of several"):
        split(regions[:1], "coast")


def test_no_block_is_on_both_sides(regions: list[Region]) -> None:
    parts = split(regions, BLOCKS)
    blocks = [
        {(region.name, *np.floor(place / BLOCK_DEGREES)) for region in side for place in region.lonlat}
        for side in (parts.train, parts.test)
    ]
    assert not blocks[0] & blocks[1] and places(parts.train) | places(parts.test) == places(regions)
    assert all(part.water.any() and not part.water.all() for part in (*parts.train, *parts.test))
    tiny = regions[0].take(np.arange(20))
    with pytest.raises(InputError, match="region coast: no blocks"):
        split([tiny], BLOCKS)


def test_strips_share_no_point_and_each_has_water_and_land(regions: list[Region]) -> None:
    parts = strips(regions[0], 16)
    assert sorted(np.concatenate(parts).tolist()) == list(range(180)) and len(parts) == 16
    assert all(0 < regions[0].water[part].sum() < len(part) for part in parts)
    assert len({ground.strip for ground in asked_scenes(regions[:1], 32)}) == 16


def test_a_flooded_cell_is_its_place_with_the_backscatter_of_water(regions: list[Region]) -> None:
    region = regions[0]
    vectors, levels = region.points.embedding, region.points.backscatter
    counts = []
    for seed in range(60):
        ground = compose(region, np.arange(180), 3, True, 0, np.random.default_rng(seed))
        counts.append(int(ground.flooded.sum()))
        for cell in range(9):
            (place,) = np.flatnonzero((vectors == ground.embedding[cell]).all(1))
            assert ground.landcover[cell] == region.points.landcover[place]
            if ground.flooded[cell]:
                assert not region.water[place]
                (place,) = np.flatnonzero((levels == ground.backscatter[cell]).all(1))
                assert region.water[place]
            else:
                assert (ground.backscatter[cell] == levels[place]).all()
    assert set(counts) == set(range(10))
    assert not any(ground.flooded.any() for ground in training_scenes(regions, 8, floods=False))


def one_scene() -> Ground:
    flooded = np.isin(np.arange(16), (1, 15))
    backscatter = np.stack([np.linspace(-19, -8, 16), np.linspace(-26, -15, 16)], 1)
    return Ground(5, 4, 0, np.eye(16, 64), backscatter, np.arange(16) % 9, flooded)


def test_an_image_shows_the_level_of_each_cell_and_nothing_else_of_it() -> None:
    ground = one_scene()
    low, high = DISPLAY_DB["VV"]
    image = np.asarray(ground.image(), float) / 255 * (high - low) + low
    cells = image.reshape(4, 28, 4, 28)[:, 4:24, :, 4:24]
    power = 10 * np.log10((10 ** (cells / 10)).mean((1, 3))).ravel()
    assert power == pytest.approx(ground.backscatter[:, 0], abs=2.0)
    other = Ground(5, 4, 3, np.eye(16, 64)[::-1], ground.backscatter, ground.landcover[::-1], ~ground.flooded)
    assert other.image() == ground.image()
    assert len(set(np.asarray(blank(ground.image())).ravel().tolist())) == 1


def test_what_is_asked_of_a_scene_and_what_is_true() -> None:
    ground = one_scene()
    assert [ground.answer(task) for task in TASKS] == ["2", "2, 16", "Yes"]
    assert "4x4" in ground.question("count")
    assert ground.answer(DESCRIBE).split("; ")[0] == "water, trees, grass, flooded vegetation"
    dry = Ground(5, 3, 0, np.eye(9, 64), ground.backscatter[:9], ground.landcover[:9], np.zeros(9, bool))
    assert [dry.answer(task) for task in TASKS] == ["0", "None", "No"]


def test_arms_give_a_scene_its_own_prior_none_another_ones_or_no_image(regions: list[Region]) -> None:
    grounds = list(asked_scenes(regions[:1], 8))
    for ground, other in zip(grounds, following(grounds), strict=True):
        assert other is not ground and other.side == ground.side
    true, none, shuffled, blind = (shown(grounds, arm) for arm in ("true", "none", "shuffled", "blind"))
    for own, without, moved, unseen in zip(true, none, shuffled, blind, strict=True):
        assert without.prior is None and without.image == own.image == moved.image
        assert own.prior is not None and moved.prior is not None and unseen.prior is not None
        assert (unseen.prior.embeddings == own.prior.embeddings).all()
        assert (moved.prior.embeddings != own.prior.embeddings).any()
        assert (moved.prior.positions == own.prior.positions).all()
        assert unseen.image.getextrema() == ((128, 128),) * 3
    with pytest.raises(ValueError, match="side 3: found one"):
        following(grounds[:2])


@pytest.mark.parametrize("side", SIDES)
def test_a_cell_is_one_token_and_its_anchor_modulates_it(side: int, tmp_path: Path) -> None:
    folder = run.make_initial(Cell("coast", "sum", 0), NANO_BACKBONE, tmp_path / "initial")
    config = FusarGptConfig.from_pretrained(folder).tlm_config
    assert isinstance(config, TlmConfig) and (config.fusion, config.sigma) == ("sum", SIGMA)
    ground = next(ground for ground in training_scenes([_region()], 2, True) if ground.side == side)
    processor = FusarGptProcessor.from_pretrained(folder)
    prior = ground.prior()
    seen = processor(images=[ground.image().convert("RGB")], return_tensors="pt")
    assert seen["image_grid_thw"].tolist() == [[1, 2 * side, 2 * side]]
    fields = {name: torch.as_tensor(value) for name, value in batch_priors([prior.columns()]).items()}
    mask = fields["prior_mask"]
    grids = [(2 * side, 2 * side)]
    (weights,) = gaussian_alignment(fields["prior_positions"], mask, mask, grids, 2, SIGMA, "patch")
    assert weights.shape == (side**2, side**2) and weights.diagonal().min() > 0.9


def _region() -> Region:
    rng = np.random.default_rng(0)
    landcover = np.arange(36) % 9
    points = Points(np.eye(9, 64)[landcover], rng.uniform(-20, -5, (36, 2)), landcover)
    return Region("made", points, rng.uniform(0, 1, (36, 2)))


def test_the_closed_form_needs_image_and_vector_here(regions: list[Region]) -> None:
    answers = reference(split(regions, "city"), 60, 32)
    assert set(answers) == set(TASKS)
    right = {
        arm: np.mean([said == true for said, true in zip(found, answers["count"]["reference"], strict=True)])
        for arm, found in answers["count"].items()
    }
    assert right["true"] > 0.9 and max(right[arm] for arm in ("none", "blind", "shuffled")) < 0.4
    assert answers["localize"]["true"][0] == answers["localize"]["reference"][0]


def test_fused_tokens_tell_what_tokens_alone_do_not_and_are_read_once(
    regions: list[Region], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readout, "STEPS", 60)
    parts, effort = split(regions, "city"), Effort(48, (1, 1), 32)
    tower = readout.Tower(NANO_BACKBONE, tmp_path / "tower")
    cells = grid(["city"], ("tlm", "none", "one-stage"), [0])
    readout.write_readouts(tmp_path, parts, cells, effort.training, effort.scenes, tower)
    path = tmp_path / "city" / readout.READOUT
    before = path.stat().st_mtime_ns
    readout.write_readouts(tmp_path, parts, cells, effort.training, effort.scenes, tower)
    assert path.stat().st_mtime_ns == before
    write_reference(tmp_path, "city", parts, effort)
    place = read(tmp_path)["city"]
    assert set(place.readout) == {"tlm", "none"}
    true, none = (tally(place, list(place.readout[arm].values()), "count", name).value for arm, name in ARMS_READ)
    assert true > none + 0.3
    assert "| city | tlm | 1 | true |" in report(tmp_path)


def write_cell(results: Path, cell: Cell, right: Mapping[str, int]) -> None:
    """A cell whose first `right` counts of 16 are as they are, by arm."""
    count = {"reference": ["1"] * 16, **{arm: ["1"] * own + ["2"] * (16 - own) for arm, own in right.items()}}
    answers = dict.fromkeys(TASKS, count)
    path = run.result_path(results, cell)
    path.parent.mkdir(parents=True)
    effort = {"training": 32, "steps": [1, 1], "scenes": 16}
    path.write_text(
        json.dumps({"cell": vars(cell), "effort": effort, "seconds": 9, "processor_seconds": 4, "answers": answers})
    )


def test_the_verdict_asks_for_the_margin_in_two_regions(regions: list[Region], tmp_path: Path) -> None:
    for place in (*NAMES, BLOCKS):
        write_reference(tmp_path, place, split(regions, place), EFFORT)
    assert "The criterion is not decided" in verdict(read(tmp_path))
    for place, none in zip(NAMES, (2, 2, 14), strict=True):
        for seed in (0, 1):
            write_cell(tmp_path, Cell(place, "tlm", seed), {"true": 15 - seed, "none": 1, "shuffled": 1, "blind": 1})
            write_cell(tmp_path, Cell(place, "none", seed), {"none": none})
            write_cell(tmp_path, Cell(place, "blind", seed), {"blind": 3})
    text = report(tmp_path)
    assert "The criterion is met: it holds in 2 regions" in text and "- city: not met." in text
    assert "18 cells are done (32 scenes a stage, [1, 1] steps, 16 held-out scenes)." in text
    assert any(line.startswith("| coast | `none` | +78.1 [") for line in text.splitlines())
    for place in NAMES:  # a model that sees nothing is as good
        for seed in (0, 1):
            run.result_path(tmp_path, Cell(place, "blind", seed)).unlink()
            run.result_path(tmp_path, Cell(place, "blind", seed)).parent.rmdir()
            write_cell(tmp_path, Cell(place, "blind", seed), {"blind": 16})
    assert write_report(tmp_path) == report(tmp_path)
    assert "The criterion is not met: it holds in 0 regions" in (tmp_path / "tables.md").read_text()
    assert (tmp_path / "counts.png").stat().st_size > 0


def test_closed_forms_of_other_numbers_of_scenes_do_not_mix(regions: list[Region], tmp_path: Path) -> None:
    parts = split(regions, "coast")
    write_reference(tmp_path, "coast", parts, EFFORT)
    write_reference(tmp_path, "coast", parts, EFFORT)
    with pytest.raises(InputError, match=r"closed_form\.json: found .*expected"):
        write_reference(tmp_path, "coast", parts, Effort(32, (1, 1), 17))


def test_the_grid_runs_all_variants_of_a_seed_before_the_next() -> None:
    cells = grid(NAMES, tuple(VARIANTS), (0, 1))
    assert len(cells) == len({cell.name for cell in cells}) == 2 * 3 * len(VARIANTS)
    assert {cell.seed for cell in cells[: 3 * len(VARIANTS)]} == {0}


def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What each training is run with, in place of the training."""
    calls: list[tuple[str, list[str]]] = []

    def train(recipe: str, start: Path, output: Path, arguments: list[str]) -> None:
        calls.append((recipe, arguments))

    def ask(cell: Cell, parts: Split, model: Path, scenes: int, tasks: Sequence[str], journals: Path) -> dict[str, Any]:
        return {task: {"reference": ["1"] * scenes, **dict.fromkeys(cell.asked, ["1"] * scenes)} for task in tasks}

    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(run, "ask", ask)
    return calls


@pytest.mark.parametrize("variant", ["tlm", "none", "blind", "one-stage"])
def test_a_cell_is_trained_as_its_variant_says_and_once(
    variant: str, regions: list[Region], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = trained(monkeypatch)
    cell, parts = Cell("city", variant, 3), split(regions, "city")
    run_cell(cell, parts, EFFORT, NANO_BACKBONE, tmp_path / "build", tmp_path)
    run_cell(cell, parts, EFFORT, NANO_BACKBONE, tmp_path / "build", tmp_path)
    recipes = {"one-stage": ["one_stage.yaml"]}.get(variant, ["stage1.yaml", "stage2.yaml"])
    assert [recipe for recipe, _ in calls] == recipes
    steps = [arguments[arguments.index("--max_steps") + 1] for _, arguments in calls]
    assert sum(map(int, steps)) == sum(EFFORT.steps)
    assert all(arguments[arguments.index("--seed") + 1] == "3" for _, arguments in calls)
    assert all(("--prior" in arguments) == (variant == "none") for _, arguments in calls)
    assert calls[0][1][calls[0][1].index("--train") + 1] == ("lora" if variant == "none" else "tlm+lora")
    folder = tmp_path / "build" / "data" / "city"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{layout}-{'blind' if variant == 'blind' else 'true'}-32" for layout in ("captions", "instructions")
    ]
    with pytest.raises(InputError, match=r"results\.json: found .* expected"):
        run_cell(cell, parts, Effort(32, (2, 1), 16), NANO_BACKBONE, tmp_path / "build", tmp_path)


def test_the_command_asks_about_a_further_file(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(monkeypatch)
    further = write_region(tmp_path / "hills.csv", "hills", seed=9)
    arguments = ["--points", *map(str, files), "--held-out", str(further), "--cells", "tlm", "--seeds", "0"]
    arguments += ["--training", "16", "--scenes", "16", "--build", str(tmp_path / "build")]
    assert command.main([*arguments, "--results", str(tmp_path / "results")]) == 0
    assert "1 cells are done" in capsys.readouterr().out
    assert (tmp_path / "results" / "hills" / "tlm-0" / "results.json").exists()
    assert [path.name for path in (tmp_path / "results").iterdir() if path.is_dir()] == ["hills"]
    assert command.main(["--points", str(files[0]), str(files[0]), "--reference"]) == 2
    assert "column region: found coast, coast" in capsys.readouterr().err


@pytest.mark.slow
def test_a_cell_from_points_to_answers(files: list[Path], tmp_path: Path) -> None:
    arguments = ["--points", *map(str, files), "--places", "city", "--cells", "tlm", "--seeds", "0"]
    # The first step warms up: with one alone the TLM would stay the identity.
    arguments += ["--training", "16", "--scenes", "8", "--steps", "2", "1", "--build", str(tmp_path / "build")]
    assert command.main([*arguments, "--results", str(tmp_path / "results")]) == 0
    result = json.loads((tmp_path / "results" / "city" / "tlm-0" / "results.json").read_text())
    assert set(result["answers"]) == {*TASKS, DESCRIBE}
    assert all(len(said) == 8 for of_task in result["answers"].values() for said in of_task.values())
    assert not (tmp_path / "build" / "city" / "tlm-0").exists()
