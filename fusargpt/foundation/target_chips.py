"""The suite's chips of one class of targets as a dataset, to fine-tune a classifier on.

python -m fusargpt.foundation.target_chips --label ship --out build/klip/ship_chips
"""

import argparse
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image, Value

from fusargpt.files import output_file
from fusargpt.foundation.places import ACQUISITION, places
from fusargpt.foundation.tasks.fine_labels import FINE_LABELS, MOST_CHIPS, chips_of

PLACES = {"train": 2000, "validation": 500, "test": 1000}
"""As `fusargpt evaluate --suite foundation` takes them by default."""
_REMEDY = "make room, and the same command begins anew"


def write_chips(label: str, folder: Path) -> dict[str, int]:
    """Write the chips of each split as one Parquet shard, and return how many there are."""
    names = FINE_LABELS[label]
    told = {name: Value("float32" if name == "resolution_m" else "string") for name in ACQUISITION}
    features = Features({"image": Image(), "label": ClassLabel(names=list(names)), **told})
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    for split, most in MOST_CHIPS.items():
        chips = chips_of(places(split, PLACES[split]), label, most)
        rows = [{"image": chip.view.picture, "label": chip.label, **chip.view.acquisition} for chip in chips]
        with output_file(folder / f"{split}-00000-of-00001.parquet", _REMEDY) as partial:
            Dataset.from_list(rows, features=features).to_parquet(str(partial))
        counts[split] = len(rows)
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label", choices=sorted(FINE_LABELS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    options = parser.parse_args()
    print(f"{options.out}: {write_chips(options.label, options.out)}")
