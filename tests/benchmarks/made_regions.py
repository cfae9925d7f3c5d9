"""Small files with the columns of the real points, made here: water is dark, and its vectors are its own."""

from pathlib import Path

import numpy as np
import pandas as pd

CLASSES = 9
BANDS = [f"A{band:02d}" for band in range(64)]


def write_region(path: Path, name: str, points: int = 180, seed: int = 0) -> Path:
    """`points` points of `CLASSES` classes, as many of each, on one degree; every point has its own backscatter."""
    rng = np.random.default_rng(seed)
    landcover = np.arange(points) % CLASSES
    embedding = np.eye(CLASSES, 64)[landcover] + 0.02 * rng.standard_normal((points, 64))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    columns = dict(zip(BANDS, embedding.T, strict=True))
    dark = landcover == 0
    columns["S1_VV"] = np.where(dark, rng.uniform(-21, -19, points), rng.uniform(-12, -8, points))
    columns["S1_VH"] = columns["S1_VV"] - 7
    columns |= {"latitude": rng.uniform(37, 38, points), "longitude": rng.uniform(-122, -121, points)}
    frame = pd.DataFrame(columns | {"dw_label": landcover, "year": 2024})
    frame["region"] = name
    frame.to_csv(path, index=False)
    return path
