"""What is captioned: the images of a dataset of triplets, or the chips of the scenes of a manifest."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

from datasets import Dataset, get_dataset_config_names, get_dataset_split_names

from fusargpt.captioning.observation import Observation
from fusargpt.errors import InputError, one_line
from fusargpt.geo.prior import PRIOR_COLUMNS
from fusargpt.inference.questions import Failure
from fusargpt.inference.rows import SIMULATOR, image_bytes, load_rows, read_picture, read_prior, simulated_rows
from fusargpt.simulator.rendering import DISPLAY_DB
from fusargpt.simulator.simulated_scene import NAME
from fusargpt.tasks.facts import TARGET_COLUMN
from fusargpt.tasks.target_dimensions import TargetBox
from fusargpt.triplets.features import RECORD_FEATURES
from fusargpt.triplets.manifest import SceneRow, read_manifest
from fusargpt.triplets.scene_chips import SceneChips, open_chips
from fusargpt.triplets.settings import BuildSettings
from fusargpt.triplets.splits import split_by_place
from fusargpt.triplets.survey import survey
from modeling_fusargpt.artefacts import HUB_ID

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".geojson", ".json")
WORLD_MANIFEST, WORLD_FIELD = "manifest.jsonl", "aef"
SIMULATED_SCENES = 50
"""As many as are captioned where no limit is given."""
CAPTIONS = "captions"
_EXPECTED = (
    f"expected a dataset (folder, Parquet file, owner/name on the Hub), a manifest ({', '.join(MANIFEST_SUFFIXES)}), "
    f"the folder of a world, or '{SIMULATOR}'"
)
_ASKED = ("id", "task", "prompt", "completion")
COLUMNS = tuple(name for name in RECORD_FEATURES if name not in _ASKED)
"""Of a row that is captioned; its question and answer are its own."""


@dataclass(frozen=True)
class CaptionItem:
    """An image to be captioned, before it is read.

    Attributes:
        id: unique in its source.
        split: that its row goes to.
        place: where the source finds it: the number of a row, or of a scene and a chip.
    """

    id: str
    split: str
    place: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Seen:
    """An image with all that came with it, and the columns that its row of captions begins with."""

    observation: Observation
    columns: dict[str, Any]


class Source(Protocol):
    """Can be read by several threads, one after the other."""

    def items(self) -> tuple[list[CaptionItem], list[Failure]]:
        """All that can be captioned, in a fixed order, and what cannot. InputError when nothing can."""
        ...

    def read(self, item: CaptionItem) -> Seen | None:
        """The image of an item; None where there is nothing to see. Raises InputError, OSError or ValueError."""
        ...

    def conditions(self) -> dict[str, object]:
        """What identifies the source, as plain JSON."""
        ...


class DatasetSource:
    """Each image of a dataset once, whatever is asked about it.

    Args:
        name: a folder, a Parquet file, a name on the Hub, or `fusargpt.inference.rows.SIMULATOR`.
        config: None takes `captions` where there is one, else the first.
        splits: None takes all.
        limit: images; None takes all, or `SIMULATED_SCENES`.
        decibels: those that became the grey levels 0 and 255; of simulated scenes they are known.

    Raises:
        InputError: no such dataset, config or split, columns that are missing, or no rows.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        splits: Sequence[str] | None = None,
        limit: int | None = None,
        decibels: tuple[float, float] | None = None,
    ) -> None:
        self._name, self._config, self._splits, self._limit = name, config, splits, limit
        self._decibels = decibels
        self._parts, self._in_captions = _read(name, config, splits, limit)
        self._lock = RLock()

    def items(self) -> tuple[list[CaptionItem], list[Failure]]:
        items: list[CaptionItem] = []
        failures: list[Failure] = []
        images: set[bytes] = set()
        names: set[str] = set()
        for part, (split, rows) in enumerate(self._parts.items()):
            for number, row in enumerate(rows.select_columns(["id", "image", "bounds"])):
                assert isinstance(row, Mapping)
                if self._limit is not None and len(items) >= self._limit:
                    return items, failures
                shown = str(row["id"] or f"{split} row {number}")
                try:
                    key = hashlib.sha256(image_bytes(row) + repr(row["bounds"]).encode()).digest()
                except (InputError, OSError) as error:
                    failures.append(Failure(shown, one_line(error)))
                    continue
                # Rows that ask about one image follow each other.
                if key in images:
                    continue
                images.add(key)
                if not row["id"] or shown in names:
                    failures.append(Failure(shown, f"id: found {row['id']!r}, expected one that no other row has"))
                    continue
                names.add(shown)
                items.append(CaptionItem(shown, split, (part, number)))
        return _some(self._name, items, failures)

    def read(self, item: CaptionItem) -> Seen:
        part, number = item.place
        with self._lock:
            row: dict[str, Any] = dict(list(self._parts.values())[part][number])
        columns = {name: row[name] for name in COLUMNS}
        columns["image"] = {"bytes": image_bytes(row), "path": None}
        observation = Observation(
            id=item.id,
            image=read_picture(row),
            bounds=None if row["bounds"] is None else tuple(row["bounds"]),
            acquired=row["acquired"] or "",
            sensor=row["sensor"] or "",
            polarization=row["polarization"] or "",
            resolution_m=row["resolution_m"],
            decibels=self._decibels or _simulated_decibels(row),
            prior=read_prior({name: row[name] for name in PRIOR_COLUMNS}),
            targets=_targets(row, self._in_captions),
        )
        return Seen(observation, columns)

    def conditions(self) -> dict[str, object]:
        return {
            "source": self._name,
            "config": self._config,
            "splits": self._splits and list(self._splits),
            "limit": self._limit,
            "decibels": self._decibels and list(self._decibels),
            "rows": {split: len(rows) for split, rows in self._parts.items()},
        }


class ManifestSource:
    """Each chip of the scenes of a manifest, with the land cover that it names.

    Args:
        manifest: see `fusargpt.triplets.manifest`.
        settings: how scenes are cut, and where AlphaEarth is.
        limit: chips; None takes all.

    Raises:
        InputError: a manifest that is not what it should be.
    """

    def __init__(self, manifest: Path, settings: BuildSettings, limit: int | None = None) -> None:
        self._manifest, self._settings, self._limit = manifest, settings, limit
        self._rows = read_manifest(manifest)
        self._lock = RLock()
        self._open: tuple[SceneRow, SceneChips, ExitStack] | None = None

    def items(self) -> tuple[list[CaptionItem], list[Failure]]:
        found, failed = survey(self._rows, self._settings, 1)
        splits = split_by_place(
            [scene.located for scene in found], self._settings.split_distance_km, self._settings.shares
        )
        places = {row.id: number for number, row in enumerate(self._rows)}
        items = [
            CaptionItem(
                scene.row.id if scene.chips == 1 else f"{scene.row.id}/{chip}",
                splits[scene.row.id],
                (places[scene.row.id], chip),
            )
            for scene in found
            for chip in range(scene.chips)
        ]
        failures = [Failure(failure.row.id, failure.reason) for failure in failed]
        return _some(str(self._manifest), items[: self._limit], failures)

    def read(self, item: CaptionItem) -> Seen | None:
        with self._lock:
            chips = self._chips(self._rows[item.place[0]])
            image = chips.image(item.place[1])
            if image is None:
                return None
            columns = chips.fields(image)
            stretch = chips.stretch
            calibrated = stretch is not None and stretch.stored == "decibels"
            observation = Observation(
                id=item.id,
                image=image.picture,
                bounds=None if columns["bounds"] is None else tuple(columns["bounds"]),
                acquired=columns["acquired"],
                sensor=columns["sensor"],
                polarization=columns["polarization"],
                resolution_m=columns["resolution_m"],
                decibels=(stretch.low, stretch.high) if stretch is not None and calibrated else None,
                prior=read_prior(columns),
                cover=chips.cover(image),
                # Of a chip that shows parts of objects it is not known how many there are.
                targets=None if chips.boxes is None or image.cut else image.target_boxes,
            )
            return Seen(observation, columns)

    def conditions(self) -> dict[str, object]:
        chosen = {item.name: getattr(self._settings, item.name) for item in fields(BuildSettings)}
        return {
            "source": str(self._manifest),
            "limit": self._limit,
            "settings": {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()},
        }

    def close(self) -> None:
        if self._open is not None:
            self._open[2].close()
            self._open = None

    def _chips(self, row: SceneRow) -> SceneChips:
        """The scene that was open last stays so: its chips follow each other."""
        if self._open is not None and self._open[0] is row:
            return self._open[1]
        self.close()
        stack = ExitStack()
        chips = stack.enter_context(open_chips(row, self._settings))
        self._open = row, chips, stack
        return chips


def open_source(
    name: str,
    settings: BuildSettings,
    config: str | None = None,
    splits: Sequence[str] | None = None,
    limit: int | None = None,
    decibels: tuple[float, float] | None = None,
) -> Source:
    """A dataset, a manifest, or the folder of a world that `fusargpt.simulator.world` wrote.

    Raises:
        InputError: none of them, options that it has not, or one that cannot be read.
    """
    path = Path(name)
    manifest = path if path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file() else None
    if (path / WORLD_MANIFEST).is_file():
        manifest = path / WORLD_MANIFEST
        if settings.aef is None and (path / WORLD_FIELD).is_dir():
            settings = replace(settings, aef=str(path / WORLD_FIELD))
    if manifest is None:
        return DatasetSource(name, config, splits, limit, decibels)
    for option, given in (("config", config), ("split", splits), ("decibels", decibels)):
        if given is not None:
            raise InputError(f"--{option}: {name} is a manifest, which has none; leave it out")
    return ManifestSource(manifest, settings, limit)


def _read(
    name: str, config: str | None, splits: Sequence[str] | None, limit: int | None
) -> tuple[dict[str, Dataset], bool]:
    """The rows of each split, and whether they are of a config `captions`."""
    columns = ("id", *COLUMNS)
    if name == SIMULATOR:
        if config is not None:
            raise InputError(f"config: found {config!r}; the simulator has none")
        chosen = splits or ("test",)
        rows = {split: simulated_rows(split, ("describe",), limit or SIMULATED_SCENES) for split in chosen}
        return rows, False
    if name.endswith(".parquet") and Path(name).is_file():
        split = Path(name).name.partition("-")[0]
        split = split if split in ("train", "validation", "test") else "train"
        return {split: load_rows(name, None, split, columns, (TARGET_COLUMN,))}, True
    if not Path(name).is_dir() and not HUB_ID.fullmatch(name):
        raise InputError(f"{name}: {_EXPECTED}; found {'a file' if Path(name).exists() else 'no such file or folder'}")
    try:
        configs = get_dataset_config_names(name)
        config = config or (CAPTIONS if CAPTIONS in configs else configs[0])
        found = get_dataset_split_names(name, config)
    # What datasets and the Hub's client raise on names and files that are not as they should be: of any type.
    except Exception as error:
        raise InputError(f"{name}: {_EXPECTED}; it cannot be read: {one_line(error)}") from error
    unknown = [split for split in splits or () if split not in found]
    if unknown:
        raise InputError(f"{name}: no split {unknown[0]!r}; found {', '.join(found)}")
    rows = {split: load_rows(name, [config], split, columns, (TARGET_COLUMN,)) for split in splits or found}
    return rows, config == CAPTIONS


def _targets(row: Mapping[str, Any], in_captions: bool) -> list[TargetBox] | None:
    """The objects of a row; None where nobody looked for any.

    A row of `captions` says by its target description whether somebody did; those of older datasets have none, and
    there no objects may mean either.
    """
    objects = [TargetBox(item["bbox_2d"], item["label"], item["fine_label"] or "") for item in row["objects"] or ()]
    looked = row[TARGET_COLUMN] is not None if TARGET_COLUMN in row else bool(objects) or not in_captions
    return objects if looked else None


def _simulated_decibels(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Those of a rendering by the simulator, which stretches all alike."""
    return DISPLAY_DB.get(row["polarization"]) if str(row["id"]).startswith(NAME) else None


def _some(name: str, items: list[CaptionItem], failures: list[Failure]) -> tuple[list[CaptionItem], list[Failure]]:
    if not items:
        first = failures[0]
        raise InputError(f"{name}: none of {len(failures):,} images can be captioned; {first.id}: {first.reason}")
    return items, failures
