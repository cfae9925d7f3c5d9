"""When a file is a scene rather than a chip."""

SHRUNK = 2


def is_shrunk(width: int, height: int, seen_width: int, seen_height: int) -> bool:
    """Whether the model sees less than half of an image's pixels along a side, so that small targets are lost.

    Args:
        width, height: of the file, in pixels.
        seen_width, seen_height: of what the model sees of it.
    """
    return width > seen_width * SHRUNK or height > seen_height * SHRUNK


def told_shrunk(width: int, height: int, seen_width: int, seen_height: int) -> str:
    """What a user should know of an image that `is_shrunk`, as a sentence begins."""
    return f"{width:,} x {height:,} pixels are seen as {seen_width} x {seen_height}, in which small targets are lost"
