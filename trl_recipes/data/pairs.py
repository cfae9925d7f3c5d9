"""Several question-answer pairs about one image in one sequence, so that its tokens are read once for all of them.

``earlier_answers: visible`` makes them one conversation: a later question is asked, and answered, in sight of the
earlier ones. ``hidden`` lets every pair see what all share (the system's turn and the image) and itself alone, at the
positions that it would have alone, so that its loss is its own.
"""

import hashlib
import json
from collections.abc import Sequence

import torch
from datasets import Dataset
from torch import Tensor, nn

from fusargpt.errors import InputError
from fusargpt.private_names import attention_of
from fusargpt.tasks.facts import DOUBTED_COLUMN
from modeling_fusargpt import AnyFusarGpt
from trl_recipes.data.row_tasks import TASK_COLUMN
from trl_recipes.data.rows import Batch, Message, Row
from trl_recipes.data.visual_tokens import read_images

CONVERSATION = ("prompt", "completion")
PADDING = -1  # pair id of a token that only fills the row
MASKED_ATTENTION = ("sdpa", "eager", "sdpa_float32")  # those that take any mask


def pair_rows(rows: Dataset, pairs_per_sequence: int, processes: int | None = None) -> Dataset:
    """Rows of ``prompt`` and ``completion``, up to ``pairs_per_sequence`` of them about one image in one.

    Rows belong together when image (as stored, byte for byte), prior and the system's turn are the same; they need not
    be neighbours. Their order is kept, and a sequence stands where its first row stood. Nothing is copied: the rows
    are looked up when they are asked for.

    Args:
        rows: with the columns that the collator reads, the image itself or its key in ``image_key``.
        pairs_per_sequence: how many rows make one at most.
        processes: that read the image files.

    Returns:
        Rows with the columns of their first one but for those of its question and answer, and ``pairs``, a list
        of ``{"prompt": ..., "completion": ...}``, each with its ``task`` and ``doubted`` where rows have them.

    Raises:
        InputError: for rows of ``messages``, which hold several turns already, and for images that cannot be read.
    """
    check_pairs(rows, pairs_per_sequence)
    keyed = rows if "image_key" in rows.column_names else read_images(rows, processes)
    groups = _group(rows, list(keyed["image_key"]), pairs_per_sequence)
    return Dataset.from_dict({"rows": groups}).with_transform(_Pairs(rows))


def check_pairs(rows: Dataset, pairs_per_sequence: int) -> None:
    """Raises InputError for rows that cannot be paired: those of ``messages``."""
    if "prompt" not in rows.column_names:
        raise InputError(
            f"pairs_per_sequence: found {pairs_per_sequence} with rows of messages, expected rows of prompt and "
            "completion; messages are one sequence already, set it to 1"
        )


class _Pairs:
    """Looks up the rows of each group."""

    def __init__(self, rows: Dataset) -> None:
        self.rows = rows
        self.own = [name for name in (*CONVERSATION, TASK_COLUMN, DOUBTED_COLUMN) if name in rows.column_names]
        self.conversations = rows.select_columns(self.own)

    def __call__(self, groups: dict[str, list[list[int]]]) -> dict[str, list[object]]:
        found = [self._row(*group) for group in groups["rows"]]
        return {name: [row[name] for row in found] for name in found[0]}

    def _row(self, first: int, *others: int) -> Row:
        row = self.rows[first]
        pairs = [{name: row.pop(name) for name in self.own}]
        return {**row, "pairs": pairs + [self.conversations[other] for other in others]}


def _group(rows: Dataset, image_keys: Sequence[str], size: int) -> list[list[int]]:
    about = rows.select_columns([name for name in rows.column_names if name.startswith("prior_") or name == "prompt"])
    marks = about.map(_mark, remove_columns=about.column_names, desc="Grouping pairs")["mark"]
    groups: list[list[int]] = []
    unfinished: dict[tuple[str, str], list[int]] = {}
    for index, place in enumerate(zip(image_keys, marks, strict=True)):
        group = unfinished.get(place)
        if group is None or len(group) == size:
            group = unfinished[place] = []
            groups.append(group)
        group.append(index)
    return groups


def _mark(row: Row) -> dict[str, str]:
    """What rows with the same image have to share as well, in short."""
    system = [turn for turn in row["prompt"][:1] if turn["role"] == "system"]
    prior = {name: row[name] for name in sorted(row) if name != "prompt"}
    return {"mark": hashlib.blake2b(json.dumps([system, prior]).encode(), digest_size=16).hexdigest()}


def one_conversation(pairs: Sequence[Row]) -> tuple[list[Message], list[bool]]:
    """Messages of all pairs, the system's turn once, and for each assistant turn whether it is learned."""
    messages: list[Message] = []
    learned: list[bool] = []
    for pair in pairs:
        for turns, carries_loss in ((pair["prompt"], False), (pair["completion"], True)):
            new = [turn for turn in turns if turn["role"] != "system" or not messages]
            messages += new
            learned += [carries_loss for turn in new if turn["role"] == "assistant"]
    return messages, learned


def join_pairs(
    pairs: Sequence[tuple[list[int], list[int]]], image_token: int
) -> tuple[list[int], list[int], list[int]]:
    """One sequence of pairs about one image, each given as if it were alone.

    Args:
        pairs: token ids and labels of each; equal up to the token that closes the image.
        image_token: id of the image's tokens.

    Returns:
        Token ids, labels and pair ids: 0 in the beginning that all share, 1, 2, ... in the pairs.

    Raises:
        ValueError: when the pairs do not begin alike.
    """
    first = pairs[0][0]
    shared = len(first) - first[::-1].index(image_token) + 1
    if any(ids[:shared] != first[:shared] for ids, _ in pairs):
        raise ValueError(
            "pairs of one image: found different text before it, expected the same in all; does the chat template "
            "place the question before the image?"
        )
    ids, labels, pair_ids = list(first[:shared]), list(pairs[0][1][:shared]), [0] * shared
    for number, (own_ids, own_labels) in enumerate(pairs, start=1):
        ids += own_ids[shared:]
        labels += own_labels[shared:]
        pair_ids += [number] * (len(own_ids) - shared)
    return ids, labels, pair_ids


def pair_positions(ids: Sequence[int], pair_ids: Sequence[int], image_token: int, grid: tuple[int, int]) -> Tensor:
    """Positions (time, row, column) [3, tokens] of joined pairs, each pair's as if it were alone.

    Qwen2.5-VL's rule (``get_rope_index``): text counts on in all three; an image's tokens stand at one time, in their
    rows and columns, and text goes on after the longer side.

    Args:
        ids: token ids of a sequence with one image.
        pair_ids: of ``join_pairs``.
        image_token: id of the image's tokens.
        grid: rows and columns of the image's tokens.
    """
    rows, columns = grid
    start = ids.index(image_token)
    end = start + rows * columns
    shared = pair_ids.count(0)
    positions = torch.empty(3, len(ids), dtype=torch.long)
    positions[:, :start] = torch.arange(start)
    positions[0, start:end] = start
    positions[1, start:end] = start + torch.arange(rows).repeat_interleave(columns)
    positions[2, start:end] = start + torch.arange(columns).repeat(rows)
    after = start + max(rows, columns)
    positions[:, end:shared] = after + torch.arange(shared - end)
    place = shared
    for number in range(1, max(pair_ids) + 1):
        length = pair_ids.count(number)
        positions[:, place : place + length] = after + shared - end + torch.arange(length)
        place += length
    return positions


def pair_attention(pair_ids: Tensor) -> Tensor:
    """Which token sees which, bool [batch, 1, tokens, tokens], from pair ids [batch, tokens].

    Backwards only, and only the shared beginning and the own pair. Padding sees padding: a row of the mask that is
    empty would make NaN.
    """
    query, key = pair_ids[:, None, :, None], pair_ids[:, None, None, :]
    tokens = pair_ids.shape[1]
    backwards = torch.ones(tokens, tokens, dtype=torch.bool, device=pair_ids.device).tril()
    return backwards & ((key == 0) | (key == query))


def hide_other_pairs(model: AnyFusarGpt) -> None:
    """Make ``model``'s language model obey the ``pair_ids`` [batch, tokens] of a batch; without them nothing changes.

    Raises:
        InputError: when its attention takes no such mask. Flash attention takes lengths of sequences, and a beginning
            that several pairs share is not one.
    """
    language_model = model.model.language_model
    attention = attention_of(language_model.config)
    if attention not in MASKED_ATTENTION:
        raise InputError(
            f"attn_implementation: found {attention} with earlier_answers: hidden, which needs an attention that takes "
            f"any mask ({', '.join(MASKED_ATTENTION)}); choose one, or set earlier_answers: visible"
        )

    def mask(module: nn.Module, args: tuple[object, ...], inputs: Batch) -> tuple[tuple[object, ...], Batch]:
        pair_ids = inputs.pop("pair_ids", None)
        if pair_ids is not None:
            seen = pair_attention(pair_ids)
            if attention == "eager":  # adds its mask to the scores
                unseen = torch.finfo(torch.float32).min
                seen = torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, unseen)
            inputs["attention_mask"] = seen
        return args, inputs

    # The trainer counts tokens by the batch's own mask, so that one stays as it is until here.
    language_model.register_forward_pre_hook(mask, with_kwargs=True)
