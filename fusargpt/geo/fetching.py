"""Small files as a whole: local, or on a server, with the limits that hold for remote rasters."""

import time
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, build_opener

from fusargpt.errors import InputError, naming, one_line
from fusargpt.files import read_regular, reason
from fusargpt.geo.redirects import check_redirects
from fusargpt.geo.remote import is_remote, shown

SECONDS = 10.0
RETRIES = 3
_BACKOFF_SECONDS = 0.5
_TRANSIENT = (408, 429, 500, 502, 503, 504)


def read_bytes(path_or_url: str | Path, most: int) -> bytes:
    """What a local file, or one at an http(s) address, holds.

    Args:
        path_or_url: of the file.
        most: bytes that it may have.

    Raises:
        InputError: a file that cannot be read, a longer one, a server that does not answer within 10 s after three
            retries, or one that leads into a private network.
    """
    name = shown(path_or_url)
    if is_remote(path_or_url):
        with naming(name):
            check_redirects(str(path_or_url), SECONDS)
            content = _fetched(str(path_or_url), most)
    else:
        try:
            content = read_regular(path_or_url)
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({reason(error)})") from error
    if len(content) > most:
        raise InputError(f"{name}: more than {most:,} bytes")
    return content


def _fetched(url: str, most: int) -> bytes:
    if not url.lower().startswith(("http://", "https://")):
        raise InputError("expected a local file, or an http or https URL")
    failure = ""
    for attempt in range(RETRIES + 1):
        if attempt:
            time.sleep(_BACKOFF_SECONDS * 2 ** (attempt - 1))
        try:
            with build_opener().open(Request(url, headers={"Accept-Encoding": "identity"}), timeout=SECONDS) as answer:
                return answer.read(most + 1)
        except HTTPError as error:
            error.close()
            failure = f"status {error.code}"
            if error.code not in _TRANSIENT:
                break
        except (OSError, HTTPException, ValueError) as error:
            failure = one_line(error)
    raise InputError(f"cannot be read ({failure}); check the address and the connection")
