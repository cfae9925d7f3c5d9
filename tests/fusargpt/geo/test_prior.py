import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusargpt.errors import InputError
from fusargpt.geo.embeddings import quantize
from fusargpt.geo.prior import Prior, load_prior, save_prior


def make_prior(count: int = 6) -> Prior:
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(count, 64))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Prior(
        embeddings.astype(np.float32),
        generator.uniform(size=(count, 2)).astype(np.float32),
        generator.uniform(-90, 90, size=(count, 2)),
    )


@pytest.mark.parametrize("count", [0, 6])
def test_a_prior_survives_its_file(tmp_path: Path, count: int):
    prior = make_prior(count)
    save_prior(tmp_path / "prior.npz", prior)
    loaded = load_prior(tmp_path / "prior.npz")
    np.testing.assert_allclose(loaded.embeddings, prior.embeddings, atol=0.01)
    np.testing.assert_array_equal(loaded.positions, prior.positions)
    np.testing.assert_array_equal(loaded.lonlat, prior.lonlat)


def test_what_was_loaded_is_saved_to_the_same_bytes(tmp_path: Path):
    save_prior(tmp_path / "first.npz", make_prior())
    save_prior(tmp_path / "second.npz", load_prior(tmp_path / "first.npz"))
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()


def test_float_embeddings_are_taken_as_they_are_and_lonlat_may_be_absent(tmp_path: Path):
    prior = make_prior()
    np.savez(tmp_path / "prior.npz", prior_embeddings=prior.embeddings, prior_positions=prior.positions)
    loaded = load_prior(tmp_path / "prior.npz")
    np.testing.assert_array_equal(loaded.embeddings, prior.embeddings)
    assert loaded.lonlat is None


def test_the_file_name_is_kept(tmp_path: Path):
    save_prior(tmp_path / "scene.prior", make_prior())
    assert [path.name for path in tmp_path.iterdir()] == ["scene.prior"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": np.ones((6, 64))}, "prior_embeddings: found float64; expected float32"),
        ({"embeddings": np.ones((6, 63), np.float32)}, r"prior_embeddings: found shape \[6, 63\]; expected \[S, 64\]"),
        ({"embeddings": np.ones((6, 64), np.float32)}, "prior_embeddings: a vector of length 8.000"),
        ({"embeddings": np.full((6, 64), np.nan, np.float32)}, "prior_embeddings: found NaN"),
        ({"positions": np.zeros((5, 2), np.float32)}, "prior_positions: found 5 rows; expected one for each of 6"),
        ({"positions": np.full((6, 2), 1.5, np.float32)}, r"prior_positions: found 1.5; expected \(y, x\) in \[0, 1\]"),
        ({"positions": None}, "prior_positions: found NoneType"),
        ({"lonlat": np.full((6, 2), 100.0)}, "prior_lonlat: a coordinate that is not on Earth"),
        ({"lonlat": np.zeros((6, 2), np.float32)}, "prior_lonlat: found float32; expected float64"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(make_prior(), **changes)


def write_text(path: Path) -> None:
    path.write_text("prior_embeddings, prior_positions")


def write_single_array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.zeros((6, 64), np.int8))


def write_without_positions(path: Path) -> None:
    np.savez(path, prior_embeddings=np.ones((6, 64), np.int8))


def write_with_unknown_key(path: Path) -> None:
    prior = make_prior()
    np.savez(path, prior_embeddings=prior.embeddings, prior_positions=prior.positions, positions=prior.positions)


def write_pickled(path: Path) -> None:
    np.savez(path, prior_embeddings=np.array([{}], object), prior_positions=np.zeros((1, 2)))


def write_nodata(path: Path) -> None:
    np.savez(path, prior_embeddings=np.full((1, 64), -128, np.int8), prior_positions=np.zeros((1, 2), np.float32))


def write_truncated(path: Path) -> None:
    save_prior(path, make_prior())
    path.write_bytes(path.read_bytes()[:500])


def write_with_flipped_bytes(path: Path) -> None:
    np.savez(path, prior_embeddings=quantize(make_prior().embeddings), prior_positions=make_prior().positions)
    content = bytearray(path.read_bytes())
    content[200:216] = bytes(16)
    path.write_bytes(content)


def write_encrypted(path: Path) -> None:
    save_prior(path, make_prior())
    # Bit 0 of the flags of every member, in the directory and before its content.
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 4)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_text, "not an .npz file"),
        (write_single_array, "not an .npz file"),
        (write_without_positions, "no prior_positions; found prior_embeddings"),
        (write_with_unknown_key, "unknown key positions"),
        (write_pickled, "damaged .*allow_pickle"),
        (write_nodata, "prior_embeddings: embeddings hold the nodata value -128"),
        (write_truncated, "not an .npz file, or a damaged one"),
        (write_with_flipped_bytes, "damaged .*CRC"),
        (write_encrypted, "damaged .*encrypted"),
        (Path.mkdir, "no such file"),
    ],
)
def test_a_bad_file_gives_one_line_that_names_it(tmp_path: Path, write: Callable[[Path], Any], message: str):
    path = tmp_path / "prior.npz"
    write(path)
    with pytest.raises(InputError, match=message) as caught:
        load_prior(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
