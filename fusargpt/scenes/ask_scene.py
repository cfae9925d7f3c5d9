"""A whole scene from file to answers on the map."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import rasterio
from PIL import Image
from rasterio.windows import Window
from tqdm import tqdm

from fusargpt.checkpoints import name_of, shipped_name
from fusargpt.errors import InputError
from fusargpt.geo.embeddings import ATTRIBUTION
from fusargpt.geo.mapping import WGS84
from fusargpt.geo.reading import ReadAs
from fusargpt.geo.remote import shown
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.scene_picture import scene_picture
from fusargpt.inference.asking import Asking
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.questions import Answer, Failure, FusarGptAnswerer, told_confidences
from fusargpt.scenes import layers, quicklook, writing
from fusargpt.scenes.areas import Area, area_of, land_of
from fusargpt.scenes.emptiness import NO_DATA, NOTHING, ON_LAND
from fusargpt.scenes.layers import Layer
from fusargpt.scenes.leaving_out import without_land, without_outside
from fusargpt.scenes.opening import check_scene_path, tile_side
from fusargpt.scenes.output_crs import check_output_crs
from fusargpt.scenes.quicklook import Drawn
from fusargpt.scenes.result import SceneFile, SceneResult
from fusargpt.scenes.run_files import check_new, check_outputs, forget_journal, held_output, journal_of
from fusargpt.scenes.settings import SceneSettings
from fusargpt.scenes.tile_reader import TileReader, item_of
from fusargpt.scenes.tile_view import TileView
from fusargpt.scenes.tiles import Tile, cut
from fusargpt.scenes.titles import notes_of, title_of
from fusargpt.tasks.target_names import TARGETS, check_known

GDAL_CACHE_MB = 256
"""Of blocks of the scene that are kept unpacked; GDAL's own choice is a twentieth of the machine's memory."""
_CHIP_SIDE = 504
"""Of training; the model's processor makes of it what it makes of every tile."""
_DETECTION_OVERLAP = 4
"""A quarter of the tile."""


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
        out: .geojson, .gpkg or .parquet, or .json in pixels (COCO for a detection); None writes nothing and keeps no
            journal.
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
        form = None if out is None else writing.format_of(out, settings.task, scene, settings.out_crs)
        check_outputs(path, out, quicklook_path)
        check_new(out, quicklook_path)
        area, land = area_of(scene, settings.bbox, settings.aoi), land_of(scene, settings.land)
        view = TileView.of(scene, settings)
        name = name_of(settings.model) if predictor is None else "the model"
        if predictor is None:
            predictor = load(settings.model, settings.device, settings.dtype, settings.quantization)
        if settings.asked_target is not None:
            check_known(settings.asked_target, predictor.targets, name)
        if settings.task == "detect" and settings.min_score is None:
            settings = replace(settings, min_score=predictor.min_score)
        limits_why = settings.limits_why
        if (limits := _trained_limits(scene, settings, predictor)) is not None:
            settings, limits_why = replace(settings, decibels=limits), "what the model was trained with"
            view = replace(view, stretch=scene.stretch(decibels=limits), settings=settings)
        read_as = scene.read_as(stretch=view.stretch, limits_why=limits_why)
        seen = predictor.seen_size(Image.new("RGB", (_CHIP_SIDE, _CHIP_SIDE)))[0]
        side = tile_side(scene, settings, seen, predictor.coarsest_pixel_m)
        overlap = _overlap(settings, side)
        tqdm.write(f"{shown(scene.path)}: {read_as}", sys.stderr)
        whole = min(seen, max(scene.width, scene.height))
        if side < whole and settings.tile is None and settings.resolution_m is None:
            tqdm.write(
                f"{shown(scene.path)}: tiles of {side} pixels, enlarged to {seen}: {name} was trained on pixels of "
                f"{predictor.coarsest_pixel_m:g} m or less (--tile {seen} leaves them as they are)",
                sys.stderr,
            )
        tiles = _inside(cut(scene.width, scene.height, side, overlap), scene, area)
        items = [item_of(tile, settings.task, settings.prompt) for tile in tiles]
        with journal_of(out, settings.conditions(str(path), side, overlap)) as journal:
            with tqdm(total=len(items), initial=len(journal.answers), unit="tile") as progress:
                failures = Asking(
                    FusarGptAnswerer(predictor),
                    TileReader(view, settings, predictor.targets or TARGETS, land).read,
                    journal,
                    batch_size=settings.batch_size,
                    max_new_tokens=settings.max_new_tokens,
                    advance=progress.update,
                ).run(items)
            answers = journal.answers
            layer = _layer(settings, tiles, answers, scene)
            places, outside = without_outside(layer.places, area)
            places, on_land = without_land(places, land)
            places = layers.measured(places, scene.geometry)
            left_out = {} if area is None else {"outside the area": outside}
            left_out |= {} if land is None else {"on land": on_land}
            provenance = {
                **_provenance(scene, settings, read_as, view.year),
                "tile": side,
                "overlap": overlap,
                "tiles": _counts(answers, failures),
                "confidences": told_confidences(answers.values()),
                **({"boxes_of_lower_scores": layer.unsure} if settings.task == "detect" else {}),
                **({"left_out": left_out} if left_out else {}),
            }
            boxes = {tile.id: tile.inside(scene.width, scene.height) for tile in tiles}
            result = SceneResult(
                places,
                layer.problems,
                failures,
                scene.width,
                scene.height,
                scene.geometry,
                provenance,
                SceneFile(str(path), settings.reading, view.stretch, _window(list(boxes.values()))),
                Drawn(
                    title_of(provenance, places),
                    notes_of(provenance),
                    settings.target,
                    area=[] if area is None else area.outlines(),
                    land=[] if land is None else land.outlines(),
                    failed=[boxes[failure.id] for failure in failures],
                ),
            )
            files = [] if out is None or form is None else [_write(result, out, form, settings.out_crs)]
            if quicklook_path is not None:
                picture = scene_picture(scene, view.stretch, result.source.window)
                quicklook.save(Path(quicklook_path), quicklook.draw(picture, places, result.drawn, scene.geometry))
                files.append(Path(quicklook_path))
            if not failures:
                forget_journal(out)
    return replace(result, files=tuple(files))


def _inside(tiles: list[Tile], scene: SarScene, area: Area | None) -> list[Tile]:
    """The tiles that meet an area: no others are read."""
    if area is None:
        return tiles
    meets = area.meets([tile.inside(scene.width, scene.height) for tile in tiles])
    if not meets.any():
        raise InputError("bbox or aoi: touches the edge of the scene alone; expected a part of it")
    return [tile for tile, is_met in zip(tiles, meets, strict=True) if is_met]


def _window(boxes: Sequence[tuple[int, int, int, int]]) -> Window:
    """The part of the scene that tiles cover."""
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    return Window.from_slices((top, bottom), (left, right))


def _trained_limits(scene: SarScene, settings: SceneSettings, predictor: FusarGpt) -> tuple[float, float] | None:
    """The decibels that the model knows as black and white, for a scene that is calibrated as they were."""
    if not scene.calibrated or settings.decibels is not None or settings.stretch != "scene":
        return None
    return predictor.decibel_limits(scene.polarization)


def _overlap(settings: SceneSettings, side: int) -> int:
    if settings.overlap is not None:
        return settings.overlap
    return side // _DETECTION_OVERLAP if settings.task == "detect" else 0


def _layer(settings: SceneSettings, tiles: list[Tile], answers: dict[str, Answer], scene: SarScene) -> Layer:
    if settings.task == "detect":
        least = settings.min_score or 0.0
        return layers.objects(tiles, answers, scene.width, scene.height, settings.overlap_threshold, least)
    return layers.grid(settings.task, settings.target, tiles, answers, scene.width, scene.height, settings.abstain)


def _provenance(scene: SarScene, settings: SceneSettings, read_as: ReadAs, year: int | None) -> dict[str, object]:
    prior: dict[str, object] = {"prior": "none"}
    if settings.aef is not None:
        prior = {"prior": f"AlphaEarth {year}", "prior_root": shown(settings.aef), "attribution": ATTRIBUTION}
    return {
        "software": f"fusargpt {version('fusargpt')}",
        "task": settings.task,
        "target": settings.target,
        "question": settings.prompt,
        # The path of one that comes with the package says nothing to others.
        "model": shipped_name(settings.model) or settings.model,
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
        "abstain": settings.abstain,
        "bbox": None if settings.bbox is None else list(settings.bbox),
        "aoi": None if settings.aoi is None else shown(str(settings.aoi)),
        "land": None if settings.land is None else shown(str(settings.land)),
        "crs": WGS84 if settings.out_crs is None else check_output_crs(settings.out_crs),
    }


def _counts(answers: dict[str, Answer], failures: list[Failure]) -> dict[str, int]:
    skipped = Counter(answer.skipped for answer in answers.values())
    return {
        "asked": skipped[""],
        NO_DATA: skipped[NO_DATA],
        NOTHING: skipped[NOTHING],
        ON_LAND: skipped[ON_LAND],
        "failed": len(failures),
        "asked without anchors": sum(answer.anchors == 0 for answer in answers.values()),
    }


def _write(result: SceneResult, out: Path, form: str, out_crs: str | None) -> Path:
    if form == "COCO":
        writing.write_json(out, result.coco())
    elif form == "pixels":
        writing.write_json(out, result.layer())
    elif form == "GeoJSON":
        writing.write_json(out, result.feature_collection())
    else:
        crs = None if out_crs is None else check_output_crs(out_crs)
        collection = result.feature_collection(writing.EXACT)
        if form == "GeoPackage":
            writing.write_geopackage(out, collection, result.provenance["task"], crs)
        else:
            writing.write_geoparquet(out, collection, crs)
    return out
