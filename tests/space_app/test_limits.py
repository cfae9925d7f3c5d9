import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.inference.predict import FusarGpt
from space_app.limits import (
    MAX_PRIOR_BYTES,
    Scratch,
    check_image_size,
    check_prior_size,
    public_message,
    raster_environment,
)
from space_app.scenes import read_scene


def write_tiff(path: Path, width: int, height: int, bands: int = 1, dtype: str = "uint8", **profile: Any) -> str:
    """A TIFF of which no pixel is written."""
    size = {"width": width, "height": height, "count": bands, "dtype": dtype}
    with rasterio.open(path, "w", driver="GTiff", SPARSE_OK=True, **size, **profile):
        return str(path)


def test_images_of_too_many_pixels_are_refused_before_they_are_unpacked(tmp_path: Path):
    bomb = write_tiff(tmp_path / "bomb.tif", 60_000, 60_000, tiled=True, compress="deflate")
    assert os.path.getsize(bomb) < 2**20
    with pytest.raises(InputError, match=r"bomb\.tif: 60,000 x 60,000 pixels; this page takes 16,777,216"):
        check_image_size(bomb)
    Image.new("1", (5000, 5000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match=r"bomb\.png: 5,000 x 5,000 pixels"):
        check_image_size(tmp_path / "bomb.png")


def test_a_tiff_of_one_huge_block_is_refused(tmp_path: Path):
    path = write_tiff(
        tmp_path / "block.tif", 64, 64, 20, "float64", tiled=True, interleave="pixel", blockxsize=2048, blockysize=2048
    )
    with pytest.raises(InputError, match="blocks of 2,048 x 2,048 pixels and 20 bands"):
        check_image_size(path)


def test_files_that_are_no_image_are_left_to_who_reads_them(tmp_path: Path):
    (tmp_path / "text.png").write_bytes(b"text")
    check_image_size(tmp_path / "text.png")
    check_prior_size(tmp_path / "text.png")


def test_an_npz_that_unpacks_to_too_much_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("prior_embeddings.npy", bytes(MAX_PRIOR_BYTES + 1))
    with pytest.raises(InputError, match=r"bomb\.npz: 8,388,609 bytes of arrays; this page takes 8,388,608"):
        check_prior_size(tmp_path / "bomb.npz")


def test_a_tiff_that_names_an_address_makes_nobody_call_it(
    tmp_path: Path, predictor: FusarGpt, monkeypatch: pytest.MonkeyPatch
):
    """GDAL would look for overviews wherever the file says."""
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        url = f"/vsicurl/http://127.0.0.1:{server.getsockname()[1]}/overviews.tif"
        path = tmp_path / "scene.tif"
        with rasterio.open(path, "w", driver="GTiff", width=64, height=64, count=1, dtype="float32") as dataset:
            dataset.write(np.random.default_rng(0).random((1, 64, 64), np.float32))
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=url)
        read_scene(predictor, str(path))
        with raster_environment(), rasterio.open(path) as dataset:
            assert dataset.overviews(1) == []
        with pytest.raises(BlockingIOError):
            server.accept()


def test_written_files_go_when_they_are_old_and_with_the_page(tmp_path: Path):
    scratch = Scratch(keep_seconds=60)
    old, young = scratch.new_folder(), scratch.new_folder()
    (old / "answer.png").write_bytes(b"picture")
    os.utime(old, (0, 0))
    newest = scratch.new_folder()
    assert not old.exists() and young.exists() and newest.exists()
    root = scratch.root
    del scratch
    assert not root.exists()


def test_messages_show_names_instead_of_paths_and_markup_as_text():
    error = InputError("/srv/uploads/a/b.tif: <script> in /srv/uploads")
    message = public_message(error, {"/srv/uploads": "the field", "/srv/uploads/a/b.tif": "b.tif"})
    assert message == "b.tif: &lt;script&gt; in the field"
