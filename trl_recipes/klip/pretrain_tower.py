"""Pre-train fusarklip-nano's image tower on dense targets per patch: python -m trl_recipes.klip.pretrain_tower --help

As fusargpt-nano's tower (trl_recipes.small.pretrain_tower), on patches of 14 pixels: land-cover fractions, and class
and box of up to two targets centred in a patch, read by a linear head that is thrown away. What is trained here has
seen neither a text nor a prior. A tower that starts from it is called dense-initialised.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BlipVisionConfig, BlipVisionModel
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from fusargpt.simulator.records import SPLIT_SEEDS
from fusargpt.simulator.simulated_scene import IMAGE_SIZE
from trl_recipes.data.rows import Row
from trl_recipes.small.dense import DenseHead, DenseScenes, stack_targets
from trl_recipes.small.dense_training import DenseTrainer, dense_parser, train, training_arguments

PATCH_PIXELS = 14
TOWER = {
    "hidden_size": 192,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_PIXELS,
    # A tower alone takes BlipVisionConfig's own value, and that is 1e-10.
    "initializer_range": 0.02,
}
"""Fields of transformers' BlipVisionConfig: 144 patches and the class token."""
# Of the training split: captions use the places before these, fusargpt-nano's tower those after.
FIRST_SEED = SPLIT_SEEDS["train"] + 2_000_000


def build_image_processor() -> BlipImageProcessorPil:
    """Every image becomes 168 x 168 pixels."""
    return BlipImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})


def collate(items: list[Row]) -> dict[str, Tensor]:
    """Images [B, 3, H, W] with their dense targets."""
    return {"pixel_values": torch.cat([item["pixel_values"] for item in items]), **stack_targets(items)}


class DensePatches(nn.Module):
    """The image tower with the dense head on its patch tokens."""

    def __init__(self, tower: BlipVisionModel) -> None:
        super().__init__()
        self.tower = tower
        self.dense = DenseHead(tower.config.hidden_size, PATCH_PIXELS)

    def forward(
        self, pixel_values: Tensor, cover: Tensor, present: Tensor, box: Tensor, order: Tensor
    ) -> dict[str, Tensor]:
        """The losses; `order` is not a target here: a patch cannot know it."""
        tokens = self.tower(pixel_values).last_hidden_state[:, 1:]
        return self.dense(tokens, cover, present, box)


def main() -> None:
    parser = dense_parser(
        __doc__ or "", out=Path("build/klip/tower"), scenes=48_000, optical_share=0.4, learning_rate=1e-3
    )
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    image_processor = build_image_processor()
    tower = BlipVisionModel(BlipVisionConfig.from_dict(TOWER))
    scenes = DenseScenes(image_processor, FIRST_SEED, options.scenes, options.optical_share, PATCH_PIXELS)
    arguments = training_arguments(options)
    # Attention of this tower is plain products, which bfloat16 makes slower on a CPU.
    arguments.bf16 = torch.cuda.is_available()
    trainer = DenseTrainer(model=DensePatches(tower), args=arguments, train_dataset=scenes, data_collator=collate)

    def finish(folder: Path) -> None:
        tower.save_pretrained(folder)
        image_processor.save_pretrained(folder)

    train(trainer, finish)


if __name__ == "__main__":
    main()
