"""The part of `supervision` that merges boxes."""

import warnings

with warnings.catch_warnings():
    # It recommends OpenCV for drawing, which is not used here.
    warnings.filterwarnings("ignore", message="OpenCV", category=UserWarning)
    from supervision import OverlapMetric, box_non_max_merge

__all__ = ["OverlapMetric", "box_non_max_merge"]
