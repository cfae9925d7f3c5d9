"""Answers of which some stretches are held to be false: told whole, so that nothing is left out, and not learned there.

A caption without its doubted parts would teach a model to leave parts out. So a row may hold in ``doubted`` another
answer than its ``completion``, and where in it no loss falls; `fusargpt scio` writes it.
"""

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from fusargpt.errors import InputError
from fusargpt.tasks.facts import DOUBTED_COLUMN
from fusargpt.triplets.features import DOUBTED_FEATURE
from trl_recipes.data.rows import Message, Row


def check_doubted_column(name: str, rows: Dataset) -> None:
    """Raises InputError when the column `doubted` of the data set `name` is of another type than it should be."""
    found = rows.features[DOUBTED_COLUMN]
    if found != DOUBTED_FEATURE:
        raise InputError(f"dataset {name}: column {DOUBTED_COLUMN}: found {found}, expected {DOUBTED_FEATURE}")


def check_doubted(row: Row) -> None:
    """Raises InputError for spans that are no stretches of the answer, or for an answer that they cover."""
    doubted = row.get(DOUBTED_COLUMN)
    if doubted is None:
        return
    answer, spans = doubted["answer"], doubted["spans"]
    if not answer or not answer.strip() or spans is None:
        raise InputError(f"{DOUBTED_COLUMN}: found {doubted}, expected an answer and its spans")
    for span in spans:
        if len(span) != 2 or not 0 <= span[0] < span[1] <= len(answer):
            raise InputError(
                f"{DOUBTED_COLUMN}: found the span {span}, expected first character and the one after the last of "
                f"{len(answer)}"
            )
    if not any(not any(first <= place < last for first, last in spans) for place in range(len(answer))):
        raise InputError(f"{DOUBTED_COLUMN}: found spans that cover the whole answer, expected something to learn")


def tell_doubted(row: Row) -> Row:
    """The row with its doubted answer as the last turn of its ``completion``, which then has ``doubted``, its spans."""
    if "pairs" in row:
        return {**row, "pairs": [tell_doubted(pair) for pair in row["pairs"]]}
    doubted = row.get(DOUBTED_COLUMN)
    if doubted is None:
        return row
    *before, last = row["completion"]
    return {**row, "completion": [*before, {**last, "content": doubted["answer"], DOUBTED_COLUMN: doubted["spans"]}]}


def doubted_tokens(tokenizer: PreTrainedTokenizerBase, turn: Message, tokens: list[int]) -> list[int]:
    """Which tokens of an answer show any of its doubted characters.

    Args:
        turn: of `tell_doubted`, or any other, of which nothing is doubted.
        tokens: of the answer in its conversation.

    Raises:
        ValueError: the answer has other tokens alone, as of a template that changes what people write.
    """
    spans = turn.get(DOUBTED_COLUMN)
    if not spans:
        return []
    alone = tokenizer(turn["content"], add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
    if alone["input_ids"] != tokens:
        raise ValueError(
            f"{DOUBTED_COLUMN}: the answer begins with the tokens {tokens[:5]} in its conversation and with "
            f"{alone['input_ids'][:5]} alone; expected the same, so that its spans can be found"
        )
    return [
        place
        for place, (begin, end) in enumerate(alone["offset_mapping"])
        if any(begin < last and first < end for first, last in spans)
    ]
