"""Who is examined: models with each arm of the prior, and the baselines beside them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from fusargpt.checkpoints import shipped
from fusargpt.embedding.model_folder import CLIP_LIKE
from fusargpt.errors import InputError, one_line
from fusargpt.inference.loading import check_name
from fusargpt.private_names import commit_of
from modeling_fusarklip.configuration_fusarklip import FusarKlipConfig

MAJORITY = "majority"
"""Always there: what is most often true in the training split, and chance where nothing is fitted."""
HAND, ALPHAEARTH, BOTH, NANO_TOWER, RANDOM = "hand", "alphaearth", "hand+alphaearth", "nano-tower", "random"
BASELINES = (HAND, ALPHAEARTH, BOTH, NANO_TOWER, RANDOM)
"""Those that are called by a name of their own; any other is a model folder, or OPEN_CLIP:ARCHITECTURE/WEIGHTS."""
OPEN_CLIP = "open_clip"
FUSARKLIP, DUAL_ENCODER, VISION = "fusarklip", "dual encoder", "vision"
CLASSIFIER = "fusarklip classifier"
"""One that was fine-tuned, and is asked for nothing but the classes of its head."""
_SUFFIXES = {".json", ".safetensors", ".bin", ".model", ".txt"}


@dataclass(frozen=True)
class Entry:
    """One column of the result.

    Attributes:
        model: a name of `BASELINES`, `MAJORITY`, a folder, a name on the Hub, or open_clip:ARCHITECTURE/WEIGHTS.
        label: what it is called in tables; no two entries share one.
        kind: of tower, as `fusargpt.foundation.load` knows them.
        revision: the Hub's commit, or a hash of the folder's files.
        arm: of `fusargpt.foundation.arms.ARMS`; "none" for towers that take no prior.
        speaks: whether it has texts in the space of its images.
        matches: whether it reads texts with images before it.
        writes: whether it writes texts beside images.
        classes: that its head tells apart, by their numbers; none where probes are fitted to frozen features.
    """

    model: str
    label: str
    kind: str
    revision: str
    arm: str
    speaks: bool = False
    matches: bool = False
    writes: bool = False
    classes: tuple[str, ...] = ()

    @property
    def tuned(self) -> bool:
        """Whether it was fine-tuned to classes, instead of being frozen and probed."""
        return bool(self.classes)


def enter(model: str, baselines: Sequence[str], arms: Sequence[str]) -> list[Entry]:
    """The entries: the model with each arm, each baseline with and without the prior where it takes one, and
    `MAJORITY`.

    Args:
        model: what is examined; a baseline's name examines that.
        baselines: others.
        arms: of the model; of baselines those of them that are "true" or "none".

    Raises:
        InputError: a name that is no model, one that is named twice, or random weights of what has none.
    """
    names = [model, *baselines]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name}: found {names.count(name)} times; name every model once")
    if model == RANDOM:
        raise InputError(f"{RANDOM}: random weights are those of the model's architecture; name a model, and it beside")
    entries: list[Entry] = []
    for name in names:
        chosen = arms if name == model else [arm for arm in arms if arm in ("true", "none")] or ["true"]
        entries += _entries(name, model, chosen)
    return [*entries, Entry(MAJORITY, MAJORITY, MAJORITY, "", "none")]


def _entries(name: str, model: str, arms: Sequence[str]) -> list[Entry]:
    if name == HAND:
        return [Entry(name, name, HAND, "", "none")]
    if name in (ALPHAEARTH, BOTH):
        return [Entry(name, name, name, "", "true")]
    if name == NANO_TOWER:
        return [Entry(name, f"{name}, prior {arm}", NANO_TOWER, "", arm) for arm in arms]
    if name.startswith(f"{OPEN_CLIP}:"):
        return [Entry(name, name.removeprefix(f"{OPEN_CLIP}:"), OPEN_CLIP, "", "none", speaks=True)]
    if name == RANDOM:
        if any(entry.tuned for entry in _entries(model, model, arms)):
            raise InputError(f"{RANDOM}: {model} is fine-tuned, and random weights of it say nothing; leave it out")
        return [
            Entry(model, f"{RANDOM}, prior {entry.arm}" if entry.arm != "none" or len(arms) > 1 else RANDOM,
                  f"{RANDOM} {entry.kind}", entry.revision, entry.arm, entry.speaks, entry.matches, entry.writes)
            for entry in _entries(model, model, arms)
        ]  # fmt: skip
    config, revision = _identify(name)
    title = Path(name).name or name
    if config.model_type == FUSARKLIP and "FusarKlipForImageClassification" in (config.architectures or ()):
        classes = tuple(text for _, text in sorted((config.id2label or {}).items()))
        title = f"{title}, fine-tuned"
        if "prior" not in cast(FusarKlipConfig, config).classifier_inputs:
            return [Entry(name, title, CLASSIFIER, revision, "none", classes=classes)]
        return [Entry(name, f"{title}, prior {arm}", CLASSIFIER, revision, arm, classes=classes) for arm in arms]
    if config.model_type == FUSARKLIP:
        # The head of a model that was trained without matching is as it began.
        losses = cast(FusarKlipConfig, config).losses
        return [
            Entry(
                name,
                f"{title}, prior {arm}",
                FUSARKLIP,
                revision,
                arm,
                speaks=True,
                matches=losses.itm > 0,
                writes=losses.lm > 0,
            )
            for arm in arms
        ]
    if config.model_type in CLIP_LIKE:
        return [Entry(name, title, DUAL_ENCODER, revision, "none", speaks=True)]
    if type(config) in MODEL_MAPPING:
        return [Entry(name, title, VISION, revision, "none")]
    raise InputError(
        f"{name}: a model of type {config.model_type}; expected one of {', '.join(BASELINES)}, of type {FUSARKLIP}, "
        f"{', '.join(CLIP_LIKE)}, or of another that AutoModel knows"
    )


def _identify(name: str) -> tuple[PreTrainedConfig, str]:
    path = shipped(name)
    if not Path(path).exists() and "/" not in name:
        raise InputError(f"{name}: no such model folder; expected one, the Hub's owner/name, or {', '.join(BASELINES)}")
    check_name(path)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    # What transformers raises on a configuration that is damaged or of a type that it does not know: of any type.
    except Exception as error:
        raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error
    folder = Path(path)
    return config, _hash(folder) if folder.is_dir() else str(commit_of(config))


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
