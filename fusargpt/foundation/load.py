"""The tower of an entry."""

from fusargpt.checkpoints import NANO, shipped
from fusargpt.foundation.entries import (
    ALPHAEARTH,
    BOTH,
    CLASSIFIER,
    DUAL_ENCODER,
    FUSARKLIP,
    HAND,
    MAJORITY,
    NANO_TOWER,
    OPEN_CLIP,
    RANDOM,
    VISION,
    Entry,
)
from fusargpt.foundation.features import Tower
from fusargpt.foundation.towers.alphaearth import AlphaEarthAlone
from fusargpt.foundation.towers.hand import HandFeatures
from fusargpt.foundation.towers.simple import Nothing, Together


def load_tower(entry: Entry, device: str) -> Tower:
    """Load what an entry names.

    Raises:
        InputError: files that are missing or damaged, or a package that is not installed.
    """
    # Outputs name a model as it was asked for; what comes with the package lies where this copy has it.
    model = shipped(entry.model)
    # Towers of models are imported where they are used: each takes seconds.
    if entry.kind == MAJORITY:
        return Nothing()
    if entry.kind == HAND:
        return HandFeatures()
    if entry.kind == ALPHAEARTH:
        return AlphaEarthAlone()
    if entry.kind == BOTH:
        return Together([HandFeatures(), AlphaEarthAlone()])
    if entry.kind == NANO_TOWER:
        from fusargpt.foundation.towers.nano_tower import FusarGptTower

        return FusarGptTower(NANO, device)
    if entry.kind == VISION:
        from fusargpt.foundation.towers.any_model import AnyVisionTower

        return AnyVisionTower(model, device)
    if entry.kind in (FUSARKLIP, f"{RANDOM} {FUSARKLIP}"):
        from fusargpt.foundation.towers.fusarklip import FusarKlipTower

        return FusarKlipTower.load(model, device, random=entry.kind != FUSARKLIP)
    if entry.kind == CLASSIFIER:
        from fusargpt.foundation.towers.classifier import FusarKlipClassifier

        return FusarKlipClassifier(model, device)
    if entry.kind == OPEN_CLIP:
        from fusargpt.foundation.towers.open_clip import OpenClipTower

        return OpenClipTower(entry.model.removeprefix(f"{OPEN_CLIP}:"), device)
    if entry.kind == DUAL_ENCODER:
        from fusargpt.foundation.towers.dual_encoder import DualEncoder

        return DualEncoder(model, device)
    raise ValueError(f"entry: found the kind {entry.kind!r}, expected one that fusargpt.foundation.entries makes")


class Towers:
    """The tower in use: arms of one model follow each other, and no two models fill the memory.

    Args:
        device: as torch names it.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._key: tuple[str, str] | None = None
        self._tower: Tower | None = None

    def get(self, entry: Entry) -> Tower:
        if self._tower is None or self._key != (entry.kind, entry.model):
            self._tower = None
            self._tower, self._key = load_tower(entry, self._device), (entry.kind, entry.model)
        return self._tower
