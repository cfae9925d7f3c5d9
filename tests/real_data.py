"""Real SAR images that are too large for the repository; tests that need them skip where they are absent."""

import pytest

from tests.paths import ROOT

REAL_DATA = ROOT.parent / "shared" / "data"

needs_real_data = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="the folder shared/data with real SAR images is not beside the repository"
)
