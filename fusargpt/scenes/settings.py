"""What a user can choose about a scene that is asked in tiles. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from fusargpt.checkpoints import DEFAULT
from fusargpt.errors import InputError, check, naming
from fusargpt.geo.geometry import Bounds
from fusargpt.inference.number_types import Dtype, Quantization
from fusargpt.scenes.output_crs import check_output_crs
from fusargpt.scenes.polygon_files import check_polygon_file
from fusargpt.scenes.tile_settings import TileSettings, stamp
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, TARGET_TASKS, TASKS, check_question, prompt
from fusargpt.tasks.target_names import TARGETS, check_target

_FEWEST_CONSTRAINED_TOKENS = 128


@dataclass(frozen=True, kw_only=True)
class SceneSettings(TileSettings):
    """The options of a run over a scene, beside those of `fusargpt.scenes.tile_settings.TileSettings`.

    Attributes:
        task: "detect", "count", "localize", "describe" or "classify".
        target: the class that the task's own question is about, one that the model was trained to find.
        question: asked instead of the task's own; the answer is read as the task's.
        model: folder, or owner/name on the Hub.
        no_skip: ask about every tile that holds data, those in which nothing stands out included.
        contrast_db: how far something has to stand out of a tile for it to be asked about, see `emptiness`.
        overlap_threshold: share of the smaller of two boxes of different tiles from which on they are one object.
        min_score: boxes of which the model was less sure, see `fusargpt.inference.confidences`, are left out; None
            takes the model's own, see `fusargpt.evaluation.calibrating`, or 0.
        abstain: answers about a tile of which the model was less sure say nothing of it; boxes are left out by
            `min_score`.
        constrained: hold each answer to the form of its task, of `fusargpt.tasks.grammar`; needs the extra
            `constrained`.
        max_new_tokens: where an answer is cut that does not end by itself.
        dtype, quantization: of the model, as of `fusargpt.inference.loading.load`.
        bbox: west, south, east, north in WGS84 degrees of what is asked about; west is larger than east across the
            antimeridian. Tiles that do not meet it are not read, and targets whose centre lies outside are left out.
        aoi: likewise, by the polygons of a file, see `polygon_files`. Instead of `bbox`.
        land: file of polygons. Tiles that lie on them as a whole are not read, and targets whose centre lies on them,
            and cells that do as a whole, are left out and counted.
        out_crs: of the places in GeoPackages and GeoParquet files, as "EPSG:32611"; None writes WGS84 degrees.

    Raises:
        InputError: a value outside its range, or two that do not go together.
    """

    task: str
    target: str = TARGETS[0]
    question: str | None = None
    model: str = str(DEFAULT)
    no_skip: bool = False
    contrast_db: float = 6.0
    overlap_threshold: float = 0.5
    min_score: float | None = None
    abstain: float = 0.0
    constrained: bool = False
    max_new_tokens: int = MAX_NEW_TOKENS
    dtype: Dtype | None = None
    quantization: Quantization = "none"
    bbox: Bounds | None = None
    aoi: str | Path | None = None
    land: str | Path | None = None
    out_crs: str | None = None

    def __post_init__(self) -> None:
        check("task", self.task, self.task in TASKS, f"one of {', '.join(TASKS)}")
        check_target(self.target)
        if self.question is not None:
            check_question(self.question)
        super().__post_init__()
        self.check_prior()
        check("contrast", self.contrast_db, 0 < self.contrast_db <= 60, "above 0, at most 60 dB")
        check("overlap-threshold", self.overlap_threshold, 0 < self.overlap_threshold <= 1, "above 0, at most 1")
        if self.min_score is not None:
            check("min-score", self.min_score, 0 <= self.min_score <= 1, "0 to 1")
        check("abstain", self.abstain, 0 <= self.abstain <= 1, "0 to 1")
        if self.abstain and self.task == "detect":
            raise InputError("abstain: found a detection, whose boxes have scores of their own; take min-score")
        if self.constrained and self.task == "describe":
            raise InputError("constrained: a description is free text; leave it out")
        if self.constrained:
            fits = self.max_new_tokens >= _FEWEST_CONSTRAINED_TOKENS
            expected = f"{_FEWEST_CONSTRAINED_TOKENS} or more for whole answers"
            check("max-new-tokens", self.max_new_tokens, fits, expected)
        check("max-new-tokens", self.max_new_tokens, self.max_new_tokens >= 1, "1 or more")
        check("dtype", self.dtype, self.dtype in (None, *get_args(Dtype)), f"one of {', '.join(get_args(Dtype))}")
        known = get_args(Quantization)
        check("quantization", self.quantization, self.quantization in known, f"one of {', '.join(known)}")
        self._check_area()
        if self.out_crs is not None:
            check_output_crs(self.out_crs)

    def _check_area(self) -> None:
        if self.bbox is not None:
            west, south, east, north = self.bbox
            fits = -180 <= west <= 180 and -180 <= east <= 180 and west != east and -90 <= south < north <= 90
            found = " ".join(f"{edge:g}" for edge in self.bbox)
            check("bbox", found, fits, "west, south, east, north in degrees of longitude and latitude")
            if self.aoi is not None:
                raise InputError("bbox and aoi: expected one of them")
        if self.aoi is not None:
            with naming("aoi"):
                check_polygon_file(self.aoi)
        if self.land is not None:
            # Of other classes than the simulator's nobody but the asker knows where they can be.
            if self.task not in TARGET_TASKS or self.target == "aircraft":
                asked = f"{self.task} of {self.target}" if self.task in TARGET_TASKS else self.task
                raise InputError(f"land: found {asked}; what lies on land is no ship, but may be that; leave it out")
            with naming("land"):
                check_polygon_file(self.land)

    @property
    def asked_target(self) -> str | None:
        """The class that the task's own question names; None where it names none, or another question is asked."""
        return self.target if self.question is None and self.task in TARGET_TASKS else None

    @property
    def prompt(self) -> str:
        """The question that each tile is asked."""
        return prompt(self.task, self.target) if self.question is None else self.question

    def conditions(self, scene: str, tile: int, overlap: int) -> dict[str, object]:
        chosen = super().conditions(scene, tile, overlap) | {"question": self.prompt}
        # How boxes are merged, chosen and written changes no answer.
        del chosen["overlap_threshold"], chosen["min_score"], chosen["abstain"], chosen["out_crs"]
        chosen["bbox"] = None if self.bbox is None else list(self.bbox)
        files = {"aoi": self.aoi, "land": self.land}
        chosen |= {name: None if file is None else stamp(str(file)) for name, file in files.items()}
        return chosen
