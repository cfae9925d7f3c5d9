"""The stages by rules, with FUSAR-GPT's eyes: what its tasks answer about an image is evidence among the rest.

It writes no JSON and holds no conversation, so that it is asked what it was trained on: a description at the first
stage, and at the fourth the boxes of each class, as a detector. All else is done by rules.
"""

import re
from dataclasses import replace

from transformers import AutoConfig

from fusargpt.captioning.claims import Claim, Findings
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.stages import INSTANCES, PLACE, RULES, Asked
from fusargpt.errors import InputError, one_line
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.inference.predict import FusarGpt
from fusargpt.tasks.answers import parse_boxes
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, prompt
from fusargpt.tasks.target_dimensions import TargetBox
from fusargpt.tasks.target_names import TARGETS
from fusargpt.tasks.wordings import series
from modeling_fusargpt import FusarGptConfig, FusarGptQwen3Config
from modeling_fusargpt.artefacts import ArtefactError, described_by, read_chain

DESCRIPTION_TRUST = 0.6
"""Confidence in a terrain that only a description tells."""


class FusarGptBackend:
    """Asks a loaded FUSAR-GPT where its tasks know an answer, and leaves the rest to rules.

    Args:
        model: as `fusargpt.inference.loading.load` gives it.
        name: of the model.
        with_prior: whether it sees the image's AlphaEarth prior.
        own_boxes: look for targets even where boxes came with the image.
    """

    def __init__(self, model: FusarGpt, name: str, with_prior: bool = True, own_boxes: bool = False) -> None:
        self._model, self._with_prior, self._own_boxes = model, with_prior, own_boxes
        self._name = name

    @property
    def name(self) -> str:
        prior = "" if self._with_prior else ", no prior"
        return f"{self._name}{prior}{', own boxes' if self._own_boxes else ''}"

    def run(self, stage: str, observation: Observation, findings: Findings) -> tuple[Findings, tuple[Asked, ...]]:
        """Raises InputError for an image that the model does not take; otherwise as rules do."""
        if self._looks_for_targets(observation):
            # Until it has looked, nobody knows of any; afterwards the boxes are a detector's.
            observation = replace(observation, targets=findings.targets, vetted=False)
        if stage == PLACE:
            findings = RULES[stage](observation, findings)
            return findings.saying(self._described(observation, findings)), ()
        if stage == INSTANCES and self._looks_for_targets(observation):
            observation = replace(observation, targets=self._detected(observation), vetted=False)
        return RULES[stage](observation, findings), ()

    def _looks_for_targets(self, observation: Observation) -> bool:
        return self._own_boxes or observation.targets is None or not observation.vetted

    def _described(self, observation: Observation, findings: Findings) -> list[Claim]:
        text = self._answers(observation, [prompt("describe")])[0]
        if not text:
            return []
        told = text[0].lower() + text[1:].removesuffix(".")
        claims = [Claim("scene", "caption", told, {}, f"{self._name}, describe", DESCRIPTION_TRUST, PLACE)]
        covers = named_covers(told)
        if findings.regions is None and covers:
            terrain = f"mostly {series(covers)}" if told.startswith("mostly") else series(covers)
            claims.append(
                Claim("landform", "terrain", terrain, {}, f"{self._name}, describe", DESCRIPTION_TRUST, PLACE)
            )
        return claims

    def _detected(self, observation: Observation) -> list[TargetBox]:
        width, height = observation.image.size
        seen_width, seen_height = self._model.seen_size(observation.image.convert("RGB"))
        targets = self._model.targets or TARGETS
        answers = self._answers(observation, [prompt("detect", target) for target in targets])
        found: list[TargetBox] = []
        for target, answer in zip(targets, answers, strict=True):
            for box, label in parse_boxes(answer).value:
                x1, y1, x2, y2 = (
                    min(max(value * size / seen, 0), size)
                    for value, size, seen in zip(box, (width, height) * 2, (seen_width, seen_height) * 2, strict=True)
                )
                if label == target and x1 < x2 and y1 < y2:
                    found.append(TargetBox((x1, y1, x2, y2), label))
        return found

    def _answers(self, observation: Observation, questions: list[str]) -> list[str]:
        image = observation.image.convert("RGB")
        prior = observation.prior if self._with_prior else None
        count = len(questions)
        return self._model.answers([image] * count, questions, [prior] * count, MAX_NEW_TOKENS, count)


def is_fusar_gpt(name: str) -> bool:
    """Whether a model folder, or a model on the Hub, is of a type that has our tasks and no chat.

    Raises:
        InputError: a model that cannot be read.
    """
    try:
        config = AutoConfig.from_pretrained(described_by(read_chain(name)).name, trust_remote_code=False)
    except ArtefactError as error:
        raise InputError(str(error)) from error
    # What transformers raises on a configuration that is damaged or of a type that it does not know: of any type.
    except Exception as error:
        raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error
    return config.model_type in (FusarGptConfig.model_type, FusarGptQwen3Config.model_type)


def named_covers(text: str) -> list[str]:
    """Classes of land cover in the order in which a text first names them."""
    at = {name: found.start() for name in LANDCOVER_CLASSES if (found := re.search(rf"\b{name}\b", text))}
    return sorted(at, key=lambda name: at[name])
