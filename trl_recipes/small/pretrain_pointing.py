"""Teach a small language model to point at what it sees: python -m trl_recipes.small.pretrain_pointing nano --help

The tower knows each target's place inside its token but, attention being relative, not where the token is; and an
answer that names a box has to find the one token in which that target is. From answers alone a small language model
needs thousands of steps to begin with either. So it first learns both directly, on detection questions about pictures
with targets:

- its lower layers on dense targets. A linear head on the hidden states of the visual tokens, thrown away afterwards,
  reads the token's row and column, its land cover, which targets are there, how many come before them in reading order
  (the order of an answer), and each coordinate of their boxes in pixels of the whole image: as the language model will
  say it, one of the number tokens by their own embeddings, which so take their order on the way;
- mini's upper layers on where to look: two heads of two of them, while a coordinate is said, at the token in which that
  object is (`trl_recipes.model.pointed_attention`);
- the whole of it on the answers; of mini's first up to their third box, whose sequences are short, then whole ones
  (`--all-boxes`): a head that was taught the first boxes alone finds the sixth one seldom, and the twelfth never.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from fusargpt.simulator.records import SPLIT_SEEDS
from fusargpt.tasks.target_names import TARGETS
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from modeling_fusargpt.windows import WINDOWS_TOGETHER
from trl_recipes.data.collator import IGNORED_LABEL
from trl_recipes.data.rows import Row
from trl_recipes.data.visual_tokens import cache_visual_tokens
from trl_recipes.model.attention import SDPA_FLOAT32, WINDOWS_FLOAT32, register_sdpa_float32
from trl_recipes.model.patch_embedding import use_linear_patch_embedding
from trl_recipes.model.pointed_attention import BoxPlaces, PointedAttention
from trl_recipes.small.dense import COVERS
from trl_recipes.small.dense_training import (
    DenseTrainer,
    exit_with,
    load,
    optimizers,
    small_parser,
    train,
    training_arguments,
    with_defaults,
)
from trl_recipes.small.model import number_ids
from trl_recipes.small.pointing_rows import PointingCollator, PointingRows, PointingScenes, pointing_rows
from trl_recipes.small.sizes import SLOTS, TOKEN_PIXELS, SmallModel

_FEATURE_BYTES = 20 * 2**30


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
        self.number_ids = number_ids(processor, size)
        self.attention: PointedAttention | None = None
        if size.attention_weight:
            above = (size.pointing_layer, size.pointing_layer + 1)
            self.attention = PointedAttention(self.model.language_model, above)
            self.places = BoxPlaces(processor)

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
        numbers = torch.tensor(self.number_ids, device=labels.device)
        said = (expected[:, None] == numbers).nonzero()
        error = (logits[said[:, 0]][:, numbers].argmax(-1) - said[:, 1]).abs().float()
        losses["answer_pixels"] = error.mean()
        total = total + losses["answer"]
        if self.attention is not None:
            places = self.places(conversations["input_ids"], labels, conversations["image_grid_thw"])
            losses["attention"] = self.attention.loss(*places)
            total = total + self.size.attention_weight * losses["attention"]
        return {"loss": total, **losses}

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


def pointing_parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    parser = small_parser(__doc__ or "", stage="pointing")
    parser.add_argument(
        "--all-boxes",
        dest="stage",
        action="store_const",
        const="pointing_all",
        help="mini: whole answers, from what pointing with their first boxes has left",
    )
    parser.add_argument("--questions", type=Path, help="mini: rows of trl_recipes.small.rows questions")
    parser.add_argument("--features", type=Path, help="mini: visual tokens of the frozen tower, computed once")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    size, options = with_defaults(pointing_parser().parse_args(arguments))
    register_sdpa_float32()
    on_gpu = torch.cuda.is_available()
    model, processor = load(options.model, "sdpa" if on_gpu else SDPA_FLOAT32, options.seed)
    if size.real_chips:
        model.set_attn_implementation({"vision_config": WINDOWS_TOGETHER if on_gpu else WINDOWS_FLOAT32})
    patch_embedding = model.model.visual.patch_embed
    use_linear_patch_embedding(model.model)
    trained = training_arguments(options)
    items: Dataset[Row]
    features = None
    if size.real_chips:
        build = Path("build", size.name)
        rows = pointing_rows(options.questions or build / "data" / "questions")
        folder: Path = options.features or build / "features"
        features, (rows,) = cache_visual_tokens(model, processor, folder, _FEATURE_BYTES, trained, [rows])
        items = PointingRows(rows, options.scenes)
    else:
        # Places of their own: after those of language training and of the tower.
        items = PointingScenes(SPLIT_SEEDS["train"] + 2_000_000, options.scenes, options.optical_share)
    pointing = DensePointing(model, processor, size)
    trainer = DenseTrainer(
        model=pointing,
        optimizers=optimizers(pointing, model.model.language_model.layers, options),
        args=trained,
        train_dataset=items,
        data_collator=PointingCollator(
            processor, size, size.pointed if options.stage == "pointing" else size.most_objects, features
        ),
    )

    def finish(folder: Path) -> None:
        cast(nn.Module, model).to("cpu")  # transformers annotates its own as something else
        model.model.visual.patch_embed = patch_embedding
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    train(trainer, finish, options.minutes)


if __name__ == "__main__":
    exit_with(main, "pretrain_pointing")
