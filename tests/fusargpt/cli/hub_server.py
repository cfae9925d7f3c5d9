"""A server on this machine that answers a client of the Hub as far as an upload to a repository needs, for tests."""

import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

from huggingface_hub import constants

REPO = "someone/harbours"


class Hub:
    """What the server was sent. `files` are those of the repository, of a dataset or of a model."""

    def __init__(self, kind: str = "datasets") -> None:
        self.kind = kind
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.refuse = False
        self.address = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if self.refuse:
            return 401, {"error": "Invalid credentials in Authorization header"}
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return 200, {"url": f"{self.address}/{self.kind}/{REPO}"}
        if path.startswith(f"/api/{self.kind}/{REPO}/preupload/"):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        if path.startswith(f"/api/{self.kind}/{REPO}/commit/"):
            return 200, self._commit(body)
        if path.startswith(f"/api/{self.kind}/{REPO}/tree/"):
            return 200, [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in self.files]
        if path.startswith(f"/api/{self.kind}/{REPO}"):
            siblings = [{"rfilename": name} for name in self.files]
            return 200, {"id": REPO, "sha": "0" * 40, "private": False, "siblings": siblings, "tags": []}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        return 404, {"error": f"{method} {path} is not part of an upload"}

    def _commit(self, body: bytes) -> dict[str, Any]:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "deletedFile":
                del self.files[value["path"]]
        return {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.address}/{self.kind}/{REPO}/commit/1"}


@contextmanager
def serve_hub(kind: str = "datasets") -> Generator[Hub]:
    hub = Hub(kind)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = hub.answer(self.command, self.path.partition("?")[0], body)
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        # Whoever runs tests offline means other servers.
        with patch.object(constants, "HF_HUB_OFFLINE", False):
            yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
