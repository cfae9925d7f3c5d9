"""Packages that only some verbs need, and the extras of this distribution that bring them."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec

from fusargpt.errors import InputError
from fusargpt.installation import command_for

_ALPHAEARTH = {"imagecodecs", "pyarrow", "tifffile", "urllib3"}
_DATA = {"datasets", "matplotlib", "pyarrow", "scipy", "shapely", "tqdm", "yaml"} | _ALPHAEARTH
_RAY = {"ray"} | _DATA
_SCENES = {"pyogrio", "scipy", "shapely", "tqdm"} | _ALPHAEARTH
_METRICS = {"evaluate", "jinja2", "rouge_score", "sacrebleu", "sklearn"} | _DATA
_FOUNDATION = {"scipy"} | _METRICS

PACKAGES: dict[str, set[str]] = {
    "alphaearth": _ALPHAEARTH,
    "captions": {"jinja2", "openai", "scipy"} | _DATA,
    "constrained": {"llguidance"},
    "data": _DATA,
    "demo": {"gradio"} | _ALPHAEARTH,
    "foundation": _FOUNDATION,
    "maps": {"folium", "geopandas", "matplotlib"} | _SCENES,
    "metrics": _METRICS,
    "open_clip": {"open_clip"} | _FOUNDATION,
    "quantized": {"bitsandbytes", "torchao"},
    "ray": _RAY,
    "scenes": _SCENES,
    "serving": _METRICS | _RAY,
    "train": {"accelerate", "matplotlib", "peft", "trl", "yaml"} | _METRICS,
}
"""What each extra brings, by the names under which it is imported; as in pyproject.toml."""


@contextmanager
def needs(need: str, *extras: str) -> Generator[None]:
    """Say which extra brings a package that the block cannot import.

    Args:
        need: how the line begins, as "scenes need".
        extras: of `PACKAGES`; the first that brings the package is named.

    Raises:
        InputError: a package of the extras is not installed. One that is of none of them passes as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra in extras:
            if package in PACKAGES[extra]:
                raise _missing(need, package, extra) from error
        raise


def check_constrained() -> None:
    """Raises InputError where --constrained is asked for and what it needs is not installed."""
    if find_spec("llguidance") is None:
        raise _missing("--constrained needs", "llguidance", "constrained")


def check_open_clip() -> None:
    """Raises InputError where a model of open_clip is asked for and the package is not installed."""
    if find_spec("open_clip") is None:
        raise _missing("open_clip models need", "open_clip", "open_clip")


def _missing(need: str, package: str, extra: str) -> InputError:
    return InputError(f"{need} {package}; this brings it: {command_for(extra)}")
