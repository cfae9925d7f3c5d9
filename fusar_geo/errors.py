"""The one error for what a user hands in."""


class InputError(ValueError):
    """A file, a field or an argument given by the user is not what it should be.

    The message is one line: it names the file or field, what was found, what was expected and what to do.
    """


class NoDataError(InputError):
    """Nothing to see: no pixel of an image or of a window of it holds data."""
