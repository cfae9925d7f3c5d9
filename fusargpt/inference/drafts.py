"""Drafts of the tokens to come, by what followed in the answers so far.

A model that reads several tokens in one pass says of each what it would have written next: those of a draft that it
would have written too are the answer, and cost no pass of their own. What a draft cannot know, a coordinate or a name,
it leaves to the model.
"""

from collections.abc import Set

_CONTEXTS = (8, 4, 2, 1)
"""Tokens by which the next one is looked up, the longest known first. Eight hold three numbers of a box."""
_SETTLED = 2
"""Times in succession that a token must have followed before it is drafted."""
_KEPT = 2**16
"""Contexts; all are forgotten where there are more."""
_AT_ONCE = 8
"""Drafted tokens of all rows of a pass together, about."""
_END = -1
_NUMBER = -2

Context = list[int | str | None]


class Drafts:
    """What followed what.

    Args:
        numbers: tokens of digits alone. In what came before, one stands for another.
    """

    def __init__(self, numbers: Set[int]) -> None:
        self._numbers = numbers
        self._after: dict[tuple[int | str | None, ...], tuple[int, int]] = {}

    @staticmethod
    def most(rows: int) -> int:
        """Tokens that a draft of each of so many rows may have."""
        # On a CPU a pass of fusargpt-nano costs as much as ten tokens in it: one more in each of 16 rows is less than
        # the passes that it saves, in each of 32 it is not.
        return max(_AT_ONCE // rows, int(rows <= 2 * _AT_ONCE))

    def learn(self, before: Context, token: int, is_end: bool) -> None:
        """That `token` followed, or that the answer ended with it; it is put behind `before`.

        Args:
            before: the task, and the tokens of the answer so far, as this function has put them there.
            token: that follows.
            is_end: whether it is the last one.
        """
        if len(self._after) > _KEPT:
            self._after.clear()
        found = _END if is_end else token
        for length in _CONTEXTS:
            if len(before) >= length:
                context = tuple(before[-length:])
                last, times = self._after.get(context, (found, 0))
                self._after[context] = found, times + 1 if last == found else 1
        before.append(self._kind(token))

    def draft(self, before: Context, most: int) -> list[int]:
        """The tokens, at most so many, that may come next."""
        drafted: list[int] = []
        before = before[-_CONTEXTS[0] :]
        while len(drafted) < most and (token := self._next(before)) != _END:
            drafted.append(token)
            before.append(self._kind(token))
        return drafted

    def _next(self, before: Context) -> int:
        for length in _CONTEXTS:
            if len(before) >= length:
                token, times = self._after.get(tuple(before[-length:]), (_END, 0))
                if times >= _SETTLED:
                    return token
        return _END

    def _kind(self, token: int) -> int:
        return _NUMBER if token in self._numbers else token
