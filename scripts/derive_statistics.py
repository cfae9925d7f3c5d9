"""Derive `landcover_statistics.npz` from point samples: python -m scripts.derive_statistics POINTS.csv [...]

Each CSV has one labelled point a row: columns A00..A63 (de-quantised AlphaEarth vector), S1_VV and S1_VH (dB) and
dw_label (0..8).
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.simulator import landcover

FACTOR_RANK = 16


def derive(points: pd.DataFrame) -> dict[str, np.ndarray]:
    """The arrays of `LandcoverStatistics`, float32, from labelled points."""
    arrays: dict[str, list[np.ndarray]] = {
        name: []
        for name in (
            "embedding_mean",
            "embedding_factor",
            "embedding_diagonal",
            "backscatter_mean",
            "backscatter_factor",
        )
    }
    for label in range(len(LANDCOVER_CLASSES)):
        chosen = points["dw_label"].to_numpy() == label
        embeddings = points[[f"A{band:02d}" for band in range(64)]].to_numpy()[chosen]
        backscatter = points[["S1_VV", "S1_VH"]].to_numpy()[chosen]
        covariance = np.cov(embeddings.T)
        values, vectors = np.linalg.eigh(covariance)
        factor = vectors[:, -FACTOR_RANK:] * np.sqrt(values[-FACTOR_RANK:])
        arrays["embedding_mean"].append(embeddings.mean(0))
        arrays["embedding_factor"].append(factor)
        arrays["embedding_diagonal"].append(np.sqrt(np.clip(np.diag(covariance) - (factor**2).sum(1), 0, None)))
        arrays["backscatter_mean"].append(backscatter.mean(0))
        arrays["backscatter_factor"].append(np.linalg.cholesky(np.cov(backscatter.T)))
    return {name: np.stack(parts).astype(np.float32) for name, parts in arrays.items()}


def main(paths: list[str]) -> None:
    if not paths:
        sys.exit(f"no input: {__doc__}")
    points = pd.concat([pd.read_csv(path) for path in paths])
    np.savez_compressed(
        Path(landcover.__file__).with_name("landcover_statistics.npz"), allow_pickle=False, **derive(points)
    )


if __name__ == "__main__":
    main(sys.argv[1:])
