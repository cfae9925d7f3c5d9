"""A split of a dataset, read by `datasets`, which may not take one folder for another."""

from hashlib import blake2b
from pathlib import Path

from datasets import Dataset, load_dataset
from datasets.config import HF_DATASETS_CACHE


def read_split(name: str, config: str | None, split: str) -> Dataset:
    """A split of a dataset in a folder or on the Hub; raises what `load_dataset` raises.

    `load_dataset` knows what it has read of a folder by the folder's last name and its card. After a rebuild, and for
    another folder of that name, it returns the rows that it read before (datasets 5, from a card with configs). So what
    it keeps is kept apart for each folder, and for each state of its files.
    """
    folder = Path(name)
    cache = None
    if folder.is_dir():
        cache = str(Path(HF_DATASETS_CACHE) / f"folder-{state_of(folder)}")
    return load_dataset(name, config, split=split, cache_dir=cache)


def state_of(folder: Path) -> str:
    """16 hexadecimal digits for a folder's place, and the names, sizes and times of the files in it."""
    digest = blake2b(str(folder.resolve()).encode(), digest_size=8)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = path.stat()
        digest.update(f"\0{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()
