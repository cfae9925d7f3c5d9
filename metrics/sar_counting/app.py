"""The Space of this metric: `python app.py` serves its page."""

from pathlib import Path

from fusargpt.metrics.widget import build

EXAMPLES = [["3", "3"], ["There are 2 ships.", "4"], ["many", "1"]]

if __name__ == "__main__":
    build(Path(__file__).with_name("sar_counting.py"), EXAMPLES).launch()
