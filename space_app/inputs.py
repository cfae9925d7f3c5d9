"""What a visitor hands in, read with the limits of a public page."""

from PIL import Image

from fusar_geo.errors import InputError
from fusar_geo.image import read_image
from fusar_geo.prior import Prior, load_prior
from modeling_fusargpt.predict import FusarGpt
from modeling_fusargpt.tasks import prompt

FREE = "free"
"""The choice beside the tasks: a question in the visitor's own words."""
TASKS_WITH_TARGET = ("count", "localize", "detect")
MAX_QUESTION = 2000
"""Characters; a prompt of several sentences has some hundreds."""
MAX_ANCHORS = 4096
"""A place of 640 m has 64 x 64 pixels of AlphaEarth; more anchors than that only take memory."""


def read_question(task: str, target: str, question: str) -> str:
    """The task's own question about `target`, or the visitor's `question` when the task is "free".

    Raises:
        InputError: no question, or one of more than 2,000 characters.
        ValueError: an unknown task or target.
    """
    if task != FREE:
        return prompt(task, target)
    if not question.strip():
        raise InputError("Write a question first, or choose a task.")
    if len(question) > MAX_QUESTION:
        raise InputError(f"A question of {len(question):,} characters; at most {MAX_QUESTION:,}. Ask less at once.")
    return question.strip()


def read_seen_image(predictor: FusarGpt, path: str | None) -> tuple[Image.Image, Image.Image]:
    """The image, and the same at the size at which the model sees it; both RGB.

    Raises:
        InputError: no image, or one that `fusar_geo.image.read_image` refuses.
    """
    if path is None:
        raise InputError("Upload an image first, or choose an example.")
    image = read_image(path)
    return image, image.resize(predictor.seen_size(image), Image.Resampling.BICUBIC)


def read_small_prior(path: str) -> Prior:
    """A prior of at most 4,096 anchors.

    Raises:
        InputError: more anchors, or a file that `fusar_geo.prior.load_prior` refuses.
    """
    prior = load_prior(path)
    if len(prior.embeddings) > MAX_ANCHORS:
        raise InputError(
            f"{path}: {len(prior.embeddings):,} anchors; at most {MAX_ANCHORS:,}. Take every second pixel of the "
            "AlphaEarth tile, or fewer."
        )
    return prior
