"""The cards that stages, phases and merging leave: true, whole, readable by the Hub, with a snippet that answers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from fusargpt.checkpoints import NANO
from fusargpt.conversion.merge import merge
from fusargpt.conversion.model_card import read_card, sections_of
from modeling_fusargpt import FusarGptForConditionalGeneration
from tests.tiny import random_image
from tests.trl_recipes.klip.phases import klip_arguments, write_klip_base, write_klip_rows
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.klip.train import main as run_phase
from trl_recipes.model.checkpoint import load_model
from trl_recipes.sft import main
from trl_recipes.small.release import release_adapter

OF_THE_BASE = "---\nlicense: apache-2.0\nbase_model: someone/backbone\n---\n\n# base\n"
EVALUATED = {"eval_strategy": "steps", "eval_steps": 1, "dataset_test_split": "train[:4]", "eval_answer_tokens": 2}
FOLDERS = ("tlm", "adapter", "full", "full/adapter", "merged", "released")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base/ with a card, tlm/ alone on it, adapter/ on that, and as whole models full/ and merged/."""
    place = tmp_path_factory.mktemp("cards")
    write_base(place)
    (place / "base" / "README.md").write_text(OF_THE_BASE)
    write_triplets(place / "data", tasks=True)
    main(arguments(place, place / "tlm", train="tlm", save="trained", **EVALUATED))
    lora = {"model_name_or_path": place / "tlm", "save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    main(arguments(place, place / "adapter", train="lora", save="trained", prior="none", **lora))
    main(arguments(place, place / "full", train="tlm+lora", dtype="bfloat16", **lora))
    merge(place / "adapter", place / "merged")
    release_adapter(place / "adapter", place / "released")
    random_image(48, 56).save(place / "chip.png")
    return place


def header(folder: Path) -> ModelCardData:
    found = ModelCard.load(folder / "README.md").data
    assert isinstance(found, ModelCardData)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_a_card_is_whole_and_its_snippet_answers(
    place: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found, text = header(place / name), (place / name / "README.md").read_text()
    assert (found.license, found.base_model) == ("apache-2.0", "someone/backbone")
    alone = name in ("adapter", "full/adapter", "released")
    assert found.library_name == ("peft" if alone else "transformers")
    assert found.pipeline_tag == "image-text-to-text"
    assert {"sar", "fusargpt"} <= set(found.tags or ())
    assert not re.search("More Information|None|fine-tuned version", text.replace("None were measured", ""))
    assert str(place) not in text  # where it was made is nobody's business
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (place / name / picture).is_file()

    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert f'name = "{name}"' in snippet
    monkeypatch.chdir(place)
    exec(snippet, {})
    assert capsys.readouterr().out.endswith("\n")


@pytest.mark.slow
def test_data_recipe_and_scores_are_those_of_the_run(place: Path) -> None:
    parts = sections_of((place / "tlm" / "README.md").read_text())
    assert list(parts) == ["Use", "Training", "Scores", "Licence"]
    assert "| `data` | train | training | 8 | 0 |" in parts["Training"]
    assert "| `data` | train[:4] | evaluation | 4 | 0 |" in parts["Training"]
    assert "2 steps" in parts["Training"] and "4 rows a step" in parts["Training"]
    for line in ("| `train` | `tlm` |", "| `prior` | `true` |", "| `learning_rate` | `0.01` |"):
        assert line in parts["Training"]
    assert "lora_r" not in parts["Training"]
    adapted = sections_of((place / "adapter" / "README.md").read_text())
    assert "| `lora_r` | `8` |" in adapted["Training"]
    assert adapted["Scores"] == "None were measured while it was trained."
    assert header(place / "adapter").eval_results is None

    history = json.loads((place / "tlm" / "trainer_state.json").read_text())["log_history"]
    logged = [entry for entry in history if "eval_loss" in entry][-1]
    results = header(place / "tlm").eval_results
    assert results
    for result in results:
        task, metric = str(result.metric_name).split(": ")
        assert result.metric_type == metric and result.dataset_split == "train[:4]"
        assert result.metric_value == pytest.approx(logged[f"eval_{task}_{metric}"])
        assert f"| {task} | {metric} | 2 |" in parts["Scores"]


@pytest.mark.slow
def test_what_was_merged_says_what_it_was_and_claims_no_scores(place: Path) -> None:
    before, after = (sections_of((place / name / "README.md").read_text()) for name in ("adapter", "merged"))
    assert before["Training"] == after["Training"]
    text = (place / "merged" / "README.md").read_text()
    assert "`adapter` with the base that it names in one whole model, in float32" in text
    merge(place / "tlm", place / "tlm-merged")
    assert header(place / "tlm").eval_results and header(place / "tlm-merged").eval_results is None
    assert not list(place.glob("*/checkpoint-*/README.md"))


@pytest.mark.slow
def test_a_stage_from_a_model_of_the_package_names_it_as_others_find_it(place: Path, tmp_path: Path) -> None:
    fields = {"model_name_or_path": "fusargpt-nano", "max_steps": 1, "per_device_train_batch_size": 1}
    main(arguments(place, tmp_path / "tuned", train="lora", save="trained", **fields))
    settings = json.loads((tmp_path / "tuned" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "fusargpt-nano"
    found, text = read_card(tmp_path / "tuned" / "README.md")
    assert found["license"] == "apache-2.0" and "base_model" not in found
    assert "Its base, `fusargpt-nano`, is loaded with it: it comes with the package fusargpt" in text
    assert str(NANO.parent) not in (tmp_path / "tuned" / "adapter_config.json").read_text() + text
    expected = load_model(str(tmp_path / "tuned")).state_dict()
    nano: Any = FusarGptForConditionalGeneration.from_pretrained(NANO, dtype="float32")
    by_peft: Any = PeftModel.from_pretrained(nano, tmp_path / "tuned").merge_and_unload()
    by_transformers = AutoModelForImageTextToText.from_pretrained(tmp_path / "tuned", merge_adapter=True)
    for model in (by_peft, by_transformers):
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value.float(), expected[name])


@pytest.mark.slow
def test_a_phase_of_fusar_klip_has_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_klip_base(tmp_path)
    write_klip_rows(tmp_path / "data")
    evaluated = {"eval_strategy": "steps", "eval_steps": 2, "dataset_test_split": "train[:6]"}
    run_phase(klip_arguments(tmp_path, tmp_path / "p0", **evaluated))
    found, text = read_card(tmp_path / "p0" / "README.md")
    assert found["pipeline_tag"] == "zero-shot-image-classification" and "fusarklip" in found["tags"]
    assert "license" not in found and "model-index" not in found
    parts = sections_of(text)
    assert "| `data` | train | training | 12 | 0 |" in parts["Training"] and "| `itc` | `1.0` |" in parts["Training"]
    assert "| itc | " in parts["Scores"] and parts["Licence"].startswith("Unknown: ")
    random_image(24, 24).save(tmp_path / "chip.png")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(snippet, {})
    assert capsys.readouterr().out.strip() in ("two ships", "forest, no roads")
