"""A cache of arrays on disk, shared by processes."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from fusargpt.alphaearth.block_cache import BlockCache, default_folder
from fusargpt.errors import InputError


def _array(value: int, size: int = 1000) -> np.ndarray:
    return np.full((2, size // 2), value, np.int8)


def _entries(cache: BlockCache) -> list[Path]:
    return sorted(cache.folder.glob("*/*.block"))


def test_gives_back_what_was_put(tmp_path: Path):
    cache = BlockCache(tmp_path)
    array = np.random.default_rng(0).integers(-127, 128, (3, 5, 7), dtype=np.int8)
    cache.put('https://example.org/tile.tiff "etag" 0 3 4', array)
    found = BlockCache(tmp_path).get('https://example.org/tile.tiff "etag" 0 3 4')
    assert found is not None and found.dtype == np.int8
    np.testing.assert_array_equal(found, array)
    assert cache.get('https://example.org/tile.tiff "other" 0 3 4') is None


@pytest.mark.parametrize("damage", ["flip", "truncate", "header", "empty", "append"])
def test_a_damaged_entry_is_never_served(tmp_path: Path, damage: str):
    cache = BlockCache(tmp_path)
    cache.put("key", _array(7))
    (entry,) = _entries(cache)
    content = bytearray(entry.read_bytes())
    if damage == "flip":
        content[-400] ^= 1
    elif damage == "truncate":
        content = content[:-10]
    elif damage == "header":
        content[:20] = b"\xff" * 20
    elif damage == "append":
        content += b"more"
    else:
        content = bytearray()
    entry.write_bytes(content)
    assert cache.get("key") is None
    cache.put("key", _array(8))
    np.testing.assert_array_equal(cache.get("key"), _array(8))


def test_an_entry_under_another_key_is_not_served(tmp_path: Path):
    cache = BlockCache(tmp_path)
    cache.put("one", _array(1))
    (one,) = _entries(cache)
    content = one.read_bytes()
    cache.put("two", _array(2))
    two = next(entry for entry in _entries(cache) if entry != one)
    two.write_bytes(content)
    assert cache.get("two") is None


def test_the_least_recently_used_go_first(tmp_path: Path):
    cache = BlockCache(tmp_path, max_bytes=3500)
    for age, key in enumerate("abc"):
        cache.put(key, _array(age))
        os.utime(cache._path(key), ns=(age, age))  # pyright: ignore[reportPrivateUsage]  # ages a file
    assert cache.get("a") is not None  # the oldest, but used just now
    cache.put("d", _array(3))
    assert [key for key in "abcd" if cache.get(key) is not None] == ["a", "c", "d"]
    assert sum(entry.stat().st_size for entry in _entries(cache)) <= 3500


def test_many_small_ones_are_not_all_looked_at_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    looks: list[Path] = []
    evict = BlockCache._evict  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(BlockCache, "_evict", lambda self, keep: looks.append(keep) or evict(self, keep))
    cache = BlockCache(tmp_path, max_bytes=100_000)
    for value in range(300):
        cache.put(str(value), _array(value % 100, size=1000))
    assert sum(entry.stat().st_size for entry in _entries(cache)) <= 100_000 * 17 / 16
    # At most one for each sixteenth of the limit, of 300 that were written.
    assert len(looks) <= 300_000 / (100_000 / 16)
    assert cache.get("299") is not None and cache.get("0") is None


def test_an_array_above_the_limit_is_not_kept(tmp_path: Path):
    cache = BlockCache(tmp_path, max_bytes=1500)
    cache.put("small", _array(1))
    cache.put("large", _array(2, size=2000))
    assert cache.get("large") is None
    assert cache.get("small") is not None


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path):
    cache = BlockCache(tmp_path)
    leftover = tmp_path / "00" / "deadbeef.partial"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    os.utime(leftover, (0, 0))
    cache.put("key", _array(1))
    assert not leftover.exists()


def _hammer(folder: Path, seed: int) -> int:
    """Reads and writes at random; returns how many reads found something. A wrong array ends the process."""
    cache = BlockCache(folder, max_bytes=6000)
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(150):
        value = int(rng.integers(0, 10))
        if rng.random() < 0.5:
            cache.put(str(value), _array(value))
        elif (array := cache.get(str(value))) is not None:
            np.testing.assert_array_equal(array, _array(value))
            found += 1
    return found


def test_processes_share_it(tmp_path: Path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(_hammer, [(tmp_path, seed) for seed in range(2)])
    assert min(found) > 0
    assert not list(tmp_path.glob("*/*.partial"))


def test_refuses_what_it_cannot_use(tmp_path: Path):
    with pytest.raises(InputError, match="positive"):
        BlockCache(tmp_path, max_bytes=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another cache folder"):
        BlockCache(tmp_path / "file" / "blocks")


def test_lies_in_the_cache_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "fusargpt" / "blocks"
    assert BlockCache().folder.is_dir()
