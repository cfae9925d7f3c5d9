"""The Space of this metric: `python app.py` serves its page."""

from pathlib import Path

from fusargpt.metrics.widget import build

EXAMPLES = [["1, 2", "1, 2"], ["5", "5, 6"], ["None", "None"]]

if __name__ == "__main__":
    build(Path(__file__).with_name("sar_localization.py"), EXAMPLES).launch()
