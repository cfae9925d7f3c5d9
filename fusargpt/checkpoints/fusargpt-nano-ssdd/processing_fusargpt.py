"""Processor of FUSAR-GPT: images, text and the geospatial prior of every image. There is no video."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
import base64
import binascii
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from textwrap import shorten
from typing import Any, cast

import httpx
import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from transformers import BatchFeature, PreTrainedTokenizerBase
from transformers.image_processing_base import ImageProcessingMixin
from transformers.image_transforms import to_pil_image
from transformers.image_utils import ImageInput, make_flat_list_of_images
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import MultiModalData

PRIOR_SIZE = 64  # Width of AlphaEarth Foundations' embeddings.
PRIOR_KEYS = ("prior_embeddings", "prior_positions")
# What numpy and zipfile raise on files that are missing, damaged or encrypted.
_DAMAGED = (ValueError, OSError, EOFError, KeyError, MemoryError, RuntimeError, zlib.error, zipfile.BadZipFile)
CALIBRATED = ("count", "localize", "classify", "detect")  # Tasks whose confidences can be calibrated.
MAX_PRIOR_BYTES = 512 * 2**20  # Unpacked; the prior of one image has hundreds of anchors.


class FusarGptProcessor(Qwen2_5_VLProcessor):
    """Wraps a Qwen2-VL image processor and a tokenizer, and batches the priors beside them.

    Args:
        image_processor: A Qwen2-VL image processor. PIL's stands in for that of torchvision, which transformers loads
            where torchvision is installed and whose resized pixels differ from those of training.
        tokenizer: A tokenizer with Qwen2.5-VL's special tokens. It is told to pad on the left, here and where it is
            saved: answers of a batch begin at its right end. (Training asks for its own side.)
        chat_template: Jinja template; `None` takes the tokenizer's.
        image_size: Side in pixels of the square that every image is squeezed to, whatever its aspect ratio, before
            the image processor reads it (bicubic, 8 bit). `None` leaves the size to the image processor, which keeps
            the aspect ratio.
        decibel_limits: The decibels of calibrated backscatter that were black and white in the images of training, for
            each polarization, as `{"VV": [-25, 0]}`. Whoever makes images of calibrated scenes takes the same. `None`
            where images were not stretched between fixed limits.
        targets: The classes that the model was trained to count, to localize and to detect, as `["ship", "aircraft"]`.
            `None` where that is not known: the model then knows what it knows, and may be asked for anything.
        calibration: What makes of the probabilities of an answer's tokens the share of such answers that come true,
            for each of `CALIBRATED`, as `{"count": {"temperature": 1.5, "offset": -0.2}}`: log-odds are divided by the
            temperature, which is above 0, and the offset is added. Of `detect` they are those of each box, and a
            `min_score` in [0, 1] may stand beside them: the calibrated score from which on boxes are worth keeping.
            `None`, and tasks that are not there, leave probabilities as they are.
        coarsest_pixel_m: Metres of ground, above 0, that a pixel of the images of training had at most. Whoever cuts a
            scene of coarser pixels into tiles makes them smaller, so that the processor enlarges them to it. `None`
            where that is not known.

    Raises:
        ValueError: If the image processor would resize an image of `image_size` once more, limits do not ascend,
            targets are no names, a calibration has other tasks, keys or numbers, or a pixel is no length.
    """

    def __init__(
        self,
        image_processor: ImageProcessingMixin | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        chat_template: str | dict[str, str] | None = None,
        image_size: int | None = None,
        decibel_limits: Mapping[str, Sequence[float]] | None = None,
        targets: Sequence[str] | None = None,
        calibration: Mapping[str, Mapping[str, float]] | None = None,
        coarsest_pixel_m: float | None = None,
        **kwargs: object,
    ):
        if chat_template is None and tokenizer is not None:
            chat_template = tokenizer.chat_template
        if image_processor is not None and not isinstance(image_processor, Qwen2VLImageProcessorPil):
            # It returns the unused keywords as well where it is asked to, which it is not.
            image_processor = cast(
                Qwen2VLImageProcessorPil, Qwen2VLImageProcessorPil.from_dict(image_processor.to_dict())
            )
        if tokenizer is not None:
            # The second is what a tokenizer saves.
            tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"
        super().__init__(image_processor, tokenizer, chat_template=chat_template, **kwargs)
        self.image_size = image_size
        if image_size is not None:
            _check_image_size(image_size, image_processor)
        self.decibel_limits = None if decibel_limits is None else _checked_limits(decibel_limits)
        self.targets = None if targets is None else _checked_targets(targets)
        self.calibration = None if calibration is None else _checked_calibration(calibration)
        self.coarsest_pixel_m = None if coarsest_pixel_m is None else _checked_length(coarsest_pixel_m)

    # Narrower than the parent's: neither videos nor audio.
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        images: ImageInput | None = None,
        text: str | list[str] | None = None,
        videos: None = None,
        audio: None = None,
        priors: Sequence[Mapping[str, object] | str | os.PathLike[str] | None] | None = None,
        image_reader: Callable[[str], Image.Image] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """
        Args:
            images: An image, a list of them, or a list of lists with those of each text. An image is a PIL image, an
                array or tensor `[H, W, C]` or `[C, H, W]`, or a path, an http(s) address or base64 of a file, and
                holds 8 bit: what holds more would be clipped, and is refused. With `do_rescale=False` arrays may hold
                floats, scaled already.
            text: A text or a list of texts; every image has its `<|vision_start|><|image_pad|><|vision_end|>`.
            videos: Not supported.
            audio: Not supported.
            priors: One entry an image, in the order of the images: `None` for an image without a prior, a mapping
                with exactly `prior_embeddings` `[S, 64]` (unit vectors, or integers as AlphaEarth publishes them)
                and `prior_positions` `[S, 2]`, (y, x) in [0, 1], or the path of an .npz file that holds them. S may
                differ between images.
            image_reader: Reads the files that `images` names by a path, as `fusargpt.read_image` does GeoTIFFs of any
                values. `None` reads pictures of 8 bit with PIL.
            **kwargs: Arguments of the tokenizer and the image processor, such as `padding` and `return_tensors`.

        Returns:
            What the parent returns and, unless `priors` is `None`, `prior_embeddings` float32 `[num_images, S, 64]`,
            `prior_positions` float32 `[num_images, S, 2]` and `prior_mask` bool `[num_images, S]`, padded with zeros
            and False to the largest S of the batch.

        Raises:
            ValueError: On videos or audio, on images of more than 8 bit, on as many priors as there are not images, and
                on a prior with other keys, shapes or values. The message names the field, what was found and what was
                expected.
        """
        for name, value in (("videos", videos), ("audio", audio)):
            if value is not None:
                raise ValueError(f"{name}: found some, expected None; FUSAR-GPT reads images and text.")
        misspelt = [name for name in kwargs if name.startswith("prior")]
        if misspelt:
            raise TypeError(f"unexpected keyword arguments {misspelt}; the prior is passed as `priors`.")
        if image_reader is not None:
            images = _read_files(images, image_reader)
        features = super().__call__(images=images, text=text, **kwargs)
        if priors is None:
            return features

        num_images = len(features["image_grid_thw"]) if images is not None else 0
        if len(priors) != num_images:
            raise ValueError(f"priors: found {len(priors)} entries, expected one for each of the {num_images} images.")
        tensor_type = kwargs.get("return_tensors") or kwargs.get("text_kwargs", {}).get("return_tensors")
        features.update(BatchFeature(batch_priors(priors), tensor_type=tensor_type))
        return features

    # Both are called by keyword.
    def prepare_inputs_layout(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, images: ImageInput | None = None, **inputs: Any
    ) -> tuple[Any, Any, Any, Any]:
        # transformers' own reader of files clips what holds more than 8 bit.
        return super().prepare_inputs_layout(images=_opened(images), **inputs)

    def validate_inputs(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, images: ImageInput | None = None, **inputs: Any
    ) -> None:
        _check_images(images, scaled=_option(inputs, "do_rescale") is False)
        super().validate_inputs(images=images, **inputs)

    def _process_images(self, images: ImageInput, **kwargs: object) -> tuple[BatchFeature, list[str]]:
        if self.image_size is not None:
            images = [
                _squeeze(image, self.image_size) for image in cast(list[object], make_flat_list_of_images(images))
            ]
        return super()._process_images(images, **kwargs)

    def _get_num_multimodal_tokens(
        self,
        image_sizes: Sequence[Sequence[int]] | None = None,
        video_sizes: Sequence[Sequence[int]] | None = None,
        **kwargs: object,
    ) -> MultiModalData:
        if self.image_size is not None and image_sizes is not None:
            image_sizes = [(self.image_size, self.image_size)] * len(image_sizes)
        return super()._get_num_multimodal_tokens(image_sizes, video_sizes, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        names = [name for name in super().model_input_names if name != "second_per_grid_ts"]
        return [*names, "prior_embeddings", "prior_positions", "prior_mask"]


def _check_image_size(image_size: int, image_processor: Qwen2VLImageProcessorPil | None) -> None:
    if type(image_size) is not int or image_size < 1:
        raise ValueError(f"image_size: found {image_size!r}, expected a positive whole number of pixels or None.")
    assert image_processor is not None, "a square needs an image processor"
    kept = image_processor.get_number_of_image_patches(image_size, image_size) * image_processor.patch_size**2
    if kept != image_size**2:
        raise ValueError(
            f"image_size: found {image_size}, which the image processor would resize once more; expected a multiple of "
            f"{image_processor.patch_size * image_processor.merge_size} with an area from "
            f"{image_processor.size['shortest_edge']} to {image_processor.size['longest_edge']} pixels."
        )


def _checked_limits(decibel_limits: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    for polarization, limits in decibel_limits.items():
        # Of a file that anyone can write.
        numbers = [limit for limit in cast(Sequence[object], limits) if isinstance(limit, int | float)]
        if len(limits) != 2 or len(numbers) != 2 or not -100 <= numbers[0] < numbers[1] <= 100:
            raise ValueError(
                f"decibel_limits: found {limits!r} for {polarization!r}, expected two of -100 to 100, ascending."
            )
    return {polarization: [float(limit) for limit in limits] for polarization, limits in decibel_limits.items()}


def _checked_targets(targets: Sequence[str]) -> list[str]:
    # Of a file that anyone can write.
    found = cast(object, targets)
    names = list(cast(Sequence[object], found)) if isinstance(found, list | tuple) else []
    texts = [name for name in names if isinstance(name, str) and name.strip() and name.isprintable()]
    if not texts or len(set(texts)) < len(names):
        raise ValueError(f"targets: found {targets!r}, expected the names of classes, each once, or None.")
    return texts


def _checked_calibration(calibration: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    # Of a file that anyone can write.
    found = cast(object, calibration)
    if not isinstance(found, Mapping) or not found or not set(cast(Mapping[object, object], found)) <= set(CALIBRATED):
        raise ValueError(
            f"calibration: found {found!r}, expected numbers for some of {', '.join(CALIBRATED)}, or None."
        )
    return {task: _checked_numbers(task, numbers) for task, numbers in calibration.items()}


def _checked_numbers(task: str, numbers: object) -> dict[str, float]:
    given = cast(Mapping[object, object], numbers) if isinstance(numbers, Mapping) else {}
    floats = {str(name): float(cast(float, value)) for name, value in given.items() if type(value) in (int, float)}
    expected = {"temperature", "offset"}
    may_be_there = expected | ({"min_score"} if task == "detect" else set())
    fits = expected <= set(floats) == set(given) <= may_be_there and all(map(math.isfinite, floats.values()))
    if not fits or floats["temperature"] <= 0 or not 0 <= floats.get("min_score", 0) <= 1:
        raise ValueError(
            f"calibration: found {numbers!r} for {task}, expected a temperature above 0 and an offset, both finite; of "
            "detect a min_score from 0 to 1 may stand beside them."
        )
    return floats


def _checked_length(coarsest_pixel_m: object) -> float:
    # Of a file that anyone can write.
    if type(coarsest_pixel_m) not in (int, float) or not 0 < cast(float, coarsest_pixel_m) < math.inf:
        raise ValueError(f"coarsest_pixel_m: found {coarsest_pixel_m!r}, expected metres, above 0, or None.")
    return float(cast(float, coarsest_pixel_m))


def _option(inputs: Mapping[str, Any], name: str) -> Any:
    return inputs.get(name, (inputs.get("images_kwargs") or {}).get(name))


def _read_files(images: Any, image_reader: Callable[[str], Image.Image]) -> Any:
    """The images with files that are named by a path read."""
    if isinstance(images, list | tuple):
        return [_read_files(image, image_reader) for image in images]
    return image_reader(images) if isinstance(images, str) and os.path.isfile(images) else images


def _opened(images: Any) -> Any:
    """The images with files that are named opened, in the colours in which they are stored, turned as EXIF says."""
    if isinstance(images, list | tuple):
        return [_opened(image) for image in images]
    if isinstance(images, Image.Image):
        check_8bit(images)
        return ImageOps.exif_transpose(images) if images.getexif().get(ExifTags.Base.Orientation, 1) != 1 else images
    if not isinstance(images, str):
        return images
    try:
        if images.startswith(("http://", "https://")):
            content = httpx.get(images, follow_redirects=True).raise_for_status().content
        elif os.path.isfile(images):
            with open(images, "rb") as file:
                content = file.read()
        else:
            # A line break every 76 letters is usual.
            text = images.partition(",")[2] if images.startswith("data:image/") else images
            content = base64.b64decode("".join(text.split()), validate=True)
        picture = Image.open(BytesIO(content))
        check_8bit(picture)
        return ImageOps.exif_transpose(picture)
    except (OSError, httpx.HTTPError, binascii.Error) as error:
        # Pillow's own message names the stream, not the file.
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ValueError(
            f"images: found {images[:80]!r}, which cannot be read ({shorten(reason, 120)}); expected the path, the "
            f"http(s) address or the base64 of a picture. {READER_FIRST}."
        ) from error
    except ValueError as error:
        if not os.path.isfile(images):
            raise
        raise ValueError(f"{images}: {error} {READER_FIRST}.") from error


def _check_images(images: Any, scaled: bool) -> None:
    """Raises ValueError for images that hold more than 8 bit, and for arrays that are no images."""
    if isinstance(images, list | tuple):
        for image in images:
            _check_images(image, scaled)
    elif isinstance(images, Image.Image):
        check_8bit(images)
    elif isinstance(images, np.ndarray | torch.Tensor):
        shape = list(images.shape)
        name = str(images.dtype).removeprefix("torch.")
        if name != "uint8" and not (scaled and "float" in name):
            raise ValueError(
                f"images: found an array of {name}, expected uint8, which other values would be clipped to; "
                f"{SCALE_ARRAY_FIRST}."
            )
        if len(shape) < 3:
            raise ValueError(
                f"images: found an array of shape {shape}, expected [height, width, 3]; numpy.stack([image] * 3, -1) "
                "makes it of one channel."
            )


READER_FIRST = "With image_reader=fusargpt.read_image GeoTIFFs are read and scaled"
SCALE_ARRAY_FIRST = "PIL.Image.fromarray(fusargpt.geo.radiometry.to_8bit(array)[0]) scales SAR values [height, width]"
SCALE_FIRST = "fusargpt.read_image scales a SAR file to 8 bit"


def check_8bit(picture: Image.Image) -> None:
    """Raises ValueError for a picture whose channels hold more than 8 bit, which PIL clips or cuts in other modes.

    Args:
        picture: as opened. Once it is loaded, colours of 16 bit are cut already and can no longer be told.
    """
    # Pillow has no mode for colours of 16 bit; the decoder to come is told of them.
    tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
    is_cut = any(";16" in str(tile[3]) for tile in tiles)
    is_deep = picture.mode.startswith("I") or picture.mode == "F"
    if is_deep or is_cut:
        found = picture.mode if is_deep else f"{picture.mode} with 16 bit a channel"
        raise ValueError(f"images: found a picture of mode {found}, expected 8 bit; {SCALE_FIRST}.")


def _squeeze(image: object, side: int) -> Image.Image:
    """The image as a square of `side` pixels in RGB."""
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if array.dtype != np.uint8:
            raise ValueError(f"images: found an array of {array.dtype}, expected uint8 or PIL images with image_size.")
        return _squeeze(to_pil_image(array, do_rescale=False), side)
    return image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)


def batch_priors(priors: Sequence[Mapping[str, object] | str | os.PathLike[str] | None]) -> dict[str, np.ndarray]:
    """The three prior fields of a batch from one entry an image, as `FusarGptProcessor` takes and returns them."""
    read = [_read(prior, f"priors[{index}]") for index, prior in enumerate(priors)]
    size = max(len(embeddings) for embeddings, _ in read)
    batch = {
        "prior_embeddings": np.zeros((len(read), size, PRIOR_SIZE), np.float32),
        "prior_positions": np.zeros((len(read), size, 2), np.float32),
        "prior_mask": np.zeros((len(read), size), bool),
    }
    for index, (embeddings, positions) in enumerate(read):
        batch["prior_embeddings"][index, : len(embeddings)] = embeddings
        batch["prior_positions"][index, : len(embeddings)] = positions
        batch["prior_mask"][index, : len(embeddings)] = True
    return batch


def _read(prior: object, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings float32 [S, 64] and positions float32 [S, 2] of one prior, checked."""
    if prior is None:
        return np.zeros((0, PRIOR_SIZE), np.float32), np.zeros((0, 2), np.float32)
    if isinstance(prior, str | os.PathLike):
        prior = _stored(prior, name)
    if not isinstance(prior, Mapping) or set(prior) != set(PRIOR_KEYS):
        found = sorted(prior) if isinstance(prior, Mapping) else type(prior).__name__
        raise ValueError(f"{name}: found {found}, expected None or a mapping with exactly {list(PRIOR_KEYS)}.")
    embeddings = _array(prior["prior_embeddings"], PRIOR_SIZE, f"{name}['prior_embeddings']")
    positions = _array(prior["prior_positions"], 2, f"{name}['prior_positions']")
    if len(embeddings) != len(positions):
        raise ValueError(f"{name}: found {len(embeddings)} embeddings and {len(positions)} positions, expected equals.")
    return _unit_vectors(embeddings, f"{name}['prior_embeddings']"), _inside(positions, f"{name}['prior_positions']")


def _stored(path: str | os.PathLike[str], name: str) -> dict[str, np.ndarray]:
    """The prior in an .npz file, as `fusargpt.geo.prior.save_prior` writes it; the places of anchors are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_PRIOR_BYTES:
            raise ValueError(f"{size:,} bytes of arrays, where a prior has at most {MAX_PRIOR_BYTES:,}")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files if key != "prior_lonlat"}
    except _DAMAGED as error:
        raise ValueError(
            f"{name}: found {os.fspath(path)!r}, which cannot be read ({shorten(str(error), 120)}); expected the .npz "
            "file of a prior."
        ) from error


def _array(value: object, width: int, name: str) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        # numpy has no bfloat16.
        value = (value.float() if value.is_floating_point() else value).numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: found rows of different lengths, expected shape [S, {width}].") from error
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"{name}: found no array ({shorten(str(error), 120)}), expected shape [S, {width}]."
        ) from error
    if array.shape == (0,):
        array = array.reshape(0, width)
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"{name}: found shape {list(array.shape)}, expected [S, {width}].")
    if array.dtype.kind not in "fi":
        raise ValueError(f"{name}: found dtype {array.dtype}, expected numbers.")
    return array


def _unit_vectors(embeddings: np.ndarray, name: str) -> np.ndarray:
    """float32 unit vectors from such, or from AlphaEarth's published integers, sign(v) (|v| / 127.5)**2."""
    if embeddings.dtype.kind == "i" and len(embeddings):
        if embeddings.min() < -127 or embeddings.max() > 127:
            raise ValueError(
                f"{name}: found integers from {embeddings.min()} to {embeddings.max()}, expected published values "
                "within [-127, 127]; leave out anchors without data (-128)."
            )
        embeddings = np.sign(embeddings) * (np.abs(embeddings.astype(np.float32)) / 127.5) ** 2
        tolerance = 0.02
    else:
        embeddings = embeddings.astype(np.float32)
        tolerance = 0.01
    if not np.isfinite(embeddings).all():
        raise ValueError(f"{name}: found NaN or infinity, expected finite values.")
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if len(norms) and np.abs(norms - 1).max() > tolerance:
        raise ValueError(
            f"{name}: found vectors of length {norms.min():.3g} to {norms.max():.3g}, expected unit vectors."
        )
    return embeddings / norms


def _inside(positions: np.ndarray, name: str) -> np.ndarray:
    if not ((positions >= 0) & (positions <= 1)).all():
        raise ValueError(
            f"{name}: found values from {positions.min():g} to {positions.max():g}, expected (y, x) within [0, 1]."
        )
    return positions.astype(np.float32)


__all__ = ["FusarGptProcessor"]
