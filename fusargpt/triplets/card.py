"""The dataset card of a folder of shards: what `datasets` has to know as YAML, what people want to know in words."""

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from PIL import Image

from fusargpt.geo.embeddings import ATTRIBUTION
from fusargpt.geo.prior import PRIOR_POSITIONS
from fusargpt.tasks.prompts import TASKS
from fusargpt.triplets.manifest import SPLITS
from fusargpt.triplets.scene_map import draw_map
from fusargpt.triplets.settings import BuildSettings
from fusargpt.triplets.shards import CONFIGS
from fusargpt.triplets.sheet import lay_out, with_boxes
from fusargpt.triplets.survey import Surveyed

_CONFIG_USES = {"captions": "stage 1: describe", "instructions": "stage 2: count, localize, classify, detect"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
# Of the names that the Hub knows, those that scenes come with; any other is "other".
_HUB_LICENCES = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0")
MAP, SHEET = "map.png", "contact_sheet.jpg"
_SHEET_CHIPS, _SHEET_COLUMNS, _SHEET_SIDE = 24, 8, 252
_SHOWN_SENSORS = 20


@dataclass
class Content:
    """What the shards of one split hold."""

    tasks: Counter[str] = field(default_factory=Counter)
    sensors: Counter[tuple[str, str]] = field(default_factory=Counter)
    days: set[str] = field(default_factory=set)
    years: set[int] = field(default_factory=set)
    anchors: Counter[int] = field(default_factory=Counter)


def write_card(
    folder: Path,
    title: str,
    scenes: Sequence[tuple[str, Surveyed]],
    counts: dict[str, int],
    settings: BuildSettings,
    kinds: Sequence[tuple[str, int]] = (),
) -> None:
    """Write `README.md`, a map of the scenes and a contact sheet beside the shards in `folder`.

    Args:
        folder: with `captions/` and `instructions/`, or one of them.
        title: of the dataset.
        scenes: that the shards hold, each with its split.
        counts: of chips, and of what was left out.
        settings: of the build.
        kinds: what scenes were read as, and how many.
    """
    content = {config: {split: _content(folder / config, split) for split in SPLITS} for config in CONFIGS}
    outlines = [(split, scene.outline) for split, scene in scenes if scene.outline]
    pictures = list(_samples(folder))
    for name in (MAP, SHEET):
        (folder / name).unlink(missing_ok=True)
    if outlines:
        draw_map(folder / MAP, outlines)
    if pictures:
        lay_out(pictures, _SHEET_COLUMNS).save(folder / SHEET, quality=85)
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(folder, title, content, scenes), sort_keys=False, allow_unicode=True)}---",
        f"# {title}",
        _introduction(content),
        _counts_table(content, scenes),
        _pictures(bool(outlines), bool(pictures)),
        _COLUMNS,
        _how(settings, counts, kinds),
        _sources(content, scenes),
    ]
    (folder / "README.md").write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _content(folder: Path, split: str) -> Content:
    found = Content()
    for path in sorted(folder.glob(f"{split}-*.parquet")):
        columns = ["task", "sensor", "polarization", "acquired", "year", PRIOR_POSITIONS]
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=columns):
                rows = batch.select(columns[:-1]).to_pydict()
                found.tasks.update(rows["task"])
                found.sensors.update(zip(rows["sensor"], rows["polarization"], strict=True))
                found.days.update(filter(None, rows["acquired"]))
                found.years.update(year for year in rows["year"] if year is not None)
                found.anchors.update(batch.column(PRIOR_POSITIONS).value_lengths().to_pylist())
    return found


def _samples(folder: Path) -> Iterator[Image.Image]:
    """Chips spread over the dataset, those with objects first."""
    paths = sorted(folder.glob("instructions/*.parquet")) or sorted(folder.glob("captions/*.parquet"))
    groups = [(path, group) for path in paths for group in range(pq.read_metadata(path).num_row_groups)]
    chosen = groups[:: max(1, len(groups) // _SHEET_CHIPS)][:_SHEET_CHIPS]
    shown: set[bytes] = set()
    for number, (path, group) in enumerate(chosen):
        with pq.ParquetFile(path) as file:
            table = file.read_row_group(group, columns=["image", "objects"])
        images: dict[bytes, list[list[int]]] = {}
        for row in table.to_pylist():
            # The rows of a chip may lie in two groups.
            if row["image"]["bytes"] not in shown:
                images.setdefault(row["image"]["bytes"], [item["bbox_2d"] for item in row["objects"]])
        with_objects = [image for image, boxes in images.items() if boxes]
        without = [image for image, boxes in images.items() if not boxes]
        # What the groups before had too few chips for is shared by those that are left.
        wanted = -(-(_SHEET_CHIPS - len(shown)) // (len(chosen) - number))
        first = _spread(with_objects, wanted)
        for encoded in [*first, *_spread(without, wanted - len(first))]:
            shown.add(encoded)
            with Image.open(io.BytesIO(encoded)) as picture:
                yield _small(picture, images[encoded])


def _spread(items: Sequence[bytes], count: int) -> list[bytes]:
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _small(picture: Image.Image, boxes: Sequence[Sequence[int]]) -> Image.Image:
    """The picture on its way to the sheet; boxes are drawn after it has shrunk, so that their lines remain."""
    factor = min(1.0, _SHEET_SIDE / max(picture.size))
    width, height = (max(1, round(side * factor)) for side in picture.size)
    shrunk = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    return with_boxes(shrunk, [[round(edge * factor) for edge in box] for box in boxes])


def build_of(shards: Iterable[Path]) -> str:
    """ "build " and 16 hexadecimal digits for what Parquet files hold, from their names and footers.

    As a config's `description` it is part of what `load_dataset` knows a folder by. Without it, that returns the rows
    of an earlier build, or of another folder of the same name.
    """
    digest = blake2b(digest_size=8)
    for path in sorted(shards):
        with path.open("rb") as file:
            file.seek(-8, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")  # then the magic number, see the specification of Parquet
            file.seek(-8 - length, os.SEEK_END)
            digest.update(path.name.encode() + b"\0" + file.read(length))
    return f"build {digest.hexdigest()}"


def _front_matter(
    folder: Path, title: str, content: dict[str, dict[str, Content]], scenes: Sequence[tuple[str, Surveyed]]
) -> dict[str, object]:
    rows = sum(split.tasks.total() for config in content.values() for split in config.values())
    named = sorted({scene.row.license.lower() for _, scene in scenes if scene.row.license})
    known = bool(named) and all(name in _HUB_LICENCES for name in named)
    if _has_anchors(content) and known:
        named = sorted({*named, "cc-by-4.0"})
    licence = (named[0] if len(named) == 1 else named) if known else "other"
    configs = [
        {
            "config_name": config,
            "description": build_of((folder / config).glob("*.parquet")),
            "data_files": [
                {"split": split, "path": f"{config}/{split}-*.parquet"} for split in SPLITS if splits[split].tasks
            ],
        }
        for config, splits in content.items()
        if any(split.tasks for split in splits.values())
    ]
    return {
        "pretty_name": title,
        "license": licence,
        "language": ["en"],
        "task_categories": ["image-text-to-text", "visual-question-answering", "object-detection", "image-to-text"],
        "tags": ["sar", "remote-sensing", "geospatial", *(["alphaearth"] if _has_anchors(content) else [])],
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), "n>10M")],
        "configs": configs,
    }


def _has_anchors(content: dict[str, dict[str, Content]]) -> bool:
    return any(count for config in content.values() for split in config.values() for count in split.anchors)


def _introduction(content: dict[str, dict[str, Content]]) -> str:
    prior = "an AlphaEarth prior" if _has_anchors(content) else "an empty prior, which leaves the model as it is,"
    present = [config for config, splits in content.items() if any(split.tasks for split in splits.values())]
    lines = [
        "```python",
        "from datasets import load_dataset",
        "",
        *(f'{config} = load_dataset("PATH", "{config}")  # {_CONFIG_USES[config]}' for config in present),
        "```",
    ]
    return (
        f"SAR image chips, each with {prior} and a conversation: records as FUSAR-GPT trains on them. `PATH` is this "
        "folder, or its name on the Hub.\n\n" + "\n".join(lines)
    )


def _counts_table(content: dict[str, dict[str, Content]], scenes: Sequence[tuple[str, Surveyed]]) -> str:
    """Rows by split, config and task."""
    of_splits = Counter(split for split, _ in scenes)
    tasks = [task for task in TASKS if any(splits[name].tasks[task] for splits in content.values() for name in SPLITS)]
    lines = [f"| split | scenes | {' | '.join(tasks)} |", f"|---|{'---:|' * (len(tasks) + 1)}"]
    for name in SPLITS:
        rows = [sum(splits[name].tasks[task] for splits in content.values()) for task in tasks]
        lines.append(f"| {name} | {of_splits[name]:,} | {' | '.join(f'{count:,}' for count in rows)} |")
    return (
        "Rows by task (`describe` is the config `captions`, the others are `instructions`):\n\n"
        + "\n".join(lines)
        + f"\n\n{_apart(scenes)}"
    )


def _apart(scenes: Sequence[tuple[str, Surveyed]]) -> str:
    """What is known of the places of the splits."""
    without = sum(not scene.outline for _, scene in scenes)
    near = "scenes that overlap or are neighbours are in the same one."
    if not without:
        return f"The splits share no place: {near}"
    if without == len(scenes):
        return "No scene says where it lies. Whether the splits share places is not known."
    return (
        f"Of the {len(scenes) - without:,} scenes with a georeference the splits share no place: {near} Where the "
        f"other {without:,} lie is not known."
    )


def _pictures(has_map: bool, has_sheet: bool) -> str:
    shown = []
    if has_map:
        shown.append(f"![Outlines of the scenes on a map, coloured by split]({MAP})")
    if has_sheet:
        shown.append(f"![Some chips with the boxes of their objects]({SHEET})")
    return "\n\n".join(shown)


_COLUMNS = """## Columns

| column | type | meaning |
|---|---|---|
| `id` | str | scene, place of the chip in it, question |
| `image` | Image | 8 bit, in the size in which the model sees it; 0 where there is no data |
| `prior_embeddings` | int8 [S][64] | AlphaEarth codes of S anchors: sign(v) (v / 127.5)^2, normalised, is the vector |
| `prior_positions` | float32 [S][2] | (y, x) in [0, 1]; 0 and 1 are the centres of the first and last row or column |
| `prior_lonlat` | float64 [S][2] | the same anchors in degrees |
| `year`, `acquired` | int, str | year of the prior, date of the image |
| `bounds`, `crs` | float64 [4], str | west, south, east, north of the chip in degrees |
| `sensor`, `polarization`, `resolution_m` | str, str, float | metres of ground a pixel |
| `objects` | list | `bbox_2d` [x1, y1, x2, y2] in pixel edges of the image, `label`, `fine_label` |
| `corners` | list | of each object: [x, y] of its rotated box or polygon in pixels, whole; empty for an upright box |
| `task` | str | describe, count, localize, classify, detect |
| `prompt`, `completion` | conversation | as TRL reads them |
| `description` | struct | `captions` only: the place in eight phrases, where its caption was written from land cover |
| `target_description` | struct | `captions` only: the targets in eight phrases, where they were annotated |

What is not known is null or empty. Counts are digits; localization names the cells of a 3x3 grid, numbered row by row
from 1 to 9, that hold the centre of a target; detection is a JSON list in pixels of the image, or `None`;
classification is the class name, or `None`.

`description` has the phrases terrain, functionality, distribution, layout, boundary, buildings, roads and water;
`target_description` has count, location, feature, size, category, distribution, region and environment, each null where
boxes, land cover or resolution do not tell it, and says so where there is no target. `fusargpt.tasks.facts.phrases_of`
reads both from a row, `fusargpt.tasks.part_texts` words them."""


def _how(settings: BuildSettings, counts: dict[str, int], kinds: Sequence[tuple[str, int]]) -> str:
    cut = (
        "Every scene is one chip"
        if settings.chip_size == 0
        else f"Chips of {settings.chip_size} pixels a side, neighbours overlapping by {settings.overlap} or more"
    )
    if settings.aef is None:
        anchors = "No anchors."
    else:
        spacing = (
            f"on a grid of {settings.anchors} x {settings.anchors}"
            if settings.anchors is not None
            else f"{settings.anchor_spacing_m:g} m apart"
        )
        anchors = f"Anchors {spacing}."
    lines = [
        "## How it was built",
        f"{cut}. {anchors} All chips of a scene are scaled to 8 bit alike. A chip is left out when more than "
        f"{settings.max_nodata:.0%} of it is without data. An object belongs to a chip when at least "
        f"{settings.min_visible:.0%} of its box lies inside; a chip that shows less of one is not asked about its "
        "class.",
        "\n".join(f"- {name}: {count:,}" for name, count in counts.items() if count),
    ]
    # The limits are each scene's own, and stand in build.json.
    if kinds:
        shown = kinds[:_SHOWN_SENSORS]
        lines.append("\n".join(f"- {kind} ({count:,} {'scenes' if count > 1 else 'scene'})" for kind, count in shown))
    return "\n\n".join(lines)


def _sources(content: dict[str, dict[str, Content]], scenes: Sequence[tuple[str, Surveyed]]) -> str:
    sensors: Counter[str] = Counter()
    days, years, anchors = set[str](), set[int](), set[int]()
    for split in (split for splits in content.values() for split in splits.values()):
        for (sensor, polarization), count in split.sensors.items():
            sensors[f"{sensor or 'unknown sensor'}, {polarization or 'unknown polarization'}"] += count
        days |= split.days
        years |= split.years
        anchors |= set(split.anchors)
    licences = Counter(scene.row.license or "not stated" for _, scene in scenes)
    lines = ["## Sources and licences", ""]
    lines += [f"- {name}: {count:,} rows" for name, count in sensors.most_common(_SHOWN_SENSORS)]
    if days:
        lines.append(f"- acquired from {min(days)} to {max(days)}")
    lines += [f"- licence of the scenes: {name} ({count:,} scenes)" for name, count in sorted(licences.items())]
    if any(anchors):
        lines += [
            "",
            f"Anchors a chip: {min(anchors)} to {max(anchors)}; years {min(years)} to {max(years)}. {ATTRIBUTION}",
        ]
    return "\n".join(lines)
