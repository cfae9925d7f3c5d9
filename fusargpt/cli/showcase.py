"""What `quickstart` shows: questions, answers and truth of simulated scenes, how the prior acts, and answers about a
user's own image, in a table and in a picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fusargpt.files import output_file
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_FIELDS, PRIOR_LONLAT, PRIOR_POSITIONS, Prior
from fusargpt.geo.prior_colours import false_colours
from fusargpt.inference.predict import FusarGpt
from fusargpt.metrics.detection import matched_overlaps
from fusargpt.simulator.records import SPLIT_SEEDS, answer, scene_fields
from fusargpt.simulator.simulated_scene import Scene, simulate_scene
from fusargpt.tasks.answers import parse_boxes, scale_boxes
from fusargpt.tasks.prompts import TASKS, prompt
from fusargpt.tasks.target_names import TARGETS

PANEL = 252  # pixels; four of them are about as wide as a page shows a picture
GAP = 8
LINE = 20
HEAD = 3 * LINE + 6
STEP = PANEL + GAP
WIDTH = 4 * STEP - GAP
SCALE = (PANEL, 20)
"""Pixels of the colour bar with its numbers, above its column."""
SIMULATED = "Simulated scenes: no radar has seen these places."
OWN = "Your image, asked without a prior; nobody has told what is true."
MAX_NEW_TOKENS = 160  # twice what six boxes take
OWN_NEW_TOKENS = 512  # of an image of which nobody knows how many
CAPTIONS = ("simulated SAR image", "its AlphaEarth prior, in false colour", "where the prior acts", "boxes:")
FONT = ImageFont.load_default(14)
_LETTERS = 140
"""Of a line of text below a row."""
MET = 0.5
"""IoU from which on a predicted box meets a true one."""
PREDICTED, TRUE, TRUE_TEXT = (255, 96, 64), (64, 220, 120), (0, 150, 60)


@dataclass(frozen=True)
class Showcase:
    """One image with what it was asked.

    Attributes:
        name: of the scene or file.
        image: RGB.
        prior: None for an image of the user's own.
        rows: task, question, answer and truth of every task, boxes in pixels of the image; the truth of a user's own
            image is None.
    """

    name: str
    image: Image.Image
    prior: Prior | None
    rows: Sequence[tuple[str, str, str, str | None]]


def ask_everything(predictor: FusarGpt, seeds: Sequence[int]) -> list[Showcase]:
    """All five tasks on each of the test split's scenes `seeds`, decoded as one batch."""
    scenes: list[Scene] = []
    cases: list[tuple[Image.Image, Prior | None, str]] = []
    for seed in seeds:
        scene = simulate_scene(SPLIT_SEEDS["test"] + seed)
        fields = scene_fields(scene)
        prior = Prior(
            embeddings=dequantize(fields[PRIOR_EMBEDDINGS]),
            positions=fields[PRIOR_POSITIONS],
            lonlat=fields[PRIOR_LONLAT],
        )
        scenes.append(scene)
        cases.append((fields["image"].convert("RGB"), prior, scene.targets[0].label if scene.targets else "ship"))
    answers = _answers(predictor, cases, MAX_NEW_TOKENS)
    showcases = []
    for scene, (image, prior, target), said in zip(scenes, cases, answers, strict=True):
        name = f"{scene.kind.replace('_', ' ').capitalize()}, scene {scene.seed}"
        rows = [(task, question, text, answer(scene, task, target)) for task, question, text in said]
        showcases.append(Showcase(name, image, prior, rows))
    return showcases


def ask_own(predictor: FusarGpt, name: str, image: Image.Image) -> Showcase:
    """All five tasks about an image of the user's own, RGB, of the first class that the model knows."""
    (said,) = _answers(predictor, [(image, None, (predictor.targets or TARGETS)[0])], OWN_NEW_TOKENS)
    return Showcase(name, image, None, [(*row, None) for row in said])


def _answers(
    predictor: FusarGpt, cases: Sequence[tuple[Image.Image, Prior | None, str]], max_new_tokens: int
) -> list[list[tuple[str, str, str]]]:
    """For each image, with its prior and the class asked for, task, question and answer of every task."""
    asked = [(*case, task) for case in cases for task in TASKS]
    questions = [prompt(task, target) for *_, target, task in asked]
    given = predictor.answers(
        [image for image, *_ in asked], questions, [prior for _, prior, *_ in asked], max_new_tokens=max_new_tokens
    )
    rows = [
        (task, question, scale_boxes(text, predictor.seen_size(image), image.size, strict=False))
        for (image, *_, task), question, text in zip(asked, questions, given, strict=True)
    ]
    return [rows[start : start + len(TASKS)] for start in range(0, len(rows), len(TASKS))]


def compared(rows: Sequence[tuple[str, str, str, str | None]]) -> str:
    """One line that says which answers are the truth and which are not, where it is known; boxes are met from an IoU of
    0.5 on."""
    if all(truth is None for *_, truth in rows):
        return "Not compared: what is true is not known"
    same = [task for task, _, said, true in rows if task != "detect" and said == true]
    other = [task for task, _, said, true in rows if task != "detect" and said != true]
    parts = [f"{', '.join(tasks)} {verdict}" for tasks, verdict in ((same, "as in truth"), (other, "not")) if tasks]
    for task, _, text, truth in rows:
        if task == "detect":
            found, there = box_list(text), box_list(truth or "")
            met = sum(overlap >= MET for overlap in matched_overlaps(found, there))
            parts.append(f"detect {len(found)} boxes, of {len(there)} true ones {met} met (IoU {MET} or more)")
    return "Compared: " + "; ".join(parts)


def said(rows: Sequence[tuple[str, str, str, str | None]]) -> list[str]:
    """Lines with the answers to all tasks but `detect`, which is drawn, and with the truth where it is another."""
    short, long = [], []
    for task, _, found, truth in rows:
        if task != "detect":
            other = "" if truth is None else f" (true: {truth})"
            line = f"{task}, as in truth: {found}" if found == truth else f"{task}: {found}{other}"
            (long if task == "describe" else short).append(line)
    return ["; ".join(short), *(part for line in long for part in textwrap.wrap(line, _LETTERS))]


def box_list(text: str) -> list[Sequence[float]]:
    """The boxes [x1, y1, x2, y2] of an answer or of the truth."""
    return [box for box, _ in parse_boxes(text).value]


def format_table(showcases: Sequence[Showcase]) -> str:
    """Question, answer and truth of every task, wrapped to a terminal of 110 columns."""
    widths = (9, 26, 34, 34)
    lines = []
    for showcase in showcases:
        lines.append(f"\n{showcase.name}")
        rows = [(task, question, text, truth or "not known") for task, question, text, truth in showcase.rows]
        for cells in [("task", "question", "answer", "truth"), *rows]:
            columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
            for row in range(max(map(len, columns))):
                parts = [column[row] if row < len(column) else "" for column in columns]
                line = "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True))
                lines.append(line.rstrip())
            if cells[0] == "task":
                lines.append("  ".join("-" * width for width in widths))
        lines.append(compared(showcase.rows))
    return "\n".join(lines)


def false_colour(prior: Prior) -> Image.Image:
    """The prior in the colours of `fusargpt.geo.prior_colours`, anchors as squares of a regular grid."""
    side = round(len(prior.embeddings) ** 0.5)
    colours = false_colours(prior.embeddings).reshape(side, side, 3)
    return Image.fromarray(colours).resize((PANEL, PANEL), Image.Resampling.NEAREST)


def modulation_strength(predictor: FusarGpt, showcase: Showcase) -> np.ndarray:
    """How far the prior moves each visual token: |x' - x| / |x|, float [rows, columns] of the token grid.

    Raises:
        ValueError: an image that was asked without a prior.
    """
    if showcase.prior is None:
        raise ValueError(f"{showcase.name}: it was asked without a prior")
    features = predictor.processor(
        images=[showcase.image],
        text=["<|vision_start|><|image_pad|><|vision_end|>"],
        priors=[showcase.prior.columns()],
        return_tensors="pt",
    )
    pixels, grid = features["pixel_values"], features["image_grid_thw"]
    priors = {name: features[name] for name in PRIOR_FIELDS}
    inner = predictor.model.model
    with torch.inference_mode():
        (plain,) = cast(Sequence[Tensor], inner.get_image_features(pixels, grid).pooler_output)
        (modulated,) = cast(Sequence[Tensor], inner.get_image_features(pixels, grid, **priors).pooler_output)
    strength = (modulated - plain).norm(dim=-1) / plain.norm(dim=-1)
    merge = predictor.processor.image_processor.merge_size
    _, height, width = grid[0].tolist()
    return strength.reshape(height // merge, width // merge).numpy()


def _heat(share: np.ndarray) -> np.ndarray:
    """Colours uint8 [rows, columns, 3] of shares [rows, columns] of the strongest effect."""
    return np.stack([share * 255, share**2 * 210, 70 * (1 - share)], -1).astype(np.uint8)


def _scale(highest: float) -> Image.Image:
    """The colour bar of where the prior acts, from 0 to `highest` (how far it moves a token, of the token's length)."""
    picture = Image.new("RGB", SCALE, "white")
    pen = ImageDraw.Draw(picture)
    pen.text((4, 1), "0", fill="black", font=FONT)
    picture.paste(Image.fromarray(_heat(np.linspace(0, 1, 80)[None].repeat(13, 0))), (18, 3))
    pen.text((104, 1), f"{100 * highest:.3g}% of the token", fill="black", font=FONT)
    return picture


def _boxes(showcase: Showcase, shown: tuple[int, int]) -> Image.Image:
    """The image in the size `shown`, with true and predicted boxes."""
    picture = showcase.image.resize(shown, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    scale = [after / before for after, before in zip(shown, showcase.image.size, strict=True)] * 2
    *_, answer, truth = next(row for row in showcase.rows if row[0] == "detect")
    for text, colour, grow in ((truth or "", TRUE, 2), (answer, PREDICTED, 0)):
        for box in box_list(text):
            x1, y1, x2, y2 = (value * by for value, by in zip(box, scale, strict=True))
            if x2 > x1 and y2 > y1:
                pen.rectangle((x1 - grow, y1 - grow, x2 + grow, y2 + grow), outline=colour, width=2)
    return picture


def draw(predictor: FusarGpt, showcases: Sequence[Showcase], path: Path) -> None:
    """Write a row for each scene: SAR, prior, modulation and boxes, above them its name, below them the answers; and a
    larger one for each image that was asked without a prior."""
    with_prior = [showcase for showcase in showcases if showcase.prior is not None]
    strengths = [modulation_strength(predictor, showcase) for showcase in with_prior]
    highest = max((float(strength.max()) for strength in strengths), default=0) or 1.0
    rows = [_simulated(showcase, strength / highest) for showcase, strength in zip(with_prior, strengths, strict=True)]
    parts = [_head(highest), *rows] if rows else []
    parts += [_own(showcase) for showcase in showcases if showcase.prior is None]
    picture = Image.new("RGB", (WIDTH, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        picture.paste(part, (0, top))
        top += part.height
    with output_file(path, "choose another --out") as partial:
        picture.save(partial, format="PNG")


def _head(highest: float) -> Image.Image:
    """What stands above the simulated scenes; `highest` is the strongest effect, of the token's length."""
    picture = Image.new("RGB", (WIDTH, HEAD), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((4, 2), SIMULATED, fill="black", font=FONT)
    for column, caption in enumerate(CAPTIONS):
        pen.text((column * STEP + 4, LINE + 4), caption, fill="black", font=FONT)
    picture.paste(_scale(highest), (2 * STEP, 2 * LINE + 4))
    pen.text((3 * STEP + 54, LINE + 4), "predicted", fill=PREDICTED, font=FONT)
    pen.text((3 * STEP + 128, LINE + 4), "true", fill=TRUE_TEXT, font=FONT)
    return picture


def _simulated(showcase: Showcase, acts: np.ndarray) -> Image.Image:
    """A row of four panels; `acts` is where the prior acts, shares of the strongest effect."""
    heat = Image.fromarray(_heat(acts)).resize((PANEL, PANEL), Image.Resampling.BILINEAR)
    sar = showcase.image.resize((PANEL, PANEL), Image.Resampling.BICUBIC)
    assert showcase.prior is not None  # the caller has looked
    panels = (sar, false_colour(showcase.prior), heat, _boxes(showcase, (PANEL, PANEL)))
    return _row(showcase.name, panels, said(showcase.rows))


def _own(showcase: Showcase) -> Image.Image:
    """A row of two large panels, in the proportions of the image."""
    width = 2 * PANEL + GAP
    shown = (width, max(1, min(round(width * showcase.image.height / showcase.image.width), 2 * width)))
    image = showcase.image.resize(shown, Image.Resampling.BICUBIC)
    return _row(f"{showcase.name}. {OWN}", (image, _boxes(showcase, shown)), said(showcase.rows))


def _row(name: str, panels: Sequence[Image.Image], lines: Sequence[str]) -> Image.Image:
    """Panels of one size side by side, the name above them, lines of text below."""
    width, height = panels[0].size
    picture = Image.new("RGB", (WIDTH, LINE + height + 4 + LINE * len(lines) + 2 * GAP), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((4, 0), name, fill="black", font=FONT, stroke_width=0.4)
    for column, panel in enumerate(panels):
        picture.paste(panel, (column * (width + GAP), LINE))
    for number, line in enumerate(lines):
        pen.text((4, LINE + height + 4 + LINE * number), line, fill="black", font=FONT)
    return picture
