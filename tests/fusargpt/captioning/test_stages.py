"""What each stage claims by rules, and what calibration makes of contradictions."""

from dataclasses import replace

import numpy as np
import pytest

from fusargpt.captioning.agreement import agrees
from fusargpt.captioning.claims import Claim, Findings
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.stages import RULES, STAGES, RulesBackend, caption, chosen_stages
from fusargpt.errors import InputError
from fusargpt.simulator.description import scene_phrases
from fusargpt.tasks.facts import phrases_of
from fusargpt.tasks.target_dimensions import TargetBox
from tests.fusargpt.captioning.places import BUILT, SIDE, TREES, WATER, anchors, halves, simulated

SHIP_ON_WATER = TargetBox((10, 20, 34, 30), "ship")
SHIP_ON_LAND = TargetBox((80, 60, 90, 66), "ship")


def said(observation: Observation, stages: tuple[str, ...] = STAGES) -> dict[str, str]:
    findings = caption(observation, RulesBackend(), stages).findings
    return phrases_of({"description": findings.record("landform"), "target_description": findings.record("target")})


@pytest.mark.parametrize("seed", [20_000_001, 20_000_007])
def test_a_raster_and_boxes_without_an_error_give_the_true_parts(seed: int) -> None:
    scene, observation = simulated(seed)
    given = replace(observation, cover=scene.landcover[scene.region], decibels=None)
    assert said(given) == scene_phrases(scene)


def test_the_same_image_gives_the_same_claims() -> None:
    _, observation = simulated(20_000_003)
    one, other = (caption(observation, RulesBackend()) for _ in range(2))
    assert [step.as_json() for step in one.steps] == [step.as_json() for step in other.steps]


def test_place_names_the_classes_of_alphaearth_vectors_and_their_runners_up() -> None:
    observation = replace(halves(WATER, TREES), cover=None, prior=anchors([[WATER, TREES]] * 2))
    findings = RULES["place"](observation, Findings())
    terrain, cover = findings.claim("landform", "terrain"), findings.claim("scene", "cover")
    assert terrain is not None and agrees("terrain", terrain.text, "water (50%) and trees (50%)")
    assert cover is not None and "before" in cover.text and 0.5 < cover.confidence <= 1


def test_radar_moves_a_border_to_where_the_levels_change() -> None:
    """Anchors are 24 px apart and see water and trees at 12 and 36 px; the levels change at 48."""
    prior = anchors([[WATER, TREES, TREES, TREES]] * 4)
    observation = replace(halves(WATER, TREES), cover=None, prior=prior)
    before = RULES["place"](observation, Findings())
    after = RULES["radar"](observation, before)
    assert before.regions is not None and after.regions is not None
    truth = np.where(np.arange(SIDE) < SIDE // 2, WATER, TREES)
    assert (before.regions.cover == truth).mean() < 0.8 < 0.9 < (after.regions.cover == truth).mean()


def test_stages_that_did_not_run_say_nothing() -> None:
    _, observation = simulated(20_000_001)
    assert set(said(observation, ("place",))).isdisjoint({"functionality", "target_count"})
    assert all(name.startswith("target_") for name in said(observation, ("instances",)))
    assert "functionality" in said(observation, ("place", "function"))


def test_without_resolution_nothing_is_said_in_metres() -> None:
    parts = said(replace(halves(WATER, TREES, targets=(SHIP_ON_WATER,)), resolution_m=None))
    assert parts["terrain"] == "water (50%) and trees (50%)"
    assert not {"layout", "boundary", "buildings", "water", "target_size"} & set(parts)


def test_where_nobody_looked_for_targets_and_nothing_is_bright_none_are_claimed_to_be_annotated() -> None:
    parts = said(halves(TREES, TREES, targets=None))
    assert parts.get("target_count") in (None, "no targets")


def test_nothing_to_go_by_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing can be said"):
        caption(replace(halves(WATER, TREES), cover=None), RulesBackend())


def test_a_ship_on_land_far_from_water_is_dropped_with_a_reason() -> None:
    made = caption(halves(WATER, TREES, targets=(SHIP_ON_WATER, SHIP_ON_LAND)), RulesBackend())
    count = made.findings.claim("target", "count")
    assert count is not None and count.text == "one ship" and count.stage == "calibration"
    (change,) = [
        change for change in made.steps[-1].changes if (change.schema, change.dimension) == ("target", "count")
    ]
    assert (change.before, change.after) == ("two ships", "one ship")
    assert change.reason == "a ship on trees, without water near it"


def test_a_ship_at_a_quay_stays() -> None:
    beside = TargetBox((50, 20, 66, 30), "ship")
    count = caption(halves(WATER, BUILT, targets=(beside,)), RulesBackend()).findings.claim("target", "count")
    assert count is not None and count.text == "one ship"


def test_many_ships_on_one_patch_speak_against_the_land_cover() -> None:
    ships = tuple(TargetBox((x, 20, x + 8, 24), "ship") for x in (2, 14, 26))
    made = caption(halves(TREES, BUILT, targets=ships), RulesBackend())
    terrain, count = made.findings.claim("landform", "terrain"), made.findings.claim("target", "count")
    assert terrain is not None and "water" in terrain.text and "trees" not in terrain.text
    assert count is not None and count.text == "three ships"


def test_what_no_ship_is_as_long_as_is_none() -> None:
    """96 pixels of 10 m are longer than any ship."""
    whole = TargetBox((0, 40, SIDE, 50), "ship")
    made = caption(halves(WATER, WATER, targets=(whole, SHIP_ON_WATER), resolution_m=10.0), RulesBackend())
    count = made.findings.claim("target", "count")
    assert (
        count is not None
        and count.text == "one ship"
        and "960 m is no length of a ship" in made.steps[-1].changes[0].reason
    )


def test_two_boxes_around_one_ship_are_one() -> None:
    twice = TargetBox((10, 20, 34, 31), "ship")
    count = caption(halves(WATER, TREES, targets=(SHIP_ON_WATER, twice)), RulesBackend()).findings.claim(
        "target", "count"
    )
    assert count is not None and count.text == "one ship"


def test_calibration_takes_back_what_is_too_uncertain() -> None:
    claim = Claim("landform", "terrain", "nothing but water", {}, "a guess", 0.1, "place")
    findings = RULES["calibration"](halves(WATER, TREES), Findings().saying([claim]))
    assert findings.claim("landform", "terrain") is None
    assert [change.after for change in findings.changes] == [None]


@pytest.mark.parametrize(
    ("names", "chosen"), [(("4", "1"), ("place", "instances")), (("radar", "2"), ("function", "radar"))]
)
def test_stages_are_chosen_by_number_or_name(names: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    assert chosen_stages(names) == chosen


@pytest.mark.parametrize("names", [("6",), ("place", "nowhere"), ()])
def test_other_stages_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="expected of 1 \\(place\\)"):
        chosen_stages(names)
