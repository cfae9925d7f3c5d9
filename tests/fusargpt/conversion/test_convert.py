"""The authors' release in our format: the same answers, and nothing dropped."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from fusargpt.conversion.convert import convert
from fusargpt.conversion.model_card import read_card
from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior
from fusargpt.inference.loading import load
from tests.release import SETTINGS, Release, write_backbone, write_processor
from tests.tiny import question, random_image, random_prior
from trl_recipes.model.checkpoint import load_model

IMAGE = random_image(120, 70)
PRIOR = random_prior(7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("backbone")
    write_backbone(path)
    return path


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory):
    return write_backbone(tmp_path_factory.mktemp("same"))


@torch.no_grad()
def our_logits(model: Any, processor: Any, prior: Any = PRIOR):
    inputs = processor(images=[IMAGE], text=[question()], priors=[prior], return_tensors="pt")
    return model.eval()(**inputs).logits


@pytest.mark.parametrize(
    ("naming", "vision", "settings"),
    [
        ("old", True, None),
        ("new", False, None),
        ("old", False, SETTINGS),
        ("new", True, SETTINGS),
        ("new", False, {**SETTINGS, "sigma": 6, "hidden_mult": 1, "image_size": 56}),
    ],
)
def test_converted_logits_are_the_releases(
    folder: Path, backbone: Any, tmp_path: Path, naming: Literal["old", "new"], vision: bool, settings: Any
):
    release = Release(backbone, naming, vision, settings)
    done = convert(release.write(tmp_path / "release"), str(folder), tmp_path / "ours")
    assert (done.language_layers, done.vision_layers) == (14, 6 if vision else 0)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours")
    processor = AutoProcessor.from_pretrained(tmp_path / "ours")
    for prior in (PRIOR, None):
        expected = release.logits(folder, IMAGE, question(), prior)
        torch.testing.assert_close(our_logits(model, processor, prior), expected, atol=1e-5, rtol=0)
    # Neither adapter nor prior is too weak for this comparison to see.
    assert (our_logits(model, processor) - our_logits(model, processor, None)).abs().max() > 1e-2
    plain = AutoModelForImageTextToText.from_pretrained(folder)
    plain_inputs = processor(images=[IMAGE], text=[question()], return_tensors="pt")
    assert (our_logits(model, processor, None) - plain(**plain_inputs).logits).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("naming", ["old", "new"])
def test_every_tensor_lands_where_it_belongs_and_nothing_else_moves(
    folder: Path, backbone: Any, tmp_path: Path, naming: Literal["old", "new"]
):
    release = Release(backbone, naming, vision=True)
    convert(release.write(tmp_path / "release"), str(folder), tmp_path / "ours")
    converted = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours").state_dict()
    before = backbone.state_dict()
    assert len(release.tensors) == 2 * len(release.adapted) == 2 * (14 + 6)
    for name, weight in before.items():
        layer = name.removesuffix(".weight")
        expected = weight + release.difference(layer) if layer in release.adapted and layer != name else weight
        torch.testing.assert_close(converted[name], expected, atol=1e-6, rtol=0)
        assert torch.equal(converted[name], weight) == (expected is weight), name
    film = release.film.state_dict()
    tlm = {name.removeprefix("model.tlm."): value for name, value in converted.items() if name not in before}
    assert set(tlm) == {f"{part}_projection.weight" for part in ("input", "output")} | {
        "input_projection.bias",
        "output_bias",
    }
    assert torch.equal(tlm["output_projection.weight"], film["2.weight"])
    assert torch.equal(tlm["output_bias"], film["2.bias"])


@torch.no_grad()
def test_ranks_and_alphas_of_single_layers_are_those_that_peft_uses(folder: Path, backbone: Any, tmp_path: Path):
    """Written, and merged for comparison, by peft."""
    config = LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules=r".*(q_proj|up_proj|blocks\.1\.attn\.qkv)|lm_head",
        exclude_modules=["visual.blocks.0.mlp.up_proj"],
        rank_pattern={"layers.1.self_attn.q_proj": 2, r"layers\.\d\.mlp\.up_proj": 3, "lm_head": 6},
        alpha_pattern={"visual.*up_proj": 5},
        use_rslora=True,
        init_lora_weights=False,
    )
    Release(backbone).write(tmp_path / "release")
    adapted = get_peft_model(copy.deepcopy(backbone), config)
    adapted.save_pretrained(str(tmp_path / "release"), save_embedding_layers=False)
    expected = cast(Any, adapted).merge_and_unload().state_dict()
    convert(tmp_path / "release", str(folder), tmp_path / "ours")
    found = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours").state_dict()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-6, rtol=0, msg=name)
    convert(tmp_path / "release", str(folder), tmp_path / "apart", merge=False)
    found = load_model(str(tmp_path / "apart")).state_dict()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("settings", [None, SETTINGS])
def test_without_merging_an_adapter_and_a_tlm_are_left(
    folder: Path, backbone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
):
    release = Release(backbone, "old", True, settings)
    monkeypatch.chdir(folder.parent)
    convert(release.write(tmp_path / "release"), folder.name, tmp_path / "ours", merge=False)
    monkeypatch.chdir(tmp_path)
    weights = list((tmp_path / "ours").rglob("*.safetensors"))
    assert sorted(path.name for path in weights) == ["adapter_model.safetensors", "tlm.safetensors"]
    assert len(load_file(tmp_path / "ours" / "adapter_model.safetensors")) == len(release.tensors)
    for name, library, base in (("ours", "peft", "tlm"), ("ours/tlm", "transformers", folder.name)):
        header, text = read_card(tmp_path / name / "README.md")
        assert header["library_name"] == library and f"Its base, `{base}`, is loaded with it, from the folder" in text
        assert "license" not in header and "| LoRA | 14 language layers, 6 vision layers |" in text
    # The adapter names its TLM by its place in the folder, which may be renamed.
    (tmp_path / "ours").rename(tmp_path / "moved")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "moved")
    processor = AutoProcessor.from_pretrained(tmp_path / "moved")
    expected = release.logits(folder, IMAGE, question(), PRIOR)
    torch.testing.assert_close(our_logits(model, processor), expected, atol=1e-5, rtol=0)


def test_the_result_answers_and_knows_the_size_it_sees(folder: Path, backbone: Any, tmp_path: Path):
    release = Release(backbone, settings=SETTINGS)
    convert(release.write(tmp_path / "release"), str(folder), tmp_path / "ours")
    predictor = load(tmp_path / "ours", device="cpu")
    assert predictor.seen_size(IMAGE) == (84, 84)
    prior = Prior(PRIOR["prior_embeddings"], PRIOR["prior_positions"])
    answers = {predictor.answer(IMAGE, "Any prompt.", prior, max_new_tokens=8) for prior in (prior, None)}
    assert len(answers) == 2


READ = """
import sys
sys.modules["modeling_fusargpt"] = None  # any import of the package fails from here on
from transformers import AutoModelForImageTextToText, AutoProcessor
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1], trust_remote_code=True)
print(processor.image_size, model.config.tlm_config.sigma, type(model).__module__.split(".")[0])
"""


@pytest.mark.slow
def test_the_result_loads_where_the_package_is_unknown(folder: Path, backbone: Any, tmp_path: Path):
    release = Release(backbone, settings=SETTINGS)
    convert(release.write(tmp_path / "release"), str(folder), tmp_path / "ours")
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-I", "-c", READ, str(tmp_path / "ours")]
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["84", "1.5", "transformers_modules"]


@torch.no_grad()
def test_weights_keep_the_backbones_type_and_are_rounded_once(backbone: Any, tmp_path: Path):
    write_backbone(tmp_path / "bfloat16", torch_dtype="bfloat16", dtype="bfloat16")
    rounded = copy.deepcopy(backbone).to(torch.bfloat16)
    rounded.save_pretrained(tmp_path / "bfloat16", save_original_format=True)
    release = Release(backbone)
    release.write(tmp_path / "release")
    convert(tmp_path / "release", str(tmp_path / "bfloat16"), tmp_path / "same")
    convert(tmp_path / "release", str(tmp_path / "bfloat16"), tmp_path / "wide", dtype=torch.float32)
    same, wide = (load_file(tmp_path / name / "model.safetensors") for name in ("same", "wide"))
    assert {value.dtype for value in same.values()} == {torch.bfloat16}
    assert {value.dtype for value in wide.values()} == {torch.float32}
    for name, value in wide.items():
        torch.testing.assert_close(same[name], value.to(torch.bfloat16), atol=0, rtol=0, msg=name)


def test_the_releases_own_processor_goes_before_the_backbones(folder: Path, backbone: Any, tmp_path: Path):
    release = Release(backbone, settings=SETTINGS)
    release.write(tmp_path / "release")
    write_processor(tmp_path / "release", image_mean=[0.5, 0.5, 0.5], image_processor_type="Qwen2VLImageProcessorFast")
    done = convert(tmp_path / "release", str(folder), tmp_path / "ours")
    assert done.processor == str(tmp_path / "release")
    assert list(AutoProcessor.from_pretrained(tmp_path / "ours").image_processor.image_mean) == [0.5, 0.5, 0.5]


def change_config(release: Release, **changes: Any):
    release.adapter_config.update(changes)


def first_layer(release: Release):
    return f"base_model.model.{release.names[release.adapted[0]]}"


def add_tensor(release: Release, name: str, like: str = "lora_A"):
    release.tensors[name] = release.tensors[f"{first_layer(release)}.{like}.weight"].clone()


def drop_layer(release: Release):
    for half in "AB":
        del release.tensors[f"{first_layer(release)}.lora_{half}.weight"]


def add_layer(release: Release, name: str):
    for half in "AB":
        add_tensor(release, f"base_model.model.{name}.lora_{half}.weight", f"lora_{half}")


def spoil(release: Release):
    release.tensors[f"{first_layer(release)}.lora_A.weight"][0, 0] = torch.nan


def widen(release: Release):
    name = f"{first_layer(release)}.lora_A.weight"
    release.tensors[name] = torch.cat([release.tensors[name], release.tensors[name]])


def mix_names(release: Release):
    for half in "AB":
        name = f"{first_layer(release)}.lora_{half}.weight"
        release.tensors[name.replace("model.language_model.", "model.")] = release.tensors.pop(name)


def change_film(release: Release, name: str, value: Any):
    release.entries["film_mlp"][name] = value


CONFIG, TENSORS, FILM = "adapter_config.json", "adapter_model.safetensors", "vec64_film.pt"
Q_PROJ = r"model\.language_model\.layers\.0\.self_attn\.q_proj"
REFUSED = {
    "another method": (lambda r: change_config(r, peft_type="IA3"), f"{CONFIG}: peft_type: found 'IA3'"),
    "no rank": (lambda r: r.adapter_config.pop("r"), f"{CONFIG}: r is missing"),
    "rank 0": (lambda r: change_config(r, r=0), f"{CONFIG}: r: found 0"),
    "alpha": (lambda r: change_config(r, lora_alpha=None), f"{CONFIG}: lora_alpha: found None"),
    "DoRA": (lambda r: change_config(r, use_dora=True), f"{CONFIG}: use_dora: found true, expected false"),
    "bias": (lambda r: change_config(r, bias="all"), f'{CONFIG}: bias: found "all", expected "none"'),
    "PiSSA": (lambda r: change_config(r, init_lora_weights="pissa"), f'{CONFIG}: init_lora_weights: found "pissa"'),
    "saved modules": (lambda r: change_config(r, modules_to_save=["lm_head"]), f"{CONFIG}: modules_to_save: found"),
    "unknown setting": (lambda r: change_config(r, use_mora=True), f"{CONFIG}: use_mora: an unknown setting"),
    "idle rank": (
        lambda r: change_config(r, rank_pattern={"k_prj": 4}),
        f"{CONFIG}: rank_pattern: k_prj: decides none",
    ),
    "idle alpha": (
        lambda r: change_config(r, alpha_pattern={"model.layers.0.self_attn.q_proj": 8}),
        f"{CONFIG}: alpha_pattern: model.layers.0.self_attn.q_proj: decides none",
    ),
    "wrong rank": (
        lambda r: change_config(r, rank_pattern={"layers.0.self_attn.q_proj": 2}),
        rf"{TENSORS}: {Q_PROJ}.lora_A: found shape \[4, 32\], expected \[2, 32\] for rank 2",
    ),
    "rank of a text": (lambda r: change_config(r, rank_pattern={"q_proj": "8"}), "rank_pattern: q_proj: found '8'"),
    "no expression": (lambda r: change_config(r, target_modules="("), f"{CONFIG}: target_modules: .*no regular"),
    "no targets": (lambda r: change_config(r, target_modules=None), f"{CONFIG}: target_modules: found None"),
    "missing layer": (drop_layer, rf"{TENSORS}: found no weights for {Q_PROJ} \(1 such"),
    "missing half": (
        lambda r: r.tensors.pop(f"{first_layer(r)}.lora_B.weight"),
        rf"{TENSORS}: base_model\.model\.{Q_PROJ}\.lora_B\.weight is missing",
    ),
    "extra layer": (
        lambda r: add_layer(r, "model.visual.blocks.0.attn.proj"),
        r"found weights for model\.visual\.blocks\.0\.attn\.proj .* does not name; they would be dropped",
    ),
    "layer of a larger model": (
        lambda r: add_layer(r, "model.language_model.layers.2.self_attn.q_proj"),
        r"layers\.2\.self_attn\.q_proj .* is no linear layer of this backbone",
    ),
    "convolution": (
        lambda r: add_layer(r, "model.visual.patch_embed.proj"),
        r"model\.visual\.patch_embed\.proj .* is no linear layer",
    ),
    "both namings": (mix_names, r"found weights for model\.layers\.0\.self_attn\.q_proj .* is no linear layer"),
    "DoRA's tensor": (
        lambda r: add_tensor(r, f"{first_layer(r)}.lora_magnitude_vector"),
        rf"{TENSORS}: found the tensor base_model\.model\.{Q_PROJ}\.lora_magnitude_vector",
    ),
    "NaN": (spoil, rf"{TENSORS}: base_model\.model\.{Q_PROJ}\.lora_A\.weight: found torch.float32, NaN"),
    "twice the rank": (widen, r"q_proj\.lora_A: found shape \[8, 32\], expected \[4, 32\]"),
    "no tensors": (lambda r: r.tensors.clear(), f"{TENSORS}: found no tensors"),
    "unknown entry": (lambda r: r.entries.update(optimizer={}), f"{FILM}: found the entry 'optimizer'"),
    "no TLM": (lambda r: r.entries.pop("film_mlp"), rf"{FILM}: found a dict of \[\], expected a dict with the state"),
    "a tensor": (lambda r: setattr(r, "entries", torch.zeros(2)), f"{FILM}: found a tensor of torch.float32"),
    "further layer": (
        lambda r: change_film(r, "4.weight", torch.zeros(2)),
        f"{FILM}: film_mlp: found the keys .*4.weight",
    ),
    "no tensor": (lambda r: change_film(r, "0.bias", [0.0]), f"{FILM}: film_mlp: 0.bias: found list"),
    "integers": (
        lambda r: change_film(r, "0.bias", torch.zeros(160, dtype=torch.int8)),
        "found a tensor of torch.int8",
    ),
    "infinity": (lambda r: change_film(r, "2.bias", torch.full((64,), torch.inf)), "2.bias: found NaN or infinity"),
    "hidden_mult": (
        lambda r: r.settings.update(hidden_mult=4),
        rf"{FILM}: film_mlp: 0.weight: found shape \[160, 64\], expected \[128, 64\] .* hidden_mult 4",
    ),
    "format": (lambda r: r.settings.update(format="v2"), "tlm_config.json: format: found 'v2'"),
    "vec_dim": (lambda r: r.settings.update(vec_dim=128), "tlm_config.json: vec_dim: found 128, expected 64"),
    "sigma": (lambda r: r.settings.update(sigma=0), "tlm_config.json: sigma: found 0"),
    "sigma missing": (lambda r: r.settings.pop("sigma"), "tlm_config.json: found the keys .*expected .*'sigma'"),
    "further setting": (lambda r: r.settings.update(grid="token"), "tlm_config.json: found the keys .*'grid'"),
    "image_size": (lambda r: r.settings.update(image_size=85), "image_size: found 85, which the image processor would"),
    "image_size of a text": (lambda r: r.settings.update(image_size="84"), "tlm_config.json: image_size: found '84'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_refused_by_name(folder: Path, backbone: Any, tmp_path: Path, case: str):
    spoil, message = REFUSED[case]
    release = Release(backbone, settings=dict(SETTINGS))
    spoil(release)
    release.write(tmp_path / "release")
    check_refused(tmp_path, folder, message)


class NewerPeft(LoraConfig):
    """A peft that knows a setting more than the table of plain values."""

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "use_mora": False, "mora_config": None}


def test_a_new_setting_of_peft_is_taken_at_its_default_and_at_no_other_value(
    folder: Path, backbone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(peft, "LoraConfig", NewerPeft)
    for name, settings in {"without": {}, "with": {"use_mora": False, "mora_config": None}}.items():
        release = Release(backbone)
        change_config(release, **settings)
        convert(release.write(tmp_path / name), str(folder), tmp_path / f"from {name}")
    read = [(tmp_path / f"from {name}" / "model.safetensors").read_bytes() for name in ("without", "with")]
    assert read[0] == read[1]
    release = Release(backbone)
    change_config(release, use_mora=True, mora_config=None)
    with pytest.raises(InputError, match=f"{CONFIG}: use_mora: found true, expected false; only plain LoRA is read"):
        convert(release.write(tmp_path / "changed"), str(folder), tmp_path / "ours")
    release = Release(backbone)
    change_config(release, use_mora=False, rank_dropout=0.0)
    with pytest.raises(InputError, match=f"{CONFIG}: rank_dropout: an unknown setting"):
        convert(release.write(tmp_path / "unknown"), str(folder), tmp_path / "ours")


def test_every_setting_at_its_default_in_peft_is_taken(folder: Path, backbone: Any, tmp_path: Path):
    release = Release(backbone)
    defaults = json.loads(json.dumps(LoraConfig().to_dict(), default=list))
    release.adapter_config = {**defaults, **release.adapter_config}
    convert(release.write(tmp_path / "release"), str(folder), tmp_path / "ours")


def check_refused(tmp_path: Path, folder: Path, message: str):
    with pytest.raises(InputError, match=message) as caught:
        convert(tmp_path / "release", str(folder), tmp_path / "ours")
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"release", "backbone", "ran"}, "something was left behind"


def test_score_is_known_and_left_out(folder: Path, backbone: Any, tmp_path: Path):
    release = Release(backbone, settings=SETTINGS)
    release.entries["score"] = {"weight": torch.ones(1, 64)}
    convert(release.write(tmp_path / "release"), str(folder), tmp_path / "ours")
    assert not [name for name in load_file(tmp_path / "ours" / "model.safetensors") if "score" in name]


@pytest.mark.parametrize("as_torch_writes", [True, False])
def test_a_pickle_that_would_run_something_is_refused_in_one_line(
    folder: Path, backbone: Any, tmp_path: Path, as_torch_writes: bool, recwarn: pytest.WarningsRecorder
):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    Release(backbone).write(tmp_path / "release")
    if as_torch_writes:
        torch.save({"film_mlp": Hostile()}, tmp_path / "release" / FILM)
    else:
        (tmp_path / "release" / FILM).write_bytes(pickle.dumps({"film_mlp": Hostile()}))
    check_refused(tmp_path, folder, f"{FILM}: refused, since it must hold tensors and nothing else: ")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (CONFIG, b"{", f"{CONFIG}: cannot be read as JSON"),
        (CONFIG, b"[]", f"{CONFIG}: found list, expected a JSON object"),
        (CONFIG, b"\xff\xfe", f"{CONFIG}: cannot be read as JSON"),
        (TENSORS, b"garbage", f"{TENSORS}: cannot be read as safetensors"),
        (FILM, b"", f"{FILM}: refused"),
        (FILM, b"garbage", f"{FILM}: refused"),
        ("tlm_config.json", b"null", "tlm_config.json: found NoneType"),
        ("adapter_model.bin", b"", "adapter_model.bin: weights of an unknown kind"),
        ("image_text_config.json", b"{}", "image_text_config.json: marks an adapter without a TLM"),
        ("preprocessor_config.json", b"{", "release: the processor cannot be loaded"),
    ],
)
def test_a_damaged_or_unknown_file_is_refused_by_name(
    folder: Path, backbone: Any, tmp_path: Path, name: str, content: bytes, message: str
):
    Release(backbone, settings=SETTINGS).write(tmp_path / "release")
    (tmp_path / "release" / name).write_bytes(content)
    check_refused(tmp_path, folder, message)


@pytest.mark.parametrize("name", [CONFIG, TENSORS, FILM])
def test_a_missing_file_is_named(folder: Path, backbone: Any, tmp_path: Path, name: str):
    Release(backbone).write(tmp_path / "release")
    (tmp_path / "release" / name).unlink()
    check_refused(tmp_path, folder, name)


def test_the_folder_above_a_release_is_refused_with_a_hint(folder: Path, backbone: Any, tmp_path: Path):
    Release(backbone).write(tmp_path / "release" / "stage2" / "detection")
    message = "found no adapter_config.json.*found it in .*stage2/detection: give one of them, or its name as --model"
    check_refused(tmp_path, folder, message)


def without_a_layer(path: Path):
    weights = load_file(path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layers.1.mlp" not in name}
    save_file(kept, path / "model.safetensors", metadata={"format": "pt"})


def of_our_type(path: Path):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "model_type": "fusargpt"}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_a_layer, "backbone: the backbone lacks weights, model.language_model.layers.1.mlp"),
        (of_our_type, "backbone: a model of type fusargpt; expected the backbone, of type qwen2_5_vl"),
        (lambda path: (path / "config.json").write_text("{"), "backbone: the backbone's configuration cannot be read"),
        (lambda path: (path / "model.safetensors").write_bytes(b""), "backbone: the backbone cannot be loaded"),
        (
            lambda path: write_processor(path, patch_size=16),
            "patch_size of the processor: found 16, expected 14 of",
        ),
        (lambda path: (path / "config.json").unlink(), "expected a model folder with config.json"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(
    folder: Path, backbone: Any, tmp_path: Path, spoil: Callable[..., Any], message: str
):
    Release(backbone, settings=SETTINGS).write(tmp_path / "release")
    shutil.copytree(folder, tmp_path / "backbone")
    spoil(tmp_path / "backbone")
    check_refused(tmp_path, tmp_path / "backbone", message)


@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter_of_the_head_leaves_the_embeddings_that_it_shared(backbone: Any, tmp_path: Path, merge: bool):
    write_backbone(tmp_path / "backbone", tie_word_embeddings=True)
    release = Release(backbone)
    release.adapter_config["target_modules"].append("lm_head")
    down, up = torch.randn(4, 32), torch.randn(263, 4)
    release.tensors["base_model.model.lm_head.lora_A.weight"] = down
    release.tensors["base_model.model.lm_head.lora_B.weight"] = up
    release.write(tmp_path / "release")
    convert(tmp_path / "release", str(tmp_path / "backbone"), tmp_path / "ours", merge=merge)
    model: Any = load(tmp_path / "ours", device="cpu").model
    plain: Any = load(tmp_path / "backbone", device="cpu").model
    embeddings = plain.get_input_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight, embeddings)
    scale = release.adapter_config["lora_alpha"] / release.adapter_config["r"]
    torch.testing.assert_close(model.lm_head.weight, embeddings + scale * up @ down)


def test_an_output_in_the_way_is_left_alone(
    folder: Path, backbone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Release(backbone).write(tmp_path / "release")
    for name in ("ours", "ours.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").touch()
        with pytest.raises(InputError, match=f"{name}: (found a file|left by a command)"):
            convert(tmp_path / "release", str(folder), tmp_path / "ours")
        assert (tmp_path / name / "notes.txt").exists()
        (tmp_path / name / "notes.txt").unlink()
    (tmp_path / "ours.partial").rmdir()
    monkeypatch.chdir(tmp_path / "ours")
    convert(tmp_path / "release", str(folder), Path("."))  # an empty folder is no hindrance
    assert (tmp_path / "ours" / "config.json").is_file()


def test_an_output_that_cannot_be_is_named(folder: Path, backbone: Any, tmp_path: Path):
    Release(backbone).write(tmp_path / "release")
    with pytest.raises(InputError, match=r"cannot be written: .*Not a directory"):
        convert(tmp_path / "release", str(folder), tmp_path / "release" / "adapter_config.json" / "ours")


def test_a_full_disk_is_named_and_nothing_half_written_is_left(
    folder: Path, backbone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(self: Any, folder: Path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modeling_fusargpt.processing_fusargpt.FusarGptProcessor.save_pretrained", full)
    Release(backbone).write(tmp_path / "release")
    check_refused(tmp_path, folder, "ours: cannot be written: .*No space left on device")
