"""The processor: priors batched beside the images, published integers read, mistakes named."""

import base64
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

from fusargpt.geo.image import read_image
from fusargpt.geo.prior import load_prior, save_prior
from modeling_fusargpt import FusarGptProcessor
from tests.paths import ROOT
from tests.tiny import Backbone, question, random_image, random_prior, tiny_processor

PRIOR_FIELDS = {"prior_embeddings", "prior_positions", "prior_mask"}


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


def call(processor: FusarGptProcessor, priors: Any, images: int = 1, **kwargs: Any):
    return processor(
        images=[random_image(16, 16, seed=seed) for seed in range(images)],
        text=[question() for _ in range(images)],
        priors=priors,
        padding=True,
        return_tensors="pt",
        **kwargs,
    )


def published(prior: Any):
    embeddings = prior["prior_embeddings"]
    integers = np.round(np.sign(embeddings) * np.sqrt(np.abs(embeddings)) * 127.5).clip(-127, 127).astype(np.int8)
    return {**prior, "prior_embeddings": integers}


def test_priors_are_padded_to_the_longest_in_the_order_of_the_images(processor: FusarGptProcessor):
    priors = [random_prior(2), None, random_prior(5, seed=1)]
    batch = call(processor, priors, images=3)
    assert batch["prior_embeddings"].shape == (3, 5, 64) and batch["prior_embeddings"].dtype == torch.float32
    assert batch["prior_positions"].shape == (3, 5, 2) and batch["prior_positions"].dtype == torch.float32
    assert batch["prior_mask"].dtype == torch.bool
    assert batch["prior_mask"].sum(1).tolist() == [2, 0, 5]
    for image in (0, 2):
        for name in ("prior_embeddings", "prior_positions"):
            found = batch[name][image][batch["prior_mask"][image]]
            torch.testing.assert_close(found, torch.from_numpy(cast(Any, priors[image])[name]), atol=1e-6, rtol=0)
        assert not batch["prior_embeddings"][image][~batch["prior_mask"][image]].any()


def test_no_priors_no_prior_fields(processor: FusarGptProcessor):
    assert not PRIOR_FIELDS & set(call(processor, None))


@pytest.mark.parametrize("empty", [None, {"prior_embeddings": [], "prior_positions": []}])
def test_an_empty_prior_is_legal(processor: FusarGptProcessor, empty: dict[str, Any] | None):
    batch = call(processor, [empty])
    assert batch["prior_embeddings"].shape == (1, 0, 64)
    assert batch["prior_positions"].shape == (1, 0, 2)
    assert batch["prior_mask"].shape == (1, 0)


@pytest.mark.parametrize("as_lists", [False, True])
def test_published_integers_become_unit_vectors(processor: FusarGptProcessor, as_lists: bool):
    prior = random_prior(6)
    stored = published(prior)
    if as_lists:  # as a dataset row gives them
        stored = {name: value.tolist() for name, value in stored.items()}
    batch = call(processor, [stored])
    assert torch.allclose(batch["prior_embeddings"].norm(dim=-1), torch.ones(1, 6), atol=1e-5)
    cosine = (batch["prior_embeddings"][0] * torch.from_numpy(prior["prior_embeddings"])).sum(-1)
    assert cosine.min() > 0.999


def test_a_known_integer_vector(processor: FusarGptProcessor):
    integers = np.zeros((1, 64), np.int8)
    integers[0, :2] = 127, -51
    embeddings = call(processor, [{"prior_embeddings": integers, "prior_positions": [[0, 1]]}])["prior_embeddings"]
    large, small = (127 / 127.5) ** 2, (51 / 127.5) ** 2
    expected = torch.tensor([large, -small]) / np.hypot(large, small)
    torch.testing.assert_close(embeddings[0, 0, :2], expected.float())


def test_the_chat_template_takes_priors(processor: FusarGptProcessor):
    messages = [
        {"role": "user", "content": [{"type": "image", "image": random_image(16, 16)}, {"type": "text", "text": "?"}]}
    ]
    prior = random_prior(3)
    batch: Any = processor.apply_chat_template(
        cast(Any, messages),
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"priors": [prior]},
    )
    torch.testing.assert_close(batch["prior_embeddings"][0], torch.from_numpy(prior["prior_embeddings"]))
    assert processor.decode(batch["input_ids"][0]).endswith("?<|im_end|>\n<|im_start|>assistant\n")
    assert (batch["input_ids"] == processor.image_token_id).sum() == 4


def decibels(path: Path) -> Path:
    values = np.random.default_rng(0).normal(-12, 5, (32, 48)).astype(np.float32)
    Image.fromarray(values).save(path)
    return path


def asked_about(processor: FusarGptProcessor, image: Path, **options: Any) -> Any:
    content = [{"type": "image", "path": str(image)}, {"type": "text", "text": "?"}]
    return processor.apply_chat_template(
        cast(Any, [{"role": "user", "content": content}]),
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=options,
    )


def test_a_scene_named_in_a_message_is_read_as_ask_reads_it(processor: FusarGptProcessor, tmp_path: Path):
    path = decibels(tmp_path / "scene.tif")
    found = asked_about(processor, path, image_reader=read_image)
    expected = processor(images=[read_image(path)], return_tensors="pt")
    assert torch.equal(found["pixel_values"], expected["pixel_values"])


def test_without_a_reader_it_is_refused_with_the_cure(processor: FusarGptProcessor, tmp_path: Path):
    with pytest.raises(ValueError, match=r"scene\.tif: .*mode F, expected 8 bit.* image_reader=fusargpt.read_image"):
        asked_about(processor, decibels(tmp_path / "scene.tif"))
    with rasterio.open(
        tmp_path / "complex.tif", "w", width=48, height=32, count=1, dtype="complex64", transform=Affine.scale(10)
    ) as file:
        file.write(np.ones((32, 48), np.complex64), 1)
    with pytest.raises(ValueError, match=r"cannot be read .* With image_reader=fusargpt\.read_image"):
        asked_about(processor, tmp_path / "complex.tif")


@pytest.mark.parametrize("kind", [str, Path])
def test_a_prior_may_be_the_path_of_its_file(processor: FusarGptProcessor, tmp_path: Path, kind: Any):
    prior = load_prior(ROOT / "space_app" / "examples" / "harbour.npz")
    assert prior.lonlat is not None
    save_prior(tmp_path / "scene.npz", prior)
    found = call(processor, [kind(tmp_path / "scene.npz")])
    for name, values in call(processor, [prior.columns()]).items():
        torch.testing.assert_close(found[name], values, atol=1e-3, rtol=0)


def test_a_file_that_is_no_prior_is_named(processor: FusarGptProcessor, tmp_path: Path):
    (tmp_path / "text.npz").write_text("no zip file")
    np.savez(tmp_path / "other.npz", values=np.zeros(3))
    for name, message in (("text", "not a zip file"), ("absent", "No such file"), ("other", r"found \['values'\]")):
        with pytest.raises(ValueError, match=rf"priors\[0\]: .*{message}"):
            call(processor, [str(tmp_path / f"{name}.npz")])


def test_return_tensors_may_stand_among_the_text_arguments(processor: FusarGptProcessor):
    batch = processor(
        images=random_image(16, 16),
        text=question(),
        priors=[random_prior(1)],
        text_kwargs={"return_tensors": "pt"},
    )
    assert isinstance(batch["prior_mask"], torch.Tensor)
    assert isinstance(processor(images=random_image(16, 16), text=question(), priors=[None])["prior_mask"], np.ndarray)


def test_saves_and_loads_without_video(processor: FusarGptProcessor, tmp_path: Path):
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is FusarGptProcessor
    assert loaded.get_attributes() == ["image_processor", "tokenizer"]
    assert loaded.chat_template == processor.chat_template
    assert loaded.tokenizer.padding_side == AutoTokenizer.from_pretrained(tmp_path).padding_side == "left"
    assert set(loaded.model_input_names) == set(call(processor, [random_prior(1)]))
    expected = call(processor, [random_prior(4)])
    for name, value in call(loaded, [random_prior(4)]).items():
        assert torch.equal(value, expected[name]), name


PUBLISHED = {
    "qwen2_5": {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    },
    "qwen3": {
        "size": {"longest_edge": 16777216, "shortest_edge": 65536},
        "patch_size": 16,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    },
}


def test_reads_the_folder_of_a_qwen_checkpoint(backbone: Backbone, processor: FusarGptProcessor, tmp_path: Path):
    """Published folders hold a preprocessor_config.json that names another processor class."""
    processor.tokenizer.save_pretrained(tmp_path)
    published_file: dict[str, Any] = {"temporal_patch_size": 2, "merge_size": 2, **PUBLISHED[backbone]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(published_file))
    loaded = FusarGptProcessor.from_pretrained(tmp_path)
    side = published_file["patch_size"]
    batch = loaded(
        images=random_image(16 * side, 24 * side),
        text=question(),
        priors=[random_prior(2)],
        text_kwargs={"return_tensors": "pt"},
    )
    assert batch["image_grid_thw"].tolist() == [[1, 16, 24]]
    assert batch["prior_mask"].tolist() == [[True, True]]


def change(**fields: Any):
    return [{**random_prior(3), **fields}]


NAN = np.full((3, 64), np.nan, np.float32)
BAD = {
    "rows of tensors": (
        [{"prior_embeddings": [torch.zeros(64).bfloat16()], "prior_positions": [[0.5, 0.5]]}],
        1,
        r"priors\[0\]\['prior_embeddings'\]: found no array .*, expected shape \[S, 64\]",
    ),
    "too few": ([], 1, "priors: found 0 entries, expected one for each of the 1 images"),
    "too many": ([None, None, None], 2, "priors: found 3 entries, expected one for each of the 2 images"),
    "width": (
        change(prior_embeddings=np.zeros((3, 32))),
        1,
        r"priors\[0\]\['prior_embeddings'\]: found shape \[3, 32\], expected \[S, 64\]",
    ),
    "NaN": (change(prior_embeddings=NAN), 1, r"priors\[0\]\['prior_embeddings'\]: found NaN"),
    "not unit": (
        change(prior_embeddings=np.ones((3, 64), np.float32)),
        1,
        "found vectors of length 8 to 8, expected unit vectors",
    ),
    "nodata": (
        change(prior_embeddings=np.full((3, 64), -128, np.int8)),
        1,
        r"found integers from -128 to -128, expected published values",
    ),
    "text": (change(prior_embeddings=np.full((3, 64), "a")), 1, "found dtype <U1, expected numbers"),
    "positions in pixels": (
        change(prior_positions=np.full((3, 2), 12)),
        1,
        r"priors\[0\]\['prior_positions'\]: found values from 12 to 12, expected \(y, x\) within \[0, 1\]",
    ),
    "positions NaN": (change(prior_positions=np.full((3, 2), np.nan)), 1, "found values from nan to nan"),
    "unequal": (
        change(prior_positions=np.zeros((2, 2))),
        1,
        r"priors\[0\]: found 3 embeddings and 2 positions, expected equals",
    ),
    "further key": (change(prior_lonlat=np.zeros((3, 2))), 1, r"found .*'prior_lonlat'.*, expected None or a mapping"),
    "missing key": ([{"prior_embeddings": NAN}], 1, "expected None or a mapping with exactly"),
    "an array": ([NAN], 1, "found ndarray, expected None or a mapping"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_priors_are_named(processor: FusarGptProcessor, case: str):
    priors, images, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call(processor, priors, images=images)


def test_priors_without_images_are_an_error(processor: FusarGptProcessor):
    with pytest.raises(ValueError, match="priors: found 1 entries, expected one for each of the 0 images"):
        processor(text=["hello"], priors=[None])


@pytest.mark.parametrize("misspelt", ["prior", "prior_embeddings"])
def test_a_misspelt_prior_is_not_ignored(processor: FusarGptProcessor, misspelt: str):
    arguments: dict[str, Any] = {misspelt: [random_prior(1)]}
    with pytest.raises(TypeError, match=misspelt):
        processor(images=random_image(16, 16), text=question(), **arguments)


@pytest.mark.parametrize("name", ["videos", "audio"])
def test_videos_and_audio_are_an_error(processor: FusarGptProcessor, name: str):
    arguments: dict[str, Any] = {name: [np.zeros((2, 16, 16, 3))]}
    with pytest.raises(ValueError, match=f"{name}: found some, expected None"):
        processor(text=["hello"], **arguments)


def squeezing(image_size: Any) -> FusarGptProcessor:
    plain = tiny_processor()
    return FusarGptProcessor(plain.image_processor, plain.tokenizer, image_size=image_size)


def pixels(processor: FusarGptProcessor, images: Any, count: int = 1):
    return processor(images=images, text=[question(images=count)], return_tensors="pt")


@pytest.mark.parametrize("size", [(40, 72), (24, 24), (300, 20)])
def test_image_size_squeezes_every_image_to_the_same_square(processor: FusarGptProcessor, size: tuple[int, int]):
    image = random_image(*size)
    squeezed = image.resize((24, 24), Image.Resampling.BICUBIC)
    batch, expected = pixels(squeezing(24), [image]), pixels(processor, [squeezed])
    assert batch["image_grid_thw"].tolist() == [[1, 6, 6]]
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])
    assert torch.equal(batch["input_ids"], expected["input_ids"])


def test_image_size_treats_arrays_tensors_and_grey_images_alike():
    processor, image = squeezing(24), random_image(40, 72).convert("L")
    array = np.repeat(np.asarray(image)[..., None], 3, axis=2)
    batch = pixels(processor, [[image, array], [array.transpose(2, 0, 1), torch.from_numpy(array)]], count=4)
    first, *others = batch["pixel_values"].chunk(4)
    assert all(torch.equal(first, other) for other in others)


def test_image_size_is_saved_and_counted(tmp_path: Path):
    squeezing(24).save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert loaded.image_size == 24
    assert loaded._get_num_multimodal_tokens(image_sizes=[(40, 72), (300, 20)]).num_image_tokens == [9, 9]
    # What vLLM asks.
    plain = tiny_processor()._get_num_multimodal_tokens(image_sizes=[(40, 72)])  # pyright: ignore[reportPrivateUsage]
    assert plain.num_image_tokens == [45]


def test_decibel_limits_are_saved(tmp_path: Path):
    plain = tiny_processor()
    FusarGptProcessor(plain.image_processor, plain.tokenizer, decibel_limits={"VV": (-25, 0)}).save_pretrained(tmp_path)
    assert FusarGptProcessor.from_pretrained(tmp_path).decibel_limits == {"VV": [-25, 0]}


def test_a_calibration_is_saved(tmp_path: Path):
    plain = tiny_processor()
    boxes = {"temperature": 0.5, "offset": 3.0}
    for numbers in (
        {"count": {"temperature": 2, "offset": -0.5}, "detect": boxes},
        {"detect": boxes | {"min_score": 0}},
    ):
        FusarGptProcessor(plain.image_processor, plain.tokenizer, calibration=numbers).save_pretrained(tmp_path)
        assert FusarGptProcessor.from_pretrained(tmp_path).calibration == numbers
    assert plain.calibration is None


@pytest.mark.parametrize(
    "calibration",
    [
        {},
        [],
        {"describe": {"temperature": 1.0, "offset": 0.0}},
        {"count": {"temperature": 0.0, "offset": 0.0}},
        {"count": {"temperature": 1.0}},
        {"count": {"temperature": 1.0, "offset": 0.0, "bins": 3}},
        {"count": {"temperature": "1", "offset": 0.0}},
        {"count": {"temperature": True, "offset": 0.0}},
        {"count": {"temperature": 1.0, "offset": float("nan")}},
        {"count": [1.0, 0.0]},
        {"count": {"temperature": 1.0, "offset": 0.0, "min_score": 0.2}},
        {"detect": {"temperature": 1.0, "offset": 0.0, "min_score": 1.2}},
        {"detect": {"temperature": 1.0, "min_score": 0.2}},
    ],
)
def test_a_calibration_that_is_none_is_refused(calibration: Any):
    plain = tiny_processor()
    with pytest.raises(ValueError, match=r"calibration: found .*, expected "):
        FusarGptProcessor(plain.image_processor, plain.tokenizer, calibration=calibration)


def test_targets_are_saved(tmp_path: Path):
    plain = tiny_processor()
    plain.save_pretrained(tmp_path / "plain")
    FusarGptProcessor(plain.image_processor, plain.tokenizer, targets=("bridge", "oil tank")).save_pretrained(tmp_path)
    assert FusarGptProcessor.from_pretrained(tmp_path).targets == ["bridge", "oil tank"]
    assert FusarGptProcessor.from_pretrained(tmp_path / "plain").targets is None


@pytest.mark.parametrize("targets", [[], "ship", ["ship", "ship"], ["ship", 3], [" "], {"ship": 1}])
def test_targets_that_are_no_names_are_refused(targets: Any):
    plain = tiny_processor()
    with pytest.raises(ValueError, match=r"targets: found .*, expected the names of classes, each once, or None"):
        FusarGptProcessor(plain.image_processor, plain.tokenizer, targets=targets)


def test_the_coarsest_pixel_is_saved(tmp_path: Path):
    plain = tiny_processor()
    FusarGptProcessor(plain.image_processor, plain.tokenizer, coarsest_pixel_m=10).save_pretrained(tmp_path)
    assert FusarGptProcessor.from_pretrained(tmp_path).coarsest_pixel_m == 10.0
    assert plain.coarsest_pixel_m is None


@pytest.mark.parametrize("metres", [0, -10, "10", True, float("nan"), float("inf"), [10]])
def test_a_coarsest_pixel_that_is_no_length_is_refused(metres: Any):
    plain = tiny_processor()
    with pytest.raises(ValueError, match=r"coarsest_pixel_m: found .*, expected metres, above 0, or None"):
        FusarGptProcessor(plain.image_processor, plain.tokenizer, coarsest_pixel_m=metres)


@pytest.mark.parametrize("limits", [(0, -25), (-25,), (-25, "0"), (-1000, 0), (-25, float("nan"))])
def test_decibel_limits_that_are_none_are_refused(limits: Any):
    plain = tiny_processor()
    with pytest.raises(ValueError, match=r"decibel_limits: found .* for 'VV', expected two of -100 to 100, ascending"):
        FusarGptProcessor(plain.image_processor, plain.tokenizer, decibel_limits={"VV": limits})


@pytest.mark.parametrize("image_size", [0, -8, 20, 136, 24.0, True, "24"])
def test_an_image_size_that_would_not_last_is_refused(image_size: bool | float | str):
    with pytest.raises(ValueError, match="image_size: found"):
        squeezing(image_size)


def test_image_size_refuses_arrays_of_unknown_range():
    with pytest.raises(ValueError, match="images: found an array of float32, expected uint8"):
        pixels(squeezing(24), [np.zeros((16, 16, 3), np.float32)])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((32, 48), np.uint8), r"found an array of shape \[32, 48\], expected \[height, width, 3\]"),
        (np.zeros((32, 48), np.float32), "array of float32, expected uint8, .*radiometry.to_8bit"),
        (np.zeros((32, 48, 3), np.uint16), "found an array of uint16, expected uint8"),
        (np.zeros((3, 32, 48), np.float32), "found an array of float32, expected uint8"),
        (torch.zeros(3, 32, 48), "found an array of float32, expected uint8"),
        (torch.zeros(3, 32, 48, dtype=torch.bfloat16), "found an array of bfloat16, expected uint8"),
    ],
    ids=lambda value: "" if isinstance(value, str) else f"{value.dtype} {tuple(value.shape)}",
)
@pytest.mark.parametrize("nested", [False, True])
def test_arrays_that_are_no_pictures_of_8_bit_are_one_line(
    processor: FusarGptProcessor, array: Any, message: str, nested: bool
):
    with pytest.raises(ValueError, match=message) as error:
        processor(images=cast(Any, [[array]] if nested else [array]))
    assert "\n" not in str(error.value) and len(str(error.value)) < 220


def test_floats_that_are_scaled_already_are_taken(processor: FusarGptProcessor):
    image = random_image(32, 48)
    expected = processor(images=[image], return_tensors="pt")["pixel_values"]
    scaled = np.asarray(image, np.float32) / 255
    given: list[dict[str, Any]] = [{"do_rescale": False}, {"images_kwargs": {"do_rescale": False}}]
    for options in given:
        found = processor(images=[scaled], return_tensors="pt", **options)["pixel_values"]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_file_that_is_named_is_read_as_its_picture(processor: FusarGptProcessor, tmp_path: Path):
    image = random_image(32, 48)
    image.save(tmp_path / "image.png")
    expected = processor(images=[image], return_tensors="pt")["pixel_values"]
    encoded = base64.encodebytes((tmp_path / "image.png").read_bytes()).decode()
    for named in (str(tmp_path / "image.png"), encoded, f"data:image/png;base64,{encoded}"):
        assert torch.equal(processor(images=cast(Any, [named]), return_tensors="pt")["pixel_values"], expected)
    for named in (str(tmp_path / "absent.png"), __file__):
        with pytest.raises(ValueError, match=r"images: found '/.*', which cannot be read .*; expected the path"):
            processor(images=cast(Any, [named]))


@pytest.mark.parametrize("change", [torch.Tensor.bfloat16, torch.Tensor.half, torch.Tensor.requires_grad_])
def test_priors_of_any_kind_of_tensor_are_taken(processor: FusarGptProcessor, change: Any):
    prior = random_prior(3)
    tensors = {name: change(torch.from_numpy(values.copy())) for name, values in prior.items()}
    found = processor(images=[random_image(16, 16)], priors=[tensors], return_tensors="pt")
    torch.testing.assert_close(
        found["prior_embeddings"][0], torch.from_numpy(prior["prior_embeddings"]), atol=4e-3, rtol=0
    )
    torch.testing.assert_close(
        found["prior_positions"][0], torch.from_numpy(prior["prior_positions"]), atol=4e-3, rtol=0
    )
