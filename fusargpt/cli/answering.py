"""A model that fails while it answers, in one line."""

from collections.abc import Generator
from contextlib import contextmanager

from fusargpt.errors import InputError, one_line


@contextmanager
def answering(model: str) -> Generator[None]:
    """Raises InputError that names the model for what goes wrong in the block, whatever it is."""
    try:
        yield
    except (InputError, ImportError):
        raise
    # What torch and transformers raise where memory ends, or files of a model do not fit each other: of any type.
    except Exception as error:
        raise InputError(f"{model}: no answer ({type(error).__name__}: {one_line(error)})") from error
