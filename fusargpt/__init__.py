"""FUSAR-GPT: SAR images, the AlphaEarth prior of their place, and a vision-language model that reads both.

What a Python user needs is here, and imported when it is first used: `import fusargpt` alone loads neither torch nor
rasterio, and `fusargpt.load` no more than inference takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusargpt.alphaearth.anchors import spatiotemporal_anchors
    from fusargpt.alphaearth.field import AlphaEarth
    from fusargpt.alphaearth.scene_prior import fetch_prior
    from fusargpt.checkpoints import KLIP_NANO, MINI, NANO, NANO_BACKBONE, NANO_SSDD
    from fusargpt.embedding.embedder import Embedder
    from fusargpt.embedding.features import read_features
    from fusargpt.embedding.verbs import classify, embed, search
    from fusargpt.errors import InputError
    from fusargpt.evaluation.evaluate import Options as EvaluationSettings
    from fusargpt.evaluation.evaluate import evaluate
    from fusargpt.geo.image import read_image
    from fusargpt.geo.prior import Prior, load_prior, save_prior
    from fusargpt.geo.reading import Reading
    from fusargpt.geo.sar_scene import SarScene
    from fusargpt.inference.loading import load
    from fusargpt.inference.predict import FusarGpt
    from fusargpt.scenes.verbs import count, describe, detect, localize
    from fusargpt.triplets.build import build as build_triplets
    from fusargpt.triplets.settings import BuildSettings

    __version__: str

# Where each public name is, and what it is called there.
_NAMES = {
    "AlphaEarth": ("alphaearth.field", "AlphaEarth"),
    "BuildSettings": ("triplets.settings", "BuildSettings"),
    "Embedder": ("embedding.embedder", "Embedder"),
    "EvaluationSettings": ("evaluation.evaluate", "Options"),
    "FusarGpt": ("inference.predict", "FusarGpt"),
    "InputError": ("errors", "InputError"),
    "KLIP_NANO": ("checkpoints", "KLIP_NANO"),
    "MINI": ("checkpoints", "MINI"),
    "NANO": ("checkpoints", "NANO"),
    "NANO_BACKBONE": ("checkpoints", "NANO_BACKBONE"),
    "NANO_SSDD": ("checkpoints", "NANO_SSDD"),
    "Prior": ("geo.prior", "Prior"),
    "Reading": ("geo.reading", "Reading"),
    "SarScene": ("geo.sar_scene", "SarScene"),
    "build_triplets": ("triplets.build", "build"),
    "classify": ("embedding.verbs", "classify"),
    "count": ("scenes.verbs", "count"),
    "describe": ("scenes.verbs", "describe"),
    "detect": ("scenes.verbs", "detect"),
    "embed": ("embedding.verbs", "embed"),
    "evaluate": ("evaluation.evaluate", "evaluate"),
    "fetch_prior": ("alphaearth.scene_prior", "fetch_prior"),
    "load": ("inference.loading", "load"),
    "load_prior": ("geo.prior", "load_prior"),
    "localize": ("scenes.verbs", "localize"),
    "read_features": ("embedding.features", "read_features"),
    "read_image": ("geo.image", "read_image"),
    "save_prior": ("geo.prior", "save_prior"),
    "search": ("embedding.verbs", "search"),
    "spatiotemporal_anchors": ("alphaearth.anchors", "spatiotemporal_anchors"),
}

__all__ = [
    "KLIP_NANO",
    "MINI",
    "NANO",
    "NANO_BACKBONE",
    "NANO_SSDD",
    "AlphaEarth",
    "BuildSettings",
    "Embedder",
    "EvaluationSettings",
    "FusarGpt",
    "InputError",
    "Prior",
    "Reading",
    "SarScene",
    "__version__",
    "build_triplets",
    "classify",
    "count",
    "describe",
    "detect",
    "embed",
    "evaluate",
    "fetch_prior",
    "load",
    "load_prior",
    "localize",
    "read_features",
    "read_image",
    "save_prior",
    "search",
    "spatiotemporal_anchors",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("fusargpt")
    if name not in _NAMES:
        raise AttributeError(f"module 'fusargpt' has no attribute {name!r}")
    module, original = _NAMES[name]
    value: object = getattr(import_module(f"fusargpt.{module}"), original)
    globals()[name] = value  # so that it is looked up once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
