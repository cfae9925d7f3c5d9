"""Where the clone is that these tests belong to."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATASET = ROOT / "dataset_card"
RECIPES = ROOT / "trl_recipes"
CASES = ROOT / "tests" / "cases"
"""Small files of kinds that people have, with right values that were computed independently."""
