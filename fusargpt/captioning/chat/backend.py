"""The stages by a chat model: rules measure, the model claims, and at the end judges what was claimed."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from fusargpt.captioning.chat.models import Budget, ChatModel, Memory, Turns, key_of
from fusargpt.captioning.chat.prompts import (
    CORRECT,
    DROP,
    PROMPTS_VERSION,
    SYSTEM,
    calibration_question,
    claims_schema,
    question,
    verdicts_schema,
)
from fusargpt.captioning.chat.reading import Verdict, read_claims, read_verdicts
from fusargpt.captioning.claims import Claim, Findings
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.stages import CALIBRATION, RULES, Asked
from fusargpt.errors import InputError

ATTEMPTS = 3
"""Of one question, whose answer cannot be read; the model is told each time what is wrong with it."""
_LONGEST_QUOTED = 2_000  # characters of an answer that could not be read
Value = TypeVar("Value")


class ChatBackend:
    """Asks a chat model at each stage.

    What rules measure at a stage (coordinates, land cover, backscatter, boxes) is put into the question; what they
    would claim is not. At calibration the model is told which contradictions rules find.

    Args:
        model: who is asked.
        memory: of replies; one that is there is not asked for again.
        budget: of tokens.
    """

    def __init__(self, model: ChatModel, memory: Memory, budget: Budget) -> None:
        self._model, self._memory, self._budget = model, memory, budget

    @property
    def name(self) -> str:
        return f"chat {self._model.name}, prompts {PROMPTS_VERSION}"

    def run(self, stage: str, observation: Observation, findings: Findings) -> tuple[Findings, tuple[Asked, ...]]:
        """Raises InputError where the model refuses, or answers nothing that can be read; otherwise as its `reply`."""
        if stage == CALIBRATION:
            return self._calibrate(observation, replace(findings, changes=()))
        measured = RULES[stage](observation, findings)
        # Of the rules' work what was measured stays, and not what they would claim.
        known = [claim for claim in measured.claims.values() if claim.schema == "scene"]
        findings = replace(findings, changes=(), regions=measured.regions, targets=measured.targets).saying(known)
        text = question(stage, observation, findings)
        claims, asked = self._ask(
            observation, text, claims_schema(stage), lambda answer: read_claims(answer, stage, self._model.name)
        )
        return findings.saying(claims), asked

    def _calibrate(self, observation: Observation, findings: Findings) -> tuple[Findings, tuple[Asked, ...]]:
        claims = [claim for claim in findings.claims.values() if claim.schema != "scene"]
        if not claims:
            return findings, ()
        checked = RULES[CALIBRATION](observation, findings)
        checks = list(dict.fromkeys(change.reason for change in checked.changes))
        text = calibration_question(observation, findings, checks)
        verdicts, asked = self._ask(
            observation, text, verdicts_schema(claims), lambda answer: read_verdicts(answer, claims)
        )
        for verdict in verdicts:
            findings = _judged(findings, verdict, self._model.name)
        return findings, asked

    def _ask(
        self, observation: Observation, text: str, schema: dict[str, object], read: Callable[[str], Value]
    ) -> tuple[Value, tuple[Asked, ...]]:
        """What `read` makes of the answer; asked again where it raises."""
        turns: Turns = (("system", SYSTEM), ("user", text))
        image = _encoded(observation)
        asked: list[Asked] = []
        for attempt in range(1, ATTEMPTS + 1):
            key = key_of(self._model.name, image, turns, schema)
            reply = self._memory.get(key)
            if reply is None:
                self._budget.check()
                reply = self._model.reply(observation.image, turns, schema)
                self._budget.spend(reply)
                self._memory.put(key, reply)
            asked.append(Asked(self._model.name, key, reply.prompt_tokens, reply.answer_tokens))
            try:
                return read(reply.text), tuple(asked)
            except InputError as error:
                if attempt == ATTEMPTS:
                    raise InputError(f"{self._model.name}: no answer in {ATTEMPTS} could be read: {error}") from error
                correction = f"Your answer could not be read: {error}. Answer again, with JSON alone."
                turns = (*turns, ("assistant", reply.text[:_LONGEST_QUOTED]), ("user", correction))
        raise AssertionError("the last attempt returns or raises")


def _judged(findings: Findings, verdict: Verdict, model: str) -> Findings:
    before = findings.claims[verdict.schema, verdict.dimension]
    if verdict.verdict == DROP:
        return findings.without(before.key, verdict.reason)
    if verdict.verdict == CORRECT and verdict.text != before.text:
        evidence = f"{model}: {verdict.reason}"
        corrected = Claim(before.schema, before.dimension, verdict.text, {}, evidence, before.confidence, CALIBRATION)
        return findings.saying([corrected], verdict.reason)
    return findings


def _encoded(observation: Observation) -> bytes:
    """The image's pixels in one form, whatever file they came from."""
    encoded = io.BytesIO()
    observation.image.save(encoded, format="PNG")
    return encoded.getvalue()
