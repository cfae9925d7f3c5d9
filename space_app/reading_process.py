"""A process that is started before it is needed, and reads each file in a fork of its own, within limits.

A small file can keep a decoder busy for minutes, or make it ask for gigabytes, inside calls that nothing else can end.
What was loaded once is there for every fork; what a file did to a fork ends with it, and no other file meets it.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from fusargpt.errors import InputError
from fusargpt.geo.reading import Reading
from space_app.limits import READING_BYTES
from space_app.read_file import ReadFile, read_file

_CLOCK = 3.0
"""So many times the seconds of a processor may pass on the clock: a busy machine gives a process part of one."""
_AT_LEAST_SECONDS = 20.0
# In a Space the folder, whatever its name, is the package: not an installed one.
_START = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("space_app", sys.argv[1])
sys.modules["space_app"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from space_app.reading_process import serve
serve()
"""


class ReadingProcess:
    """The process as this one sees it; used by one thread at a time.

    Args:
        seconds: of a processor for each file.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, unless it runs; returns at once, while it loads what reading takes."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, "-P", "-c", _START, str(Path(__file__).with_name("__init__.py"))]
            # One thread: each has memory of its own, and the limit is for all. Nor can threads be forked.
            alone = {
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            }
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | alone,
                start_new_session=True,
            )
        return self._process

    def read(self, path: str, reading: Reading | None) -> ReadFile | InputError | None:
        """What `read_file` returns or raises; None where that took more than the limits."""
        process = self.start()
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(_AT_LEAST_SECONDS + _CLOCK * self._seconds, self.close)
        timer.daemon = True
        timer.start()
        try:
            # gradio's own kind of text would have gradio loaded where it is read.
            pickle.dump((str(path), reading, self._seconds), process.stdin)
            process.stdin.flush()
            # Written by our own code, which was told to read pixels and nothing else.
            return pickle.load(process.stdout)
        except (OSError, ValueError, EOFError, pickle.UnpicklingError):
            # The next file need not wait for what this one has ended.
            timer.cancel()
            timer.join()
            self.close()
            self.start()
            return None
        finally:
            timer.cancel()
            timer.join()

    def close(self) -> None:
        """End it, whatever it does."""
        process, self._process = self._process, None
        if process is None:
            return
        # The fork that reads, too.
        with contextlib.suppress(ProcessLookupError):
            process.kill() if sys.platform == "win32" else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            # What was not sent yet has nobody to go to.
            with contextlib.suppress(OSError):
                pipe.close()


def serve() -> None:
    """What the process does: reads files that are named on the standard input, until that ends."""
    requests = sys.stdin.buffer
    # Whatever a library prints goes elsewhere.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            path, reading, seconds = pickle.load(requests)
        except EOFError:
            return
        if sys.platform == "win32":
            # No forks: a process for each file.
            _answer(path, reading, out)
            return
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _limit(seconds)
                _answer(path, reading, out)
                code = 0
            finally:
                os._exit(code)
        # What a fork wrote that did not come to its end may be half an answer.
        if os.waitpid(child, 0)[1]:
            return


def _answer(path: str, reading: Reading | None, out: BinaryIO) -> None:
    try:
        found: ReadFile | InputError = read_file(path, reading)
    except InputError as error:
        # Without its cause, which may not be known in the other process.
        found = InputError(str(error))
    out.write(pickle.dumps(found))
    out.flush()


def _limit(seconds: float) -> None:
    """On systems that have such limits; the time on the clock is limited everywhere."""
    if sys.platform == "win32":
        return
    import resource

    most = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + READING_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
