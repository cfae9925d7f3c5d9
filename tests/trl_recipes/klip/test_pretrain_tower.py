"""The image tower of fusarklip-nano learns from dense targets of its patches."""

import torch
from transformers import BlipVisionConfig, BlipVisionModel

from fusargpt.simulator.simulated_scene import IMAGE_SIZE
from trl_recipes.klip.pretrain_tower import PATCH_PIXELS, TOWER, DensePatches, build_image_processor, collate
from trl_recipes.small.dense import DenseScenes


def test_a_tower_learns_from_the_dense_targets_of_its_patches() -> None:
    torch.manual_seed(0)
    tower = BlipVisionModel(BlipVisionConfig.from_dict({**TOWER, "num_hidden_layers": 2}))
    scenes = DenseScenes(build_image_processor(), 0, 4, 0.5, PATCH_PIXELS)
    batch = collate([scenes[index] for index in range(4)])
    assert batch["pixel_values"].shape == (4, 3, IMAGE_SIZE, IMAGE_SIZE)
    dense = DensePatches(tower)
    optimizer = torch.optim.AdamW(dense.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        outputs = dense(**batch)
        outputs["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append({name: value.item() for name, value in outputs.items()})
    for name in ("loss", "cover", "presence", "box_pixels"):
        assert losses[-1][name] < losses[0][name], name


def test_a_tower_alone_starts_at_the_usual_scale() -> None:
    torch.manual_seed(0)
    tower = BlipVisionModel(BlipVisionConfig.from_dict(TOWER))
    for name in ("encoder.layers.0.self_attn.qkv.weight", "embeddings.patch_embedding.weight"):
        assert 0.01 < tower.get_parameter(name).std().item() < 0.03, name
