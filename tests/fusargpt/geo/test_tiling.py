"""How scenes are cut, and in what size the model sees the chips."""

from collections import OrderedDict
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.windows import Window
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from fusargpt.errors import InputError
from fusargpt.geo.tiling import MAX_PIXELS, MIN_PIXELS, chip_windows, resize, seen_size

sides = st.integers(1, 1500)


@settings(max_examples=80, deadline=None)
@given(sides, sides, st.integers(28, 600), st.data())
def test_chips_cover_the_scene_and_overlap_as_asked(width: int, height: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1 if size < 100 else size // 2))
    windows = chip_windows(width, height, size, overlap)
    for axis, side in (("col_off", width), ("row_off", height)):
        extent = min(size, side)
        starts = sorted({getattr(window, axis) for window in windows})
        assert starts[0] == 0 and starts[-1] + extent == side
        assert all(first + extent - second >= overlap for first, second in pairwise(starts))
    assert all((window.width, window.height) == (min(size, width), min(size, height)) for window in windows)
    assert len({(window.col_off, window.row_off) for window in windows}) == len(windows)


def reads(windows: list[Window]) -> int:
    """Of AlphaEarth's blocks of 1,024 pixels, of which four are kept, that lie aslant of a scene of as large pixels."""
    kept: OrderedDict[tuple[int, int], None] = OrderedDict()
    found = 0
    for window in windows:
        left, top = window.col_off + 370, window.row_off + 510
        for block in product((top // 1024, (top + 504) // 1024), (left // 1024, (left + 504) // 1024)):
            found += block not in kept
            kept[block] = None
            kept.move_to_end(block)
            if len(kept) > 4:
                kept.popitem(last=False)
    return found


def test_blocks_beneath_a_large_scene_are_read_seldom() -> None:
    windows = chip_windows(25_000, 16_700, 504)
    assert reads(windows) < 0.7 * reads(sorted(windows, key=lambda window: (window.row_off, window.col_off)))


def test_a_scene_can_stay_whole() -> None:
    assert chip_windows(333, 500, 0) == [Window.from_slices((0, 500), (0, 333))]
    with pytest.raises(InputError, match="9,000 x 10 pixels as one chip; at most 8,192"):
        chip_windows(9000, 10, 0)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(28, 5000),
    st.integers(28, 5000),
    st.sampled_from([(MIN_PIXELS, MAX_PIXELS), (28224, 28224)]),
    st.sampled_from([28, 32]),
)
def test_the_model_sees_chips_in_the_size_that_its_processor_gives_them(
    width: int, height: int, limits: tuple[int, int], token_side: int
) -> None:
    across, down = seen_size(width, height, *limits, token_side)
    assert (down, across) == smart_resize(height, width, token_side, *limits)
    # Once resized a chip stays as it is, but where the processor itself never comes to rest.
    if limits == (MIN_PIXELS, MAX_PIXELS):
        assert seen_size(across, down, *limits, token_side) == (across, down)


def test_default_chips_are_seen_as_they_are() -> None:
    assert seen_size(504, 504) == (504, 504)
    with pytest.raises(InputError, match="10000 x 40 pixels; one side may be at most 200 times the other"):
        seen_size(10000, 40)


def test_training_sees_what_inference_sees() -> None:
    """A chip as it is stored and the picture that it was cut from give the model the same pixels."""
    processor = Qwen2VLImageProcessorPil()
    rng = np.random.default_rng(5)
    picture = Image.fromarray(rng.integers(0, 256, (333, 500), dtype=np.uint8))
    limits = processor.size["shortest_edge"], processor.size["longest_edge"]
    stored = resize(picture, seen_size(500, 333, *limits))
    asked, trained = (processor(images=[image.convert("RGB")], return_tensors="np") for image in (picture, stored))
    assert asked["image_grid_thw"].tolist() == trained["image_grid_thw"].tolist()
    np.testing.assert_array_equal(asked["pixel_values"], trained["pixel_values"])
