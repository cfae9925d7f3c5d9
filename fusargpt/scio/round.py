"""One round: two models, each of which screens the half that it was not fitted on, and what becomes of parts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fusargpt.captioning.rows import write_readme
from fusargpt.scio.chunks import Rows, in_chunks
from fusargpt.scio.dataset import CaptionRows, write_captions
from fusargpt.scio.judge import Judge, Seen
from fusargpt.scio.models import Fitter
from fusargpt.scio.parts import Caption, kept
from fusargpt.scio.planting import plant
from fusargpt.scio.reconstruction import Gap, Neighbours, reconstruct
from fusargpt.scio.screening import screen
from fusargpt.scio.settings import HALVES, ScioSettings
from fusargpt.scio.thresholds import Calibration, calibrate


class Captioner(Protocol):
    """Says of a row again what may be true of it."""

    @property
    def name(self) -> str: ...

    def phrases(self, number: int) -> Mapping[str, str]:
        """Of the row with this number, by dimension; none where it has nothing to say."""
        ...


@dataclass
class Screened:
    """What a round has found out before it changes anything.

    Attributes:
        calibrations: of the judge of each half.
        scores: of each part that was judged, by row and dimension.
        evidence: of the objectives, alike.
        flagged: rows and dimensions.
        vectors: of the images of each half.
    """

    calibrations: dict[str, Calibration] = field(default_factory=dict)
    scores: dict[tuple[int, str], float] = field(default_factory=dict)
    evidence: dict[tuple[int, str], Sequence[float]] = field(default_factory=dict)
    flagged: set[tuple[int, str]] = field(default_factory=set)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def auroc(self) -> float:
        """Of planted errors, the mean of both judges."""
        return float(np.mean([found.auroc for found in self.calibrations.values()]))

    @property
    def share(self) -> float:
        """Of the judged parts, those that are flagged."""
        return len(self.flagged) / max(1, len(self.scores))


class Round:
    """One round of a run.

    Args:
        number: from 1.
        rows: all.
        halves: numbers of the rows of each.
        captions: as they stand, in the order of rows.
        settings: of the run.
        device: as torch names it; None takes a GPU where there is one.
    """

    def __init__(
        self,
        number: int,
        rows: CaptionRows,
        halves: Mapping[str, list[int]],
        captions: Sequence[Caption],
        settings: ScioSettings,
        device: str | None,
    ) -> None:
        self.number, self._rows, self._halves, self._captions = number, rows, halves, captions
        self._settings, self._device = settings, device
        self._folder = settings.out / "rounds" / str(number)
        self._judges: dict[str, Callable[[], Judge]] = {}

    def screen(self, fitter: Fitter) -> Screened:
        """Fit both judges, and have each judge the other half."""
        models = {half: fitter.fit(half, self._data(half), self._folder / half / "model") for half in HALVES}
        found = Screened()
        for half, judging in zip(HALVES, reversed(HALVES), strict=True):
            self._judges[half] = _once(models[judging], self._device)
            self._screen_half(half, found)
        return found

    def _screen_half(self, half: str, found: Screened) -> None:
        numbers = self._halves[half]
        said = [kept(self._captions[number]) for number in numbers]
        names = [self._rows.ids[number] for number in numbers]
        errors = dict(zip(numbers, plant(names, said, "plant", str(self._settings.seed)), strict=True))
        texts = dict(zip(numbers, said, strict=True))

        def work(some: Sequence[int]) -> Rows:
            return screen(
                self._judges[half](),
                self._see(half, some),
                [self._rows.ids[number] for number in some],
                [texts[number] for number in some],
                [errors[number] for number in some],
                self._settings,
                str(self._settings.seed),
                str(self.number),
            )

        title = f"round {self.number}, half {half}: screening"
        screened = in_chunks(self._folder / half / "screen", numbers, self._settings.batch_rows, work, title, "image")
        calibration = calibrate(screened, self._settings)
        found.calibrations[half] = calibration
        found.vectors[half] = np.array([row["vector"] for row in screened], np.float32)
        for number, row in zip(numbers, screened, strict=True):
            for dimension, evidence in row["evidence"].items():
                found.scores[number, dimension] = calibration.score(dimension, evidence)
                found.evidence[number, dimension] = evidence
                if calibration.flags(dimension, evidence):
                    found.flagged.add((number, dimension))

    def reconstruct(self, screened: Screened, captioner: Captioner | None) -> dict[tuple[int, str], dict[str, Any]]:
        """What is found in the place of each part that was flagged now or dropped before, by row and dimension."""
        found: dict[tuple[int, str], dict[str, Any]] = {}
        if not self._settings.reconstruct:
            return found
        for half in HALVES:
            trusted = {
                number: {
                    name: phrase
                    for name, phrase in kept(self._captions[number]).items()
                    if (number, name) not in screened.flagged
                }
                for number in self._halves[half]
            }
            neighbours = Neighbours(screened.vectors[half], [trusted[number] for number in self._halves[half]])
            gaps = {number: self._gaps(number, screened) for number in self._halves[half]}
            in_half = {number: place for place, number in enumerate(self._halves[half])}

            def work(
                some: Sequence[int],
                half: str = half,
                trusted: dict[int, dict[str, str]] = trusted,
                neighbours: Neighbours = neighbours,
                gaps: dict[int, list[Gap]] = gaps,
                in_half: dict[int, int] = in_half,
            ) -> Rows:
                return reconstruct(
                    self._judges[half](),
                    self._see(half, some),
                    [self._rows.ids[number] for number in some],
                    [trusted[number] for number in some],
                    [gap._replace(image=place) for place, number in enumerate(some) for gap in gaps[number]],
                    [{} if captioner is None else captioner.phrases(number) for number in some],
                    neighbours,
                    [in_half[number] for number in some],
                    screened.calibrations[half],
                    self._settings,
                )

            wanting = [number for number in self._halves[half] if gaps[number]]
            title = f"round {self.number}, half {half}: reconstruction"
            made = in_chunks(
                self._folder / half / "reconstruct", wanting, self._settings.batch_rows, work, title, "image"
            )
            numbers = {self._rows.ids[number]: number for number in wanting}
            found |= {(numbers[row["id"]], row["dimension"]): row for row in made}
        return found

    def _gaps(self, number: int, screened: Screened) -> list[Gap]:
        return [
            Gap(0, name, part.phrase if part.weight > 0 else part.source, part.weight > 0)
            for name, part in self._captions[number].items()
            if part.weight == 0 or (number, name) in screened.flagged
        ]

    def _see(self, half: str, some: Sequence[int]) -> Seen:
        pictures, priors, told = zip(*(self._rows.picture(number) for number in some), strict=True)
        return self._judges[half]().see(pictures, priors, told)

    def _data(self, half: str) -> Callable[[], Path]:
        folder = self._folder / half / "data"

        def write() -> Path:
            write_half(folder, self._rows, self._halves[half], self._captions)
            return folder

        return write


def write_half(folder: Path, rows: CaptionRows, numbers: Sequence[int], captions: Sequence[Caption]) -> None:
    """Leave the captions of a half in `folder`, where they are not there already."""
    if folder.is_dir():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    count = write_captions(partial, rows, numbers, captions)
    write_readme(partial / "README.md", [rows.split], "Half of captions", [f"{count:,} rows to fit a judge on."])
    partial.rename(folder)


def changed(
    captions: Sequence[Caption],
    screened: Screened,
    found: Mapping[tuple[int, str], Mapping[str, Any]],
    in_round: int,
) -> list[Caption]:
    """Captions after a round: flagged parts dropped or replaced, dropped ones brought back, others confirmed."""
    after: list[Caption] = []
    for number, caption in enumerate(captions):
        parts = dict(caption)
        for name, part in caption.items():
            accepted = (found.get((number, name)) or {}).get("accepted")
            if accepted is not None:
                parts[name] = part.said(accepted["phrase"], in_round)
            elif (number, name) in screened.flagged:
                parts[name] = part.dropped(in_round)
            elif part.weight > 0 and (number, name) in screened.scores:
                parts[name] = part.confirmed()
        after.append(parts)
    return after


def tally(captions: Sequence[Caption]) -> dict[str, int]:
    """How many parts are of each origin."""
    return dict(Counter(part.origin for caption in captions for part in caption.values()))


def _once(model: Path, device: str | None) -> Callable[[], Judge]:
    """Loads the judge when it is first asked for: a round that is done is not judged again."""
    loaded: list[Judge] = []

    def judge() -> Judge:
        if not loaded:
            loaded.append(Judge.load(model, device))
        return loaded[0]

    return judge
