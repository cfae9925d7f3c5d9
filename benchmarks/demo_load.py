"""Fifty visitors at once ask the demo on this machine: python -m benchmarks.demo_load

A server with fusargpt-nano runs in a process of its own. Each client uploads an example and asks for a count or for
cells, over and over, until `--requests` were answered; the right answers are asked for one by one beforehand, so that
an answer that went to the wrong client shows. A refusal is a 503 with a message; the client then waits and asks again.
Printed are how requests ended, how long they took, and the server's memory and files as the requests go by.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from space_app.fields import EXAMPLES

NAMES = ("harbour", "airfield", "inland")
QUESTIONS = (("count", "ship"), ("count", "aircraft"), ("localize", "ship"))
POLITE_SECONDS = 1.0
PATIENCE_SECONDS = 600.0


@dataclass
class Tally:
    """What all clients saw, under one lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory: list[tuple[int, float, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def ask(client: httpx.Client, server: str, name: str, task: str, target: str) -> str | None:
    """The answer of one request; None when it was refused. Raises RuntimeError when it ended in any other way."""
    content = (EXAMPLES / f"{name}.tif").read_bytes()
    (path,) = client.post(f"{server}/upload", files={"files": (f"{name}.tif", content)}).raise_for_status().json()
    image = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = client.post(f"{server}/call/ask", json={"data": [image, None, task, target, "", False, 1, ""]})
    if call.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        return None
    event = call.raise_for_status().json()["event_id"]
    stream = client.get(f"{server}/call/ask/{event}").raise_for_status().text
    ended = re.findall(r"^event: (\w+)\ndata: (.*)$", stream, re.MULTILINE)[-1]
    # The fifty are one visitor.
    if "of your requests are under way" in ended[1]:
        return None
    if ended[0] != "complete":
        raise RuntimeError(f"ended as {ended[0]}: {ended[1][:200]}")
    result: dict[str, Any] = json.loads(ended[1])[0]
    if result["image"] != f"{name}.tif":
        raise RuntimeError(f"asked about {name}.tif, answered about {result['image']}")
    return result["answers"][0]["text"]


def visit(
    server: str, requests: int, number: int, right: dict[tuple[str, ...], str], tally: Tally, process: int, files: Path
) -> None:
    """One client: asks until `requests` of all clients together have ended."""
    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        turn = number
        while True:
            with tally.lock:
                begun = tally.outcomes["begun"]
                if begun >= requests:
                    return
                tally.outcomes["begun"] += 1
            key = (NAMES[turn % len(NAMES)], *QUESTIONS[turn // len(NAMES) % len(QUESTIONS)])
            turn += 1
            start = time.monotonic()
            refused = 0
            try:
                while (answer := ask(client, server, *key)) is None:
                    refused += 1
                    time.sleep(POLITE_SECONDS)
                outcome = "answered" if answer == right[key] else "mixed up"
            except (httpx.HTTPError, RuntimeError, ValueError, IndexError) as error:
                outcome = "lost"
                with tally.lock:
                    tally.problems.append(f"{type(error).__name__}: {error}")
            with tally.lock:
                tally.outcomes[outcome] += 1
                tally.outcomes["refused"] += refused
                tally.seconds.append(time.monotonic() - start)
                ended = len(tally.seconds)
                if ended % max(1, requests // 10) == 0:
                    tally.memory.append((ended, memory_mib(process), kept_files(files)))
                    print("after {:>4} requests: {:>6.0f} MiB, {} files".format(*tally.memory[-1]), flush=True)


def memory_mib(process: int) -> float:
    """Resident memory of a process (Linux)."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def kept_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def wait_until_up(server: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            httpx.get(f"{server}/info", timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit(f"error: the server ended with {process.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=500)
    options = parser.parse_args()
    port = free_port()
    server = f"http://127.0.0.1:{port}/gradio_api"
    with tempfile.TemporaryDirectory() as files:
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", "from fusargpt.cli.main import main; main()", "demo", "--port", str(port)],
            env={**os.environ, "TMPDIR": files, "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until_up(server, process)
            print(f"up after {time.monotonic() - start:.1f} s")
            right = {}
            with httpx.Client(timeout=PATIENCE_SECONDS) as client:
                for name in NAMES:
                    for question in QUESTIONS:
                        right[name, *question] = ask(client, server, name, *question) or ""
            print(f"{len(right)} questions alone: {memory_mib(process.pid):.0f} MiB", flush=True)
            tally = Tally()
            arguments = (server, options.requests)
            start = time.monotonic()
            threads = [
                threading.Thread(target=visit, args=(*arguments, number, right, tally, process.pid, Path(files)))
                for number in range(options.clients)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            taken = time.monotonic() - start
        finally:
            process.terminate()
            process.wait()
        left = kept_files(Path(files))
    counts = ", ".join(f"{tally.outcomes[name]} {name}" for name in ("answered", "mixed up", "lost", "refused"))
    seconds = sorted(tally.seconds)
    print(f"{options.clients} clients, {options.requests} requests in {taken:.0f} s: {counts} (and asked again)")
    print(f"a request took {seconds[len(seconds) // 2]:.1f} s (median), {seconds[-len(seconds) // 20]:.1f} s (95 %)")
    print(f"files left after the end: {left}")
    for line in tally.problems[:5]:
        print(line)


if __name__ == "__main__":
    main()
