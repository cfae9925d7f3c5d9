"""Answers drawn from the model in training: several to each question, decoded together, each image read once.

They are drawn freely, not within a grammar: the loss takes log-probabilities over the whole vocabulary, and those of a
grammar's few tokens would be others. The only limit is that of `generate`, which cannot read an image's token where
there is no image: one that is drawn ends its answer.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from fusargpt.geo.prior import PRIOR_FIELDS
from fusargpt.inference.decoding import begin, decode
from fusargpt.inference.faces import Generates
from fusargpt.inference.running_batch import RunningBatch, RunningRow
from modeling_fusargpt import AnyFusarGpt
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.rows import Batch, Row


class Drawn(NamedTuple):
    """Answers to questions, in the order of these.

    Attributes:
        prompts: tokens of each question with its image.
        answers: tokens of each answer, with the one that ends it unless it was cut.
        log_probabilities: of these tokens, at the temperature at which they were drawn.
    """

    prompts: list[list[int]]
    answers: list[list[int]]
    log_probabilities: list[list[float]]


def _drawn(scores: Tensor, rows: Sequence[RunningRow]) -> Tensor:
    """Tokens by their probabilities, of torch's global generator, whose state checkpoints hold."""
    return torch.multinomial(scores.softmax(-1), 1)[:, 0]


@torch.no_grad()
def draw_answers(
    model: AnyFusarGpt,
    collator: TripletCollator,
    rows: Sequence[Row],
    question_of: Sequence[int],
    end_tokens: Sequence[int],
    temperature: float,
    max_new_tokens: int,
    prepare: Callable[[Batch], Batch],
) -> Drawn:
    """An answer for each of `question_of`.

    Args:
        model: in evaluation mode; adapters may be in place.
        collator: of the run, for the form in which the model takes images and priors.
        rows: the questions, each once.
        question_of: of each answer, its question's place in `rows`.
        end_tokens: those that end an answer.
        temperature: by which scores are divided.
        max_new_tokens: where an answer is cut.
        prepare: moves a batch to the model's device.
    """
    asked = prepare(collator.questions(list(rows)))
    places = torch.tensor(question_of, device=asked["input_ids"].device)
    text = {name: asked[name][places] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
    length = text["input_ids"].shape[1]
    rows_drawn = [RunningRow(number) for number in range(len(places))]
    generate = cast(Callable[..., RunningBatch], cast(Generates, model).generate)
    begun = generate(
        **text,
        image_grid_thw=asked["image_grid_thw"][places],
        mm_encoder_outputs={"image": _encoded(model, asked)},
        max_new_tokens=max_new_tokens,
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        eos_token_id=[*end_tokens, collator.processor.image_token_id],
        pad_token_id=collator.processor.tokenizer.pad_token_id,
        custom_generate=partial(
            begin,
            rows=rows_drawn,
            image_of_row=places,
            # All but the last token, which says what comes first.
            shared=length - 1,
            choose=_drawn,
        ),
    )
    whole: Iterator[RunningBatch] = iter([begun])
    for _ in decode(lambda free: next(whole, None), len(places)):
        pass
    prompts = [ids[mask.bool()].tolist() for ids, mask in zip(text["input_ids"], text["attention_mask"], strict=True)]
    return Drawn(prompts, [row.tokens for row in rows_drawn], [row.log_probabilities for row in rows_drawn])


def _encoded(model: AnyFusarGpt, asked: Batch) -> object:
    """Visual tokens of the images, modulated by their priors."""
    priors = {name: asked[name] for name in PRIOR_FIELDS if name in asked}
    grids = asked["image_grid_thw"]
    if "mm_encoder_outputs" in asked:
        return model.model.modulate(asked["mm_encoder_outputs"]["image"], grids, **priors)
    return model.model.get_image_features(asked["pixel_values"], grids, **priors, return_dict=True)
