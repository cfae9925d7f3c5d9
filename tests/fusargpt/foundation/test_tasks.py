"""Each task, asked of a tower that knows the answer and of one that knows nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fusargpt.foundation.entries import MAJORITY
from fusargpt.foundation.features import Features, on_grid, without_texts
from fusargpt.foundation.places import View
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks import ONLY_BY_NAME, tasks
from fusargpt.foundation.tasks.captioning import caption_tallies
from fusargpt.foundation.tasks.fine_labels import CHIP_PIXELS, chips_of
from fusargpt.foundation.tasks.retrieval import Retrieval
from fusargpt.foundation.tasks.segmentation import cover_shares
from fusargpt.foundation.tasks.two_polarizations import both_features
from fusargpt.foundation.texts import LONGEST, TEXT_SETS, count_prompts, cover_prompts, text_set
from fusargpt.foundation.towers.simple import Nothing
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.part_texts import BEGINNINGS
from tests.fusargpt.foundation.known_places import COUNTS, Knowing, known, place_of, subject


def scores(task: str, examined: Subject) -> dict[str, float]:
    found = tasks()[task].tallies(examined)
    assert found is not None
    return {name: tally.score().value for name, tally in found.items()}


@pytest.mark.parametrize("texts", TEXT_SETS)
def test_who_knows_the_place_of_a_text_finds_it(tmp_path: Path, texts: str) -> None:
    said = {
        text: place.scene.seed for text, place in zip(text_set(texts, known("test")).texts, known("test"), strict=True)
    }
    found = scores(f"retrieval-{texts}", subject(tmp_path, Knowing(said.get), speaks=True))
    assert found["text_to_image_r@1"] == 1
    # Where two places have one caption, it is told to be about the last of them.
    assert found["image_to_text_r@1"] == 1 - (len(known("test")) - len(said)) / len(known("test"))


def test_chance_stands_beside_it(tmp_path: Path) -> None:
    found = scores("retrieval-landforms", subject(tmp_path, Nothing(), kind=MAJORITY))
    assert found["text_to_image_strict_r@1"] <= 0.1
    assert found["text_to_image_r@10"] < 0.7


def test_without_texts_features_are_brought_to_words(tmp_path: Path) -> None:
    found = Retrieval("landforms").tallies(subject(tmp_path, Knowing()))
    assert found is not None
    assert found["text_to_image_r@5"].score().value > 0.5


def test_matching_puts_the_first_in_a_new_order(tmp_path: Path) -> None:
    told = text_set("landforms", known("test")).texts
    said = {text: place.scene.seed for text, place in zip(told, known("test"), strict=True)}

    class LooksWrong(Knowing):
        def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.roll(super().texts(texts), 1, axis=1)

    tower = LooksWrong(said.get)
    assert scores("retrieval-landforms", subject(tmp_path, tower, speaks=True))["text_to_image_r@1"] < 0.2
    # All are among the first 32.
    found = scores("retrieval-landforms-reranked", subject(tmp_path, tower, speaks=True))
    assert found["text_to_image_r@1"] == 1
    assert found["image_to_text_r@1"] == 1


def test_likelihood_puts_the_first_in_a_new_order(tmp_path: Path) -> None:
    told = text_set("landforms", known("test")).texts
    said = {text: place.scene.seed for text, place in zip(told, known("test"), strict=True)}

    class Writes(Knowing):
        def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.roll(super().texts(texts), 1, axis=1)

        def likelihood(self, views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
            # Long texts are unlikely beside any image, and likelier beside their own.
            right = super().match(views, texts)
            return np.array([10 * one - len(text) for one, text in zip(right, texts, strict=True)], np.float32)

    tower = Writes(said.get)
    found = scores("retrieval-landforms-likeliest", subject(tmp_path, tower, speaks=True, writes=True))
    assert found["text_to_image_r@1"] == 1
    assert found["image_to_text_r@1"] < 1
    silent = subject(tmp_path / "silent", Knowing(), speaks=True)
    assert tasks()["retrieval-landforms-likeliest"].tallies(silent) is None


def test_other_arms_are_not_put_in_order_again(tmp_path: Path) -> None:
    task = tasks()["retrieval-landforms-reranked"]
    assert task.tallies(subject(tmp_path, Knowing(), speaks=True, arm="blind")) is None
    assert "retrieval-landforms-reranked" not in tasks(0)


def test_classes_are_told_by_prompts_alone(tmp_path: Path) -> None:
    covers = {prompt: cover for cover, prompts in enumerate(cover_prompts()) for prompt in prompts}
    dominant = [place.dominant_cover for place in known("test")]

    class NamesCovers(Knowing):
        def vector(self, seed: int | None) -> NDArray[np.float32]:
            vector = np.zeros(9, np.float32)
            # Of a prompt the number of its class, of an image the seed of its place.
            by_seed = {place.scene.seed: place.dominant_cover for place in known("test")}
            vector[by_seed.get(seed or 0, seed) or 0] = 1
            return vector

        def match(self, views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
            return np.full(len(texts), 0.5, np.float32)

    found = scores("zero-shot-cover", subject(tmp_path, NamesCovers(covers.get), speaks=True))
    assert found["accuracy"] == 1
    # Of equal probabilities the first class: water.
    assert found["matched_accuracy"] == pytest.approx(np.mean([cover == 0 for cover in dominant]))


def test_counts_are_told_by_texts_that_differ_in_the_count_alone(tmp_path: Path) -> None:
    class Counts(Knowing):
        def match(self, views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
            right = [count_prompts(place_of(view).asked)[len(place_of(view).targets)][0] for view in views]
            return np.array([text == one for text, one in zip(texts, right, strict=True)], np.float32)

    found = scores("zero-shot-count", subject(tmp_path, Counts(), speaks=True))
    assert found["matched_accuracy"] == 1 and "written_accuracy" not in found

    class Writes(Counts):
        def likelihood(self, views: Sequence[View], texts: Sequence[str]) -> NDArray[np.float32]:
            return -self.match(views, texts)

    writes = scores("zero-shot-count", subject(tmp_path / "writes", Writes(), speaks=True, writes=True))
    assert writes["matched_accuracy"] == 1 and writes["written_accuracy"] == 0
    assert count_prompts("ship")[0][0] == "The image holds no targets."
    assert count_prompts("aircraft")[2][0] == "The image holds two aircraft."


def test_the_majority_of_the_training_split_is_the_bar(tmp_path: Path) -> None:
    water = np.mean([place.dominant_cover == 0 for place in known("test")])
    bar = subject(tmp_path, Nothing(), kind=MAJORITY)
    assert scores("zero-shot-cover", bar)["accuracy"] == pytest.approx(water)
    assert scores("probe-cover", bar)["accuracy"] == pytest.approx(water)


def test_towers_without_texts_have_no_zero_shot_classes(tmp_path: Path) -> None:
    for task in ("zero-shot-cover", "zero-shot-count", "retrieval-landforms-reranked"):
        assert tasks()[task].tallies(subject(tmp_path, Knowing())) is None


def test_probes_read_what_features_hold(tmp_path: Path) -> None:
    knowing = subject(tmp_path / "knowing", Knowing())
    assert scores("probe-cover", knowing)["accuracy"] > 0.7
    assert scores("segmentation", knowing)["pixel_accuracy"] > 0.9
    found = scores("detection", knowing)
    assert found["f1@0.25"] > 0.8
    assert found["f1@0.50"] > 0.7
    assert found["ap50"] > 0.6 and 0 < found["ap"] < found["ap50"]
    assert scores("question-recognition", knowing)["accuracy"] > 0.8
    assert scores("question-position", knowing)["exact"] > 0.6
    assert scores("question-covers", knowing)["jaccard"] > 0.8
    assert scores("question-regional-cover", knowing)["accuracy"] > 0.9
    nothing = subject(tmp_path / "nothing", Nothing(), kind=MAJORITY)
    assert scores("detection", nothing)["f1@0.25"] < 0.1
    assert scores("segmentation", nothing)["miou"] < 0.1


def test_two_polarizations_are_read_side_by_side(tmp_path: Path) -> None:
    shown: set[str] = set()

    class SeesBrightness(Knowing):
        def features(self, views: Sequence[View]) -> Features:
            shown.update(str(view.acquisition["polarization"]) for view in views)
            shades = np.stack([np.asarray(view.picture, np.float32) for view in views])[:, :, :, None]
            tokens = on_grid(shades, 6)
            return without_texts(tokens.mean((1, 2)), tokens)

    sees = subject(tmp_path, SeesBrightness())
    found = both_features(sees, "test")
    assert shown == {"VV", "VH"}
    assert found.tokens.shape == (COUNTS["test"], 6, 6, 2)
    # The display of each polarization is its own, and so is the speckle.
    assert not np.allclose(found.tokens[..., 0], found.tokens[..., 1], atol=2)
    assert scores("segmentation-two-polarizations", sees)["pixel_accuracy"] > 0.2
    assert "segmentation-two-polarizations" in ONLY_BY_NAME


def test_captions_are_those_of_the_nearest_image_and_their_facts_are_counted(tmp_path: Path) -> None:
    found = scores("captioning", subject(tmp_path, Knowing()))
    chance = scores("captioning", subject(tmp_path / "chance", Nothing(), kind=MAJORITY))
    assert chance["facts"] < found["facts"] < 1
    assert found["facts/target_count"] > chance["facts/target_count"]
    told = [place.phrases for place in known("test")]
    same = {name: tally.score().value for name, tally in caption_tallies(told, known("test")).items()}
    assert (same["facts"], same["facts/roads"]) == (1, 1)
    assert same["bleu4"] == pytest.approx(1)


def test_written_captions_are_sentences_that_the_model_ends(tmp_path: Path) -> None:
    begun: list[str] = []

    class Writes(Knowing):
        def go_on(self, views: Sequence[View], beginning: str) -> list[str]:
            begun.append(beginning)
            dimension = next(name for name, known in BEGINNINGS.items() if known == beginning)
            if dimension == "water":
                return [""] * len(views)
            return [place_of(view).phrases.get(dimension, "none") for view in views]

    writes = subject(tmp_path, Writes(), writes=True)
    found = scores("captioning-written", writes)
    assert found["facts/terrain"] == found["facts/target_count"] == 1 and found["facts/water"] == 0
    assert 0.8 < found["facts"] < 1 and 0.8 < found["bleu4"] < 1
    assert BEGINNINGS["terrain"] == "The terrain is " and BEGINNINGS["distribution"] == "Within the frame, "
    asked = len(begun)
    assert scores("captioning-written", writes) == found and len(begun) == asked, "kept, and not written again"
    assert tasks()["captioning-written"].tallies(subject(tmp_path / "silent", Knowing())) is None


def test_shares_of_cells_are_those_of_their_pixels() -> None:
    cover = np.array([[0, 0, 1, 1], [0, 2, 1, 1]], dtype=np.int8)
    shares = cover_shares(cover, 1, 2)
    assert shares.shape == (1, 2, len(LANDCOVER_CLASSES))
    assert shares[0, 0, :3].tolist() == [0.75, 0, 0.25]
    assert shares[0, 1, 1] == 1


def test_chips_are_cut_about_their_targets() -> None:
    chips = chips_of(known("test"), "ship", 5)
    place = next(place for place in known("test") if place.targets and place.targets[0].label == "ship")
    x1, y1, x2, y2 = place.targets[0].box
    picture: NDArray[np.uint8] = np.asarray(place.view.picture)
    middle = picture[int(y1 + y2) // 2, int(x1 + x2) // 2]
    chip: NDArray[np.uint8] = np.asarray(chips[0].view.picture)
    assert chip.shape == place.cover.shape
    scale = len(chip) // CHIP_PIXELS
    cell = chip[len(chip) // 2 : len(chip) // 2 + scale, len(chip) // 2 : len(chip) // 2 + scale]
    assert abs(float(cell.mean()) - float(middle)) < 40
    assert len(chips) == 5
    assert all(chip.view.prior is None for chip in chips)


def test_texts_of_one_place_are_true_of_places_with_the_same_facts() -> None:
    places = known("test")
    for name in TEXT_SETS:
        told = text_set(name, places)
        assert told.true.diagonal().all()
        assert max(map(len, told.texts)) <= LONGEST
    # Few parts are true of more places than many.
    few, many = (text_set(name, places).true.sum() for name in ("parts", "landforms"))
    assert COUNTS["test"] <= many <= few
