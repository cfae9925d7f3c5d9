"""The pipeline of mini: what is done is not run again, what fails is said, and a run that is stopped leaves nobody."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from trl_recipes.arguments import parse
from trl_recipes.grpo import arguments as reinforcement
from trl_recipes.mini import __main__ as command
from trl_recipes.mini.pipeline import StageError, finish, log_of, run, start
from trl_recipes.mini.stages import TINY, Amounts, Stage, Training, score_stages, stages
from trl_recipes.small.pretrain_pointing import pointing_parser
from trl_recipes.small.pretrain_tower import tower_parser


def test_every_stage_reads_what_an_earlier_one_writes() -> None:
    build = Path("build/mini")
    written: set[str] = set()
    for stage in [*stages(build, Path("ssdd"), Amounts(), Training({})), *score_stages(build, Path("ssdd"))]:
        named = [argument for argument in stage.command if argument.startswith(f"{build}/")]
        (out,) = [
            named[index]
            for index, argument in enumerate(named)
            if stage.command[stage.command.index(argument) - 1] in ("--out", "--output_dir")
        ]
        # The cache of visual tokens is made by whoever comes first.
        assert {name for name in named if name not in (out, f"{build}/features")} <= written, stage.name
        written.add(out)
    assert f"{build}/scores" in written


@pytest.mark.parametrize("amounts", [Amounts(), TINY], ids=["whole", "tiny"])
def test_commands_of_training_stages_are_understood(amounts: Amounts) -> None:
    found = {stage.name: stage for stage in stages(Path("b"), Path("ssdd"), amounts, Training({"stage1": 0.5}))}
    for name in ("pretrain", "stage1", "stage2", "language"):
        recipe, config = parse([*found[name].command[2:], "--use_cpu", "true"])
        assert str(config.output_dir) == f"b/{name}"
        assert recipe.train_minutes == (0.5 if name == "stage1" else None)
        assert (config.num_train_epochs > 100) == (name == "stage1")
    recipe, config = reinforcement.parse([*found["stage3"].command[2:], "--use_cpu", "true"])
    assert (str(config.output_dir), recipe.model_name_or_path) == ("b/stage3", "b/language")
    assert config.num_generations and config.per_device_train_batch_size % config.num_generations == 0
    assert found["release"].command[2] == "b/stage3"
    seeing = tower_parser().parse_args(found["tower"].command[2:])
    assert (seeing.out, seeing.model, seeing.ssdd) == (Path("b/tower"), Path("b/initial"), Path("ssdd"))
    pointing = pointing_parser().parse_args(found["pointing"].command[2:])
    assert (pointing.out, pointing.model) == (Path("b/pointing"), Path("b/tower"))
    assert (pointing.questions, pointing.features) == (Path("b/data/questions"), Path("b/features"))
    assert pointing.stage == "pointing"
    further = pointing_parser().parse_args(found["pointing_all"].command[2:])
    assert (further.stage, further.out, further.model) == ("pointing_all", Path("b/pointing_all"), Path("b/pointing"))
    assert further.scenes == amounts.pointing_all
    recipe, _ = parse([*found["pretrain"].command[2:], "--use_cpu", "true"])
    assert recipe.model_name_or_path == "b/pointing_all"
    recipe, config = parse([*found["language"].command[2:], "--use_cpu", "true"])
    assert recipe.model_name_or_path == "b/stage2" and config.max_steps == amounts.language_steps
    assert recipe.dataset_name[-1] == found["data_chips"].command[-1] == "b/data/chips"


def test_a_tower_that_is_there_is_not_trained_again() -> None:
    made, taken = (
        {stage.name: stage.command for stage in stages(Path("b"), None, TINY, Training({}), tower)}
        for tower in (None, Path("models/mini"))
    )
    assert taken.pop("tower") == (
        *("-m", "trl_recipes.small.model", "mini", "--tower", "models/mini"),
        *("--out", str(Path("b", "tower"))),
    )
    del made["tower"]
    assert taken == made


def test_a_pretrained_model_goes_on_with_stage_1() -> None:
    whole = stages(Path("b"), None, TINY, Training({}))
    found = stages(Path("b"), None, TINY, Training({}), pretrained=Path("models/mini"))
    assert [stage.name for stage in found] == [
        *("scenes", "scenes_captions", "scenes_instructions"),
        *("data_questions", "data_captions", "data_instructions"),
        *("stage1", "stage2", "language", "stage3", "release"),
    ]
    recipe, _ = parse([*next(stage for stage in found if stage.name == "stage1").command[2:], "--use_cpu", "true"])
    assert recipe.model_name_or_path == "models/mini"
    assert {stage.command for stage in found if stage.name != "stage1"} <= {stage.command for stage in whole}


@pytest.mark.parametrize("option", ["--tower", "--pretrained"])
def test_a_model_that_is_not_there_is_said_before_any_stage(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--build", str(tmp_path / "build"), option, str(tmp_path)]) == 2
    assert f"{option}: {tmp_path}: no config.json; expected the folder of a model" in capsys.readouterr().err
    assert not (tmp_path / "build").exists()


def test_without_chips_no_stage_asks_for_them() -> None:
    assert not [stage for stage in stages(Path("b"), None, TINY, Training({})) if "--ssdd" in stage.command]
    assert score_stages(Path("b"), None) == []


def code(name: str, text: str) -> Stage:
    return Stage(name, ("-c", text))


def test_a_stage_that_ended_well_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = code("first", "print('hello')")
    assert not stage.is_done(tmp_path)
    run(stage, tmp_path, "[1/1]")
    assert stage.is_done(tmp_path)
    assert log_of(stage, tmp_path).read_text() == "hello\n"
    assert "[1/1] first: done in 0.0 minutes" in capsys.readouterr().out


def test_a_stage_that_fails_is_told_by_the_end_of_its_log(tmp_path: Path) -> None:
    stage = code("first", "import sys\nprint('why')\nsys.exit(3)")
    with pytest.raises(StageError, match=r"(?s)first: ended with code 3; .*first\.log:\nwhy"):
        run(stage, tmp_path, "")
    assert not stage.is_done(tmp_path)


def test_a_stage_without_time_is_ended(tmp_path: Path) -> None:
    stage = code("slow", "import time\ntime.sleep(60)")
    process = start(stage, tmp_path)
    with pytest.raises(StageError, match="slow: not done after 0 seconds"):
        finish(stage, process, tmp_path, seconds=0.2)
    assert process.poll() is not None and not stage.is_done(tmp_path)


def test_a_command_goes_on_after_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tries = tmp_path / "tries"
    text = f"from pathlib import Path\np = Path({str(tries)!r})\np.write_text((p.read_text() if p.exists() else '') + "
    found = [code("first", f"{text}'1')"), code("second", f"{text}'2')\nraise SystemExit(int(len(p.read_text()) < 3))")]
    monkeypatch.setattr(command, "stages", lambda *_: found)
    arguments = ["--build", str(tmp_path / "build")]
    assert command.main(arguments) == 1
    assert "second: ended with code 1; the same command goes on" in capsys.readouterr().err
    assert command.main([*arguments, "--status"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == ["first", "done"] and told[1].startswith("second") and "begun" in told[1]
    assert command.main(arguments) == 0
    assert tries.read_text() == "122"


def test_a_folder_without_the_list_is_no_set_of_chips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--build", str(tmp_path / "build"), "--ssdd", str(tmp_path)]) == 2
    assert "has no train_full.txt; expected the folder of SSDD" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stopped_command_ends_its_stage(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    text = f"import time, pathlib\nfor n in range(200):\n    pathlib.Path({str(mark)!r}).write_text(str(n))\n"
    script = (
        "import sys\nfrom trl_recipes.mini import __main__ as command\n"
        "from trl_recipes.mini.stages import Stage\n"
        f"command.stages = lambda *_: [Stage('slow', ('-c', {text + '    time.sleep(0.1)'!r}))]\n"
        f"sys.exit(command.main(['--build', {str(tmp_path / 'build')!r}]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    while not mark.exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    assert process.wait(30) == 143
    last = mark.read_text()
    time.sleep(0.5)
    assert mark.read_text() == last
