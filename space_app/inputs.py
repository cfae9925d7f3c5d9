"""The question and the prior that a visitor hands in, read within the page's limits."""

from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior, load_prior
from fusargpt.tasks.prompts import prompt
from space_app.limits import MAX_ANCHORS, MAX_QUESTION, check_prior_size

FREE = "free"
"""The choice beside the tasks: a question in the visitor's own words."""
TASKS_WITH_TARGET = ("count", "localize", "detect")


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


def read_small_prior(path: str) -> Prior:
    """A prior of at most 4,096 anchors.

    Raises:
        InputError: more anchors, a file that unpacks to more than these take, or one that
            `fusargpt.geo.prior.load_prior` refuses.
    """
    check_prior_size(path)
    prior = load_prior(path)
    if len(prior.embeddings) > MAX_ANCHORS:
        raise InputError(
            f"{path}: {len(prior.embeddings):,} anchors; at most {MAX_ANCHORS:,}. Take every second pixel of the "
            "AlphaEarth tile, or fewer."
        )
    return prior
