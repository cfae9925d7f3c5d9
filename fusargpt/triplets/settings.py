"""What a user can choose about a dataset that is built from scenes."""

from dataclasses import dataclass
from typing import Literal

from fusargpt.errors import InputError
from fusargpt.geo.tiling import CHIP_SIZE, MAX_PIXELS, MIN_PIXELS, TOKEN_SIDE, seen_size
from fusargpt.tasks.target_names import check_distinct, check_target
from fusargpt.triplets.boxes import MIN_VISIBLE, LabelNames
from fusargpt.triplets.splits import DEFAULT_SHARES, SPLIT_DISTANCE_KM

ANCHORS_PER_SIDE = 8


@dataclass(frozen=True)
class BuildSettings:
    """The options of a build. The same settings and files give the same bytes.

    Attributes:
        aef: root of the AlphaEarth field; None builds with empty priors, and needs `missing_prior` "empty".
        chip_size: side of a chip in pixels, at least 28; 0 makes every scene one chip.
        overlap: pixels that neighbouring chips share at least.
        max_nodata: share of a chip that may be without data; chips with more are left out.
        min_visible: share of a box that a chip has to hold for the object to be its own.
        keep_empty: share of the chips without any object that are asked questions.
        labels: pairs (label of the annotations, class or "ignore"); another label is a class itself.
        targets: the classes that the annotations cover, and the only ones; None takes those that occur in them.
        anchors: rows and columns of the grid of anchors of a chip; None where `anchor_spacing_m` is given.
        anchor_spacing_m: metres between anchors.
        resolution: "native" reads AlphaEarth's 10 m pixels, "match" the overview that fits the anchors' spacing.
        missing_prior: what becomes of chips without georeference, year or coverage: "raise" fails the scene, "empty"
            gives them a prior without anchors.
        min_pixels: area below which the model's image processor enlarges images.
        max_pixels: area above which it shrinks them.
        image_size: side of the square to which the model's processor squeezes every image, where it does so; None where
            it keeps the aspect ratio, as those of Qwen2.5-VL do.
        split_distance_km: scenes that are nearer to each other share a split.
        shares: of places in train, validation and test.

    Raises:
        InputError: a value outside its range, or two that do not go together.
    """

    aef: str | None = None
    chip_size: int = CHIP_SIZE
    overlap: int = 0
    max_nodata: float = 0.5
    min_visible: float = MIN_VISIBLE
    keep_empty: float = 1.0
    labels: tuple[tuple[str, str], ...] = ()
    targets: tuple[str, ...] | None = None
    anchors: int | None = ANCHORS_PER_SIDE
    anchor_spacing_m: float | None = None
    resolution: Literal["native", "match"] = "native"
    missing_prior: Literal["raise", "empty"] = "raise"
    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    image_size: int | None = None
    split_distance_km: float = SPLIT_DISTANCE_KM
    shares: tuple[float, float, float] = DEFAULT_SHARES

    def __post_init__(self) -> None:
        if self.chip_size != 0:
            _check("chip-size", self.chip_size, TOKEN_SIDE <= self.chip_size <= 4096, "0, or 28 to 4096 pixels")
            expected = "0 or more pixels, less than the chip size"
            _check("overlap", self.overlap, 0 <= self.overlap < self.chip_size, expected)
        else:
            _check("overlap", self.overlap, self.overlap == 0, "0 where every scene is one chip")
        _check("max-nodata", self.max_nodata, 0 <= self.max_nodata < 1, "a share from 0 to below 1")
        _check("min-visible", self.min_visible, 0 < self.min_visible <= 1, "a share above 0, at most 1")
        _check("keep-empty", self.keep_empty, 0 <= self.keep_empty <= 1, "a share from 0 to 1")
        for target in self.targets or ():
            check_target(target, "targets")
        check_distinct(self.targets or ())
        if (self.anchors is None) == (self.anchor_spacing_m is None):
            raise InputError("anchors and anchor-spacing: expected one of them")
        if self.anchors is not None:
            _check("anchors", self.anchors, 1 <= self.anchors <= 128, "1 to 128 a side")
        if self.anchor_spacing_m is not None:
            _check("anchor-spacing", self.anchor_spacing_m, 10 <= self.anchor_spacing_m <= 1e5, "10 m or more")
        if self.aef is None and self.missing_prior == "raise":
            raise InputError(
                "no AlphaEarth root; give one with aef (--aef), or build without priors: missing_prior empty "
                "(--missing-prior empty)"
            )
        area = f"{TOKEN_SIDE**2} pixels or more, at most max-pixels"
        _check("min-pixels", self.min_pixels, TOKEN_SIDE**2 <= self.min_pixels <= self.max_pixels, area)
        distance = self.split_distance_km
        _check("split-distance", distance, 0 <= distance <= 1000, "0 to 1000 km")
        expected = "three shares that sum to 1, as 0.8,0.1,0.1"
        _check("split-shares", self.shares, min(self.shares) >= 0 and abs(sum(self.shares) - 1) < 1e-6, expected)
        if self.image_size is not None:
            fits = self.image_size % TOKEN_SIDE == 0 and 1 <= self.image_size // TOKEN_SIDE <= 128
            _check("image-size", self.image_size, fits, f"a multiple of {TOKEN_SIDE} pixels, at most 3584")
        mapping = dict(self.labels)
        for name, target in self.labels:
            expected = f"one class for {name}, which is {mapping[name]} as well"
            _check("label", f"{name}={target}", target == mapping[name], expected)
        # Raises on labels that it does not know.
        _ = self.names

    @property
    def names(self) -> LabelNames:
        """What the labels of the annotations are called in the dataset."""
        return LabelNames(self.targets, dict(self.labels))

    def seen_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in which the model sees an image of `width` x `height` pixels; see `fusargpt.geo.tiling`."""
        if self.image_size is not None:
            return self.image_size, self.image_size
        return seen_size(width, height, self.min_pixels, self.max_pixels)


def _check(name: str, found: object, fits: bool, expected: str) -> None:
    if not fits:
        raise InputError(f"{name}: found {found}; expected {expected}")
