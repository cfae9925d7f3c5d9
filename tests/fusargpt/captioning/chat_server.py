"""A server of the OpenAI interface that misbehaves as it is told."""

import json
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass
class Response:
    """What the server sends; `content` becomes the message of a well-formed answer."""

    content: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    delay: float = 0.0
    finish: str = "stop"
    refusal: str | None = None
    usage: bool = True


@dataclass
class Stub:
    """A running server.

    Attributes:
        url: of its interface.
        requests: that it has had.
        respond: what it sends to a request, which is numbered from 0.
    """

    url: str
    respond: Callable[[Body, int], Response]
    requests: list[Body] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def good_answer(request: Body) -> str:
    """JSON of the form that the request demands: a claim in the first dimension, or a verdict on every claim."""
    schema = request["response_format"]["json_schema"]["schema"]
    (name,) = schema["properties"]
    allowed = schema["properties"][name]["items"]["properties"]["dimension"]["enum"]
    if name == "verdicts":
        verdicts = [{"dimension": one, "verdict": "keep", "text": "", "reason": "it agrees"} for one in allowed]
        return json.dumps({"verdicts": verdicts})
    claim = {"dimension": allowed[0], "text": f"what {allowed[0]} is", "evidence": "seen", "confidence": 0.8}
    return json.dumps({"claims": [claim]})


@contextmanager
def stub(respond: Callable[[Body, int], Response]) -> Generator[Stub]:
    """A server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request: Body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with running.lock:
                number = len(running.requests)
                running.requests.append(request)
            response = running.respond(request, number)
            time.sleep(response.delay)
            content = json.dumps(_body(response) if response.body is None else response.body).encode()
            try:
                self.send_response(response.status)
                for name, value in {"Content-Type": "application/json", **response.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # who asked has gone

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Stub(f"http://127.0.0.1:{server.server_address[1]}/v1", respond)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _body(response: Response) -> Body:
    if response.status != 200:
        return {"error": {"message": "not now", "type": "error"}}
    message = {"role": "assistant", "content": response.content, "refusal": response.refusal}
    body: Body = {
        "id": "answer",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": response.finish}],
    }
    if response.usage:
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return body
