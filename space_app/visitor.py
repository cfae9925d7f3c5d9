"""Whose request is worked on."""

import os

from gradio.context import LocalContext


def current_visitor() -> str | None:
    """The address of the visitor whose request runs in this thread; None outside of requests.

    A session's name would be the visitor's own choice. In a Space all requests come from its proxy, which appends the
    address that it was called from to a header.
    """
    request = LocalContext.request.get(None)
    if request is None or request.client is None:
        return None
    forwarded = request.headers.get("x-forwarded-for", "") if os.environ.get("SPACE_ID") else ""
    return forwarded.rpartition(",")[2].strip() or request.client.host
