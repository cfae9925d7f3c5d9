"""How much is trained, and one training by a recipe."""

from dataclasses import dataclass
from pathlib import Path

from fusargpt.errors import InputError
from trl_recipes.sft import run_recipe


@dataclass(frozen=True)
class Sizes:
    """What results depend on.

    Attributes:
        backbone: model that has seen no prior.
        form_places, form_steps: from which, and how long, it learns the form of captions.
        steps: of stage 1 of every arm.
        batch: rows a step.
        held_out: places that are described.

    Raises:
        InputError: a size below 1.
    """

    backbone: Path
    form_places: int
    form_steps: int
    steps: int
    batch: int
    held_out: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "backbone" and value < 1:
                raise InputError(f"--{name.replace('_', '-')}: found {value}, expected 1 or more")

    def told(self) -> dict[str, str]:
        """As results keep them: the backbone by its name, wherever it is."""
        return {name: str(value) for name, value in vars(self).items()} | {"backbone": self.backbone.name}


def train(
    recipe: Path, start: Path, data: Path, model: Path, features: Path, steps: int, batch: int, seed: int
) -> None:
    """Train from `start` on a dataset; what was cut goes on. Visual tokens are kept in `features`."""
    given = {
        "model_name_or_path": start,
        "dataset_name": data,
        "output_dir": model,
        "feature_cache": features,
        "max_steps": steps,
        "per_device_train_batch_size": batch,
        "seed": seed,
    }
    run_recipe([str(recipe), *(word for name, value in given.items() for word in (f"--{name}", str(value)))])
