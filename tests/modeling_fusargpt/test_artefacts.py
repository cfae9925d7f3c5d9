"""What stages leave with `save: trained` loads as the model that was in memory, wherever its folders are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

from fusargpt.conversion.merge import merge
from fusargpt.conversion.write_artefacts import name_base, write_tlm
from fusargpt.errors import InputError
from fusargpt.inference.loading import load
from modeling_fusargpt import FusarGptForConditionalGeneration
from modeling_fusargpt.artefacts import ArtefactError, read_chain
from tests.modeling_fusargpt.chain import write_backbone, write_stage1, write_stage2
from tests.tiny import tiny_inputs, tiny_processor

INPUTS = tiny_inputs(tiny_processor())


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(**INPUTS).logits


@torch.no_grad()
def hidden(model: Any) -> torch.Tensor:
    return model(**INPUTS).last_hidden_state


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """backbone/, stage1/ (a TLM), stage2/ (LoRA on it), both/ (TLM and LoRA on the backbone), third/ (LoRA on that)."""
    place = tmp_path_factory.mktemp("chain")
    write_backbone(place / "backbone")
    expected = {
        "stage1": logits(write_stage1(place / "stage1", place / "backbone")),
        "stage2": logits(write_stage2(place / "stage2", place / "stage1")),
        "both": logits(write_stage2(place / "both", place / "backbone", with_tlm=True)),
        "third": logits(write_stage2(place / "third", place / "both", seed=2)),
    }
    save_file(expected, place / "expected.safetensors")
    return place


@pytest.fixture(scope="module")
def expected(place: Path) -> dict[str, torch.Tensor]:
    return load_file(place / "expected.safetensors")


def check_equal(found: torch.Tensor, expected: torch.Tensor, within: float = 0.0) -> None:
    torch.testing.assert_close(found, expected, atol=within, rtol=0)


def test_every_artefact_computes_something_else(expected: dict[str, torch.Tensor]):
    values = list(expected.values())
    assert all((one - other).abs().max() > 1e-2 for one in values for other in values if one is not other)


@pytest.mark.parametrize("name", ["stage1", "stage2", "both"])
def test_auto_classes_load_the_model_that_was_in_memory(place: Path, expected: dict[str, torch.Tensor], name: str):
    model = AutoModelForImageTextToText.from_pretrained(place / name)
    assert isinstance(model, FusarGptForConditionalGeneration) and not model.training
    check_equal(logits(model), expected[name])
    inner = AutoModel.from_pretrained(place / name)
    check_equal(model.lm_head(hidden(inner)), expected[name], 1e-6)
    tokens = AutoProcessor.from_pretrained(place / name)(text=["a"], return_tensors="pt")
    assert len(tokens["input_ids"][0]) == 1


@pytest.mark.parametrize("name", ["stage2", "both", "third"])
def test_adapters_are_merged_on_request(place: Path, expected: dict[str, torch.Tensor], name: str):
    model = AutoModelForImageTextToText.from_pretrained(place / name, merge_adapter=True)
    check_equal(logits(model), expected[name], 1e-5)
    assert not [key for key in model.state_dict() if "lora" in key]
    inner = AutoModel.from_pretrained(place / name, merge_adapter=True)
    check_equal(model.lm_head(hidden(inner)), expected[name], 1e-5)


def test_an_adapter_on_an_adapter_loads(place: Path, expected: dict[str, torch.Tensor]):
    check_equal(logits(AutoModelForImageTextToText.from_pretrained(place / "third")), expected["third"], 1e-5)


@pytest.mark.parametrize(("name", "base"), [("stage2", "stage1"), ("both", "backbone")])
def test_peft_puts_the_adapter_on_its_base(place: Path, expected: dict[str, torch.Tensor], name: str, base: str):
    model = FusarGptForConditionalGeneration.from_pretrained(place / base)
    check_equal(logits(PeftModel.from_pretrained(model, place / name)), expected[name])


def test_loading_reports_nothing_missing(place: Path, caplog: pytest.LogCaptureFixture):
    for name in ("stage1", "stage2", "both"):
        loaded: Any = FusarGptForConditionalGeneration.from_pretrained(place / name, output_loading_info=True)
        assert not any(loaded[1].values())
    assert "MISSING" not in caplog.text and "newly initialized" not in caplog.text


def test_dtype_and_config_of_the_caller_are_taken(place: Path):
    model = AutoModelForImageTextToText.from_pretrained(place / "stage2", dtype="bfloat16", attn_implementation="eager")
    # peft trains LoRA in float32, and the file holds it so.
    assert {tensor.dtype for key, tensor in model.state_dict().items() if "lora" not in key} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"  # pyright: ignore[reportPrivateUsage]  # no getter
    config = model.config
    config.tlm_config.sigma = 7.0
    assert AutoModel.from_pretrained(place / "stage1", config=config).tlm.config.sigma == 7.0


def test_what_was_loaded_is_saved_whole(place: Path, expected: dict[str, torch.Tensor], tmp_path: Path):
    FusarGptForConditionalGeneration.from_pretrained(place / "stage1").save_pretrained(tmp_path)
    shutil.copytree(place / "stage2", tmp_path / "unrelated")
    assert len(read_chain(str(tmp_path))) == 1
    check_equal(logits(AutoModelForImageTextToText.from_pretrained(tmp_path)), expected["stage1"])


def test_an_adapter_trained_elsewhere_names_the_artefact_it_was_trained_on(place: Path):
    model = AutoModelForImageTextToText.from_pretrained(place / "stage1")
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
    assert adapted.peft_config["default"].base_model_name_or_path == str(place / "stage1")


@pytest.mark.parametrize("name", ["stage1", "stage2", "third"])
def test_prediction_takes_them(place: Path, name: str, expected: dict[str, torch.Tensor]):
    check_equal(logits(load(place / name, device="cpu").model), expected[name], 1e-5)


def test_the_same_on_qwen3(tmp_path: Path):
    write_backbone(tmp_path / "backbone", "qwen3")
    first = write_stage1(tmp_path / "stage1", tmp_path / "backbone")
    second = write_stage2(tmp_path / "stage2", tmp_path / "stage1")
    check_equal(logits(AutoModelForImageTextToText.from_pretrained(tmp_path / "stage1")), logits(first))
    check_equal(logits(AutoModelForImageTextToText.from_pretrained(tmp_path / "stage2")), logits(second))
    merge(tmp_path / "stage2", tmp_path / "whole")
    check_equal(logits(AutoModelForImageTextToText.from_pretrained(tmp_path / "whole")), logits(second), 1e-5)


def test_a_tlm_of_another_backbone_is_refused(place: Path, tmp_path: Path):
    write_backbone(tmp_path / "backbone", "qwen3")
    shutil.copytree(place / "stage1", tmp_path / "stage1")
    with pytest.raises(ArtefactError, match=r"stage1: its base .*backbone is of type qwen3_vl, expected qwen2_5_vl or"):
        AutoModelForImageTextToText.from_pretrained(tmp_path / "stage1")


# Where the folders are


def test_folders_move_together_and_are_found_from_any_folder(
    place: Path, expected: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("backbone", "stage1", "stage2"):
        shutil.copytree(place / name, tmp_path / "moved" / name)
    monkeypatch.chdir(tmp_path / "moved")
    check_equal(logits(AutoModelForImageTextToText.from_pretrained("stage2")), expected["stage2"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latest").symlink_to(tmp_path / "moved" / "stage2")
    check_equal(logits(FusarGptForConditionalGeneration.from_pretrained("latest")), expected["stage2"])
    check_equal(logits(AutoModelForImageTextToText.from_pretrained("moved", subfolder="stage1")), expected["stage1"])


def test_a_base_is_named_so_that_it_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("runs/stage1", "models/qwen", "runs/stage2/tlm"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "runs" / "stage2"
    assert name_base("Qwen/Qwen2.5-VL-7B-Instruct", here) == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert name_base("runs/stage1", here) == name_base(str(tmp_path / "runs" / "stage1"), here) == "../stage1"
    assert name_base(str(here / "tlm"), here) == "./tlm"
    assert name_base("models/qwen", here) == "../../models/qwen"
    assert name_base(str(tmp_path / "models" / "qwen"), here) == str(tmp_path / "models" / "qwen")


# Wrong chains


def stage1(folder: Path, place: Path, base: str) -> Path:
    shutil.copytree(place / "stage1", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
    return folder


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("../absent", "config.json: base_model_name_or_path: found ../absent, but there is no folder .*absent"),
        ("/absent/folder", "found /absent/folder, but there is no folder /absent/folder; put the base there"),
        ("../one", r"leads back to itself \(.*one -> .*one\)"),
        ("runs/of/mine", "found runs/of/mine, expected a Hub id, or a path that begins with"),
        ("", "base_model_name_or_path: found '', expected"),
        ("someone/absent", "one: its base cannot be read: someone/absent: found neither config.json"),
    ],
)
def test_a_base_that_cannot_be_found_is_one_clear_line(
    place: Path, tmp_path: Path, base: str, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = stage1(tmp_path / "one", place, base)
    with pytest.raises(ArtefactError, match=message) as error:
        AutoModelForImageTextToText.from_pretrained(folder)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=message):
        load(folder)


def test_a_longer_cycle_is_named(place: Path, tmp_path: Path):
    stage1(tmp_path / "one", place, "../two")
    stage1(tmp_path / "two", place, "../one")
    with pytest.raises(ArtefactError, match=r"one -> .*two -> .*one"):
        read_chain(str(tmp_path / "one"))


def test_a_whole_model_ends_the_chain_whatever_lies_beside_it(place: Path):
    assert [Path(artefact.name).name for artefact in read_chain(str(place / "third"))] == ["third", "both", "backbone"]


def test_files_that_are_missing_or_do_not_fit_are_named(place: Path, tmp_path: Path):
    folder = stage1(tmp_path / "one", place, str(place / "backbone"))
    weights = load_file(folder / "tlm.safetensors")
    save_file(weights | {"tlm.output_bias": weights["tlm.output_bias"][:-1].clone()}, folder / "tlm.safetensors")
    with pytest.raises(ArtefactError, match=r"tlm.safetensors: found .*\(63,\).*expected .*\(64,\)"):
        AutoModel.from_pretrained(folder)
    (folder / "tlm.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ArtefactError, match=r"tlm.safetensors: cannot be read as safetensors"):
        AutoModel.from_pretrained(folder)
    (folder / "tlm.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"one: found no tlm.safetensors"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("merged", [False, True])
def test_an_adapter_that_does_not_fit_is_refused(place: Path, tmp_path: Path, merged: bool):
    shutil.copytree(place / "both", tmp_path / "both")
    shutil.copytree(place / "backbone", tmp_path / "backbone")
    path = tmp_path / "both" / "adapter_model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "layers.1.mlp.up_proj.lora_B" in name)
    save_file({key: value for key, value in weights.items() if key != name}, path)
    with pytest.raises(ArtefactError, match=r"lacks weights for .*layers\.1\.mlp\.up_proj\.lora_B.* \(1 in all\)"):
        FusarGptForConditionalGeneration.from_pretrained(tmp_path / "both", merge_adapter=merged)
    save_file(weights | {name.replace("layers.1", "layers.9"): weights[name].clone()}, path)
    with pytest.raises(ArtefactError, match=r"weights that no layer takes, .*layers\.9"):
        FusarGptForConditionalGeneration.from_pretrained(tmp_path / "both", merge_adapter=merged)


def test_without_peft_an_adapter_is_not_silently_left_out(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("modeling_fusargpt.artefacts.is_peft_available", lambda: False)
    with pytest.raises(InputError, match="stage2: a LoRA adapter, which takes peft to load"):
        load(place / "stage2")


def test_unknown_weights_are_refused(place: Path, tmp_path: Path):
    folder = stage1(tmp_path / "one", place, str(place / "backbone"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"weights": "half"}))
    with pytest.raises(ArtefactError, match="weights: found 'half', expected whole or tlm or adapter"):
        FusarGptForConditionalGeneration.from_pretrained(folder)


# On the Hub


def download(cache: Path, name: str, folder: Path, commit: str, *references: str) -> None:
    """Put `folder` where the Hub's client would have put the repository `name` by now."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    for reference in references:
        (repository / "refs" / reference).write_text(commit)
    for missing in ("adapter_config.json", "config.json"):
        if not (folder / missing).is_file():
            path = repository / ".no_exist" / commit / missing
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.fixture
def hub(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with someone/backbone, someone/stage1 (two commits) and someone/stage2, which names v1 of the latter."""
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    download(cache, "someone/backbone", place / "backbone", "a" * 40, "main")
    write_stage1(tmp_path / "first", "someone/backbone", read=place / "backbone")
    write_stage1(tmp_path / "second", "someone/backbone", read=place / "backbone", seed=5)
    download(cache, "someone/stage1", tmp_path / "first", "b" * 40, "v1")
    download(cache, "someone/stage1", tmp_path / "second", "c" * 40, "main")
    write_stage2(tmp_path / "two", "someone/stage1", read=place / "stage1", revision="v1")
    download(cache, "someone/stage2", tmp_path / "two", "d" * 40, "main")
    return cache


@pytest.mark.parametrize("name", ["stage1", "stage2"])
def test_what_was_pushed_loads_by_its_name(hub: Path, expected: dict[str, torch.Tensor], name: str):
    revision = "v1" if name == "stage1" else "main"
    for loader in (AutoModelForImageTextToText, FusarGptForConditionalGeneration):
        model = loader.from_pretrained(f"someone/{name}", revision=revision)
        check_equal(logits(model), expected[name])
    check_equal(logits(load("someone/stage2", device="cpu").model), expected["stage2"], 1e-5)


def test_a_revision_is_of_the_artefact(hub: Path, expected: dict[str, torch.Tensor]):
    newest = logits(AutoModelForImageTextToText.from_pretrained("someone/stage1"))
    assert (newest - expected["stage1"]).abs().max() > 1e-2


def test_a_repository_that_names_a_folder_is_refused(hub: Path, place: Path):
    download(hub, "someone/pushed", place / "stage1", "e" * 40, "main")
    with pytest.raises(ArtefactError, match=r"found \.\./backbone on the Hub, expected owner/name; push the base"):
        AutoModelForImageTextToText.from_pretrained("someone/pushed")


# Without the package

READ = """
import sys

sys.modules["modeling_fusargpt"] = None  # any import of the package fails from here on
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

torch.set_num_threads(1)
results, inputs, *folders = sys.argv[1:]
found = {}
for folder in folders:
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        found[folder.rpartition("/")[2]] = model(**load_file(inputs)).logits
save_file(found, results)
"""


@pytest.mark.slow
def test_code_comes_with_the_folder(place: Path, expected: dict[str, torch.Tensor], tmp_path: Path):
    save_file(dict(INPUTS), tmp_path / "inputs.safetensors")
    environment = {"HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-I", "-c", READ, str(tmp_path / "results"), str(tmp_path / "inputs.safetensors")]
    finished = subprocess.run(
        [*command, str(place / "stage1"), str(place / "stage2")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    found = load_file(tmp_path / "results")
    for name in ("stage1", "stage2"):
        check_equal(found[name], expected[name], 1e-6)


# One plain checkpoint


@pytest.mark.parametrize("name", ["stage1", "stage2", "third", "backbone"])
def test_merging_leaves_one_plain_checkpoint(place: Path, expected: dict[str, torch.Tensor], tmp_path: Path, name: str):
    merge(place / name, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "elsewhere" / "model")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "elsewhere" / "model")
    if name != "backbone":
        check_equal(logits(model), expected[name], 1e-5)
    files = {path.name for path in (tmp_path / "whole").iterdir()}
    assert {"model.safetensors", "generation_config.json", "processor_config.json", "artefacts.py"} <= files
    assert not files & {"tlm.safetensors", "adapter_config.json", "adapter_model.safetensors"}
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert (config["weights"], config["base_model_name_or_path"]) == ("whole", None)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_merging_keeps_the_dtype_unless_told_otherwise(place: Path, tmp_path: Path):
    merge(place / "stage2", tmp_path / "kept")
    merge(place / "stage2", tmp_path / "half", torch.bfloat16)
    types = [
        {tensor.dtype for tensor in load_file(tmp_path / name / "model.safetensors").values()}
        for name in ("kept", "half")
    ]
    assert types == [{torch.float32}, {torch.bfloat16}]
    model = AutoModelForImageTextToText.from_pretrained(place / "stage2", merge_adapter=True)
    weight = model.model.language_model.layers[0].self_attn.q_proj.weight
    half = AutoModelForImageTextToText.from_pretrained(tmp_path / "half").model.language_model.layers[0].self_attn
    assert (half.q_proj.weight - weight).abs().max() <= weight.abs().max() * 2**-8


def test_merging_leaves_what_is_there(place: Path, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="found a file or a folder with files, expected a new or an empty folder"):
        merge(place / "stage1", tmp_path)
    with pytest.raises(InputError, match="no such model folder"):
        merge(tmp_path / "absent", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_the_tlm_is_written_in_the_dtype_asked_for(place: Path, tmp_path: Path):
    model = FusarGptForConditionalGeneration.from_pretrained(place / "stage1")
    state = model.model.tlm.state_dict()
    write_tlm(tmp_path, model.config, state, str(place / "backbone"), dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in load_file(tmp_path / "tlm.safetensors").values()} == {torch.bfloat16}
