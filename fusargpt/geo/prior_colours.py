"""The prior as a picture: embeddings in false colour over the image, and the anchors they belong to.

One fixed affine map from the 64 numbers of a vector to red, green and blue serves every picture of the project, so that
a colour means the same in all of them. It is the table `prior_colours.csv`, which `scripts/derive_prior_colours.py`
derives from the land-cover statistics of the simulator.
"The AlphaEarth Foundations Satellite Embedding dataset is produced by Google and Google DeepMind." (CC BY 4.0)
"""

import csv
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fusargpt.geo.embeddings import EMBEDDING_SIZE
from fusargpt.geo.prior import Prior

COLUMNS = ("number", "red", "green", "blue")
ROWS = ("offset", *(f"A{index:02d}" for index in range(EMBEDDING_SIZE)))
"""Of the table: the colour of the vector 0, then what each number adds; 1 is the full colour."""

_SIDE = 64
"""Cells of the picture that the nearest anchor is looked up for; anchors are fewer."""
_SHARE_OF_COLOUR = 0.72
_REACH = 1.5
"""In distances between neighbouring anchors: what lies farther from all of them stays without colour."""
_RING, _RIM = (255, 255, 255), (20, 20, 25)


@cache
def colour_table() -> NDArray[np.float64]:
    """[65, 3] as committed."""
    text = (files("fusargpt.geo") / "prior_colours.csv").read_text()
    header, *rows = csv.reader(text.splitlines())
    assert tuple(header) == COLUMNS and tuple(name for name, *_ in rows) == ROWS
    return np.array([[float(value) for value in values] for _, *values in rows])


def false_colours(embeddings: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours uint8 [S, 3] of embeddings float32 [S, 64], unit vectors: the same for a vector in every picture.

    Water comes out blue, trees green, fields ochre, buildings red; mixtures lie between. It is an aid for the eye, 3 of
    64 dimensions, and names no class.
    """
    table = colour_table()
    return (np.clip(table[0] + embeddings @ table[1:], 0, 1) * 255).round().astype(np.uint8)


def over_image(seen: Image.Image, prior: Prior) -> Image.Image:
    """The image in the false colours of the anchor nearest to each place; without anchors it stays as it is.

    Args:
        seen: RGB.
        prior: its anchors.
    """
    if not len(prior.embeddings):
        return seen.copy()
    colours = false_colours(prior.embeddings)
    centres = (np.arange(_SIDE) + 0.5) / _SIDE
    painted = np.zeros((_SIDE, _SIDE, 4), np.uint8)
    reach = _REACH * _spacing(prior.positions)
    for row, y in enumerate(centres):
        away = np.hypot(prior.positions[:, 0] - y, prior.positions[:, 1] - centres[:, None])
        nearest = away.argmin(1)
        painted[row, :, :3] = colours[nearest]
        painted[row, :, 3] = np.where(away.min(1) <= reach, round(255 * _SHARE_OF_COLOUR), 0)
    layer = Image.fromarray(painted).resize(seen.size, Image.Resampling.NEAREST)
    return Image.alpha_composite(seen.convert("RGBA"), layer).convert("RGB")


def mark_anchors(picture: Image.Image, prior: Prior) -> Image.Image:
    """A copy of an enlarged picture with a dot at every anchor, smaller where there are many."""
    marked = picture.copy()
    pen = ImageDraw.Draw(marked)
    radius = max(1.5, min(4.5, 0.16 * min(picture.size) * _spacing(prior.positions)))
    for y, x in prior.positions.astype(float):
        centre = x * (picture.width - 1), y * (picture.height - 1)
        for grown, colour in ((radius + 1.2, _RIM), (radius, _RING)):
            pen.ellipse((centre[0] - grown, centre[1] - grown, centre[0] + grown, centre[1] + grown), fill=colour)
    return marked


def _spacing(positions: NDArray[np.float32]) -> float:
    """The middle distance from an anchor to its nearest neighbour; the whole image for a single one."""
    if len(positions) < 2:
        return 1.0
    chosen = positions[:: max(1, len(positions) // 200)]
    away = np.hypot(*(chosen[:, None] - positions[None]).transpose(2, 0, 1))
    away[away == 0] = np.inf
    nearest = away.min(1)
    nearest = nearest[np.isfinite(nearest)]
    return float(np.median(nearest)) if len(nearest) else 1.0
