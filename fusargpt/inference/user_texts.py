"""What people write is text: a special token in it is the letters of its name, never an image or the end of a turn.

A chat template makes one text of its own special tokens and what people wrote, in which these can no longer be told
apart. So a text that holds such a token is rendered as a mark, and put in its place as tokens.
"""

import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

# Of the area that Unicode leaves to private use.
_FIRST, _LAST = "\ue0f4", "\ue0f5"
_MARK = re.compile(f"{_FIRST}([0-9]+){_LAST}")


class UserTexts:
    """The texts of one rendering, by a tokenizer that is fast."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        names = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._to_mark = re.compile("|".join(map(re.escape, [_FIRST, *names])))
        self._marked: list[str] = []

    @property
    def hold_special_tokens(self) -> bool:
        return bool(self._marked)

    def shown(self, text: str) -> str:
        """What a template is given for `text`: the text itself unless it holds a special token."""
        if not self._to_mark.search(text):
            return text
        self._marked.append(text)
        return f"{_FIRST}{len(self._marked) - 1}{_LAST}"

    def tokens(self, rendered: str) -> list[int]:
        """Tokens of what a template made of texts that `shown` gave; other special tokens in it are such."""
        parts: Sequence[str] = _MARK.split(rendered)
        tokens: list[int] = list(self._tokenizer(parts[0])["input_ids"])
        for number, behind in zip(parts[1::2], parts[2::2], strict=True):
            text = self._marked[int(number)]
            tokens += self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            tokens += self._tokenizer(behind, add_special_tokens=False)["input_ids"]
        return tokens
