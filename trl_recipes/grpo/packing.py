"""All answers that were drawn to one question in one sequence, so that image and question are read once for them.

As of several pairs about one image (`trl_recipes.data.pairs`), each answer sees the question and itself alone, at the
positions that it would have alone, so that its log-probabilities are its own. The question's last token stands before
every answer: it says what comes first.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trl_recipes.data.pairs import PADDING, pair_positions
from trl_recipes.data.rows import Batch

IGNORED_LABEL = -100


class Packed(NamedTuple):
    """A question with its answers as one sequence.

    Attributes:
        question: which one it is, for the image.
        ids, labels, pair_ids: of every token.
        places: row and column, among all answers, of every token that has a label.
    """

    question: int
    ids: list[int]
    labels: list[int]
    pair_ids: list[int]
    places: list[tuple[int, int]]


def pack(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    question_of: Sequence[int],
    image_token: int,
    unread: int,
) -> list[Packed]:
    """A sequence for each question.

    Args:
        prompts: tokens of the question of each answer.
        answers: tokens of each; without any it stands in no sequence.
        question_of: number of the question of each answer; those with the same number have the same prompt.
        image_token: of images, which may have ended an answer.
        unread: what is read in the place of such a one, after which nothing is read.
    """
    packed: dict[int, Packed] = {}
    for row, (prompt, answer, question) in enumerate(zip(prompts, answers, question_of, strict=True)):
        if not answer:
            continue
        if question not in packed:
            shared = list(prompt[:-1])
            packed[question] = Packed(question, shared, [IGNORED_LABEL] * len(shared), [0] * len(shared), [])
        _, ids, labels, pair_ids, places = packed[question]
        number = pair_ids[-1] + 1
        ids += [prompt[-1], *(unread if token == image_token else token for token in answer)]
        labels += [IGNORED_LABEL, *answer]
        pair_ids += [number] * (len(answer) + 1)
        places += [(row, column) for column in range(len(answer))]
    return list(packed.values())


def of_like_length(packed: Sequence[Packed], tokens: int) -> Iterator[list[Packed]]:
    """Batches of sequences, the shorter ones first, each of at most `tokens` tokens with padding, or one sequence."""
    batch: list[Packed] = []
    for one in sorted(packed, key=lambda one: len(one.ids)):
        if batch and len(one.ids) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def padded(batch: Sequence[Packed], grids: Sequence[tuple[int, int]], image_token: int, pad_token: int) -> Batch:
    """What the model is called with beside images and priors; `grids` are rows and columns of each image's tokens."""
    longest = max(len(one.ids) for one in batch)

    def filled(values: Sequence[Sequence[int]], value: int) -> Tensor:
        return torch.tensor([[*row, *[value] * (longest - len(row))] for row in values])

    ids = filled([one.ids for one in batch], pad_token)
    positions = torch.zeros(3, len(batch), longest, dtype=torch.long)
    for row, (one, grid) in enumerate(zip(batch, grids, strict=True)):
        positions[:, row, : len(one.ids)] = pair_positions(one.ids, one.pair_ids, image_token, grid)
    return {
        "input_ids": ids,
        "attention_mask": filled([[1] * len(one.ids) for one in batch], 0),
        "mm_token_type_ids": (ids == image_token).long(),
        "labels": filled([one.labels for one in batch], IGNORED_LABEL),
        "pair_ids": filled([one.pair_ids for one in batch], PADDING),
        "position_ids": positions,
    }
