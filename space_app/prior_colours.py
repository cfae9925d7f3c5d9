"""The prior as a picture: embeddings in false colour over the image, and the anchors they belong to."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fusargpt.geo.prior import Prior

_SIDE = 64
"""Cells of the picture that the nearest anchor is looked up for; anchors are fewer."""
_SHARE_OF_COLOUR = 0.72
_REACH = 1.5
"""In distances between neighbouring anchors: what lies farther from all of them stays without colour."""
_RING, _RIM = (255, 255, 255), (20, 20, 25)


def false_colours(embeddings: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours uint8 [S, 3] of embeddings float32 [S, 64].

    Red, green and blue are the three directions in which these embeddings differ most, each from its 2nd to its 98th
    percentile; alike embeddings have like colours, and colours of two priors cannot be compared.
    """
    centred = embeddings - embeddings.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:3]
    # The sign of a direction is arbitrary; this choice makes the picture the same everywhere.
    strongest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    values = np.zeros((len(embeddings), 3))
    values[:, : len(directions)] = centred @ (directions * np.sign(strongest)).T
    low, high = np.percentile(values, (2, 98), axis=0)
    spread = np.where(high - low > 1e-6, high - low, 1)
    shares = np.where(high - low > 1e-6, (values - low) / spread, 0.5)
    return (np.clip(shares, 0, 1) * 215 + 20).astype(np.uint8)


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
