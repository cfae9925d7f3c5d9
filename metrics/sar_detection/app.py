"""The Space of this metric: `python app.py` serves its page."""

from pathlib import Path

from fusargpt.metrics.widget import build

EXAMPLES = [
    ['[{"bbox_2d": [10, 10, 30, 20], "label": "ship"}]', '[{"bbox_2d": [11, 10, 30, 21], "label": "ship"}]'],
    ["None", '[{"bbox_2d": [50, 60, 70, 80], "label": "aircraft"}]'],
]

if __name__ == "__main__":
    build(Path(__file__).with_name("sar_detection.py"), EXAMPLES).launch()
