"""When a file is a scene rather than a chip."""

SHRUNK = 2


def is_shrunk(width: int, height: int, seen_width: int, seen_height: int) -> bool:
    """Whether the model sees less than half of an image's pixels along a side, so that small targets are lost.

    Args:
        width, height: of the file, in pixels.
        seen_width, seen_height: of what the model sees of it.
    """
    return width > seen_width * SHRUNK or height > seen_height * SHRUNK
