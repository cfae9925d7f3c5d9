"""A whole scene from file to answers on the map."""

import sys
from collections import Counter
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rasterio
from PIL import Image
from tqdm import tqdm

from fusargpt.checkpoints import NANO, name_of
from fusargpt.errors import InputError
from fusargpt.geo.embeddings import ATTRIBUTION
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.reading import ReadAs
from fusargpt.geo.remote import shown
from fusargpt.geo.sar_scene import SarScene
from fusargpt.inference.asking import Asking
from fusargpt.inference.predict import FusarGpt, load
from fusargpt.inference.questions import Answer, Failure, FusarGptAnswerer
from fusargpt.scenes import layers, quicklook, writing
from fusargpt.scenes.layers import Layer, Place
from fusargpt.scenes.opening import check_scene_path, tile_side
from fusargpt.scenes.run_files import check_new, check_outputs, forget_journal, held_output, journal_of
from fusargpt.scenes.settings import SceneSettings
from fusargpt.scenes.tile_reader import TileReader, item_of
from fusargpt.scenes.tile_view import TileView
from fusargpt.scenes.tiles import Tile, cut
from fusargpt.tasks.target_names import TARGETS, check_known

GDAL_CACHE_MB = 256
"""Of blocks of the scene that are kept unpacked; GDAL's own choice is a twentieth of the machine's memory."""
_CHIP_SIDE = 504
"""Of training; the model's processor makes of it what it makes of every tile."""
_DETECTION_OVERLAP = 4
"""A quarter of the tile."""


@dataclass(frozen=True)
class SceneResult:
    """What a model said about a scene.

    Attributes:
        places: the objects of a detection, or the tiles (and cells) of a layer.
        problems: a line for each answer that could not be read in whole.
        failures: tiles without an answer.
        width: of the scene in pixels.
        height: likewise.
        geometry: None where the scene has no georeference.
        provenance: scene, model, prior, options, and how many tiles were asked and skipped; plain JSON.
        files: that were written.
    """

    places: list[Place]
    problems: list[str]
    failures: list[Failure]
    width: int
    height: int
    geometry: Geometry | None
    provenance: dict[str, Any]
    files: tuple[Path, ...] = ()

    def feature_collection(self) -> dict[str, object]:
        """GeoJSON.

        Raises:
            InputError: the scene has no georeference.
        """
        if self.geometry is None:
            raise InputError(f"{self.provenance['scene']}: no georeference, and so no map")
        return writing.feature_collection(self.places, self.geometry, self.provenance)

    def coco(self) -> dict[str, object]:
        """COCO detection JSON of one image; of a detection alone."""
        return writing.coco(self.places, self.width, self.height, self.provenance)

    def layer(self) -> dict[str, Any]:
        """The places of the other tasks in pixels of the scene, as JSON."""
        return writing.layer_in_pixels(self.places, self.width, self.height, self.provenance)


def ask_scene(
    path: str | Path,
    settings: SceneSettings,
    out: str | Path | None = None,
    quicklook_path: str | Path | None = None,
    predictor: FusarGpt | None = None,
) -> SceneResult:
    """Ask every tile of a scene, and put the answers on the map.

    Beside `out` lies a journal, `.NAME.journal.jsonl`, while tiles are missing: the same call goes on where it stopped.

    Args:
        path: a GeoTIFF, COG or plain TIFF; a local file or an http(s), s3 or gs URL.
        settings: what to ask and how.
        out: .geojson or .gpkg, or .json in pixels (COCO for a detection); None writes nothing and keeps no journal.
        quicklook_path: PNG; None draws none.
        predictor: a loaded model; None loads the one that the settings name.

    Raises:
        InputError: a scene, field, model or file that is not what it should be, a file to be written that is there
            already, or another run that writes `out`. A single tile that fails is reported in the result.
    """
    check_scene_path(str(path))
    out = None if out is None else Path(out)
    with (
        rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB),
        SarScene.open(path, settings.reading) as scene,
        held_output(out),
    ):
        form = None if out is None else writing.format_of(out, settings.task, scene)
        check_outputs(path, out, quicklook_path)
        check_new(out, quicklook_path)
        view = TileView.of(scene, settings)
        name = name_of(settings.model) if predictor is None else "the model"
        predictor = load(settings.model, settings.device) if predictor is None else predictor
        if settings.asked_target is not None:
            check_known(settings.asked_target, predictor.targets, name)
        limits_why = settings.limits_why
        if (limits := _trained_limits(scene, settings, predictor)) is not None:
            settings, limits_why = replace(settings, decibels=limits), "what the model was trained with"
            view = replace(view, stretch=scene.stretch(decibels=limits), settings=settings)
        read_as = scene.read_as(stretch=view.stretch, limits_why=limits_why)
        side, overlap = _tile_and_overlap(scene, settings, predictor)
        tqdm.write(f"{shown(scene.path)}: {read_as}", sys.stderr)
        tiles = cut(scene.width, scene.height, side, overlap)
        items = [item_of(tile, settings.task, settings.prompt) for tile in tiles]
        with journal_of(out, settings.conditions(str(path), side, overlap)) as journal:
            with tqdm(total=len(items), initial=len(journal.answers), unit="tile") as progress:
                failures = Asking(
                    FusarGptAnswerer(predictor),
                    TileReader(view, settings, predictor.targets or TARGETS).read,
                    journal,
                    batch_size=settings.batch_size,
                    max_new_tokens=settings.max_new_tokens,
                    advance=progress.update,
                ).run(items)
            answers = journal.answers
            layer = _layer(settings, tiles, answers, scene)
            result = SceneResult(
                layer.places,
                layer.problems,
                failures,
                scene.width,
                scene.height,
                scene.geometry,
                {
                    **_provenance(scene, settings, read_as, view.year),
                    "tile": side,
                    "overlap": overlap,
                    "tiles": _counts(answers, failures),
                },
            )
            files = [] if out is None or form is None else [_write(result, out, form)]
            if quicklook_path is not None:
                picture = quicklook.draw(scene, view.stretch, layer.places, settings.target)
                quicklook.save(Path(quicklook_path), picture)
                files.append(Path(quicklook_path))
            if not failures:
                forget_journal(out)
    return replace(result, files=tuple(files))


def _trained_limits(scene: SarScene, settings: SceneSettings, predictor: FusarGpt) -> tuple[float, float] | None:
    """The decibels that the model knows as black and white, for a scene that is calibrated as they were."""
    if not scene.calibrated or settings.decibels is not None or settings.stretch != "scene":
        return None
    return predictor.decibel_limits(scene.polarization)


def _tile_and_overlap(scene: SarScene, settings: SceneSettings, predictor: FusarGpt) -> tuple[int, int]:
    side = tile_side(scene, settings, predictor.seen_size(Image.new("RGB", (_CHIP_SIDE, _CHIP_SIDE)))[0])
    if settings.overlap is not None:
        return side, settings.overlap
    return side, side // _DETECTION_OVERLAP if settings.task == "detect" else 0


def _layer(settings: SceneSettings, tiles: list[Tile], answers: dict[str, Answer], scene: SarScene) -> Layer:
    if settings.task == "detect":
        return layers.objects(tiles, answers, scene.width, scene.height, settings.overlap_threshold, settings.min_score)
    return layers.grid(settings.task, settings.target, tiles, answers, scene.width, scene.height)


def _provenance(scene: SarScene, settings: SceneSettings, read_as: ReadAs, year: int | None) -> dict[str, object]:
    prior: dict[str, object] = {"prior": "none"}
    if settings.aef is not None:
        prior = {"prior": f"AlphaEarth {year}", "prior_root": shown(settings.aef), "attribution": ATTRIBUTION}
    return {
        "software": f"fusargpt {version('fusargpt')}",
        "task": settings.task,
        "target": settings.target,
        "question": settings.prompt,
        # The path of the one that comes with the package says nothing to others.
        "model": NANO.name if settings.model == str(NANO) else settings.model,
        **prior,
        "scene": shown(scene.path),
        "acquired": None if scene.acquired is None else scene.acquired.isoformat(),
        "sensor": scene.sensor,
        **({} if scene.product is None else {"product": scene.product.as_json()}),
        "band": scene.band,
        "polarization": scene.polarization,
        "read_as": read_as.as_json(),
        "resolution_m": None if scene.geometry is None else round(scene.geometry.resolution_m(), 3),
        "stretch": settings.stretch if settings.decibels is None else list(settings.decibels),
        "constrained": settings.constrained,
        "contrast_db": None if settings.no_skip or settings.task == "describe" else settings.contrast_db,
        "overlap_threshold": settings.overlap_threshold,
        "min_score": settings.min_score,
    }


def _counts(answers: dict[str, Answer], failures: list[Failure]) -> dict[str, int]:
    skipped = Counter(answer.skipped for answer in answers.values())
    return {
        "asked": skipped[""],
        "no data": skipped["no data"],
        "nothing stands out": skipped["nothing stands out"],
        "failed": len(failures),
        "asked without anchors": sum(answer.anchors == 0 for answer in answers.values()),
    }


def _write(result: SceneResult, out: Path, form: str) -> Path:
    if form == "COCO":
        writing.write_json(out, result.coco())
    elif form == "pixels":
        writing.write_json(out, result.layer())
    elif form == "GeoJSON":
        writing.write_json(out, result.feature_collection())
    else:
        writing.write_geopackage(out, result.feature_collection(), result.provenance["task"])
    return out
