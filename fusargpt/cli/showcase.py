"""What `quickstart` shows: questions, answers and truth of simulated scenes, and a picture of how the prior acts."""

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
from fusargpt.tasks.answers import parse_boxes
from fusargpt.tasks.prompts import TASKS, prompt

PANEL = 252  # pixels; four of them are about as wide as a page shows a picture
GAP = 8
LINE = 20
HEAD = 3 * LINE + 6
SCALE = (PANEL, 20)
"""Pixels of the colour bar with its numbers, above its column."""
SIMULATED = "Simulated scenes: no radar has seen these places."
MAX_NEW_TOKENS = 160  # twice what six boxes take
CAPTIONS = ("simulated SAR image", "its AlphaEarth prior, in false colour", "where the prior acts", "boxes:")
FONT = ImageFont.load_default(14)
_LETTERS = 140
"""Of a line of text below a row."""
MET = 0.5
"""IoU from which on a predicted box meets a true one."""
PREDICTED, TRUE = (255, 96, 64), (64, 220, 120)


@dataclass(frozen=True)
class Showcase:
    """One scene with its image, prior, and (task, question, answer, truth) of every task."""

    scene: Scene
    image: Image.Image
    prior: Prior
    rows: list[tuple[str, str, str, str]]


def ask_everything(predictor: FusarGpt, seeds: Sequence[int]) -> list[Showcase]:
    """All five tasks on each of the test split's scenes `seeds`, decoded as one batch."""
    cases: list[tuple[Scene, Image.Image, Prior]] = []
    for seed in seeds:
        scene = simulate_scene(SPLIT_SEEDS["test"] + seed)
        fields = scene_fields(scene)
        prior = Prior(
            embeddings=dequantize(fields[PRIOR_EMBEDDINGS]),
            positions=fields[PRIOR_POSITIONS],
            lonlat=fields[PRIOR_LONLAT],
        )
        cases.append((scene, fields["image"].convert("RGB"), prior))
    asked: list[tuple[tuple[Scene, Image.Image, Prior], str, str, str]] = []
    for case in cases:
        target = case[0].targets[0].label if case[0].targets else "ship"
        asked += [(case, task, prompt(task, target), answer(case[0], task, target)) for task in TASKS]
    answers = predictor.answers(
        [case[1] for case, *_ in asked],
        [question for _, _, question, _ in asked],
        [case[2] for case, *_ in asked],
        max_new_tokens=MAX_NEW_TOKENS,
    )
    showcases = []
    for index, (scene, image, prior) in enumerate(cases):
        block = range(index * len(TASKS), (index + 1) * len(TASKS))
        rows = [(asked[i][1], asked[i][2], answers[i], asked[i][3]) for i in block]
        showcases.append(Showcase(scene, image, prior, rows))
    return showcases


def compared(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """One line that says which answers are the truth and which are not; boxes are met from an IoU of 0.5 on."""
    same = [task for task, _, said, true in rows if task != "detect" and said == true]
    other = [task for task, _, said, true in rows if task != "detect" and said != true]
    parts = [f"{', '.join(tasks)} {verdict}" for tasks, verdict in ((same, "as in truth"), (other, "not")) if tasks]
    for task, _, *texts in rows:
        if task == "detect":
            found, there = map(box_list, texts)
            met = sum(overlap >= MET for overlap in matched_overlaps(found, there))
            parts.append(f"detect {len(found)} boxes, of {len(there)} true ones {met} met (IoU {MET} or more)")
    return "Compared: " + "; ".join(parts)


def said(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Lines with the answers to all tasks but `detect`, which is drawn, and with the truth where it is another."""
    short, long = [], []
    for task, _, found, truth in rows:
        if task != "detect":
            line = f"{task}, as in truth: {found}" if found == truth else f"{task}: {found} (true: {truth})"
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
        lines.append(f"\nScene {showcase.scene.seed} ({showcase.scene.kind})")
        for cells in [("task", "question", "answer", "truth"), *showcase.rows]:
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
    """How far the prior moves each visual token: |x' - x| / |x|, float [rows, columns] of the token grid."""
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


def _boxes(showcase: Showcase) -> Image.Image:
    picture = showcase.image.resize((PANEL, PANEL), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    scale = PANEL / showcase.image.width
    *_, answer, truth = next(row for row in showcase.rows if row[0] == "detect")
    for text, colour, grow in ((truth, TRUE, 2), (answer, PREDICTED, 0)):
        for box in box_list(text):
            x1, y1, x2, y2 = (value * scale for value in box)
            if x2 > x1 and y2 > y1:
                pen.rectangle((x1 - grow, y1 - grow, x2 + grow, y2 + grow), outline=colour, width=2)
    return picture


def draw(predictor: FusarGpt, showcases: Sequence[Showcase], path: Path) -> None:
    """Write a row for each scene: SAR, prior, modulation and boxes, above them its name, below them the answers."""
    strengths = [modulation_strength(predictor, showcase) for showcase in showcases]
    highest = max(float(strength.max()) for strength in strengths) or 1.0
    texts = [said(showcase.rows) for showcase in showcases]
    step = PANEL + GAP
    heights = [LINE + PANEL + 4 + LINE * len(lines) + 2 * GAP for lines in texts]
    picture = Image.new("RGB", (4 * step - GAP, HEAD + sum(heights)), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((4, 2), SIMULATED, fill="black", font=FONT)
    for column, caption in enumerate(CAPTIONS):
        pen.text((column * step + 4, LINE + 4), caption, fill="black", font=FONT)
    picture.paste(_scale(highest), (2 * step, 2 * LINE + 4))
    pen.text((3 * step + 54, LINE + 4), "predicted", fill=PREDICTED, font=FONT)
    pen.text((3 * step + 128, LINE + 4), "true", fill=(0, 150, 60), font=FONT)
    top = HEAD
    for showcase, strength, lines, height in zip(showcases, strengths, texts, heights, strict=True):
        name = f"{showcase.scene.kind.replace('_', ' ')}, scene {showcase.scene.seed}"
        pen.text((4, top), name, fill="black", font=FONT, stroke_width=0.4)
        sar = showcase.image.resize((PANEL, PANEL), Image.Resampling.BICUBIC)
        acts = Image.fromarray(_heat(strength / highest)).resize((PANEL, PANEL), Image.Resampling.BILINEAR)
        for column, panel in enumerate((sar, false_colour(showcase.prior), acts, _boxes(showcase))):
            picture.paste(panel, (column * step, top + LINE))
        for number, line in enumerate(lines):
            pen.text((4, top + LINE + PANEL + 4 + LINE * number), line, fill="black", font=FONT)
        top += height
    with output_file(path, "choose another --out") as partial:
        picture.save(partial, format="PNG")
