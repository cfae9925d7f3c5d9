"""A model is pushed as it is used: what belongs to it, its card in order, and a base that others can find."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard

from fusargpt.checkpoints import NANO_SSDD
from fusargpt.cli.main import main
from fusargpt.conversion.model_card import Card, Origin, read_card, sections_of, write_card
from fusargpt.conversion.publish import push
from fusargpt.errors import InputError
from tests.fusargpt.cli.hub_server import REPO, Hub, serve_hub
from tests.tiny import tiny_model, tiny_processor

BASE = "someone/base"
OF = {
    "whole": ("model.safetensors", "config.json"),
    "tlm": ("tlm.safetensors", "config.json"),
    "adapter": ("adapter_model.safetensors", "adapter_config.json", "config.json"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model as training leaves it, with its checkpoints, logs and a picture."""
    folder = tmp_path_factory.mktemp("saved") / "harbours"
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    origin = Origin("base", "hub", BASE, {"license": "mit"})
    write_card(folder, Card("harbours", "whole", "A model.", origin, {"Training": "![Losses](curves.png)"}))
    (folder / "checkpoint-2").mkdir()
    names = ("curves.png", "own.png", "trainer_state.json", "training_args.bin", "checkpoint-2/optimizer.pt", "own.py")
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "harbours"))


def alone(folder: Path, form: str, base: str | None) -> Path:
    """The folder as one of a TLM or an adapter, of which the base is named."""
    (folder / "model.safetensors").rename(folder / OF[form][0])
    config = json.loads((folder / "config.json").read_text()) | {"weights": form}
    names = {"base_model_name_or_path": base}
    (folder / "config.json").write_text(json.dumps(config | (names if form == "tlm" else {})))
    if form == "adapter":
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **names}))
    return folder


def client(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.address, token="hf_test")


def test_what_belongs_to_the_model_is_uploaded_and_nothing_else(folder: Path) -> None:
    with serve_hub("models") as hub:
        hub.files |= {"model-00001-of-00002.safetensors": b"old", "adapter_config.json": b"{}", "notes.md": b"theirs"}
        assert push(folder, REPO, private=True, api=client(hub)) == f"{hub.address}/models/{REPO}/commit/1"
    assert (hub.created[0]["organization"], hub.created[0]["name"]) == ("someone", "harbours")
    assert hub.created[0]["visibility" if "visibility" in hub.created[0] else "private"] in (True, "private")
    here = {path.name for path in folder.iterdir() if path.is_file()}
    there = here - {"own.png", "trainer_state.json", "training_args.bin", "own.py"}
    assert set(hub.files) == {*there, "notes.md"} and {*OF["whole"], "modeling_fusargpt.py", "curves.png"} <= there
    assert hub.files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    # The card is as it was, but for the name by which it is loaded now.
    text = (folder / "README.md").read_text()
    assert hub.files["README.md"].decode().count(f'name = "{REPO}"') == 1
    assert sections_of(hub.files["README.md"].decode())["Licence"] == sections_of(text)["Licence"]
    assert ModelCard(hub.files["README.md"].decode()).data.to_dict() == ModelCard(text).data.to_dict()


def test_its_training_is_uploaded_where_that_is_asked_for(folder: Path) -> None:
    with serve_hub("models") as hub:
        push(folder, REPO, training=True, api=client(hub))
    assert {"checkpoint-2/optimizer.pt", "trainer_state.json", "training_args.bin"} <= set(hub.files)
    assert "own.py" not in hub.files


@pytest.mark.parametrize("form", ["tlm", "adapter"])
@pytest.mark.parametrize("named", ["../base", "fusargpt-nano", "/somewhere/base", None])
def test_a_base_is_named_as_others_find_it(folder: Path, form: str, named: str | None) -> None:
    alone(folder, form, named)
    with serve_hub("models") as hub:
        with pytest.raises(
            InputError, match=r"base_model_name_or_path: found .*, expected owner/name .* --base owner/n"
        ):
            push(folder, REPO, api=client(hub))
        assert not hub.created
        push(folder, REPO, base="someone/other", api=client(hub))
    settings = json.loads(hub.files[OF[form][1]])
    assert settings["base_model_name_or_path"] == "someone/other"
    assert settings["revision" if form == "adapter" else "base_model_revision"] is None
    assert set(OF[form]) <= set(hub.files)
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.to_dict()["base_model"] == "someone/other"
    # Here all stays as it was.
    assert json.loads((folder / OF[form][1]).read_text())["base_model_name_or_path"] == named


def test_a_base_on_the_hub_is_kept(folder: Path) -> None:
    alone(folder, "adapter", BASE)
    with serve_hub("models") as hub:
        push(folder, REPO, api=client(hub))
    assert hub.files["adapter_config.json"] == (folder / "adapter_config.json").read_bytes()


def write(folder: Path, name: str, content: str | bytes) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def test_folders_that_are_not_ready_are_refused_before_the_network(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    aliases = "---\na: &a [x, x]\nb: &b [*a, *a]\ntags: *b\n---\n"
    changes = {
        "README.md": [
            (None, "no such file; expected the model's card"),
            ("# No header\n", "no model card with a header"),
            (b"---\n\xff\n---\n", "no model card with a header"),
            ("---\n[1, 2]\n---\n", "no model card with a header"),
            (aliases, "no model card with a header"),
            ("---\ntags: []\n---\n[More Information Needed]", "found 'More Information Needed'; write what is known"),
            ("---\nbase_model: /home/me/base\n---\n", "base_model: found '/home/me/base', expected owner/name"),
            ("---\ndatasets: [a/b, build/own/data]\n---\n", "datasets: found 'build/own/data', expected owner/name"),
        ],
        "model.safetensors": [(None, "no model.safetensors; expected the model's weights")],
        "model.safetensors.index.json": [
            ('{"weight_map": {"a": "model-00002-of-00002.safetensors"}}', "no model-00002-of-00002.safetensors"),
            ("{}", "no weight_map"),
            ("[", "cannot be read as JSON"),
        ],
        "adapters.py": [(None, "no adapters.py; expected the model's code")],
        "config.json": [
            (None, "neither config.json nor adapter_config.json"),
            ("[]", "found list, expected a JSON obj"),
        ],
    }
    with serve_hub("models") as hub:
        for name, cases in changes.items():
            before = (folder / name).read_bytes() if (folder / name).exists() else None
            for content, message in cases:
                if content is None:
                    (folder / name).unlink()
                else:
                    write(folder, name, content)
                with pytest.raises(InputError, match=message) as caught:
                    push(folder, REPO, api=client(hub))
                assert len(str(caught.value).splitlines()) == 1
                (folder / name).unlink(missing_ok=True)
                if before is not None:
                    write(folder, name, before)
        (folder / "partial-result").mkdir()
        with pytest.raises(InputError, match="holds partial-result, which a run has not finished"):
            push(folder, REPO, api=client(hub))
        with pytest.raises(InputError, match="repository: found harbours, expected owner/name"):
            push(folder, "harbours", api=client(hub))
        with pytest.raises(InputError, match="--base: found no/such/base, expected owner/name"):
            push(folder, REPO, base="no/such/base", api=client(hub))
        assert not hub.created


def test_what_the_hub_refuses_is_said_in_one_line(folder: Path) -> None:
    with serve_hub("models") as hub:
        hub.refuse = True
        with pytest.raises(InputError, match="the Hub refuses or cannot be reached") as caught:
            push(folder, REPO, api=client(hub))
    assert len(str(caught.value).splitlines()) == 1


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_hub("models") as hub:
        monkeypatch.setattr("fusargpt.conversion.publish.HfApi", partial(HfApi, endpoint=hub.address, token="hf_test"))
        assert main(["push", "fusargpt-nano-ssdd", REPO]) == 2
        error = capsys.readouterr().err
        assert error.startswith("fusargpt push: error: ") and "found ../fusargpt-nano" in error
        assert error.count("\n") == 1 and not hub.created
        assert main(["push", "fusargpt-nano-ssdd", REPO, "--base", "someone/fusargpt-nano", "--private"]) == 0
    assert capsys.readouterr().out == f"{hub.address}/models/{REPO}/commit/1\n"
    assert hub.files["adapter_model.safetensors"] == (NANO_SSDD / "adapter_model.safetensors").read_bytes()
    assert main(["push", str(tmp_path / "absent"), REPO]) == 2
    assert "no such model folder" in capsys.readouterr().err


def test_a_header_is_read_back_as_it_was_written(folder: Path) -> None:
    header, text = read_card(folder / "README.md")
    assert header == {
        "base_model": BASE,
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "license": "mit",
        "pipeline_tag": "image-text-to-text",
        "tags": ["sar", "remote-sensing", "fusargpt"],
    }
    assert list(sections_of(text)) == ["Use", "Training", "Licence"]
