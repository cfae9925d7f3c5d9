from pathlib import Path

import pytest

from fusargpt.triplets.shards import written_part


@pytest.mark.parametrize("summary", ["", "{", "[1]", '{"rows": {}}'])
def test_a_part_whose_summary_is_damaged_is_made_again(tmp_path: Path, summary: str) -> None:
    (tmp_path / "part.json").write_text(summary)
    assert written_part(tmp_path / "part") is None
