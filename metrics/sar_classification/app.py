"""The Space of this metric: `python app.py` serves its page."""

from pathlib import Path

from fusargpt.metrics.widget import build

EXAMPLES = [["ship", "ship"], ["Aircraft.", "aircraft"], ["ship", "None"]]

if __name__ == "__main__":
    build(Path(__file__).with_name("sar_classification.py"), EXAMPLES).launch()
