"""TRL's own trainer with our collator: priors reach the model, and what it leaves is a model to every command."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, load_dataset
from peft import LoraConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from fusargpt.geo.prior import PRIOR_FIELDS
from fusargpt.inference.loading import load
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from tests.pages import python_snippets
from tests.paths import ROOT
from tests.trl_recipes.stages import write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.data.collator import TripletCollator
from trl_recipes.model.parameters import LANGUAGE_LINEAR_LAYERS


def trainer_of(place: Path, rows: Dataset, ours: bool) -> Any:
    processor = FusarGptProcessor.from_pretrained(place / "base")
    arguments = SFTConfig(
        output_dir=str(place / f"out-{ours}"),
        max_steps=1,
        per_device_train_batch_size=2,
        max_length=None,
        remove_unused_columns=False,
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    return SFTTrainer(
        model=FusarGptForConditionalGeneration.from_pretrained(place / "base"),
        args=arguments,
        train_dataset=rows,
        processing_class=processor,
        data_collator=TripletCollator(processor) if ours else None,
        peft_config=LoraConfig(r=2, target_modules=LANGUAGE_LINEAR_LAYERS),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own")
    write_base(place)
    write_triplets(place / "data", rows=4)
    return place


@pytest.mark.parametrize("ours", [True, False], ids=["TripletCollator", "TRL's own"])
def test_priors_reach_the_model_by_our_collator_alone(place: Path, ours: bool) -> None:
    """As the documentation says; should TRL's own pass them on one day, it says too little."""
    trainer = trainer_of(place, load_dataset(str(place / "data"), split="train"), ours)
    modulated: list[int] = []
    tlm = trainer.model.get_base_model().model.tlm
    tlm.register_forward_hook(lambda module, arguments, output: modulated.append(output.shape[-2]))
    batch = next(iter(trainer.get_train_dataloader()))
    assert (set(PRIOR_FIELDS) <= set(batch)) == ours
    trainer.train()
    assert bool(modulated) == ours


def test_what_the_trainer_leaves_answers(place: Path) -> None:
    trainer = trainer_of(place, load_dataset(str(place / "data"), split="train"), True)
    trainer.train()
    trainer.save_model(str(place / "adapter"))
    assert not (place / "adapter" / "config.json").exists()
    found = load(place / "adapter", device="cpu").model.state_dict()
    merged = trainer.model.merge_and_unload().state_dict()
    assert found.keys() == merged.keys()
    for name, value in merged.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_example_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = python_snippets("docs/how-to/fine-tune.md")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    variables: dict[str, Any] = {}
    exec(snippet.replace('"dataset_card"', repr(str(ROOT / "dataset_card"))), variables)
    assert variables["trainer"].state.global_step == 2
    assert load(tmp_path / "build" / "own-trainer", device="cpu").processor.image_size is None
