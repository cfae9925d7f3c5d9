"""Visual tokens computed once: the same training bit for bit, a bounded folder, and any number of processes."""

import json
import multiprocessing
import os
import pickle
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from datasets import Dataset, Features, Image
from filelock import FileLock
from peft import PeftModel
from torch.distributed.utils import _to_kwargs  # pyright: ignore[reportPrivateUsage]  # what DDP calls
from torch.utils.data._utils.pin_memory import pin_memory
from transformers import BatchFeature

from fusargpt.errors import InputError
from fusargpt.files import FullDiskError
from fusargpt.geo.prior import PRIOR_FIELDS
from modeling_fusargpt import FusarGptForConditionalGeneration
from tests.tiny import stir_tlm, tiny_inputs, tiny_model, tiny_processor, without_prior
from tests.trl_recipes import stages
from tests.trl_recipes.stages import write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.arguments import parse
from trl_recipes.data import visual_tokens
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.feature_cache import FeatureCache
from trl_recipes.data.visual_tokens import read_images, tower_fingerprint
from trl_recipes.sft import main, make_trainer

GIB = 2**30
arguments = partial(stages.arguments, train="tlm+lora", max_steps=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """A tiny model in base/, whose TLM is not the identity, and triplets in data/."""
    folder = tmp_path_factory.mktemp("cached")
    write_base(folder)
    write_triplets(folder / "data")
    return folder


def losses(output_dir: Path) -> list[float]:
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def weights(output_dir: Path) -> dict[str, torch.Tensor]:
    return FusarGptForConditionalGeneration.from_pretrained(output_dir, dtype="float32").state_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{}, {"train": "language", "prior": "none"}, {"train": "tlm", "bf16": True, "attn_implementation": "eager"}],
    ids=["tlm+lora", "language", "tlm under autocast"],
)
def test_losses_and_weights_are_those_without_a_cache_bit_for_bit(
    folder: Path, tmp_path: Path, fields: dict[str, Any] | dict[str, str]
):
    main(arguments(folder, tmp_path / "plain", **fields))
    main(arguments(folder, tmp_path / "cached", **fields, feature_cache=tmp_path / "cache"))
    assert len(losses(tmp_path / "plain")) == 4
    assert losses(tmp_path / "cached") == losses(tmp_path / "plain")
    plain, cached = weights(tmp_path / "plain"), weights(tmp_path / "cached")
    assert all(torch.equal(value, plain[name]) for name, value in cached.items())


def test_images_are_encoded_once_and_not_opened_while_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    encoded = []
    fields = {"feature_cache": tmp_path / "cache", "eval_strategy": "steps", "dataset_test_split": "train[:3]"}
    trainer = make_trainer(*parse(arguments(folder, tmp_path / "one", **fields, max_steps=2)))
    monkeypatch.setattr(Image, "decode_example", lambda *_, **__: pytest.fail("an image was decoded"))
    tower = cast(PeftModel, trainer.model).get_submodule("base_model.model.model.visual")
    tower.register_forward_hook(lambda *_: pytest.fail("the tower was called"))
    trainer.train()
    # The next run finds all of them.
    monkeypatch.setattr(visual_tokens, "_encode", lambda *call: encoded.extend(call[2]))
    main(arguments(folder, tmp_path / "two", **fields, max_steps=1))
    assert encoded == []


@pytest.mark.slow
def test_workers_read_the_cache(folder: Path, tmp_path: Path):
    main(arguments(folder, tmp_path / "plain"))
    main(arguments(folder, tmp_path / "out", feature_cache=tmp_path / "cache", dataloader_num_workers=2))
    assert losses(tmp_path / "out") == losses(tmp_path / "plain")


def test_a_cut_build_goes_on_where_it_stopped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(visual_tokens, "SHARD_BYTES", 2 * 49 * 32 * 4)  # two images
    monkeypatch.setattr(visual_tokens, "IMAGES_AT_ONCE", 3)
    add, added = FeatureCache.add, []

    def cut(cache: Any, entries: Any):
        if len(added) == 4:
            raise KeyboardInterrupt
        added.extend(entries)
        # One piece of memory: small ones that stay would keep what is freed between them from being used again.
        assert len({tokens.untyped_storage().data_ptr() for tokens, _ in entries.values()}) <= 1
        add(cache, entries)

    monkeypatch.setattr(FeatureCache, "add", cut)
    recipe, config = parse(arguments(folder, tmp_path / "out", feature_cache=tmp_path / "cache"))
    with pytest.raises(KeyboardInterrupt):
        make_trainer(recipe, config)
    assert len(list(tmp_path.glob("cache/*/*.safetensors"))) == 2
    again = []
    monkeypatch.setattr(FeatureCache, "add", lambda cache, entries: (again.extend(entries), add(cache, entries)))
    trainer = make_trainer(recipe, config)
    assert len(added) == len(again) == 4 and not set(added) & set(again)
    assert len(next(iter(trainer.get_train_dataloader()))["image_grid_thw"]) == 4


def test_a_trained_tower_is_refused(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"feature_cache: .* with train: all.*leave feature_cache out"):
        parse(arguments(folder, tmp_path / "out", train="all", prior="none", feature_cache=tmp_path / "cache"))


def test_a_data_set_that_does_not_fit_is_refused_before_the_first_step(folder: Path, tmp_path: Path):
    fields = {"feature_cache": tmp_path / "cache", "feature_cache_gib": 30_000 / GIB}
    # 8 images of 49 tokens of 32 float32 each, and 256 bytes of header.
    with pytest.raises(InputError, match=r"take 52,224 bytes, expected at most 30,000 .*raise feature_cache_gib"):
        make_trainer(*parse(arguments(folder, tmp_path / "out", **fields)))
    assert not list(tmp_path.glob("cache/*/*.safetensors"))


def test_the_fingerprint_follows_everything_that_makes_tokens():
    model, processor = tiny_model(), tiny_processor()
    found = [tower_fingerprint(model, processor, None), tower_fingerprint(tiny_model(), tiny_processor(), None)]
    assert found[0] == found[1]
    stir_tlm(model)  # not a part of the tower
    # What is known of a model's classes changes no token.
    processor.targets, processor.coarsest_pixel_m = ["bridge"], 5.0
    processor.calibration = {"count": {"temperature": 2.0, "offset": 0.0}}
    assert tower_fingerprint(model, processor, None) == found[0]
    found.append(tower_fingerprint(model, processor, torch.bfloat16))
    processor.image_size = 48
    found.append(tower_fingerprint(model, processor, None))
    processor.image_processor.image_mean = [0.5, 0.5, 0.5]
    found.append(tower_fingerprint(model, processor, None))
    model.set_attn_implementation("eager")
    found.append(tower_fingerprint(model, processor, None))
    with torch.no_grad():
        cast(torch.nn.Linear, model.model.visual.get_submodule("merger.mlp.2")).bias[0] += 1
    found.append(tower_fingerprint(model, processor, None))
    found.append(tower_fingerprint(model.bfloat16(), processor, None))
    assert len(set(found)) == len(found) - 1


def tokens(seed: int, images: int = 2, size: int = 50) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Tokens [size, 4] float32 of images `<seed>-0`, ...: with their headers 1056 bytes each."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.tensor([1, 10, 20])
    return {f"{seed}-{index}": (torch.randn(size, 4, generator=generator), grid) for index in range(images)}


def needed(*groups: dict[str, Any]) -> dict[str, int]:
    return {key: value.nbytes for group in groups for key, (value, _) in group.items()}


def held(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/*.safetensors")}


def test_what_was_added_is_read_back(tmp_path: Path):
    cache = FeatureCache(tmp_path, "tower", 10_000)
    cache.add(tokens(0))
    cache.add(tokens(1))
    expected = tokens(0) | tokens(1)
    for reader in (cache, FeatureCache(tmp_path, "tower", 10_000), pickle.loads(pickle.dumps(cache))):
        encoded, grid = reader.batch(["1-0", "0-1", "1-0"])
        for found, key in zip(encoded.pooler_output, ("1-0", "0-1", "1-0"), strict=True):
            assert torch.equal(found, expected[key][0])
        assert grid.tolist() == [[1, 10, 20]] * 3
    with pytest.raises(KeyError, match="no visual tokens of image 2-0"):
        cache.batch(["2-0"])
    assert "0-0" not in FeatureCache(tmp_path, "another tower", 10_000)


def fill(folder: Path, *fingerprints: str) -> None:
    """A shard of about 900 bytes each, in the order in which they were last used."""
    for age, fingerprint in enumerate(reversed(fingerprints)):
        FeatureCache(folder, fingerprint, 100_000).add(tokens(0, 1))
        (path,) = folder.glob(f"{fingerprint}/*.safetensors")
        used = time.time() - 100 * (age + 1)
        os.utime(path, (used, used))


def test_those_of_other_towers_used_least_recently_go_first(tmp_path: Path):
    fill(tmp_path, "oldest", "older", "own", "old")
    cache = FeatureCache(tmp_path, "own", 4_500)
    cache.reserve(needed(tokens(1)))
    assert held(tmp_path) == {"own", "old"}
    cache.add(tokens(1))
    cache.reserve(needed(tokens(1), tokens(2)))
    cache.add(tokens(2))
    assert held(tmp_path) == {"own"}
    assert all(key in cache for key in needed(tokens(1), tokens(2)))
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*.safetensors")) <= 4_500


def test_using_tokens_again_keeps_them(tmp_path: Path):
    fill(tmp_path, "used again", "forgotten")
    FeatureCache(tmp_path, "used again", 100_000).reserve(needed(tokens(0, 1)))
    FeatureCache(tmp_path, "new", 2_500).reserve(needed(tokens(1, 1)))
    assert held(tmp_path) == {"used again"}


def test_tokens_of_another_data_set_go_and_those_needed_stay(tmp_path: Path):
    cache = FeatureCache(tmp_path, "tower", 3_500)
    cache.add(tokens(0, 1))
    cache.add(tokens(1, 1))
    cache.reserve(needed(tokens(1, 1), tokens(2)))
    cache.add(tokens(2))
    assert "0-0" not in cache and "1-0" in cache and "2-1" in cache


def test_nothing_is_removed_for_what_does_not_fit_anyway(tmp_path: Path):
    fill(tmp_path, "other")
    with pytest.raises(InputError, match="take 2,112 bytes, expected at most 2,000"):
        FeatureCache(tmp_path, "own", 2_000).reserve(needed(tokens(1)))
    assert held(tmp_path) == {"other"}


def test_a_full_disk_is_named_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trl_recipes.data.feature_cache.shutil.disk_usage", lambda _: SimpleNamespace(free=1_000))
    with pytest.raises(InputError, match=r"2,112 bytes are to be written .* 1,000 free"):
        FeatureCache(tmp_path, "own", 10_000).reserve(needed(tokens(1)))


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_space(tensors: Any, path: Path, metadata: Any):
        path.write_bytes(b"half a shard")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trl_recipes.data.feature_cache.save_file", no_space)
    cache = FeatureCache(tmp_path, "tower", 10_000)
    with pytest.raises(FullDiskError, match="feature_cache: a shard of visual tokens takes"):
        cache.add(tokens(0))
    assert not [path for path in tmp_path.glob("*/*") if path.suffix != ".lock"]


def test_a_damaged_shard_is_named(tmp_path: Path):
    fill(tmp_path, "tower")
    (path,) = tmp_path.glob("tower/*.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"{path.name} cannot be read .*delete it"):
        FeatureCache(tmp_path, "tower", 10_000)


def run_in_use(folder: Path, ready: Any, done: Any) -> None:
    cache = FeatureCache(folder, "in use", 10_000)
    ready.set()
    done.wait(60)
    assert "0-0" in cache


def add_in_turns(folder: Path, numbers: list[int]) -> None:
    cache = FeatureCache(folder, "tower", 100_000)
    for number in numbers:
        cache.add(tokens(number))


def test_what_another_process_has_open_stays_and_goes_when_that_one_has_died(tmp_path: Path):
    fill(tmp_path, "in use")
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=run_in_use, args=(tmp_path, ready, done))
    process.start()
    assert ready.wait(60)
    cache = FeatureCache(tmp_path, "own", 2_500)
    with pytest.raises(InputError, match=r"take 2,112 bytes beside \d+ that are in use, expected at most 2,500"):
        cache.reserve(needed(tokens(1)))
    process.kill()
    process.join()
    cache.reserve(needed(tokens(1)))
    assert held(tmp_path) == set()


def test_two_processes_build_together(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    orders = (list(range(12)), list(range(11, -1, -1)))
    processes = [context.Process(target=add_in_turns, args=(tmp_path, order)) for order in orders]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    cache = FeatureCache(tmp_path, "tower", 100_000)
    assert len(list(tmp_path.glob("tower/*.safetensors"))) == 12  # nothing twice
    for number in range(12):
        expected = tokens(number)
        encoded, _ = cache.batch(expected)
        assert all(
            torch.equal(found, tensor)
            for found, (tensor, _) in zip(encoded.pooler_output, expected.values(), strict=True)
        )


def test_what_a_dead_writer_left_is_cleared(tmp_path: Path):
    cache = FeatureCache(tmp_path, "tower", 10_000)
    (tmp_path / "tower" / "0.partial").write_bytes(b"half a shard")
    cache.add(tokens(0))
    assert not list(tmp_path.glob("*/*.partial"))


def test_a_folder_that_is_none_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"feature_cache: .*file cannot be made a folder \(File exists\)"):
        FeatureCache(tmp_path / "file", "tower", 10_000)


def test_the_lock_is_free_between_calls(tmp_path: Path):
    FeatureCache(tmp_path, "tower", 10_000).add(tokens(0))
    with FileLock(tmp_path / "lock", timeout=0):
        pass


@pytest.mark.parametrize(("content", "problem"), [(None, "found nothing"), (b"not an image", "cannot be read")])
def test_an_unreadable_image_is_named_by_its_row(content: bytes | None, problem: str):
    value = None if content is None else {"bytes": content, "path": None}
    rows = Dataset.from_list([{"image": value}], features=Features({"image": Image()}))
    with pytest.raises(InputError, match=rf"row 0: image: {problem}"):
        read_images(rows)


def test_a_batch_travels_to_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By the functions that pin it, and that move it under distributed data parallelism, with no GPU at hand."""
    cache = FeatureCache(tmp_path, "tower", 10_000)
    cache.add(tokens(0))
    encoded, _ = cache.batch(["0-0", "0-1"])
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: tensor + 1)
    pinned: Any = pin_memory(encoded)
    assert torch.equal(pinned.pooler_output[1], encoded.pooler_output[1] + 1)
    _, (moved,) = _to_kwargs((), {"mm_encoder_outputs": {"image": encoded}}, torch.device("cpu"), False)
    moved = moved["mm_encoder_outputs"]["image"].pooler_output
    assert all(torch.equal(image, old) for image, old in zip(moved, encoded.pooler_output, strict=True))


@pytest.fixture(scope="module")
def stirred():
    model = tiny_model()
    stir_tlm(model)
    return model


@pytest.mark.parametrize("way", ["forward", "generate"])
def test_given_tokens_are_modulated_once(stirred: Any, way: str):
    inputs = tiny_inputs(tiny_processor(), sizes=((32, 48), (24, 24)), anchors=(6, 3))
    rest = {name: value for name, value in inputs.items() if name != "pixel_values"}

    def call(**arguments: Any):
        if way == "generate":
            arguments |= {"output_logits": True, "return_dict_in_generate": True}
            return stirred.generate(**arguments, max_new_tokens=6, num_beams=2).logits[0]
        return stirred(**arguments).logits

    with torch.no_grad():
        encoded = stirred.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
        before = [image.clone() for image in encoded.pooler_output]
        expected, plain = call(**inputs), call(**without_prior(inputs))
        for _ in range(2):  # what is given is not changed, so that it can be given again
            assert torch.equal(call(**rest, mm_encoder_outputs={"image": encoded}), expected)
        assert all(torch.equal(image, old) for image, old in zip(encoded.pooler_output, before, strict=True))
        assert torch.equal(call(**without_prior(BatchFeature(rest)), mm_encoder_outputs={"image": encoded}), plain)
        assert not torch.equal(expected, plain)


@pytest.mark.parametrize("way", ["forward", "generate"])
def test_tokens_that_do_not_fit_their_grid_are_named(stirred: Any, way: str):
    inputs = tiny_inputs(tiny_processor(), sizes=((32, 48),), anchors=(6,))
    encoded = stirred.model.get_image_features(inputs.pop("pixel_values"), inputs["image_grid_thw"])
    encoded.pooler_output = (encoded.pooler_output[0][:-1],)
    call = stirred.generate if way == "generate" else stirred
    with pytest.raises(ValueError, match=r"pooler_output: found \[23\] tokens an image, expected \[24\]"):
        call(**inputs, mm_encoder_outputs={"image": encoded})
    priors = {name: inputs[name] for name in PRIOR_FIELDS}
    with pytest.raises(ValueError, match="without pixel_values"):
        call(input_ids=inputs["input_ids"][:, :3], **priors)


def test_a_row_without_a_key_is_named(tmp_path: Path):
    collator = TripletCollator(tiny_processor(), features=FeatureCache(tmp_path, "tower", 10_000))
    with pytest.raises(KeyError, match="no column 'image_key'"):
        collator([{"prompt": [], "completion": []}])
