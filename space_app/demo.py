"""What the page does with a model and nothing of how it looks: look at an image, fetch anchors, answer."""

import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError, check
from fusargpt.geo.prior import Prior, save_prior
from fusargpt.inference.predict import FusarGpt
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, TARGET_TASKS
from fusargpt.tasks.target_names import TARGETS, check_known
from space_app.fields import fetch_anchors
from space_app.inputs import Told, read_question, read_small_prior
from space_app.limits import MAX_ANSWER_SECONDS, Scratch, Visitors, public_message
from space_app.one_question import GivenAnswer, answers_to, priors_to_ask
from space_app.scene_search import SceneSearch, Searched
from space_app.scenes import UploadedScene, read_scene
from space_app.streaming import Stream, stream_of
from space_app.visitor import current_visitor
from space_app.whole_scene import AskedScene, SceneQuestion, WholeScene


@dataclass(frozen=True)
class Question:
    """What a visitor asks, as the controls hold it.

    Attributes:
        image: path of the image; None before there is one.
        prior: path of its .npz; None without one.
        task: one of the five tasks, or "free".
        target: a class that the model was trained to find.
        question: of "free".
        compare: answer with the prior, then without it.
        place: "west, south, east, north" in degrees for an image that does not say it; "" when unknown.
        told: how the image is to be read.
        least: score below which boxes are not shown.
    """

    image: str | None
    prior: str | None
    task: str = "describe"
    target: str = TARGETS[0]
    question: str = ""
    compare: bool = False
    place: str = ""
    told: Told = field(default_factory=Told)
    least: float = 0.0


@dataclass(frozen=True, eq=False)
class Demo:
    """One model and what belongs to its page.

    Attributes:
        predictor: the model.
        name: of the model, as the page shows it.
        fields: the AlphaEarth fields that are offered, by name.
        max_new_tokens: where an answer is cut.
        seconds: after which an answer is stopped.
        scratch: where files for visitors are written.
        visitors: who has how many requests under way.
        stream: the model's answers.
        scene_search: searches by words; None where no model for that is there.
        whole_scene: asks scenes tile by tile.
    """

    predictor: FusarGpt
    name: str
    fields: Mapping[str, AlphaEarth]
    max_new_tokens: int = MAX_NEW_TOKENS
    seconds: float = MAX_ANSWER_SECONDS
    scratch: Scratch = field(default_factory=Scratch)
    visitors: Visitors = field(default_factory=Visitors)
    scene_search: SceneSearch | None = None
    stream: Stream = field(init=False, repr=False)
    whole_scene: WholeScene = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The model has one place, taken when everything else of a question is read.
        place = threading.Lock()
        object.__setattr__(self, "stream", stream_of(self.predictor, place))
        object.__setattr__(self, "whole_scene", WholeScene(self.predictor, place))

    def look(self, image: str | None, told: Told | None = None, place: str = "") -> UploadedScene:
        """The image as `space_app.scenes.read_scene` reads it.

        Raises:
            InputError: as `read_scene` and `Told.reading`, or too many requests of one visitor.
        """
        visitor = current_visitor()
        with self.visitors.at_work(visitor), self.visitors.in_turn(visitor):
            return read_scene(self.predictor, image, (told or Told()).reading(), place)

    def prior(self, path: str | None) -> Prior | None:
        """The prior of a file; None without one.

        Raises:
            InputError: as `space_app.inputs.read_small_prior`.
        """
        return None if path is None else read_small_prior(path)

    def anchors(self, scene: UploadedScene, year: float | None, name: str | None, per_side: float) -> str:
        """Fetch the anchors of a scene; returns the path of their .npz file.

        Raises:
            InputError: as `space_app.fields.fetch_anchors`.
        """
        prior = fetch_anchors(self.fields, name, scene, year, per_side)
        path = self.scratch.new_folder() / f"{Path(scene.name).stem}-{int(year or 0)}.npz"
        save_prior(path, prior)
        return str(path)

    def answers(self, asked: Question) -> Generator[tuple[UploadedScene, Prior | None, list[GivenAnswer]]]:
        """The answers as they grow, see `space_app.one_question.answers_to`.

        Raises:
            InputError: anything about the question that is not as it should be.
        """
        question = read_question(asked.task, asked.target, asked.question)
        check("Least score", asked.least, 0 <= asked.least <= 1, "0 to 1")
        if asked.task in TARGET_TASKS:
            check_known(asked.target, self.predictor.targets, self.name)
        scene = self.look(asked.image, asked.told, asked.place)
        prior = self.prior(asked.prior)
        priors = priors_to_ask(prior, asked.compare)
        growing = answers_to(
            self.stream,
            scene,
            question,
            asked.task,
            asked.target,
            priors,
            self.max_new_tokens,
            self.seconds,
            asked.least,
        )
        with self.visitors.at_work(current_visitor()):
            try:
                for answers in growing:
                    yield scene, prior, answers
            finally:
                growing.close()

    def searches(
        self, image: str | None, words: str, prior_path: str | None, side: float | None, told: Told, place: str = ""
    ) -> Generator[Searched]:
        """An image searched by words, see `space_app.scene_search.SceneSearch.search`.

        Raises:
            InputError: anything about the request that is not as it should be.
        """
        if self.scene_search is None:
            raise InputError("This page has no model that searches.")
        if side is not None and not float(side).is_integer():
            raise InputError(f"Tile: found {side}; expected a whole number of pixels, or nothing")
        scene = self.look(image, told, place)
        prior = self.prior(prior_path)
        growing = self.scene_search.search(
            (image, told, prior_path), scene, words, prior, int(side) if side else None, self.seconds
        )
        with self.visitors.at_work(current_visitor()):
            try:
                yield from growing
            finally:
                growing.close()

    def scenes(
        self, image: str | None, asked: SceneQuestion, field_name: str | None, told: Told, place: str = ""
    ) -> Generator[AskedScene]:
        """A scene asked tile by tile, see `space_app.whole_scene.WholeScene.ask`.

        Args:
            image: path of the image; None before there is one.
            asked: the question.
            field_name: of the field that each tile's anchors come from; None or "" without a prior.
            told: how the image is to be read.
            place: as `Question.place`.

        Raises:
            InputError: anything about the request that is not as it should be.
        """
        if field_name and field_name not in self.fields:
            raise InputError(f"Prior: found {field_name!r}; this page offers {', '.join(self.fields) or 'none'}")
        if asked.task in TARGET_TASKS:
            check_known(asked.target, self.predictor.targets, self.name)
        scene = self.look(image, told, place)
        source = (field_name, self.fields[field_name]) if field_name else None
        growing = self.whole_scene.ask((image, told, place), scene, asked, source, self.seconds)
        with self.visitors.at_work(current_visitor()):
            try:
                yield from growing
            finally:
                growing.close()

    def message(self, error: InputError, *paths: str | None) -> str:
        """An error as a visitor may read it: files by their names, fields by theirs, and no markup."""
        shown: dict[str, str] = {str(path): Path(path).name for path in paths if path}
        shown |= {str(source.root): name for name, source in self.fields.items()}
        return public_message(error, shown)
