"""Where a server sends those who ask for a file: not to this machine, nor into the network behind it.

GDAL follows redirects and has no setting that stops it. So the first answer is asked for here, before GDAL asks.
"""

import base64
import ipaddress
import socket
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from fusargpt.errors import InputError

_MOST = 10


def check_redirects(url: str, seconds: float = 10.0) -> None:
    """Follow the redirects of an http or https URL, of which nothing is read but where they lead.

    What cannot be reached passes: GDAL asks again and says what is wrong. An address on this machine or in a private
    network may be given by the user; a server may lead there only from the same host.

    Args:
        url: may hold a name and a password.
        seconds: that an answer is waited for.

    Raises:
        InputError: a redirect to another host whose address is not public, to what is no http or https, or too many.
    """
    host = urlsplit(url).hostname
    for _ in range(_MOST):
        target = _led_to(url, seconds)
        if target is None:
            return
        url = urljoin(url, target)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"the server leads to an address of another kind, {parts.scheme}; expected http or https")
        if parts.hostname != host and not _is_public(parts.hostname):
            raise InputError(
                f"the server leads to {parts.hostname}, on this machine or in a private network; give that address "
                "itself if it is meant"
            )
    raise InputError(f"the server leads from one address to the next, more than {_MOST} times")


def check_named(url: str, source: str) -> None:
    """That what a file on a server names is no file of this machine, nor on this machine or in its network.

    Args:
        url: that is named.
        source: of the file that names it; its own host may be named, since the user gave it.

    Raises:
        InputError: another scheme than http, https, s3 and gs, or another host whose address is not public.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https", "s3", "gs") or not parts.hostname:
        raise InputError(f"names an address of another kind, {parts.scheme}; expected http, https, s3 or gs")
    is_web = parts.scheme.lower().startswith("http")
    if is_web and parts.hostname != urlsplit(source).hostname and not _is_public(parts.hostname):
        raise InputError(
            f"names {parts.hostname}, on this machine or in a private network; give that address itself if it is meant"
        )


class _Stay(HTTPRedirectHandler):
    """A redirect is an answer like others."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _led_to(url: str, seconds: float) -> str | None:
    parts = urlsplit(url)
    keys, _, address = parts.netloc.rpartition("@")
    headers = {"Range": "bytes=0-0"}
    if keys:
        headers["Authorization"] = "Basic " + base64.b64encode(unquote(keys).encode()).decode()
    request = Request(parts._replace(netloc=address, fragment="").geturl(), headers=headers)
    try:
        with build_opener(_Stay).open(request, timeout=seconds):
            return None
    except HTTPError as error:
        with error:
            return error.headers.get("Location") if 300 <= error.code < 400 else None
    except (OSError, HTTPException, ValueError):
        return None


def _is_public(host: str) -> bool:
    """Whether all addresses of a host are those of the public network; also where it has none."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    return all(ipaddress.ip_address(address.partition("%")[0]).is_global for address in found)
