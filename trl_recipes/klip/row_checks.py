"""Rows that FUSAR-KLIP cannot be trained on, found before the first step: image, prior, texts."""

from functools import lru_cache
from typing import Any, cast

import pyarrow as pa
from datasets import Dataset, Image
from tokenizers import Tokenizer

from fusargpt.errors import InputError
from fusargpt.geo.prior import PRIOR_EMBEDDINGS
from fusargpt.tasks.facts import LANDFORM_COLUMN, trusted_phrases
from fusargpt.tasks.part_texts import SAYS_LITTLE
from modeling_fusarklip import FusarKlipProcessor
from trl_recipes.data.row_checks import ROWS_AT_ONCE, check_prior, image_size, read_image
from trl_recipes.data.rows import Row
from trl_recipes.klip.rows import ACQUISITION_COLUMNS
from trl_recipes.klip.texts import TextEncoder

RULES = 2  # part of what `datasets` knows a result by; to be raised with every change of what is unreadable
_SPECIAL_TOKENS = 2  # around a text


def find_problems(
    rows: Dataset, processor: FusarKlipProcessor, encoder: TextEncoder | None, text_columns: tuple[str, ...], name: str
) -> dict[int, str]:
    """What is wrong with each row that could not be trained on, by its number.

    Args:
        rows: with what is told of an image, where it is told.
        processor: of the model.
        encoder: of its texts; None where none are read.
        text_columns: of `rows`, then none.
        name: of the dataset, for the progress bar.
    """
    problems = _acquisition_problems(rows, processor)
    files = rows.cast_column("image", Image(decode=False))
    found = files.map(
        _check,
        fn_kwargs={
            "tokenizer": "" if encoder is None else encoder.backend.to_str(),
            "max_tokens": 0 if encoder is None else encoder.max_tokens,
            "text_columns": text_columns,
            "rules": RULES,
        },
        batched=True,
        batch_size=ROWS_AT_ONCE,
        remove_columns=files.column_names,
        desc=f"Checking rows of {name}",
    )
    problems |= {row: problem for row, problem in enumerate(found["problem"]) if problem}
    return dict(sorted(problems.items()))


def _acquisition_problems(rows: Dataset, processor: FusarKlipProcessor) -> dict[int, str]:
    problems: dict[int, str] = {}
    if not set(ACQUISITION_COLUMNS) <= set(rows.column_names):
        return problems
    columns = cast(pa.Table, rows.select_columns(list(ACQUISITION_COLUMNS)).with_format("arrow")[:])
    for row, one in enumerate(columns.to_pylist()):
        try:
            processor.acquisitions([one], [(1, 1)])
        except ValueError as error:
            problems[row] = str(error).removeprefix("rows[0]")
    return problems


def _check(
    rows: dict[str, list[Any]], tokenizer: str, max_tokens: int, text_columns: tuple[str, ...], rules: int
) -> dict[str, list[str]]:
    """The first problem of each row, empty if there is none."""
    problems: list[str] = []
    for values in zip(*rows.values(), strict=True):
        row = dict(zip(rows, values, strict=True))
        try:
            image_size(read_image(row["image"]))
            if PRIOR_EMBEDDINGS in row:
                check_prior(row)
            if LANDFORM_COLUMN in text_columns:
                _check_parts(row, tokenizer, max_tokens)
            elif text_columns:
                _check_caption(row, text_columns[0], tokenizer, max_tokens)
            problems.append("")
        except InputError as error:
            problems.append(" ".join(str(error).split()))
    return {"problem": problems}


def _check_parts(row: Row, tokenizer: str, max_tokens: int) -> None:
    known = trusted_phrases(row)
    if not set(known) - {SAYS_LITTLE}:
        raise InputError(f"{LANDFORM_COLUMN}: found nothing but {SAYS_LITTLE}, expected more about the image")
    if empty := [name for name, phrase in known.items() if not phrase.strip()]:
        raise InputError(f"{empty[0]}: found an empty phrase; leave out (null) what is not known")
    backend = _tokenizer(tokenizer)
    lengths = sorted(_longest_part(backend, name, phrase) for name, phrase in known.items())
    # A text keeps two parts however short it has to be.
    longest = sum(lengths[-2:]) + _SPECIAL_TOKENS
    if longest > max_tokens:
        raise InputError(f"two parts of its texts have {longest} tokens, expected at most {max_tokens}")


def _longest_part(backend: Tokenizer, dimension: str, phrase: str) -> int:
    return len(backend.encode(phrase, add_special_tokens=False)) + _LEAD_IN_TOKENS


_LEAD_IN_TOKENS = 16  # of a sentence around its phrase, at most


def _check_caption(row: Row, column: str, tokenizer: str, max_tokens: int) -> None:
    text = row[column]
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{column}: found {'an empty text' if isinstance(text, str) else 'no text'}")
    count = len(_tokenizer(tokenizer).encode(text))
    if count > max_tokens:
        raise InputError(
            f"{column}: found a text of {count} tokens, expected at most {max_tokens}; shorten or split it, texts are "
            "never cut"
        )


@lru_cache(maxsize=2)
def _tokenizer(content: str) -> Tokenizer:
    return Tokenizer.from_str(content)
