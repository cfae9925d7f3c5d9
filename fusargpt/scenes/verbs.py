"""The five tasks over a scene, by the names of the commands.

Each takes the options of `fusargpt detect` as keywords, by the names of `fusargpt.scenes.settings.SceneSettings`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusargpt.scenes.settings import SceneSettings

if TYPE_CHECKING:
    from fusargpt.inference.predict import FusarGpt
    from fusargpt.scenes.result import SceneResult


def detect(
    scene: str | Path,
    *,
    target: str = "ship",
    out: str | Path | None = None,
    quicklook: str | Path | None = None,
    predictor: "FusarGpt | None" = None,
    **options: Any,
) -> "SceneResult":
    """The objects of a class in a scene, one box each.

    Args:
        scene: a GeoTIFF, COG or plain TIFF; a local file or an http(s), s3 or gs URL.
        target: a class that the model was trained to find; fusargpt-mini knows "ship" and "aircraft".
        out: .geojson, .gpkg or .parquet, or .json in pixels (COCO for a detection); None writes nothing.
        quicklook: PNG; None draws none.
        predictor: a model that `fusargpt.inference.loading.load` gave; None loads the one that `model` names.
        **options: further fields of `fusargpt.scenes.settings.SceneSettings`, such as `aef` or `no_prior`, one of which
            is needed.

    Raises:
        InputError: an option, a scene, a field, a model or a file that is not what it should be.
        TypeError: an option that does not exist.
    """
    return _ask("detect", scene, out, quicklook, predictor, target=target, **options)


def count(
    scene: str | Path,
    *,
    target: str = "ship",
    out: str | Path | None = None,
    quicklook: str | Path | None = None,
    predictor: "FusarGpt | None" = None,
    **options: Any,
) -> "SceneResult":
    """How many objects of a class each tile of a grid shows; otherwise as `detect`."""
    return _ask("count", scene, out, quicklook, predictor, target=target, **options)


def localize(
    scene: str | Path,
    *,
    target: str = "ship",
    out: str | Path | None = None,
    quicklook: str | Path | None = None,
    predictor: "FusarGpt | None" = None,
    **options: Any,
) -> "SceneResult":
    """Which cells of the 3 x 3 grid of each tile contain objects of a class; otherwise as `detect`."""
    return _ask("localize", scene, out, quicklook, predictor, target=target, **options)


def describe(
    scene: str | Path,
    *,
    out: str | Path | None = None,
    quicklook: str | Path | None = None,
    predictor: "FusarGpt | None" = None,
    **options: Any,
) -> "SceneResult":
    """A description of each tile of a grid, empty sea included; otherwise as `detect`."""
    return _ask("describe", scene, out, quicklook, predictor, **options)


def classify(
    scene: str | Path,
    *,
    out: str | Path | None = None,
    quicklook: str | Path | None = None,
    predictor: "FusarGpt | None" = None,
    **options: Any,
) -> "SceneResult":
    """The class of the targets in each tile of a grid, "none" where there are none; otherwise as `detect`."""
    return _ask("classify", scene, out, quicklook, predictor, **options)


def _ask(
    task: str,
    scene: str | Path,
    out: str | Path | None,
    quicklook: str | Path | None,
    predictor: "FusarGpt | None",
    **options: Any,
) -> "SceneResult":
    settings = SceneSettings(task=task, **options)

    # Imports torch, which takes seconds; options that do not fit are told before.
    from fusargpt.scenes.ask_scene import ask_scene

    return ask_scene(scene, settings, out, quicklook, predictor)
