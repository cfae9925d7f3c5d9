"""The pages that a user reads: links lead somewhere, commands are understood, snippets run."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from fusargpt.checkpoints import targets_of
from fusargpt.cli.main import main
from fusargpt.errors import InputError
from tests.fusargpt.simulator.worlds import make_world
from tests.modeling_fusargpt.chain import write_backbone, write_stage1, write_stage2
from tests.pages import PAGES, commands, links, python_snippets, text
from tests.paths import ROOT
from tests.tiny import tiny_processor
from trl_recipes.arguments import parse
from trl_recipes.grpo.arguments import parse as parse_reinforcement
from trl_recipes.klip.train import parse_any
from trl_recipes.recipe_file import system_of

COMMANDS = sorted({tuple(words) for page in PAGES for words in commands(page)})
VERBS = [words for words in COMMANDS if words[0] == "fusargpt"]
# Snippets that run as they stand, in the repository.
RUN = (
    "README.md",
    "dataset_card/README.md",
    "docs/concepts/anchors.md",
    "docs/how-to/confidences.md",
    "docs/index.md",
    "docs/ways-in.md",
    "fusargpt/checkpoints/fusargpt-mini/README.md",
    "fusargpt/checkpoints/fusargpt-nano/README.md",
    "fusargpt/checkpoints/fusarklip-nano/README.md",
)
# Those that want something beside them, and the test that has it.
ELSEWHERE = {
    "docs/how-to/backbone.md": "test_a_choice_about_deepstack_features_is_saved",
    "docs/how-to/convert.md": "test_what_the_stages_leave_loads",
    "docs/how-to/fine-tune.md": "tests/trl_recipes/test_own_trainer.py",
    "docs/how-to/own-classes.md": "test_a_model_is_given_its_classes",
    "docs/how-to/scenes.md": "test_the_scene_snippet_looks_for_its_scene",
    "docs/how-to/search.md": "test_the_search_snippets_look_for_their_scene",
    "docs/how-to/serve.md": "tests/fusargpt/serving/test_server.py, where vLLM is",
    "docs/how-to/triplets.md": "test_descriptions_are_worded_anew",
    "metrics/README.md": "tests/metrics/test_evaluate_modules.py",
    "modeling_fusargpt/README.md": "tests/modeling_fusargpt/test_card.py",
    "modeling_fusarklip/README.md": "tests/modeling_fusarklip/test_card.py",
    "space_app/README.md": "tests/space_app/test_endpoints.py",
    **{
        f"metrics/sar_{name}/README.md": "tests/metrics/test_evaluate_modules.py"
        for name in ("classification", "counting", "detection", "localization")
    },
}

EVERY_SNIPPET = """
import contextlib, io, json, sys

outputs = []
for snippet in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(snippet, "<snippet>", "exec"), {"__name__": "__main__"})
    outputs.append(output.getvalue())
print(json.dumps(outputs))
"""


def run(snippets: list[str], tmp_path: Path, folder: Path = ROOT) -> list[str]:
    """What each snippet prints, one after the other in a process with a new cache and no network."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", EVERY_SNIPPET],
        input=json.dumps(snippets),
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_every_snippet_is_python_and_belongs_to_a_test() -> None:
    found = {page: python_snippets(page) for page in PAGES if python_snippets(page)}
    assert set(found) == {*RUN, *ELSEWHERE}
    for snippets in found.values():
        for snippet in snippets:
            ast.parse(snippet)


@pytest.mark.slow
def test_snippets_run(tmp_path: Path) -> None:
    snippets = [snippet for page in RUN for snippet in python_snippets(page)]
    assert len(snippets) > len(RUN)
    for snippet, output in zip(snippets, run(snippets, tmp_path), strict=True):
        assert bool(output.strip()) == ("print(" in snippet)


@pytest.mark.slow
def test_what_the_stages_leave_loads(tmp_path: Path) -> None:
    snippet, adding = python_snippets("docs/how-to/convert.md")
    write_backbone(tmp_path / "qwen")
    write_stage1(tmp_path / "build" / "7b" / "stage1", tmp_path / "qwen")
    write_stage2(tmp_path / "build" / "7b" / "stage2", tmp_path / "build" / "7b" / "stage1")
    described = "print(type(model).__name__, type(base).__name__)"
    named = "print(model.active_adapters(), 'fusargpt-nano' in open('harbours/adapter_config.json').read())"
    assert run([f"{snippet}\n{described}", f"{adding}\n{named}"], tmp_path, tmp_path) == [
        "PeftModelForCausalLM FusarGptForConditionalGeneration\n",
        "['harbours'] True\n",
    ]


def test_a_choice_about_deepstack_features_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = python_snippets("docs/how-to/backbone.md")
    monkeypatch.chdir(tmp_path)
    write_backbone(tmp_path / "qwen3", "qwen3")
    exec(snippet.replace('"Qwen/Qwen3-VL-8B-Instruct"', '"qwen3"'), {})
    saved = json.loads((tmp_path / "build" / "qwen3" / "modulated" / "config.json").read_text())
    assert saved["tlm_config"]["deepstack"] == "modulated"


def test_a_model_is_given_its_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = python_snippets("docs/how-to/own-classes.md")
    monkeypatch.chdir(tmp_path)
    tiny_processor().save_pretrained("build/bridges/stage2")
    exec(snippet, {})
    assert targets_of("build/bridges/stage2") == ("bridge",)


def test_the_scene_snippet_looks_for_its_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = python_snippets("docs/how-to/scenes.md")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"scene\.tif: no such file"):
        exec(snippet, {})


def test_the_search_snippets_look_for_their_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snippets = python_snippets("docs/how-to/search.md")
    assert len(snippets) == 2
    for snippet in snippets:
        with pytest.raises(InputError, match=r"scene\.tif: no such file"):
            exec(snippet, {})


def test_descriptions_are_worded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    worded, drawn = python_snippets("docs/how-to/triplets.md")
    world = make_world(tmp_path / "world", places=1, years=(2023,), seed=1, sides=(112,))
    monkeypatch.chdir(tmp_path)
    build = ["triplets", "build", str(world.folder / "manifest.jsonl"), "--aef", str(world.folder / "aef")]
    build += ["--split-shares", "1,0,0", "--chip-size", "112", "--workers", "0", "--out", "harbours"]
    assert main(build) == 0
    capsys.readouterr()
    # Read once from the environment; another dataset of that name may lie in the user's own.
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {}
    exec(worded, names)
    wordings = capsys.readouterr().out.splitlines()
    assert len(set(wordings)) == 3
    exec(drawn, names)
    texts = capsys.readouterr().out.splitlines()
    assert len(set(texts)) == 6 and all(text.endswith(" True") for text in texts[::2])


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_commands_are_understood(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The only thing wrong with them, in an empty folder, is that what they are to read is not there."""
    _, verb, *arguments = words
    if verb in ("train", "plan"):
        monkeypatch.chdir(ROOT)
    else:
        monkeypatch.chdir(tmp_path)
        # Nor is what comes with the package, whose names would be run.
        monkeypatch.setattr("fusargpt.checkpoints.SHIPPED", {})
    if verb == "train":
        system = cast("str | None", system_of(arguments[0]))
        read = {None: parse, "fusar-gpt-grpo": parse_reinforcement}.get(system, parse_any)
        _, config = read([*arguments, "--use_cpu", "true"])
        assert config.output_dir
    elif verb == "plan":
        assert main([verb, *arguments]) == 0 and "GPU" in capsys.readouterr().out.upper()
    elif verb == "demo":
        served: list[Any] = []
        monkeypatch.setattr("space_app.launch.serve", lambda *options: served.append(options))
        assert main([verb, *arguments]) == 0 and len(served) == 1
    else:
        assert main([verb, *arguments]) == 2
        error = capsys.readouterr().err
        values = {argument for argument in arguments if not argument.startswith("--")}
        (named,) = {value for value in values if f": {value}: " in error}
        assert re.search(r"no such|there is no|no readme\.md", error.lower()), named


def test_what_is_launched_or_run_as_a_module_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    modules = {
        words[words.index("-m") + 1] for words in COMMANDS if "-m" in words and words[0] in ("python", "accelerate")
    }
    assert {"trl_recipes.sft", "fusargpt.simulator.world"} <= modules
    assert [name for name in modules if find_spec(name) is None] == []
    for words in COMMANDS:
        if words[0] == "accelerate":
            assert yaml.safe_load(Path(words[words.index("--config_file") + 1]).read_text())
            parse([*words[words.index("trl_recipes.sft") + 1 :], "--use_cpu", "true"])


def test_every_make_target_and_extra_is_there() -> None:
    named = {words[1] for words in COMMANDS if words[0] == "make"}
    named |= {target for page in PAGES for target in re.findall(r"`make ([a-z-]+)`", text(page))}
    makefile = (ROOT / "Makefile").read_text()
    assert {"quickstart", "docs"} <= named
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {
        name
        for page in PAGES
        for group in re.findall(r"(?:fusargpt|\.)\[([a-z,]+)\]", text(page))
        for name in group.split(",")
    }
    assert wanted and wanted <= set(extras)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    assert [str(path) for path in links(page) if not path.exists()] == []


def test_the_commands_that_made_the_checkpoints_are_those_of_their_cards() -> None:
    made = [words for words in commands("CONTRIBUTING.md") if words[0] in ("fusargpt", "python")]
    cards = [words for page in PAGES if "checkpoints" in page for words in commands(page)]
    assert len(made) > 10 and [words for words in made if words not in cards] == []


def test_the_reference_shows_modules_that_are_there() -> None:
    shown = {
        name for page in PAGES if "reference/" in page for name in re.findall(r"^::: (\S+)", text(page), re.MULTILINE)
    }
    assert len(shown) > 50 and [name for name in shown if find_spec(name) is None] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")]
    pages += [f"notebooks/{path.stem}.md" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")]
    assert [page for page in pages if f" {page}\n" not in navigation] == []
