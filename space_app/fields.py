"""The AlphaEarth fields that visitors may fetch anchors from: an allow-list of names, so that no address is theirs.

The environment variable FUSARGPT_ALPHAEARTH replaces the list: `name=root` for each field, separated by semicolons,
where a root is a folder or an http, https, s3 or gs URL. Set to nothing, it offers none.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.field import PUBLISHED_ROOTS, AlphaEarth
from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior
from fusargpt.geo.remote import is_remote
from space_app.limits import MAX_ANCHORS_PER_SIDE
from space_app.scenes import UploadedScene

EXAMPLES = Path(__file__).resolve().with_name("examples")
SIMULATED = "Simulated (examples)"
VARIABLE = "FUSARGPT_ALPHAEARTH"


def offered_roots() -> dict[str, str]:
    """Names and roots.

    Raises:
        InputError: a variable that cannot be read.
    """
    listed = os.environ.get(VARIABLE)
    if listed is None:
        return {SIMULATED: str(EXAMPLES / "aef"), **PUBLISHED_ROOTS}
    roots = {}
    for entry in filter(None, (part.strip() for part in listed.split(";"))):
        name, separator, root = (part.strip() for part in entry.partition("="))
        if not (separator and name and root):
            raise InputError(
                f"{VARIABLE}: found {entry!r}; expected name=root, several of them separated by semicolons"
            )
        if name in roots:
            raise InputError(f"{VARIABLE}: {name!r} stands there twice; give each field a name of its own")
        roots[name] = root
    return roots


def open_fields(roots: Mapping[str, str]) -> dict[str, AlphaEarth]:
    """The fields by name; nothing is read yet.

    Raises:
        InputError: a root that is not a folder's address.
    """
    # One cache on disk for all that comes from servers.
    cache = BlockCache() if any(is_remote(root) for root in roots.values()) else None
    return {name: AlphaEarth(root, cache if is_remote(root) else None) for name, root in roots.items()}


def fetch_anchors(
    fields: Mapping[str, AlphaEarth], name: str | None, scene: UploadedScene, year: float | None, per_side: float
) -> Prior:
    """The anchors of a scene on a grid of `per_side` x `per_side` nodes.

    Raises:
        InputError: a field that is not offered, no year, no place, a grid beyond the limit, or what
            `fusargpt.alphaearth.anchors.spatiotemporal_anchors` raises, with the field's name instead of its address.
    """
    if name is None or name not in fields:
        raise InputError(f"AlphaEarth field: found {name!r}; this page offers {', '.join(fields) or 'none'}")
    if scene.geometry is None:
        raise InputError(
            f"{scene.name}: the file does not say where it lies; type its place, or upload the anchors as .npz"
        )
    if year is None or not float(year).is_integer():
        raise InputError(f"Year: found {year}; expected a whole number, as 2024")
    if not (float(per_side).is_integer() and 1 <= per_side <= MAX_ANCHORS_PER_SIDE):
        raise InputError(f"Anchors a side: found {per_side}; expected 1 to {MAX_ANCHORS_PER_SIDE}")
    source = fields[name]
    grid = (int(per_side), int(per_side))
    try:
        return spatiotemporal_anchors(scene.geometry, int(year), source=source, grid=grid)
    except InputError as error:
        raise InputError(str(error).replace(source.name, name)) from error
