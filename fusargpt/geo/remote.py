"""Local files and remote objects as GDAL opens them: one place for addresses, time limits, retries and drivers."""

import hashlib
import os
import re
import warnings
from pathlib import Path
from urllib.parse import parse_qsl

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from fusargpt.errors import InputError, naming
from fusargpt.geo.headers import check_header, file_format_of
from fusargpt.geo.redirects import check_redirects

_DRIVER = "GTiff"
"""Cloud-optimised GeoTIFFs are read by this one too. Virtual formats, which can name other files, are not opened."""

_SCHEMES = {"http": "/vsicurl/http://", "https": "/vsicurl/https://", "s3": "/vsis3/", "gs": "/vsigs/"}

# Each can be overridden by an environment variable of the same name.
GDAL_OPTIONS = {
    # No listing of the folder and no search for files beside the image: a request saved for each guess.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # A first read that takes in the whole header of most files.
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # A request fails after 10 s without a connection or with less than a kilobyte a second. Large reads may take long.
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "10",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    # Three more attempts, after 0.5, 1 and 2 s or so, where one may help; 0 stands for a connection that broke.
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_RETRY_CODES": "0,408,429,500,502,503,504",
}
# Buckets are read without credentials unless there are some.
_UNSIGNED = {
    "AWS_NO_SIGN_REQUEST": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    "GS_NO_SIGN_REQUEST": ("GS_ACCESS_KEY_ID", "GS_OAUTH2_REFRESH_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"),
}
# Of queries: what Amazon, Google, Azure and CloudFront sign with, and what carries a key elsewhere.
_SIGNED = re.compile(
    "X-Amz-.*|X-Goog-.*|AWSAccessKeyId|GoogleAccessId|Signature|Expires|Policy|Key-Pair-Id|Hash-Algorithm"
    "|sig|se|st|sp|spr|sv|sr|sdd|sip|ss|srt|ske|sks|skt|skv|skoid|sktid"
    "|(?:access|auth|api|sas|subscription)?[-_]?(?:token|key|password|secret)",
    re.IGNORECASE,
)


def is_remote(path_or_url: str | Path) -> bool:
    """Whether this is a URL. Local files may be given as text or as `Path`."""
    return isinstance(path_or_url, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path_or_url) is not None


def environment(**options: str) -> rasterio.Env:
    """The GDAL settings under which remote rasters are opened and read: time limits, retries, few requests.

    Used as a context manager. Settings of the process environment win over these, and `options` win over both.
    """
    settings = dict(GDAL_OPTIONS)
    for unsigned, credentials in _UNSIGNED.items():
        if not any(name in os.environ for name in credentials):
            settings[unsigned] = "YES"
    settings = {name: value for name, value in settings.items() if name not in os.environ}
    return rasterio.Env(**(settings | options))


def rasterio_path(path_or_url: str | Path) -> str:
    """What rasterio opens for a local file or an http(s), s3 or gs URL.

    Raises:
        InputError: no such local file, a folder, or a URL of another kind.
    """
    if is_remote(path_or_url):
        scheme, _, rest = str(path_or_url).partition("://")
        if scheme.lower() not in _SCHEMES or not rest:
            raise InputError(f"{shown(path_or_url)}: expected a local file or an http, https, s3 or gs URL")
        return _SCHEMES[scheme.lower()] + rest
    path = Path(path_or_url)
    if path.is_dir():
        raise InputError(f"{path}: a folder; expected a file")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    # Absolute, so that no name can be taken for a prefix such as /vsizip/ or NETCDF:.
    return str(path.absolute())


def shown(path_or_url: str | Path) -> str:
    """The path or URL for messages: without the password and the query of a URL, which may hold keys."""
    text = str(path_or_url)
    for secret in _secrets(text) if is_remote(path_or_url) else []:
        text = text.replace(secret, "")
    return text


def identity(path_or_url: str | Path) -> str:
    """What a file is told apart by in journals, which others may read: as `shown`, and a hash of the rest of a query.

    Signatures, and when they end, take no part: the same address with a renewed one has the same identity.
    """
    if not is_remote(path_or_url):
        return str(path_or_url)
    query = str(path_or_url).partition("#")[0].partition("?")[2]
    kept = sorted(pair for pair in parse_qsl(query, keep_blank_values=True) if not _SIGNED.fullmatch(pair[0]))
    if not kept:
        return shown(path_or_url)
    return f"{shown(path_or_url)} {hashlib.sha256(repr(kept).encode()).hexdigest()[:16]}"


def open_raster(path_or_url: str | Path) -> rasterio.DatasetReader:
    """Open a TIFF file, local or remote. Remote ones are opened and read inside `environment()`.

    Raises:
        InputError: not found, not a TIFF, damaged, refused by `check_header` or `check_redirects`, or a server
            that does not answer within the time limits.
    """
    path = rasterio_path(path_or_url)
    if not is_remote(path_or_url):
        found = file_format_of(Path(path_or_url))
        if found != "TIFF":
            raise InputError(f"{path_or_url}: a picture ({found}) without a place; expected a GeoTIFF")
    with naming(shown(path_or_url)):
        if not is_remote(path_or_url):
            check_header(path_or_url)
        elif path.startswith("/vsicurl/"):
            seconds = os.environ.get("GDAL_HTTP_LOW_SPEED_TIME", GDAL_OPTIONS["GDAL_HTTP_LOW_SPEED_TIME"])
            check_redirects(str(path_or_url), float(seconds))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path, driver=_DRIVER)
    except RasterioError as error:
        raise raster_error(path_or_url, error) from error


def open_member(name: str, gdal_path: str) -> rasterio.DatasetReader:
    """Open a TIFF file of a local product, which may lie in a zip. `name` is what messages call it.

    Raises:
        InputError: not a TIFF, a damaged one, or one that is refused by `check_header`.
    """
    if not gdal_path.startswith("/vsizip/"):
        with naming(name):
            check_header(gdal_path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(gdal_path, driver=_DRIVER)
    except RasterioError as error:
        raise raster_error(name, error) from error


def raster_error(path_or_url: str | Path, error: Exception) -> InputError:
    """One line for a failure to open or read a raster."""
    # Not cut to a length, which could leave a part of a secret.
    reason = " ".join(str(error.__cause__ or error).split())
    name = shown(path_or_url)
    if not is_remote(path_or_url):
        return InputError(f"{name}: a damaged TIFF file, or one of a kind that GDAL cannot read ({reason})")
    for secret in _secrets(str(path_or_url)):
        reason = reason.replace(secret, "")
    return InputError(f"{name}: cannot be read ({reason}); check the address, the connection and the file")


def _secrets(url: str) -> list[str]:
    """The password and the query of a URL, with their marks."""
    return re.findall(r"(?<=//)[^/@]*@|[?#].*", url, flags=re.DOTALL)
