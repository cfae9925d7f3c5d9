"""Teach a small language model to point at what it sees: python -m trl_recipes.small.pretrain_pointing nano --help

The tower knows each target's place inside its token but, attention being relative, not where the token is; and an
answer that names a box has to find the one token in which that target is. From answers alone a small language model
needs thousands of steps to begin with either. So it first learns both directly, on detection questions about pictures
with targets:

- its lower layers on dense targets. A linear head on the hidden states of the visual tokens, thrown away afterwards,
  reads the token's row and column, its land cover, which targets are there, how many come before them in reading order
  (the order of an answer), and each coordinate of their boxes in pixels of the whole image: as the language model will
  say it, one of the number tokens by their own embeddings, which so take their order on the way;
- the whole of it on the answers.
"""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from fusargpt.simulator.records import SPLIT_SEEDS, answer
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.prompts import prompt
from fusargpt.tasks.questions import conversation, true_answer
from fusargpt.tasks.target_names import TARGETS
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from modeling_fusargpt.windows import WINDOWS_TOGETHER
from trl_recipes.data.collator import IGNORED_LABEL, TripletCollator
from trl_recipes.data.rows import Batch, Row
from trl_recipes.model.attention import SDPA_FLOAT32, WINDOWS_FLOAT32, register_sdpa_float32
from trl_recipes.model.patch_embedding import use_linear_patch_embedding
from trl_recipes.small.dense import COVERS, dense_targets, draw, scene_picture, stack_targets
from trl_recipes.small.dense_training import (
    DenseTrainer,
    exit_with,
    load,
    small_parser,
    train,
    training_arguments,
    with_defaults,
)
from trl_recipes.small.drawing import Drawing
from trl_recipes.small.scenes import drawing_of
from trl_recipes.small.sizes import SLOTS, TOKEN_PIXELS, SmallModel

SEEDS_PER_ITEM = 16  # item i is the first of its seeds that has a target; seven of ten have
_AFTER_THE_TOWER = 10_000_000  # numbers of drawn pictures


class PointingScenes(Dataset[Row]):
    """Scenes with targets, a detection question about them, and their dense targets; item i is always the same."""

    def __init__(self, first_seed: int, scenes: int, optical_share: float) -> None:
        self.first_seed = first_seed
        self.scenes = scenes
        self.optical_share = optical_share

    def __len__(self) -> int:
        return self.scenes

    def __getitem__(self, index: int) -> Row:
        drawn = map(simulate_scene, count(self.first_seed + SEEDS_PER_ITEM * index))
        scene = next(scene for scene in drawn if scene.targets)
        label = scene.targets[0].label
        image = draw(scene, self.optical_share)
        return {
            "image": image,
            **conversation("detect", prompt("detect", label, index), answer(scene, "detect", label)),
            **vars(dense_targets(scene_picture(scene, image))),
        }


class PointingPictures(Dataset[Row]):
    """The same of drawn pictures."""

    def __init__(self, drawing: Drawing, pictures: int) -> None:
        self.drawing = drawing
        self.pictures = pictures

    def __len__(self) -> int:
        return self.pictures

    def __getitem__(self, index: int) -> Row:
        numbers = count(_AFTER_THE_TOWER + SEEDS_PER_ITEM * index)
        picture = next(picture for _, picture in map(self.drawing.draw, numbers) if len(picture.labels))
        label = picture.labels[0]
        objects = [
            LabelledBox([int(edge) for edge in box], name)
            for box, name in zip(picture.boxes, picture.labels, strict=True)
        ]
        truth = true_answer("detect", label, objects, picture.width, picture.height)
        return {
            "image": Image.fromarray(picture.pixels),
            **conversation("detect", prompt("detect", label, index), truth),
            **vars(dense_targets(picture)),
        }


class PointingCollator:
    """Conversations as in every later stage; dense targets stacked."""

    def __init__(self, processor: FusarGptProcessor) -> None:
        self.conversations = TripletCollator(processor, prior=False)

    def __call__(self, items: list[Row]) -> Batch:
        return self.conversations(items) | stack_targets(items)


class DensePointing(nn.Module):
    """The language model, with a linear head on its visual tokens at a layer; vision tower and TLM stand still."""

    def __init__(self, model: FusarGptForConditionalGeneration, processor: FusarGptProcessor, size: SmallModel) -> None:
        super().__init__()
        self.size = size
        width = size.text_width
        # Without lm_head, whose weight is that of the embeddings: a checkpoint holds every weight once.
        self.model = model.model
        self.model.visual.requires_grad_(False)
        self.model.tlm.requires_grad_(False)
        self.image_token_id = model.config.image_token_id
        self.norm = nn.RMSNorm(width)
        self.widths = [size.grid, size.grid, COVERS, SLOTS * len(TARGETS), SLOTS * size.most_objects]
        self.head = nn.Linear(width, sum(self.widths))
        self.coordinates = nn.Linear(width, SLOTS * 4 * width)
        numbers = [str(number) for number in range(size.image_size + 1)]
        self.number_ids = processor.tokenizer.convert_tokens_to_ids(numbers)

    def forward(
        self, cover: Tensor, present: Tensor, box: Tensor, order: Tensor, labels: Tensor, **conversations: Tensor
    ) -> dict[str, Tensor]:
        outputs = self.model(**conversations, output_hidden_states=True, use_cache=False)
        visual = conversations["input_ids"] == self.image_token_id
        hidden = outputs.hidden_states[self.size.pointing_layer][visual].reshape(*cover.shape[:2], -1)
        losses = self.dense_losses(self.norm(hidden), cover, present, box, order)
        answers = labels[:, 1:] != IGNORED_LABEL
        embeddings = self.model.language_model.embed_tokens.weight
        logits = functional.linear(outputs.last_hidden_state[:, :-1][answers], embeddings).float()
        expected = labels[:, 1:][answers]
        # Most of an answer is punctuation; the mean over its tokens would leave little to the coordinates.
        losses["answer"] = 4 * functional.cross_entropy(logits, expected)
        total = (
            losses["place"]
            + losses["cover"]
            + 10 * self.size.grid**2 / 36 * losses["presence"]
            + losses["order"]
            + losses["box"]
        )
        number_ids = torch.tensor(self.number_ids, device=labels.device)
        said = (expected[:, None] == number_ids).nonzero()
        error = (logits[said[:, 0]][:, number_ids].argmax(-1) - said[:, 1]).abs().float()
        return {"loss": total + losses["answer"], **losses, "answer_pixels": error.mean()}

    def dense_losses(
        self, tokens: Tensor, cover: Tensor, present: Tensor, box: Tensor, order: Tensor
    ) -> dict[str, Tensor]:
        """Losses of the heads on `tokens` [images, T, width]; `box_pixels` is the mean error of a coordinate."""
        images = len(tokens)
        rows, columns, cover_logits, presence, orders = self.head(tokens).float().split(self.widths, dim=-1)
        token = torch.arange(self.size.grid**2, device=cover.device)
        row, column = token // self.size.grid, token % self.size.grid
        place_loss = functional.cross_entropy(rows.flatten(0, 1), row.repeat(images))
        place_loss = place_loss + functional.cross_entropy(columns.flatten(0, 1), column.repeat(images))
        known = cover.sum(-1).mean().clamp(min=1e-6)
        cover_loss = -(cover * cover_logits.log_softmax(-1)).sum(-1).mean() / known
        presence_loss = functional.binary_cross_entropy_with_logits(presence.unflatten(-1, (SLOTS, -1)), present)
        # Only slots with a target have an order and a box.
        there = present.any(-1)
        order_loss = functional.cross_entropy(orders.unflatten(-1, (SLOTS, -1))[there], order[there])
        absolute = box + torch.stack([column, row, column, row], -1)[:, None]  # from the token's corner to the image's
        numbers = (absolute[there] * TOKEN_PIXELS).round().long()
        queries = self.coordinates(tokens).unflatten(-1, (SLOTS, 4, -1))[there]
        number_embeddings = self.model.language_model.embed_tokens.weight[self.number_ids]
        logits = (queries @ number_embeddings.T).float()
        box_loss = functional.cross_entropy(logits.flatten(0, 1), numbers.flatten())
        return {
            "place": place_loss,
            "cover": cover_loss,
            "presence": presence_loss,
            "order": order_loss,
            "box": box_loss,
            "box_pixels": (logits.argmax(-1) - numbers).abs().float().mean(),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    size, options = with_defaults(small_parser(__doc__ or "", before="tower", stage="pointing").parse_args(arguments))
    register_sdpa_float32()
    on_gpu = torch.cuda.is_available()
    model, processor = load(options.model, "sdpa" if on_gpu else SDPA_FLOAT32, options.seed)
    if size.real_chips:
        model.set_attn_implementation({"vision_config": WINDOWS_TOGETHER if on_gpu else WINDOWS_FLOAT32})
    patch_embedding = model.model.visual.patch_embed
    use_linear_patch_embedding(model.model)
    pictures: Dataset[Row]
    if size.real_chips:
        drawing = drawing_of(size, options.pictures, options.ssdd, options.seed)
        pictures = PointingPictures(drawing, options.scenes)
    else:
        # Places of their own: after those of language training and of the tower.
        pictures = PointingScenes(SPLIT_SEEDS["train"] + 2_000_000, options.scenes, options.optical_share)
    trainer = DenseTrainer(
        model=DensePointing(model, processor, size),
        args=training_arguments(options),
        train_dataset=pictures,
        data_collator=PointingCollator(processor),
    )

    def finish(folder: Path) -> None:
        cast(nn.Module, model).to("cpu")  # transformers annotates its own as something else
        model.model.visual.patch_embed = patch_embedding
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    train(trainer, finish, options.minutes)


if __name__ == "__main__":
    exit_with(main, "pretrain_pointing")
