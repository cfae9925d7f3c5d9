"""Folders: of ours, of BLIP's, of another kind, through the auto classes and the pipelines."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForZeroShotImageClassification,
    CLIPConfig,
    pipeline,
)

from modeling_fusarklip import (
    FusarKlipForConditionalGeneration,
    FusarKlipForImageClassification,
    FusarKlipModel,
    FusarKlipVisionModel,
)
from tests.modeling_fusarklip.tiny_klip import (
    IMAGE_SIZE,
    pictures,
    plain_blip,
    stir_klip,
    tiny_klip,
    tiny_klip_config,
    tiny_klip_inputs,
    tiny_klip_processor,
)

NEW = ("vision_model.tlm.", "vision_model.acquisition.", "word_head.", "temperature")


@pytest.fixture(scope="module")
def model() -> FusarKlipModel:
    model = tiny_klip()
    stir_klip(model)
    return model


@pytest.fixture(scope="module")
def folder(model: FusarKlipModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    tiny_klip_processor().save_pretrained(folder)
    return folder


def load(kind: Any, folder: Path, **options: Any) -> tuple[Any, dict[str, set[str]]]:
    """The model, and which keys were missing or unexpected."""
    return kind.from_pretrained(folder, output_loading_info=True, **options)


@torch.no_grad()
def test_what_is_saved_is_what_is_loaded(model: FusarKlipModel, folder: Path):
    inputs = tiny_klip_inputs()
    for kind in (AutoModel, AutoModelForZeroShotImageClassification):
        loaded, report = load(kind, folder)
        assert type(loaded) is FusarKlipModel and not report["missing_keys"] and not report["unexpected_keys"]
        assert torch.equal(loaded(**inputs).logits_per_image, model(**inputs).logits_per_image)
        assert loaded.word_head.predictions.decoder.weight is loaded.get_input_embeddings().weight


def test_one_folder_serves_all_auto_classes(folder: Path):
    captioner, report = load(AutoModelForImageTextToText, folder)
    assert type(captioner) is FusarKlipForConditionalGeneration
    assert not report["missing_keys"] and not report["unexpected_keys"]
    classifier, report = load(AutoModelForImageClassification, folder, num_labels=3)
    assert type(classifier) is FusarKlipForImageClassification and not report["unexpected_keys"]
    assert report["missing_keys"] == {"classifier.weight", "classifier.bias"}
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    assert len(auto_map) == 6
    for reference in auto_map.values():
        module, name = reference.split(".")
        assert f"class {name}(" in (folder / f"{module}.py").read_text()


@torch.no_grad()
def test_a_blip_retrieval_checkpoint_lacks_what_is_new_alone(model: FusarKlipModel, tmp_path: Path):
    parent = plain_blip(model)
    parent.save_pretrained(tmp_path)
    loaded, report = load(FusarKlipModel, tmp_path, config=tiny_klip_config())
    assert report["missing_keys"] and all(name.startswith(NEW) for name in report["missing_keys"])
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    inputs = tiny_klip_inputs(geography=False)
    assert torch.equal(loaded(**inputs, use_itm_head=True).itm_score, parent(**inputs).itm_score)
    # New, and not at random where it matters: the prior does nothing yet.
    assert loaded.temperature.item() == pytest.approx(0.07)
    priors = {name: value for name, value in tiny_klip_inputs().items() if name.startswith("prior")}
    assert torch.equal(loaded(**inputs, **priors).logits_per_image, loaded(**inputs).logits_per_image)
    assert loaded.vision_model.acquisition.sensor.weight.std() > 0.01


def test_a_plain_tower_loads_into_the_image_tower(model: FusarKlipModel):
    plain, ours = plain_blip(model).vision_model, FusarKlipVisionModel(tiny_klip_config())
    missing, unexpected = ours.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith(("tlm.", "acquisition.")) for name in missing)


def test_a_model_with_momentum_and_queue_is_saved_with_them(tmp_path: Path):
    kept = tiny_klip(losses_config={"momentum": 0.9, "queue_size": 8}).train()
    kept(**tiny_klip_inputs(), return_loss=True)
    kept.save_pretrained(tmp_path)
    loaded, report = load(FusarKlipModel, tmp_path)
    assert not report["missing_keys"]
    assert torch.equal(loaded.queue.image_facts, kept.queue.image_facts) and loaded.queue.written == 4
    assert loaded.momentum_towers.started == 1
    # A folder without them begins anew, from the weights that were loaded.
    tiny_klip().save_pretrained(tmp_path / "plain")
    fresh = FusarKlipModel.from_pretrained(tmp_path / "plain", config=kept.config).train()
    assert fresh.queue.written == 0 and fresh.momentum_towers.started == 0
    fresh(**tiny_klip_inputs(), return_loss=True)
    pairs = zip(fresh.momentum_towers.towers["text_proj"].parameters(), fresh.text_proj.parameters(), strict=True)
    assert all(torch.equal(average, now) for average, now in pairs)


def test_a_folder_of_another_kind_is_refused(tmp_path: Path):
    CLIPConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model_type: found 'clip', expected 'fusarklip' or 'blip'"):
        FusarKlipModel.from_pretrained(tmp_path)


def test_the_zero_shot_pipeline_ranks_labels(model: FusarKlipModel, folder: Path):
    asked = pipeline("zero-shot-image-classification", model=str(folder), device="cpu")
    labels, images = ["forest", "two ships", "no roads"], pictures(2)
    answers = asked(images, candidate_labels=labels, hypothesis_template="{}")
    with torch.no_grad():
        logits = model(**tiny_klip_processor()(images=images, text=labels)).logits_per_image
    for answer, expected in zip(answers, logits.softmax(1), strict=True):
        assert [entry["label"] for entry in answer] == [labels[place] for place in expected.argsort(descending=True)]
        assert sorted(entry["score"] for entry in answer) == pytest.approx(sorted(expected.tolist()), abs=1e-5)


def test_the_captioning_pipeline_answers(folder: Path):
    asked = pipeline("image-text-to-text", model=str(folder), device="cpu")
    answers: Any = asked(images=pictures(1), text=["two ships"], max_new_tokens=4)
    entry = answers[0][0] if isinstance(answers[0], list) else answers[0]
    assert "two ships" in entry["generated_text"].lower()


@torch.no_grad()
def test_captions_are_the_most_likely_words_beside_the_image(folder: Path):
    captioner = FusarKlipForConditionalGeneration.from_pretrained(folder).eval()
    inputs = tiny_klip_inputs()
    image = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    prompt = tiny_klip_processor()(text=["two ships"] * 4)
    written = captioner.generate(**prompt, **image, max_new_tokens=5, do_sample=False)
    text = captioner.config.text
    for row, tokens in enumerate(written.tolist()):
        assert tokens[0] == text.bos_token_id and tokens[1:3] == prompt["input_ids"][row, 1:3].tolist()
        for place in range(3, len(tokens)):
            if tokens[place - 1] == text.sep_token_id:
                break
            one = {name: value[row : row + 1] for name, value in image.items()}
            said = captioner(input_ids=torch.tensor([tokens[:place]]), **one).logits[0, -1]
            assert tokens[place] == said.argmax()
    assert torch.equal(
        captioner.generate(**image, max_new_tokens=5, num_beams=2),
        captioner.generate(image_tokens=captioner.image_tokens(**image), max_new_tokens=5, num_beams=2),
    )
    with pytest.raises(ValueError, match="attention_mask: found padding, expected prompts of one length"):
        captioner.generate(**inputs)


def test_captions_are_learned_by_labels(folder: Path):
    captioner = FusarKlipForConditionalGeneration.from_pretrained(folder)
    inputs = tiny_klip_inputs()
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(captioner.parameters(), 1e-2)
    losses: list[float] = []
    for _ in range(12):
        loss = captioner(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_a_classifier_learns_from_the_class_token(folder: Path):
    classifier: Any = FusarKlipForImageClassification.from_pretrained(folder, num_labels=2)
    inputs = {name: value for name, value in tiny_klip_inputs().items() if name not in ("input_ids", "attention_mask")}
    assert inputs["pixel_values"].shape[-1] == IMAGE_SIZE
    output = classifier(**inputs, labels=torch.tensor([0, 1, 0, 1]))
    output.loss.backward()
    assert output.logits.shape == (4, 2) and classifier.classifier.weight.grad.abs().max() > 0
    with pytest.raises(TypeError, match="unexpected keyword arguments"):
        classifier(**inputs, input_ids=torch.ones(4, 3))
