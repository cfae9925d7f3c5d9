import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusargpt.geo.embeddings import dequantize, quantize

codes = arrays(np.int8, st.tuples(st.integers(0, 5), st.just(64)), elements=st.integers(-127, 127)).filter(
    lambda array: (array != 0).any(axis=-1).all()
)


@given(codes)
def test_dequantized_embeddings_are_unit_vectors_in_the_direction_of_the_published_ones(array: np.ndarray):
    vectors = dequantize(array)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
    assert (np.sign(vectors) == np.sign(array)).all()


@given(st.integers(0, 2**32 - 1))
def test_publishing_unit_vectors_twice_gives_the_same_codes(seed: int):
    vectors = np.random.default_rng(seed).normal(size=(20, 64))
    published = quantize(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    np.testing.assert_array_equal(quantize(dequantize(published)), published)


def test_one_component_by_hand():
    vector = np.zeros(64)
    vector[[0, 1]] = 0.6, -0.8
    published = quantize(vector)
    assert published[:3].tolist() == [99, -114, 0]  # 127.5 * sqrt(0.6) = 98.8, 127.5 * sqrt(0.8) = 114.04
    np.testing.assert_allclose(dequantize(published)[:2], [0.6, -0.8], atol=0.003)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 64), np.float32), "int8, found float32"),
        (np.ones((2, 63), np.int8), "should be 64"),
        (np.full((1, 64), -128, np.int8), "nodata value -128"),
        (np.zeros((1, 64), np.int8), "zeros only"),
    ],
)
def test_what_is_not_an_embedding_is_refused(array: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        dequantize(array)


def test_a_missing_component_is_not_quantized():
    with pytest.raises(ValueError, match="NaN"):
        quantize(np.full((1, 64), np.nan))
