"""Other libraries' errors as the end of a one-line message."""

import textwrap


def one_line(error: BaseException) -> str:
    return textwrap.shorten(str(error), width=240, placeholder=" ...") or type(error).__name__
