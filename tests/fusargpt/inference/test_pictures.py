"""One rule for pictures of more than 8 bit, at every door: files of SAR scenes are scaled, all else is refused."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.evaluation.items import read_items
from fusargpt.geo.image import check_8bit, read_image, to_rgb
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.rows import SharedReading, load_rows, read_picture, simulated_rows
from modeling_fusargpt.processing_fusargpt import check_8bit as check_8bit_of_remote_code
from tests.tiny import tiny_model, tiny_processor
from tests.trl_recipes.triplets import write_triplets

RAMP = np.linspace(300, 4000, 64 * 64).reshape(64, 64)


def colours_of_16_bit(path: Path) -> None:
    """A PNG that Pillow, which does not write such, opens as RGB, having cut the lower 8 bit off."""
    values = np.repeat(RAMP[..., None], 3, 2).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )


def one_channel(dtype: type, kind: str) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(RAMP.astype(dtype)).save(path, format=kind)


DEEP: dict[str, Callable[[Path], None]] = {
    "I;16 PNG": one_channel(np.uint16, "PNG"),
    "I;16 TIFF": one_channel(np.uint16, "TIFF"),
    "I": one_channel(np.int32, "TIFF"),
    "F": one_channel(np.float32, "TIFF"),
    "RGB of 16 bit": colours_of_16_bit,
}
SHALLOW = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")


@pytest.fixture(params=DEEP)
def deep(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    DEEP[request.param](tmp_path / "deep")
    return tmp_path / "deep"


@pytest.fixture(scope="module")
def predictor() -> FusarGpt:
    return FusarGpt(tiny_model(), tiny_processor())


def messages(path: Path) -> Any:
    return [{"role": "user", "content": [{"type": "image", "path": str(path)}, {"type": "text", "text": "?"}]}]


def as_row(path: Path) -> dict[str, Any]:
    return {"image": {"bytes": path.read_bytes(), "path": None}}


DOORS: dict[str, Callable[[FusarGpt, Path], Any]] = {
    "python": lambda model, path: model.answer(Image.open(path), "?"),
    "python, in batches": lambda model, path: model.answers([Image.open(path)], ["?"]),
    "processor": lambda model, path: model.processor(images=[Image.open(path)]),
    "processor, by name": lambda model, path: model.processor(images=cast(Any, str(path))),
    "chat template": lambda model, path: model.processor.apply_chat_template(
        messages(path), tokenize=True, return_dict=True
    ),
    "rows of batch and evaluate": lambda _, path: read_picture(as_row(path)),
}


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_clipped(predictor: FusarGpt, door: str, deep: Path) -> None:
    with pytest.raises(ValueError, match=r"found a picture of mode .*, expected 8 bit; fusargpt.read_image"):
        DOORS[door](predictor, deep)


def test_evaluate_says_so_before_it_asks(deep: Path, tmp_path: Path) -> None:
    folder = write_triplets(tmp_path / "data", rows=2, tasks=True)
    rows = load_rows(str(folder), None, "train", ("id", "image", "task", "prompt", "completion"))
    mixed = rows.map(lambda row: {"image": as_row(deep)["image"]} if row["id"] == "0" else {})
    items, failures = read_items(mixed, None, None)
    assert [item.id for item in items] == ["1"] and [failure.id for failure in failures] == ["0"]
    assert "expected 8 bit" in failures[0].reason


@pytest.mark.parametrize("mode", SHALLOW)
def test_pictures_of_8_bit_are_taken_and_both_copies_of_the_rule_agree(mode: str) -> None:
    picture = Image.new(mode, (64, 64))
    check_8bit(picture)
    check_8bit_of_remote_code(picture)
    assert to_rgb(picture).mode == "RGB"


def test_both_copies_of_the_rule_say_the_same(deep: Path) -> None:
    said = []
    for rule in (check_8bit, check_8bit_of_remote_code):
        with pytest.raises(ValueError) as error:
            rule(Image.open(deep))
        said.append(str(error.value).partition(": ")[2].removesuffix("."))
    assert said[0] == said[1]


@pytest.mark.parametrize("name", ["I;16 PNG", "I;16 TIFF", "I", "F"])
def test_a_file_is_scaled_and_shows_what_is_in_it(name: str, tmp_path: Path) -> None:
    DEEP[name](tmp_path / "deep")
    shown = np.asarray(read_image(tmp_path / "deep"))[..., 0]
    assert len(np.unique(shown)) > 200 and (np.diff(shown.ravel().astype(int)) >= 0).all()


def test_a_file_of_colours_of_16_bit_is_refused(tmp_path: Path) -> None:
    colours_of_16_bit(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep.png: image: found a picture of mode RGB with 16 bit a channel"):
        read_image(tmp_path / "deep.png")


def test_transparent_pixels_are_black_as_in_a_file(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (64, 64), (200, 200, 200, 0))
    picture.paste((90, 90, 90, 255), (0, 0, 32, 64))
    picture.save(tmp_path / "half.png")
    row = read_picture(as_row(tmp_path / "half.png"))
    assert np.array_equal(np.asarray(row), np.asarray(read_image(tmp_path / "half.png")))
    assert row.getpixel((40, 0)) == (0, 0, 0)


def test_rows_about_one_image_in_succession_share_picture_and_prior():
    rows: Any = [*simulated_rows("test", ("count", "detect"), 2)]
    shared = SharedReading()
    pictures, priors = [shared.picture(row) for row in rows], [shared.prior(row) for row in rows]
    for found in (pictures, priors):
        assert found[0] is found[1] and found[1] is not found[2] and found[2] is found[3]
    assert pictures[3].tobytes() == read_picture(rows[3]).tobytes()
    assert shared.prior(rows[0] | {PRIOR_EMBEDDINGS: [], PRIOR_POSITIONS: []}) is None
