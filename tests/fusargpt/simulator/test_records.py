"""What a simulated scene yields: the same every time, and answers that agree with its objects."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.geo.embeddings import dequantize
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.records import SPLIT_SEEDS, answer, question_answer, records, rows
from fusargpt.simulator.rendering import render_optical, render_sar
from fusargpt.simulator.simulated_scene import IMAGE_SIZE, Scene, simulate_scene
from fusargpt.tasks.answers import parse_boxes, parse_cells, parse_count
from fusargpt.tasks.facts import DIMENSIONS, parse_phrase, phrases_of
from fusargpt.tasks.prompts import TASKS, cell_of

seeds = st.integers(0, 5000)


def test_a_seed_is_always_the_same_scene() -> None:
    first, second = (rows(7, "captions", "sar")[0] for _ in range(2))
    assert first["image"].tobytes() == second["image"].tobytes()
    assert first["prior_embeddings"].tobytes() == second["prior_embeddings"].tobytes()
    assert first["completion"] == second["completion"]
    assert render_sar(simulate_scene(7)).tobytes() != render_sar(simulate_scene(8)).tobytes()


def test_captions_tell_place_and_targets_and_change_nothing_else() -> None:
    for seed in (1, 2, 3):
        scene = simulate_scene(seed)
        (row,) = rows(seed, "captions", "sar")
        (before,) = records(scene, ["describe"])
        assert row["image"].tobytes() == before["image"].tobytes()
        assert {name for name in row if name not in before} == {"description", "target_description"}
        for name in before.keys() - {"image"}:
            np.testing.assert_array_equal(row[name], before[name])
        assert phrases_of(row) == scene_phrases(scene) and set(phrases_of(row)) == set(DIMENSIONS)
        assert parse_phrase("target_count", row["target_description"]["count"]) == len(scene.targets)
    assert "description" not in rows(1, "instructions", "sar")[0]


def test_splits_never_share_a_place() -> None:
    starts = sorted(SPLIT_SEEDS.values())
    assert all(second - first >= 10_000_000 for first, second in pairwise(starts))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_targets_lie_on_their_ground_and_apart(seed: int) -> None:
    scene = simulate_scene(seed)
    ground = scene.region == (scene.apron if scene.apron is not None else 0)
    covered = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=int)
    for target in scene.targets:
        x1, y1, x2, y2 = target.box
        assert 0 <= x1 < x2 <= IMAGE_SIZE and 0 <= y1 < y2 <= IMAGE_SIZE
        assert target.mask.shape == (y2 - y1, x2 - x1)
        assert target.mask.any(0).all() or target.mask.any(1).all()
        assert ground[y1:y2, x1:x2].all()
        covered[y1:y2, x1:x2] += 1
    assert covered.max() <= 1


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_answers_agree_with_the_objects(seed: int) -> None:
    scene = simulate_scene(seed)
    for label in ("ship", "aircraft"):
        boxes = [target.box for target in scene.targets if target.label == label]
        assert parse_count(answer(scene, "count", label)).value == len(boxes)
        cells = parse_cells(answer(scene, "localize", label)).value
        assert cells == {cell_of(box, IMAGE_SIZE, IMAGE_SIZE) for box in boxes}
        assert parse_boxes(answer(scene, "detect", label)).value == [(list(map(float, box)), label) for box in boxes]
    assert answer(scene, "classify", "ship") == (scene.targets[0].label if scene.targets else "None")


def test_the_prior_is_the_land_cover_beneath_each_anchor() -> None:
    scene = simulate_scene(11)
    fields = records(scene, ["count"])[0]
    vectors = dequantize(fields["prior_embeddings"])
    for vector, (y, x) in zip(vectors, fields["prior_positions"], strict=True):
        region = scene.region[round(y * (IMAGE_SIZE - 1)), round(x * (IMAGE_SIZE - 1))]
        # Its own region's vector, but for the small spread between pixels.
        assert vector @ scene.embedding[region] > 0.95


def test_a_record_has_the_contracts_shapes() -> None:
    fields = records(simulate_scene(3), ["detect"], per_side=4)[0]
    assert fields["prior_embeddings"].shape == (16, 64) and fields["prior_embeddings"].dtype == np.int8
    assert fields["prior_positions"].shape == (16, 2) and fields["prior_positions"].dtype == np.float32
    assert fields["prior_positions"].min() >= 0 and fields["prior_positions"].max() <= 1
    west, south, east, north = fields["bounds"]
    lon, lat = fields["prior_lonlat"].T
    assert (west < lon).all() and (lon < east).all() and (south < lat).all() and (lat < north).all()
    # Rows count downwards, latitude upwards.
    assert lat[0] > lat[-1]


def test_a_scene_is_asked_every_task_of_its_layout() -> None:
    scene = simulate_scene(5)
    asked = {row["task"]: row for row in rows(5, "questions", "optical")}
    assert set(asked) == set(TASKS)
    for task, row in asked.items():
        question, reply = question_answer(scene, task)
        assert row["prompt"] == [{"role": "user", "content": question}]
        assert row["completion"] == [{"role": "assistant", "content": reply}]
        assert row["id"].endswith(f"-optical-{task}") and row["image"] is asked["detect"]["image"]
    with pytest.raises(ValueError, match="expected one of captions, instructions, questions"):
        rows(5, "dialogues", "sar")


def test_both_renderings_show_the_same_scene_differently() -> None:
    scene = _with_targets("ship")
    sar, optical = render_sar(scene), render_optical(scene)
    assert sar.mode == "L" and optical.mode == "RGB" and sar.size == optical.size == (IMAGE_SIZE, IMAGE_SIZE)
    x1, y1, x2, y2 = scene.targets[0].box
    values = np.asarray(sar, dtype=float)
    assert values[y1:y2, x1:x2][scene.targets[0].mask].mean() > values[scene.region == 0].mean() + 30


def test_unknown_names_are_refused() -> None:
    scene = simulate_scene(0)
    with pytest.raises(ValueError, match="rendering: found 'infrared'"):
        records(scene, ["count"], "infrared")
    with pytest.raises(ValueError, match="task: found 'segment'"):
        answer(scene, "segment", "ship")
    with pytest.raises(ValueError, match="layout: found 'pairs'"):
        rows(0, "pairs", "sar")


def test_detection_answers_are_json() -> None:
    boxes = json.loads(answer(_with_targets("aircraft"), "detect", "aircraft"))
    assert set(boxes[0]) == {"bbox_2d", "label"}


def _with_targets(label: str) -> Scene:
    return next(s for s in map(simulate_scene, range(100)) if s.targets and s.targets[0].label == label)
