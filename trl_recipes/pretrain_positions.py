"""Teach nano's language model where its visual tokens lie: python -m trl_recipes.pretrain_positions --help

The tower knows each target's place inside its token but, attention being relative, not where the token is. Only the
language model can work that out, from the distance to the token that starts the image, and from question and answer
alone it takes thousands of steps to begin. So its lower layers first learn it directly: a linear head on the hidden
states of the visual tokens, thrown away afterwards, reads the token's row and column, its land cover, which targets are
there, and each coordinate of their boxes in pixels of the whole image. A coordinate is read as the language model will
say it: as one of the number tokens, by their own embeddings, which so take their order on the way.
"""

import argparse
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import TrainingArguments
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig

from dataset_card.records import SPLIT_SEEDS
from dataset_card.scene import IMAGE_SIZE
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from modeling_fusargpt.tasks import TARGETS
from trl_recipes.attention import SDPA_FLOAT32, register_sdpa_float32
from trl_recipes.patch_embedding import use_linear_patch_embedding
from trl_recipes.pretrain_tower import (
    COVERS,
    GRID,
    SLOTS,
    TOKEN_PIXELS,
    DenseScenes,
    DenseTrainer,
    collate,
)

LAYER = 3  # of six: the layers above are left to language


class DensePositions(nn.Module):
    """The language model up to `LAYER`, on the beginning of a conversation, with a linear head on its visual tokens."""

    def __init__(self, model: FusarGptForConditionalGeneration, processor: FusarGptProcessor, width: int) -> None:
        super().__init__()
        self.model = model.model
        self.model.visual.requires_grad_(False)
        self.image_token_id = model.config.image_token_id
        message: dict[str, Any] = {"role": "user", "content": [{"type": "image"}]}
        beginning = processor.apply_chat_template([message])
        placeholder = processor.image_token
        text = beginning[: beginning.index(placeholder)] + placeholder * GRID**2
        self.beginning = processor.tokenizer(text)["input_ids"]
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, 2 * GRID + COVERS + SLOTS * len(TARGETS))
        self.coordinates = nn.Linear(width, SLOTS * 4 * width)
        numbers = [str(number) for number in range(IMAGE_SIZE + 1)]
        self.number_ids = processor.tokenizer.convert_tokens_to_ids(numbers)

    def forward(
        self, pixel_values: Tensor, image_grid_thw: Tensor, cover: Tensor, present: Tensor, box: Tensor
    ) -> dict[str, Tensor]:
        images = len(image_grid_thw)
        input_ids = torch.tensor(self.beginning, device=cover.device).repeat(images, 1)
        visual = input_ids == self.image_token_id
        hidden = self.model(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            mm_token_type_ids=visual.int(),
            pixel_values=pixel_values,
            image_grid_thw=image_grid_thw,
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states[LAYER]
        tokens = self.norm(hidden[visual]).reshape(images, GRID**2, -1)
        predicted = self.head(tokens).float()
        rows, columns, cover_logits, presence = predicted.split([GRID, GRID, COVERS, SLOTS * len(TARGETS)], dim=-1)
        token = torch.arange(GRID**2, device=cover.device)
        row, column = token // GRID, token % GRID
        place_loss = functional.cross_entropy(rows.flatten(0, 1), row.repeat(images))
        place_loss = place_loss + functional.cross_entropy(columns.flatten(0, 1), column.repeat(images))
        cover_loss = -(cover * cover_logits.log_softmax(-1)).sum(-1).mean()
        presence_loss = functional.binary_cross_entropy_with_logits(presence.unflatten(-1, (SLOTS, -1)), present)
        # From the token's corner to the image's; only slots with a target count.
        absolute = box + torch.stack([column, row, column, row], -1)[:, None]
        there = present.any(-1)
        numbers = (absolute[there] * TOKEN_PIXELS).round().long()
        queries = self.coordinates(tokens).unflatten(-1, (SLOTS, 4, -1))[there]
        number_embeddings = self.model.language_model.embed_tokens.weight[self.number_ids]
        logits = (queries @ number_embeddings.T).float()
        box_loss = functional.cross_entropy(logits.flatten(0, 1), numbers.flatten())
        loss = place_loss + cover_loss + 10 * presence_loss + box_loss
        return {
            "loss": loss,
            "place": place_loss,
            "cover": cover_loss,
            "presence": presence_loss,
            "box_pixels": (logits.argmax(-1) - numbers).abs().float().mean(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("build/nano/tower"))
    parser.add_argument("--out", type=Path, default=Path("build/nano/positions"))
    parser.add_argument("--scenes", type=int, default=19_200)
    parser.add_argument("--optical-share", type=float, default=0.7, help="the rest is shown as SAR")
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    register_sdpa_float32()
    processor = FusarGptProcessor.from_pretrained(options.model)
    model = FusarGptForConditionalGeneration.from_pretrained(
        options.model, dtype="float32", attn_implementation=SDPA_FLOAT32
    )
    patch_embedding = model.model.visual.patch_embed
    use_linear_patch_embedding(model.model)
    dense: Any = DensePositions(model, processor, cast(Qwen2_5_VLTextConfig, model.config.text_config).hidden_size)
    arguments = TrainingArguments(
        output_dir=str(options.out),
        per_device_train_batch_size=options.batch_size,
        num_train_epochs=1,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        weight_decay=0.05,
        adam_beta2=0.95,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=options.workers,
        remove_unused_columns=False,
        logging_steps=25,
        save_strategy="no",
        report_to="none",
    )
    # Places of their own: after those of language training and of the tower.
    scenes = DenseScenes(processor, SPLIT_SEEDS["train"] + 2_000_000, options.scenes, options.optical_share)
    trainer = DenseTrainer(model=dense, args=arguments, train_dataset=scenes, data_collator=collate)
    trainer.train()
    trainer.save_state()
    model.model.visual.patch_embed = patch_embedding
    model.save_pretrained(options.out)
    processor.save_pretrained(options.out)


if __name__ == "__main__":
    main()
