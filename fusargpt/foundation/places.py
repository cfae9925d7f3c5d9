"""The simulated places of the suite, with all that is known of each. Every place is of one split alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.simulator.description import describe, scene_phrases
from fusargpt.simulator.records import SPLIT_SEEDS, scene_fields
from fusargpt.simulator.simulated_scene import Scene, simulate_scene

SPLIT_RULE = "by place: every seed is a place of its own, and the seeds of the splits are apart"

ACQUISITION = ("resolution_m", "sensor", "polarization", "acquired")


@dataclass(frozen=True)
class Target:
    """One object; `box` [x1, y1, x2, y2] are pixel edges."""

    box: tuple[float, float, float, float]
    label: str
    fine_label: str


@dataclass(frozen=True, eq=False)
class View:
    """What a tower is shown.

    Attributes:
        picture: grey, 8 bit.
        prior: of a place, or None.
        acquisition: `resolution_m`, `sensor`, `polarization` and `acquired` (ISO date) of the picture; never its place.
    """

    picture: Image.Image
    prior: Prior | None
    acquisition: Mapping[str, str | float] = field(default_factory=dict)


class Annotated(Protocol):
    """An image whose targets are known."""

    @property
    def seed(self) -> int:
        """Of what is drawn of it."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def targets(self) -> Sequence[Target]: ...


@dataclass(frozen=True, eq=False)
class Place:
    """A simulated scene as the suite asks about it.

    Attributes:
        scene: the simulator's.
        view: its SAR picture with its own prior.
    """

    scene: Scene
    view: View

    @cached_property
    def cover(self) -> NDArray[np.int8]:
        """Dynamic World classes of the pixels [H, W]; an apron is built area."""
        return self.scene.landcover[self.scene.region].astype(np.int8)

    @property
    def seed(self) -> int:
        return self.scene.seed

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.cover.shape
        return rows, columns

    @property
    def dominant_cover(self) -> int:
        """The class of most pixels."""
        return int(np.bincount(self.cover.ravel()).argmax())

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(Target(found.box, found.label, found.fine_label) for found in self.scene.targets)

    @property
    def asked(self) -> str:
        """The class of targets that could be here: aircraft on an apron, else ships."""
        return "aircraft" if self.scene.apron is not None else "ship"

    @cached_property
    def caption(self) -> str:
        """The simulator's short description."""
        return describe(self.scene)

    @cached_property
    def phrases(self) -> Mapping[str, str]:
        """What is known of the place and its targets, by the dimensions of `fusargpt.tasks.facts`."""
        return scene_phrases(self.scene)


def place(seed: int) -> Place:
    """The place of a seed, always the same."""
    scene = simulate_scene(seed)
    fields = scene_fields(scene)
    prior = Prior(dequantize(fields[PRIOR_EMBEDDINGS]).astype(np.float32), fields[PRIOR_POSITIONS])
    return Place(scene, View(fields["image"], prior, {name: fields[name] for name in ACQUISITION}))


def places(split: str, count: int) -> Sequence[Place]:
    """The first `count` places of a split of `SPLIT_SEEDS`."""
    first = SPLIT_SEEDS[split]
    seeds = tqdm(range(first, first + count), desc=f"simulating {split}", unit="place", disable=None, leave=False)
    return [place(seed) for seed in seeds]
