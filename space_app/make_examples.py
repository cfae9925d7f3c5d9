"""Write the demo's example scenes: python -m space_app.make_examples

Simulated scenes of the test split, so that the model has not trained on them: an image and a prior each, and
examples.json, which says what is truly there and which question each is for.
"""

import json
from pathlib import Path

from dataset_card.records import SPLIT_SEEDS, answer, scene_fields
from dataset_card.scene import simulate_scene
from fusar_geo.embeddings import dequantize
from fusar_geo.prior import Prior, save_prior
from modeling_fusargpt.tasks import PLURALS

FOLDER = Path(__file__).with_name("examples")
# Name, seed counted from the split's first, and the task and target of the question.
SCENES = (
    ("harbour", 15, "detect", "ship"),
    ("airfield", 18, "count", "aircraft"),
    ("inland", 11, "describe", "ship"),
)


def make_examples(folder: Path) -> None:
    """Write the three scenes and their list into `folder`; what is there under the same names is replaced."""
    listed = []
    for name, seed, task, target in SCENES:
        scene = simulate_scene(SPLIT_SEEDS["test"] + seed)
        fields = scene_fields(scene)
        fields["image"].save(folder / f"{name}.png", optimize=True)
        embeddings = dequantize(fields["prior_embeddings"])
        save_prior(folder / f"{name}.npz", Prior(embeddings, fields["prior_positions"], fields["prior_lonlat"]))
        listed.append(
            {
                "image": f"{name}.png",
                "prior": f"{name}.npz",
                "caption": f"{answer(scene, 'count', target)} {PLURALS[target]}",
                "task": task,
                "target": target,
            }
        )
    (folder / "examples.json").write_text(json.dumps(listed, indent=2) + "\n")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    make_examples(FOLDER)
