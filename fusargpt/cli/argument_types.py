"""Types of arguments that several verbs have, for argparse."""

import argparse


def names(text: str) -> tuple[str, ...]:
    """Different names, as A,B."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected different names, as A,B")
    return found
