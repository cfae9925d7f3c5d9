"""Texts of some parts: what they state by key, and counterfactuals that are false of their scene in one fact."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.simulated_scene import IMAGE_SIZE, Scene, simulate_scene
from fusargpt.tasks.facts import DIMENSIONS, counts_in, fact_key, fact_keys, parse_phrase
from fusargpt.tasks.false_facts import FINE_LABELS, false_phrases
from fusargpt.tasks.part_texts import counterfactual, draw_part_text, part_text
from fusargpt.tasks.wordings import SENTENCES, TARGET_SENTENCES

seeds = st.integers(0, 3000)
PHRASES = {
    "terrain": "mostly water (61%) and trees (39%)",
    "functionality": "open water, with shipping (three ships)",
    "distribution": "water lies on the left side and trees on the right side; three ships are in the middle left",
    "roads": "no roads are annotated",
    "target_count": "three ships",
    "target_location": "in the middle left",
    "target_category": "ship (tanker)",
}


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(0, 10**12))
def test_a_drawn_text_states_facts_of_its_scene_and_no_others(scene: int, seed: int) -> None:
    phrases = scene_phrases(simulate_scene(scene))
    drawn = draw_part_text(phrases, seed)
    assert 2 <= len(drawn.spans) <= 8 and len(set(drawn.dimensions)) == len(drawn.spans)
    keys = fact_keys(phrases)
    said = drawn.facts != 0
    assert (drawn.facts[said] == keys[said]).all()
    assert set(np.flatnonzero(said)) == {index for index, _, _ in drawn.spans}
    end = -1
    for index, start, stop in drawn.spans:
        assert start == end + 1
        sentence, phrase, end = drawn.text[start:stop], phrases[DIMENSIONS[index]], stop
        assert phrase[1:] in sentence and sentence[0] == sentence[0].upper() and sentence.endswith(".")
    assert end == len(drawn.text)
    again = draw_part_text(phrases, seed)
    assert again.text == drawn.text and again.spans == drawn.spans


def test_texts_vary_in_parts_order_and_wording() -> None:
    drawn = [draw_part_text(PHRASES, seed) for seed in range(300)]
    assert len({text.text for text in drawn}) > 290
    assert {len(text.spans) for text in drawn} == {2, 3, 4, 5, 6, 7}
    assert {text.dimensions[0] for text in drawn} == set(PHRASES)
    counts = {text.text[a:b] for text in drawn for index, a, b in text.spans if DIMENSIONS[index] == "target_count"}
    assert len(counts) == len(TARGET_SENTENCES["count"])


def test_a_scene_without_targets_says_so_once() -> None:
    phrases = {**PHRASES, "functionality": "open water", "distribution": "water lies everywhere in the image"}
    phrases |= {"target_count": "no targets", "target_location": "nowhere in the image", "target_category": "none"}
    said = [[name for name in draw_part_text(phrases, seed).dimensions if "target" in name] for seed in range(100)]
    assert {len(names) for names in said} == {0, 1}
    assert {name for names in said for name in names} == {"target_count", "target_location", "target_category"}


def test_every_dimension_has_wordings() -> None:
    assert {*SENTENCES, *(f"target_{name}" for name in TARGET_SENTENCES)} == set(DIMENSIONS)
    for wordings in (*SENTENCES.values(), *TARGET_SENTENCES.values()):
        assert len(set(wordings)) == len(wordings) >= 3 and all(text.count("{}") == 1 for text in wordings)


@pytest.mark.parametrize(
    ("dimensions", "wording", "message"),
    [
        ([], 0, "dimensions: found none; expected one or more"),
        (["roads"], 0, "dimensions: found roads alone"),
        (["terrain", "terrain"], 0, "found terrain, terrain; expected one or more, each once"),
        (["terrain", "water"], 0, "dimensions: nothing is known of water; known are terrain, "),
        (["terrain"], -1, "wording: found -1, expected 0 or more"),
    ],
)
def test_what_cannot_be_said_is_refused(dimensions: list[str], wording: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        part_text(PHRASES, dimensions, wording)


def test_nothing_is_drawn_of_roads_alone_or_of_nothing() -> None:
    for phrases in ({}, {"roads": "no roads are annotated"}):
        with pytest.raises(ValueError, match="dimensions: found"):
            draw_part_text(phrases, 0)


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(0, 10**9))
def test_a_counterfactual_is_false_of_its_scene(number: int, seed: int) -> None:
    scene = simulate_scene(number)
    phrases = scene_phrases(scene)
    true = draw_part_text(phrases, seed)
    false = counterfactual(phrases, true, seed)
    if false is None:
        return
    assert false.dimensions == true.dimensions and false.wording == true.wording
    changed = {DIMENSIONS[index] for index in np.flatnonzero(false.facts != true.facts)}
    assert changed - {"roads"}
    told = false_phrases(phrases, true.dimensions, seed)
    assert told is not None and (false.facts == fact_keys(told)).all()
    assert {name for name, phrase in told.items() if phrase != phrases[name]} == changed
    mirrors = [scene_phrases(_mirrored(scene, axis)) for axis in (0, 1)]
    for name in changed:
        assert _false(name, told[name], phrases, scene) or any(_agree(name, told[name], m[name]) for m in mirrors)


def _false(name: str, phrase: str, phrases: dict[str, str], scene: Scene) -> bool:
    """By a land cover, class or number that the scene does not have."""
    present = {LANDCOVER_CLASSES[index] for index in scene.landcover[np.unique(scene.region)]}
    covers = {cover for cover in LANDCOVER_CLASSES if re.search(rf"\b{cover}\b", phrase)} - {"water", "built area"}
    if covers - present:
        return True
    if name == "target_category":
        return parse_phrase(name, phrase) != parse_phrase(name, phrases[name])
    if name == "target_count":
        return counts_in(phrase) != counts_in(phrases[name])
    return name in ("functionality", "distribution") and _numbers(phrase) != _numbers(phrases[name])


def _numbers(phrase: str) -> Counter[str]:
    return Counter(re.findall(r"\b(?:one|two|three|four|five|six|seven)\b", phrase))


def _agree(name: str, phrase: str, other: str) -> bool:
    """Whether two phrases list the same places."""
    return sorted(re.split(r"\W+", phrase)) == sorted(re.split(r"\W+", other))


def _mirrored(scene: Scene, axis: int) -> Scene:
    """Upside down (0) or left to right (1)."""

    def turned(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        x1, y1, x2, y2 = box
        return (IMAGE_SIZE - x2, y1, IMAGE_SIZE - x1, y2) if axis else (x1, IMAGE_SIZE - y2, x2, IMAGE_SIZE - y1)

    targets = [replace(target, box=turned(target.box)) for target in scene.targets]
    targets.sort(key=lambda target: (target.box[1], target.box[0]))
    return replace(scene, region=np.flip(scene.region, axis), targets=tuple(targets))


def test_one_exchange_goes_through_all_sentences() -> None:
    made = [false_phrases(PHRASES, list(PHRASES), seed) for seed in range(200)]
    kinds = Counter(
        tuple(name for name, phrase in false.items() if phrase != PHRASES[name]) for false in made if false is not None
    )
    # The only land cover that can be exchanged is trees; tankers become another class of ship, or aircraft would fly.
    assert set(kinds) == {
        ("functionality", "distribution", "target_count"),
        ("terrain", "distribution"),
        ("distribution", "target_location"),
        ("target_category",),
    }
    four = next(false for false in made if false is not None and false["target_count"] == "four ships")
    assert four["functionality"] == "open water, with shipping (four ships)"
    assert four["distribution"].endswith("; four ships are in the middle left")
    right = next(false for false in made if false is not None and "right" in false["target_location"])
    assert right["distribution"] == (
        "water lies on the right side and trees on the left side; three ships are in the middle right"
    )


def test_symmetric_places_are_not_mirrored() -> None:
    phrases = {
        "target_location": "in the upper left and the upper right",
        "distribution": "water lies everywhere in the image; two ships are in the upper left and the upper right",
        "water": "water covers 61% (about 43 ha) and reaches the left and right edges",
    }
    made = [false_phrases(phrases, list(phrases), seed) for seed in range(20)]
    assert {false["target_location"] for false in made if false} == {"in the lower left and the lower right"}
    assert {false["water"] for false in made if false} == {phrases["water"]}
    assert false_phrases({"water": phrases["water"]}, ["water"], 0) is None


@pytest.mark.parametrize(
    ("other", "count"),
    [
        ({"target_location": "in the upper left, the centre and the lower right"}, {"four ships"}),
        ({"target_category": "ship (cargo ship, fishing vessel and tanker)"}, {"four ships", "three ships"}),
        ({"target_distribution": "in a row"}, {"four ships"}),
        ({"target_feature": "boxes wider than high"}, {"four ships", "two ships"}),
        ({"layout": "a single uniform patch of 840 m by 840 m, with scattered objects"}, {"four ships"}),
    ],
)
def test_a_number_never_contradicts_what_else_is_said(other: dict[str, str], count: set[str]) -> None:
    phrases = {"target_count": "three ships", "target_category": "ship (tanker)", **other}
    made = [false_phrases(phrases, ["target_count", *other], seed) for seed in range(60)]
    assert {false["target_count"] for false in made if false} - {phrases["target_count"]} <= count | {"three aircraft"}
    assert count - {"three ships"} <= {false["target_count"] for false in made if false}


def test_nothing_becomes_one_and_one_becomes_nothing() -> None:
    none = {"target_count": "no targets", "target_category": "none"}
    made = {counterfactual(none, ["target_count"], seed) for seed in range(20)}
    assert {int(text.facts[8]) for text in made if text} == {
        fact_key("target_count", phrase) for phrase in ("one ship", "one aircraft")
    }
    one = {"target_count": "one ship", "target_category": "ship"}
    counts = {false["target_count"] for seed in range(60) if (false := false_phrases(one, ["target_count"], seed))}
    assert counts == {"no targets", "two ships"}


def test_unknown_ground_may_be_anything() -> None:
    phrases = {"terrain": "mostly trees (61%) and an unknown part (39%)"}
    assert all(false_phrases(phrases, ["terrain"], seed) is None for seed in range(10))


def test_the_fine_classes_are_those_of_the_simulator() -> None:
    found = {(target.label, target.fine_label) for seed in range(60) for target in simulate_scene(seed).targets}
    assert found == {(label, fine) for label, names in FINE_LABELS.items() for fine in names}
