"""The builder and the simulator work on many processes, and a plan needs configurations alone: none of them pays for
torch, which takes seconds to import."""

import subprocess
import sys
from pathlib import Path

from tests.fusargpt.triplets.places import CORNERS, decibels, write_field, write_manifest, write_raster
from tests.paths import RECIPES

HEAVY = ("torch", "transformers")


def check_light(program: str) -> None:
    """Run a program in a process of its own; what it has imported at the end is looked at."""
    ending = f"\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program + ending], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_build_from_the_command_imports_no_torch(tmp_path: Path) -> None:
    write_field(tmp_path / "aef", CORNERS[:1])
    write_raster(tmp_path / "a.tif", decibels(1, 112, 112), CORNERS[0], ACQUISITION_DATE="2021-06-01")
    boxes = [{"bbox_2d": [10, 20, 40, 30], "label": "ship"}]
    write_manifest(tmp_path / "m.jsonl", [{"scene": "a.tif", "boxes": boxes}])
    command = ["triplets", "build", str(tmp_path / "m.jsonl"), "--aef", str(tmp_path / "aef"), "--workers", "0"]
    command += ["--out", str(tmp_path / "out"), "--chip-size", "112"]
    check_light(f"from fusargpt.cli.main import main\nassert main({command}) == 0")
    assert (tmp_path / "out" / "build.json").is_file()


def test_what_the_workers_of_a_build_import_is_without_torch_and_datasets() -> None:
    check_light("import sys, fusargpt.triplets.jobs, fusargpt.triplets.ray_build\nassert 'datasets' not in sys.modules")


def test_the_simulator_imports_no_torch(tmp_path: Path) -> None:
    out = tmp_path / "shards"
    check_light(
        "import fusargpt.simulator.world\nfrom pathlib import Path\nfrom fusargpt.simulator.simulate import simulate\n"
        f"simulate(Path({str(out)!r}), 'captions', 'train', 2, 0.0, 8, 0, 1)"
    )
    assert [path.suffix for path in out.iterdir()] == [".parquet"]


def test_a_plan_imports_no_torch() -> None:
    command = ["plan", str(RECIPES / "stage2.yaml"), "--attn_implementation", "default"]
    check_light(f"from fusargpt.cli.main import main\nassert main({command}) == 0")
