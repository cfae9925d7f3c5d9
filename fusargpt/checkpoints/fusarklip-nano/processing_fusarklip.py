"""Processor of FUSAR-KLIP: images, texts, the prior of every image and what is told of its acquisition."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from io import BytesIO
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, BlipProcessor, PreTrainedTokenizerBase
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from .configuration_fusarklip import DIMENSIONS, POLARIZATIONS, SENSORS
from .inputs import PRIOR_KEYS, batch_priors, check_8bit

GEOGRAPHY_KEYS = ("lon", "lat", "resolution_m", "sensor", "polarization", "acquired")
PRIOR_INPUTS = ["prior_embeddings", "prior_positions", "prior_mask"]
ACQUISITION_INPUTS = ["resolution_m", "sensor", "polarization", "month"]
_LOCATED = re.compile(r"^At \d+\.\d\d degrees (east|west), \d+\.\d\d degrees (north|south)\. ")
_Span = tuple[int, int, int]


class FusarKlipProcessor(BlipProcessor):
    """Wraps BLIP's image processor and a tokenizer, and batches prior and acquisition beside them.

    Args:
        image_processor: BLIP's. PIL's stands in for that of torchvision, whose resized pixels differ.
        tokenizer: A fast tokenizer that puts a token before and after a text.
        sensors: Families of sensors, in the order of `GeographyConfig.sensors`.
        polarizations: Alike.
        location: As `GeographyConfig.location`: `"off"` drops coordinates, `"text"` puts them into a sentence before
            the text, `"token"` hands them to the image tower. They never stand on both sides.
        max_text_tokens: As `FusarKlipConfig.max_text_tokens`, with the tokens before and after.

    Raises:
        ValueError: On another `location`.
    """

    def __init__(
        self,
        image_processor: ImageProcessingMixin | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        sensors: Sequence[str] = SENSORS,
        polarizations: Sequence[str] = POLARIZATIONS,
        location: str = "off",
        max_text_tokens: int = 256,
        **kwargs: object,
    ):
        if location not in ("off", "text", "token"):
            raise ValueError(f"location: found {location!r}, expected 'off', 'text' or 'token'.")
        if image_processor is not None and not isinstance(image_processor, BlipImageProcessorPil):
            # It returns the unused keywords as well where it is asked to, which it is not.
            image_processor = cast(BlipImageProcessorPil, BlipImageProcessorPil.from_dict(image_processor.to_dict()))
        if tokenizer is not None:
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
        super().__init__(image_processor, tokenizer, **kwargs)
        self.sensors, self.polarizations = list(sensors), list(polarizations)
        self.location, self.max_text_tokens = location, max_text_tokens

    # Narrower than the parent's: pictures and texts.
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] | None = None,
        priors: Sequence[Mapping[str, object] | None] | None = None,
        geography: Sequence[Mapping[str, object] | None] | None = None,
        image_facts: ArrayLike | None = None,
        text_facts: ArrayLike | None = None,
        spans: Sequence[Sequence[_Span]] | None = None,
        part_weights: ArrayLike | None = None,
        counterfactuals: Sequence[str | None] | None = None,
        padding: bool | str = True,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """
        Args:
            images: A PIL image of 8 bit or a list of them.
            text: A text or a list of texts, none of them empty.
            priors: One entry an image: `None`, or a mapping with exactly `prior_embeddings` `[S, 64]` (unit vectors, or
                integers as AlphaEarth publishes them) and `prior_positions` `[S, 2]`, (y, x) in [0, 1].
            geography: One entry an image: `None`, or a mapping with some of `lon` and `lat` (degrees), `resolution_m`
                (metres a pixel of the image as given), `sensor`, `polarization`, `acquired` (a date, or text as
                2024-06-30); `None` or "" is unknown.
            image_facts: What is so in each image, `[B, 16]` integers, 0 for what is not known. For training.
            text_facts: What each text says, alike.
            spans: The parts of each text: (dimension from 0, first character, character after the last).
            part_weights: `[B, 16]`, weight of each part in reconstruction.
            counterfactuals: A text known to be false of each image, or `None`.
            padding: As of the tokenizer.
            return_tensors: "pt".

        Returns:
            `pixel_values`, `input_ids`, `attention_mask` and what else was given, as `FusarKlipModel.forward` takes it;
            the resolution is that of the image as the tower sees it.

        Raises:
            ValueError: On what is no such input. The message names the field, what was found and what was expected.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors: found {return_tensors!r}, expected 'pt'.")
        if images is None and text is None:
            raise ValueError("images, text: found neither, expected one of them or both.")
        batch: dict[str, Tensor] = {}
        pictures = [images] if isinstance(images, Image.Image) else list(images or [])
        texts = [text] if isinstance(text, str) else list(text or [])
        if images is not None:
            batch |= self._read_pictures(pictures)
        for name, entries in (("priors", priors), ("geography", geography)):
            if entries is not None and len(entries) != len(pictures):
                raise ValueError(
                    f"{name}: found {len(entries)} entries, expected one for each of the {len(pictures)} images."
                )
        if priors is not None:
            batch |= {name: torch.from_numpy(value) for name, value in batch_priors(priors).items()}
        told = [self._read_geography(entry, f"geography[{index}]") for index, entry in enumerate(geography or [])]
        if told:
            batch |= self._acquisitions(told, [(picture.height, picture.width) for picture in pictures])
        if text is not None:
            batch |= self._read_texts(texts, told, spans, padding)
        for name, facts in (("image_facts", image_facts), ("text_facts", text_facts), ("part_weights", part_weights)):
            if facts is not None:
                count = len(pictures) if name == "image_facts" else len(texts)
                batch[name] = _table(facts, count, name)
        if counterfactuals is not None:
            batch |= self._read_counterfactuals(counterfactuals, len(texts), told, padding)
        return BatchFeature(batch)

    def from_rows(
        self, rows: Sequence[Mapping[str, Any]], text: str | Sequence[str] | None = None, **kwargs: Any
    ) -> BatchFeature:
        """The images of triplet records with prior and acquisition; texts and the rest as of `__call__`.

        Args:
            rows: Records with `image` (PIL, or bytes as `datasets` stores them), and what they have of
                `prior_embeddings` and `prior_positions`, `sensor`, `polarization`, `resolution_m`, `acquired` and
                `bounds` [west, south, east, north] in degrees (`crs` EPSG:4326). A sensor that the model does not know
                is unknown.
        """
        pictures = [_picture(row.get("image"), f"rows[{index}]['image']") for index, row in enumerate(rows)]
        priors = [
            {name: row[name] for name in PRIOR_KEYS} if all(row.get(name) is not None for name in PRIOR_KEYS) else None
            for row in rows
        ]
        return self(images=pictures, text=text, priors=priors, geography=[self._told(row) for row in rows], **kwargs)

    def from_row(self, row: Mapping[str, Any], text: str | Sequence[str] | None = None, **kwargs: Any) -> BatchFeature:
        """As `from_rows` of one record; several texts may be asked of it."""
        return self.from_rows([row], text, **kwargs)

    def acquisitions(self, rows: Sequence[Mapping[str, Any]], sizes: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The acquisition alone of records, as `from_rows` reads it, where their images are not at hand.

        Args:
            rows: Records with what they have of `sensor`, `polarization`, `resolution_m`, `acquired` and `bounds`.
            sizes: Height and width of each one's image in pixels.
        """
        told = [self._read_geography(self._told(row), f"rows[{index}]") for index, row in enumerate(rows)]
        return self._acquisitions(told, sizes)

    def _told(self, row: Mapping[str, Any]) -> dict[str, object]:
        told: dict[str, object] = {
            name: row.get(name) for name in ("resolution_m", "sensor", "polarization", "acquired")
        }
        if told["sensor"] and not self._code(str(told["sensor"]), self.sensors):
            told["sensor"] = None
        bounds = row.get("bounds")
        if bounds is not None and len(bounds) and self.location != "off" and row.get("crs") in (None, "EPSG:4326"):
            west, south, east, north = bounds
            told |= {"lon": (west + east) / 2, "lat": (south + north) / 2}
        return told

    def _read_pictures(self, pictures: list[Image.Image]) -> dict[str, Tensor]:
        for index, picture in enumerate(pictures):
            if not isinstance(picture, Image.Image):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers vary
                raise ValueError(f"images[{index}]: found {type(picture).__name__}, expected a PIL image.")
            check_8bit(picture)
        if not pictures:
            raise ValueError("images: found none, expected one or more.")
        processor = cast(BlipImageProcessorPil, self.image_processor)
        return {"pixel_values": cast(Tensor, processor(images=pictures, return_tensors="pt")["pixel_values"])}

    def _read_texts(
        self, texts: list[str], told: list[dict[str, Any]], spans: Sequence[Sequence[_Span]] | None, padding: bool | str
    ) -> dict[str, Tensor]:
        located = self._located(texts, told)
        tokenizer = cast(PreTrainedTokenizerBase, self.tokenizer)
        encoded = tokenizer(
            located, padding=padding, return_tensors="pt", return_offsets_mapping=spans is not None, truncation=False
        )
        lengths = cast(Tensor, encoded["attention_mask"]).sum(1).tolist()
        for index, length in enumerate(lengths):
            if length > self.max_text_tokens:
                raise ValueError(
                    f"text[{index}]: found {length} tokens, expected {self.max_text_tokens} at most; split the text, "
                    "it is never cut."
                )
        read = {name: cast(Tensor, encoded[name]) for name in ("input_ids", "attention_mask")}
        if spans is None:
            return read
        if len(spans) != len(texts):
            raise ValueError(f"spans: found {len(spans)} entries, expected one for each of the {len(texts)} texts.")
        part_ids = torch.zeros_like(read["input_ids"])
        offsets = cast(Tensor, encoded["offset_mapping"])
        for row, (of_text, text, longer) in enumerate(zip(spans, texts, located, strict=True)):
            shift = len(longer) - len(text)
            for dimension, first, end in of_text:
                if not (0 <= dimension < DIMENSIONS and 0 <= first < end <= len(text)):
                    raise ValueError(
                        f"spans[{row}]: found {(dimension, first, end)}, expected (dimension 0 to {DIMENSIONS - 1}, "
                        f"first character, end) within a text of {len(text)} characters."
                    )
                starts, ends = offsets[row, :, 0], offsets[row, :, 1]
                inside = (starts >= first + shift) & (ends <= end + shift) & (ends > starts)
                part_ids[row, inside] = dimension + 1
        return {**read, "part_ids": part_ids}

    def _read_counterfactuals(
        self, texts: Sequence[str | None], count: int, told: list[dict[str, Any]], padding: bool | str
    ) -> dict[str, Tensor]:
        if len(texts) != count:
            raise ValueError(
                f"counterfactuals: found {len(texts)} entries, expected one for each of the {count} texts."
            )
        given = [index for index, text in enumerate(texts) if text is not None]
        if not given:
            return {}
        found = [str(texts[index]) for index in given]
        read = self._read_texts(found, [told[index] for index in given] if told else [], None, padding)
        fields: dict[str, Tensor] = {}
        for name, value in read.items():
            rows = torch.zeros(count, value.shape[1], dtype=value.dtype)
            rows[given] = value
            fields[f"counterfactual_{name}"] = rows
        return fields

    def _located(self, texts: list[str], told: list[dict[str, Any]]) -> list[str]:
        """The texts, checked, with the sentence of their place before them where `location` is "text"."""
        for index, text in enumerate(texts):
            if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers vary
                raise ValueError(f"text[{index}]: found {type(text).__name__}, expected a text.")
            if not text.strip():
                raise ValueError(f"text[{index}]: found {text!r}, expected a text that says something.")
            if self.location == "token" and _LOCATED.match(text):
                raise ValueError(
                    f"text[{index}]: found coordinates in the text, expected none; location is 'token', and an image "
                    "would be found by its address."
                )
        if self.location != "text" or not any(entry["located"] for entry in told):
            return texts
        if len(told) != len(texts):
            raise ValueError(
                f"geography: found {len(told)} entries for {len(texts)} texts, expected one for each; location is "
                "'text', and coordinates stand in the texts."
            )
        sentences = [_sentence(entry["lonlat"]) if entry["located"] else "" for entry in told]
        return [sentence + text for sentence, text in zip(sentences, texts, strict=True)]

    def _read_geography(self, entry: object, name: str) -> dict[str, Any]:
        """Codes of one entry, checked; 0 for what is unknown."""
        if entry is None:
            entry = {}
        if not isinstance(entry, Mapping) or not set(entry) <= set(GEOGRAPHY_KEYS):
            found = sorted(map(str, entry)) if isinstance(entry, Mapping) else type(entry).__name__
            raise ValueError(f"{name}: found {found}, expected None or a mapping with some of {list(GEOGRAPHY_KEYS)}.")
        known = {key: value for key, value in entry.items() if value is not None and value != ""}
        read: dict[str, Any] = {"resolution_m": 0.0, "sensor": 0, "polarization": 0, "month": 0, "located": False}
        if "resolution_m" in known:
            read["resolution_m"] = _number(known["resolution_m"], f"{name}['resolution_m']", "metres a pixel", 0, 1e6)
            if read["resolution_m"] == 0:
                raise ValueError(f"{name}['resolution_m']: found 0, expected metres a pixel or None.")
        for key, names in (("sensor", self.sensors), ("polarization", self.polarizations)):
            if key in known:
                read[key] = self._code(str(known[key]), names)
                if not read[key]:
                    raise ValueError(
                        f"{name}[{key!r}]: found {known[key]!r}, expected None or one of {', '.join(names)}."
                    )
        if "acquired" in known:
            read["month"] = _month(known["acquired"], f"{name}['acquired']")
        if ("lon" in known) != ("lat" in known):
            raise ValueError(f"{name}: found one of lon and lat, expected both or none.")
        if "lon" in known:
            lon = _number(known["lon"], f"{name}['lon']", "degrees east", -180, 180)
            lat = _number(known["lat"], f"{name}['lat']", "degrees north", -90, 90)
            read |= {"located": True, "lonlat": (lon, lat)}
        return read

    @staticmethod
    def _code(name: str, names: list[str]) -> int:
        """Place from 1 of the longest of `names` that `name` begins with; 0 for none."""
        fitting = [known for known in names if name.casefold().startswith(known.casefold())]
        return names.index(max(fitting, key=len)) + 1 if fitting else 0

    def _acquisitions(self, told: list[dict[str, Any]], sizes: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        seen = self.image_processor.size
        scales = [math.sqrt(height * width / (seen["width"] * seen["height"])) for height, width in sizes]
        fields = {
            "resolution_m": torch.tensor(
                [entry["resolution_m"] * scale for entry, scale in zip(told, scales, strict=True)]
            ),
            **{name: torch.tensor([entry[name] for entry in told]) for name in ("sensor", "polarization", "month")},
        }
        if self.location == "token":
            fields["location"] = torch.tensor(
                [_unit_vector(entry["lonlat"]) if entry["located"] else (0.0, 0.0, 0.0) for entry in told]
            )
        return fields

    @property
    def model_input_names(self) -> list[str]:
        location = ["location"] if self.location == "token" else []
        return ["pixel_values", "input_ids", "attention_mask", *PRIOR_INPUTS, *ACQUISITION_INPUTS, *location]


def _picture(value: object, name: str) -> Image.Image:
    """A picture of a record: as it is, or opened where `datasets` has not decoded it."""
    if isinstance(value, Mapping) and value.get("bytes"):
        return Image.open(BytesIO(cast(bytes, value["bytes"])))
    if isinstance(value, Image.Image):
        return value
    raise ValueError(f"{name}: found {type(value).__name__}, expected a PIL image or a mapping with its bytes.")


def _table(rows: ArrayLike, count: int, name: str) -> Tensor:
    """`[count, 16]`: int64 of facts, float32 of weights."""
    array = np.asarray(rows)
    kinds, expected = ("fi", "weights") if name == "part_weights" else ("i", "integers")
    if array.shape != (count, DIMENSIONS) or array.dtype.kind not in kinds:
        raise ValueError(
            f"{name}: found shape {list(array.shape)} of {array.dtype}, expected {expected} of shape "
            f"{[count, DIMENSIONS]}."
        )
    return torch.from_numpy(array.astype(np.float32 if name == "part_weights" else np.int64))


def _number(value: object, name: str, unit: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{name}: found {value!r}, expected {unit}.")
    # Not a number is not within.
    if not least <= float(value) <= most:
        raise ValueError(f"{name}: found {float(value):g}, expected {unit} from {least:g} to {most:g}.")
    return float(value)


def _month(value: object, name: str) -> int:
    if isinstance(value, date):
        return value.month
    try:
        return date.fromisoformat(str(value)[:10]).month
    except ValueError as error:
        raise ValueError(f"{name}: found {value!r}, expected a date as 2024-06-30.") from error


def _unit_vector(lonlat: tuple[float, float]) -> tuple[float, float, float]:
    """From degrees: x to (0, 0), y to 90 degrees east, z to the north pole."""
    lon, lat = map(math.radians, lonlat)
    return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)


def _sentence(lonlat: tuple[float, float]) -> str:
    lon, lat = lonlat
    east, north = "east" if lon >= 0 else "west", "north" if lat >= 0 else "south"
    return f"At {abs(lon):.2f} degrees {east}, {abs(lat):.2f} degrees {north}. "


__all__ = ["FusarKlipProcessor"]
