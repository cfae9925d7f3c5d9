"""What a chat model answered, read back: claims or verdicts, or why it is neither.

A model may write anything. What is not JSON of the expected form raises, with words that the model can be told; what is
read is complete and within its limits.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from fusargpt.captioning.chat.prompts import CORRECT, DROP, KEEP, dimensions
from fusargpt.captioning.claims import Claim, Schema
from fusargpt.errors import InputError

LONGEST_ANSWER = 64_000  # characters
LONGEST_TEXT = 400
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


class Verdict(NamedTuple):
    """On a claim, by its schema and dimension; `text` is what should stand there instead, of one to be corrected."""

    schema: Schema
    dimension: str
    verdict: str
    text: str
    reason: str


def read_claims(answer: str, stage: str, model: str) -> list[Claim]:
    """The claims of a stage.

    Raises:
        InputError: no JSON, or JSON of another form.
    """
    allowed = dimensions(stage)
    claims = []
    for number, item in enumerate(_items(answer, "claims", ("dimension", "text", "evidence", "confidence"), allowed)):
        confidence = item["confidence"]
        if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
            raise InputError(f"claims[{number}].confidence: found {_shown(confidence)}; expected a number from 0 to 1")
        text = _phrase(item["text"], f"claims[{number}].text")
        if text is None:
            raise InputError(f"claims[{number}].text: found an empty text; leave out what you do not know")
        evidence = _phrase(item["evidence"], f"claims[{number}].evidence") or "not told"
        schema, _, dimension = item["dimension"].partition(".")
        claims.append(
            Claim(cast(Schema, schema), dimension, text, {}, f"{model}: {evidence}", float(confidence), stage)
        )
    return claims


def read_verdicts(answer: str, claims: Sequence[Claim]) -> list[Verdict]:
    """The verdicts on claims; one that is not judged is kept.

    Raises:
        InputError: as `read_claims`.
    """
    allowed = [f"{claim.schema}.{claim.dimension}" for claim in claims]
    verdicts = []
    for number, item in enumerate(_items(answer, "verdicts", ("dimension", "verdict", "text", "reason"), allowed)):
        if item["verdict"] not in (KEEP, CORRECT, DROP):
            raise InputError(
                f"verdicts[{number}].verdict: found {_shown(item['verdict'])}; expected {KEEP}, {CORRECT} or {DROP}"
            )
        text = _phrase(item["text"], f"verdicts[{number}].text")
        if item["verdict"] == CORRECT and text is None:
            raise InputError(f"verdicts[{number}].text: found nothing; expected the phrase that is right")
        reason = _phrase(item["reason"], f"verdicts[{number}].reason") or "not told"
        schema, _, dimension = item["dimension"].partition(".")
        verdicts.append(Verdict(cast(Schema, schema), dimension, item["verdict"], text or "", reason))
    return verdicts


def _items(answer: str, name: str, keys: Sequence[str], allowed: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of the one list of an answer, with exactly these keys and each dimension at most once."""
    if len(answer) > LONGEST_ANSWER:
        raise InputError(f"found an answer of {len(answer):,} characters; expected at most {LONGEST_ANSWER:,}")
    fenced = _FENCE.fullmatch(answer)
    try:
        found = json.loads(fenced[1] if fenced else answer, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"found no JSON ({type(error).__name__}) in {_shown(answer)}; expected JSON alone") from error
    if not isinstance(found, dict) or list(found) != [name] or not isinstance(found[name], list):
        raise InputError(f'found {_shown(found)}; expected {{"{name}": [...]}}')
    seen: set[str] = set()
    for number, item in enumerate(found[name]):
        if not isinstance(item, dict) or set(item) != set(keys):
            raise InputError(f"{name}[{number}]: found {_shown(item)}; expected an object with {', '.join(keys)}")
        if item["dimension"] not in allowed:
            raise InputError(
                f"{name}[{number}].dimension: found {_shown(item['dimension'])}; expected one of {', '.join(allowed)}"
            )
        if item["dimension"] in seen:
            raise InputError(f"{name}[{number}].dimension: found {item['dimension']} twice; expected it once")
        seen.add(item["dimension"])
    return found[name]


def _phrase(value: object, name: str) -> str | None:
    """One line without a full stop; None for nothing."""
    if not isinstance(value, str):
        raise InputError(f"{name}: found {_shown(value)}; expected a text")
    if len(value) > LONGEST_TEXT:
        raise InputError(f"{name}: found {len(value):,} characters; expected at most {LONGEST_TEXT}")
    # What cannot be encoded cannot be written either.
    text = " ".join(value.encode(errors="ignore").decode().split())
    return text.removesuffix(".") or None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
