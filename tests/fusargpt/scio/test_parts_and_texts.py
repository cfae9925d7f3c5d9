"""Parts, the texts in which they are judged, and what phrases say against each other."""

import pytest

from fusargpt.scio.parts import Part, columns_of, kept, read_caption
from fusargpt.scio.planting import alike, plant
from fusargpt.scio.support import supported
from fusargpt.scio.texts import groups, probe
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.facts import DIMENSIONS, part_weights, trusted_phrases
from fusargpt.tasks.part_texts import counterfactual, draw_part_text
from tests.fusargpt.scio.cleaning import caption_row, truth_of


def test_a_dropped_part_is_said_no_more_and_its_source_is_kept() -> None:
    caption = dict(read_caption(caption_row(0, truth_of(0))))
    assert kept(caption) == truth_of(0)
    caption["water"] = caption["water"].dropped(1)
    caption["terrain"] = caption["terrain"].said("nothing but water", 2)
    row = columns_of(caption)
    water, terrain = DIMENSIONS.index("water"), DIMENSIONS.index("terrain")
    assert row["description"]["water"] is None and row["description"]["terrain"] == "nothing but water"
    assert row["part_weight"][water] == 0 and row["part_weight"][terrain] == 0.5
    assert row["part_origin"][water] == "dropped" and row["part_origin"][terrain] == "reconstructed"
    assert row["part_source"][water] == truth_of(0)["water"] and row["part_source"][terrain] == truth_of(0)["terrain"]
    assert row["scio_round"] == 2
    # What training reads of it.
    assert set(trusted_phrases(row)) == set(truth_of(0)) - {"water"}
    assert part_weights(row)[terrain] == 0.5


def test_a_part_that_says_again_what_it_said_at_first_is_of_the_source() -> None:
    part = Part("mostly trees", "mostly trees").dropped(1).said("mostly trees", 2)
    assert part.origin == "source" and part.weight == 0.5
    assert part.confirmed().weight == 1


@pytest.mark.parametrize("count", range(3, 17))
def test_every_part_is_judged_once_and_roads_never_stand_alone(count: int) -> None:
    dimensions = list(DIMENSIONS[-count:]) if count < 9 else list(DIMENSIONS[:count])
    found = groups(dimensions, 4, "row", "0")
    assert sorted(name for group in found for name in group) == sorted(dimensions)
    assert all(3 <= len(group) <= 6 for group in found)
    assert found == groups(dimensions, 4, "row", "0") and (count < 5 or found != groups(dimensions, 4, "row", "1"))
    assert groups(dimensions[:2], 4, "row") == []


def test_a_probe_names_the_phrase_in_its_text() -> None:
    phrases = truth_of(1)
    for group in groups(list(phrases), 4, "x"):
        for dimension in group:
            one = probe(phrases, group, dimension, "x")
            start, end = one.span
            assert one.whole[start:end].lower() == phrases[dimension].lower()
            other = probe({**phrases, dimension: "something else"}, group, dimension, "x")
            # The rest is the same whatever the part says.
            assert other.rest == one.rest and other.whole != one.whole and len(one.rest) < len(one.whole)


def test_true_parts_support_each_other() -> None:
    for seed in range(15):
        phrases = scene_phrases(simulate_scene(seed))
        for dimension, phrase in phrases.items():
            rest = {name: said for name, said in phrases.items() if name != dimension}
            assert supported(rest, dimension, phrase), (seed, dimension, phrase)


@pytest.mark.parametrize(
    ("told", "dimension", "phrase"),
    [
        ({"target_distribution": "alone"}, "target_count", "three ships"),
        ({"target_category": "ship (tanker)"}, "target_count", "no targets"),
        ({"terrain": "nothing but trees"}, "target_environment", "shrubs"),
        ({"target_environment": "shrubs"}, "terrain", "nothing but trees"),
        ({}, "target_count", "some of them"),
        ({"target_count": "three ships"}, "target_size", "big"),
    ],
)
def test_a_phrase_that_contradicts_others_is_not_supported(told: dict[str, str], dimension: str, phrase: str) -> None:
    assert not supported(told, dimension, phrase)


def test_planted_errors_are_false_of_what_a_caption_says_itself() -> None:
    names = [str(number) for number in range(60)]
    captions = [truth_of(number) for number in range(60)]
    found = plant(names, captions, "plant", "0")
    assert sum(error is not None for error in found) > 50
    for caption, error in zip(captions, found, strict=True):
        assert error is None or not alike(error.dimension, error.phrase, caption[error.dimension])
    assert len({error.dimension for error in found if error is not None}) > 10
    assert found == plant(names, captions, "plant", "0") != plant(names, captions, "plant", "1")
    # Alone a caption has nobody to take a phrase from.
    assert plant(["0"], captions[:1], "plant") == [None]


def test_captions_that_contradict_themselves_can_be_trained_on() -> None:
    for number in range(30):
        phrases = {**truth_of(number), "target_region": "nothing", "target_size": "none", "target_category": "none"}
        phrases |= {"boundary": "the longest boundary, between here and there, is bent"} if number % 2 else {}
        said = draw_part_text(phrases, number)
        found = counterfactual(phrases, said, number)
        assert found is None or found.text != said.text
