"""Search of vectors: the product and the sort of `fusargpt search`, beside faiss where it is installed, in turns.

    python -m benchmarks.feature_search

Random unit vectors, one query at a time, the 20 best. faiss is its exact index of inner products (`pip install
faiss-cpu`); both are held to find the same rows. Reading the file of vectors is measured apart: it happens once.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusargpt.embedding.features import Features, Row, read_features
from fusargpt.embedding.ranking import best, scores

RESULT = Path(__file__).parent / "results" / "feature_search.json"
WIDTHS = (64, 256)
TOP = 20
ABOUT: dict[str, Any] = {"model": "random", "model_hash": "0", "kind": "folder", "sources": ["."], "options": {}}


def random_vectors(count: int, width: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, width), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def faiss_index(vectors: NDArray[np.float32]) -> Any:
    """None where faiss is not installed."""
    try:
        import faiss  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        return None
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def timed(search: Callable[[], object]) -> float:
    started = time.perf_counter()
    search()
    return time.perf_counter() - started


def measure(count: int, width: int, repeats: int) -> dict[str, object]:
    """Seconds of one query over `count` vectors."""
    rows = [Row(str(number), "random", (0, 0, 1, 1), 0, "", None) for number in range(count)]
    features = Features.of(rows, random_vectors(count, width, 0), "random", "0", ABOUT)
    queries = random_vectors(repeats, width, 1)
    index = faiss_index(features.vectors)
    ours: list[float] = []
    theirs: list[float] = []
    for query in queries:
        ours.append(timed(lambda query=query: best(scores(features.vectors, query), TOP)))
        if index is not None:
            theirs.append(timed(lambda query=query: index.search(query[None], TOP)))
            found = index.search(query[None], TOP)[1][0].tolist()
            assert set(found) == {hit.row for hit in best(scores(features.vectors, query), TOP)}, "both find the same"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.parquet"
        features.write(path)
        reading = timed(lambda: read_features(path))
        size = path.stat().st_size
    return {
        "vectors": count,
        "width": width,
        "seconds": round(statistics.median(ours), 5),
        "slowest": round(max(ours), 5),
        "faiss_seconds": round(statistics.median(theirs), 5) if theirs else None,
        "reading_seconds": round(reading, 3),
        "file_bytes": size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    result = [measure(options.vectors, width, options.repeats) for width in WIDTHS]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
