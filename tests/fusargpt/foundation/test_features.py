"""Arms, grids, baselines without a model, and probes."""

from pathlib import Path

import numpy as np
import pytest

from fusargpt.checkpoints import NANO
from fusargpt.errors import InputError
from fusargpt.foundation.arms import ARMS, given
from fusargpt.foundation.features import on_grid
from fusargpt.foundation.places import View
from fusargpt.foundation.probes import Labelled, logistic_probe, neighbour_probe, ridge_probe
from fusargpt.foundation.store import Store
from fusargpt.foundation.towers.alphaearth import AlphaEarthAlone
from fusargpt.foundation.towers.hand import GRID, HandFeatures
from fusargpt.foundation.towers.nano_tower import FusarGptTower
from fusargpt.foundation.towers.simple import Together
from fusargpt.geo.blank import BLANK
from tests.fusargpt.foundation.known_places import Knowing, known

VIEWS = [place.view for place in known("test")[:6]]


def test_arms_change_what_they_say_and_nothing_else() -> None:
    assert [view.prior for view in given(VIEWS, "none", 0)] == [None] * 6
    assert given(VIEWS, "true", 0) == VIEWS
    for view, blind in zip(VIEWS, given(VIEWS, "blind", 0), strict=True):
        assert blind.prior is view.prior
        assert set(np.asarray(blind.picture).ravel().tolist()) == {BLANK}
        assert blind.acquisition == view.acquisition
    shuffled = given(VIEWS, "shuffled", 0)
    own, others = [id(view.prior) for view in VIEWS], [id(view.prior) for view in shuffled]
    assert sorted(own) == sorted(others)
    assert all(first != second for first, second in zip(own, others, strict=True))
    assert [view.picture for view in shuffled] == [view.picture for view in VIEWS]
    assert [id(view.prior) for view in given(VIEWS, "shuffled", 1)] != others
    with pytest.raises(ValueError, match=f"expected one of {', '.join(ARMS)}"):
        given(VIEWS, "blank", 0)
    with pytest.raises(ValueError, match="at least 2"):
        given(VIEWS[:1], "shuffled", 0)


def test_tokens_are_averaged_into_coarser_cells() -> None:
    tokens = np.arange(16, dtype=float).reshape(1, 4, 4, 1)
    assert on_grid(tokens, 2)[0, :, :, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    # A cell across edges takes each token by the part that it shares: 1 1/3 tokens a side.
    assert on_grid(tokens, 3)[0, 0, 0, 0] == pytest.approx((0 + (1 + 4) / 3 + 5 / 9) / (4 / 3) ** 2)
    assert on_grid(tokens, 8)[0, :2, :2, 0].tolist() == [[0, 0], [0, 0]]


def test_alphaearth_alone_is_the_anchors_as_they_lie() -> None:
    features = AlphaEarthAlone().features(VIEWS)
    assert features.tokens.shape == (6, 8, 8, 64)
    prior = VIEWS[0].prior
    assert prior is not None
    mixed = np.random.default_rng(0).permutation(64)
    moved = View(VIEWS[0].picture, type(prior)(prior.embeddings[mixed], prior.positions[mixed]))
    assert np.array_equal(AlphaEarthAlone().features([moved]).tokens[0], features.tokens[0])
    assert features.pooled[0] == pytest.approx(prior.embeddings.mean(0), abs=1e-6)
    with pytest.raises(InputError, match="square grid"):
        AlphaEarthAlone().features([View(VIEWS[0].picture, type(prior)(prior.embeddings[:5], prior.positions[:5]))])


def test_hand_made_features_see_brightness_texture_and_points() -> None:
    rng = np.random.default_rng(0)
    smooth = np.full((168, 168), 60, np.uint8)
    rough = rng.integers(0, 256, (168, 168)).astype(np.uint8)
    dotted = smooth.copy()
    for row, column in ((20, 20), (80, 90), (140, 50)):
        dotted[row : row + 5, column : column + 5] = 250
    from PIL import Image

    tower = HandFeatures()
    features = tower.features([View(Image.fromarray(image), None) for image in (smooth, rough, dotted)])
    assert np.isfinite(features.pooled).all() and np.isfinite(features.tokens).all()
    assert features.tokens.shape[:3] == (3, GRID, GRID)
    # Last: pixels and groups above three levels; three points are three groups.
    assert features.pooled[2, -1] == pytest.approx(np.log1p(3))
    assert features.pooled[0, -1] == 0
    assert not np.allclose(features.pooled[0], features.pooled[1])


def test_together_are_the_features_of_each() -> None:
    both = Together([HandFeatures(), AlphaEarthAlone()]).features(VIEWS)
    hand, prior = HandFeatures().features(VIEWS), AlphaEarthAlone().features(VIEWS)
    assert both.pooled.shape[1] == hand.pooled.shape[1] + 64
    assert both.tokens.shape == (6, 12, 12, hand.tokens.shape[-1] + 64)
    assert np.allclose(both.pooled[:, -64:], prior.pooled)


def test_the_tower_of_nano_sees_the_picture_and_the_prior() -> None:
    tower = FusarGptTower(NANO, "cpu")
    with_prior = tower.features(VIEWS[:2])
    without = tower.features(given(VIEWS[:2], "none", 0))
    assert with_prior.tokens.shape[:3] == (2, 6, 6)
    assert not np.allclose(with_prior.tokens, without.tokens)
    assert tower.resize.startswith("168 x 168")


def test_probes_read_classes_and_values() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    features = rng.standard_normal((300, 8)) * 3
    features[np.arange(300), labels] += 12
    train, rest = Labelled(features[:200], labels[:200]), Labelled(features[200:], labels[200:])
    for probe in (logistic_probe(train, rest), neighbour_probe(train, rest)):
        assert (probe.predict(rest.features) == rest.labels).mean() > 0.85
    values = features @ rng.standard_normal((8, 2))
    predict = ridge_probe((features[:200], values[:200]), (features[200:], values[200:]))
    assert predict(features[200:]) == pytest.approx(values[200:], abs=4)
    with pytest.raises(InputError, match="of one class"):
        logistic_probe(Labelled(features, np.zeros(300, int)), rest)


def test_weights_count_in_the_fit() -> None:
    features, labels = np.zeros((4, 1)), np.array([0, 0, 0, 1])
    heavy = Labelled(features, labels, np.array([1.0, 1.0, 1.0, 9.0]))
    assert logistic_probe(heavy, heavy).predict(features[:1]).tolist() == [1]


def test_features_are_computed_once(tmp_path: Path) -> None:
    tower = Knowing()
    views = [place.view for place in known("test")]
    first = Store(tmp_path, {"model": "a"}, "a", 7).features("test", views, lambda: tower)
    assert tower.shown == len(views)
    again = Store(tmp_path, {"model": "a"}, "a", 7).features("test", views, lambda: tower)
    assert tower.shown == len(views)
    assert np.array_equal(first.pooled, again.pooled)
    with pytest.raises(InputError, match='features with model "a", now "b"'):
        Store(tmp_path, {"model": "b"}, "a", 7)
    (tmp_path / "test-000000.npz").write_bytes(b"PK broken")
    with pytest.raises(InputError, match="a damaged file; remove it"):
        Store(tmp_path, {"model": "a"}, "a", 7).features("test", views, lambda: tower)
