"""What a chat model has to do, and what every one of them is asked through: a memory of replies and a budget."""

import hashlib
import json
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from PIL import Image

from fusargpt.captioning.stages import Stopped
from fusargpt.errors import InputError

Turns = tuple[tuple[str, str], ...]
"""Role ("system", "user" or "assistant") and text; the image belongs to the first turn of the user."""


@dataclass(frozen=True)
class Reply:
    """What a model wrote, and what it counted; tokens that it did not count are a quarter of the letters."""

    text: str
    prompt_tokens: int
    answer_tokens: int


class ChatModel(Protocol):
    """A chat model that sees images."""

    @property
    def name(self) -> str:
        """What its replies depend on: the model, and where and how it is asked."""
        ...

    def reply(self, image: Image.Image, turns: Turns, schema: dict[str, Any]) -> Reply:
        """The answer to the last turn, as JSON by `schema` where the model can be held to it.

        Raises:
            InputError: no answer to this question.
            Stopped: no answer to any question, at present.
            OptionError: no answer to any question as long as the options are what they are.
        """
        ...


class Budget:
    """Tokens that may be spent in this run.

    Args:
        most: None sets no limit. No question is put when what the longest one took might not be left.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._spent = self._longest = 0
        self._lock = Lock()

    def check(self) -> None:
        """Raises Stopped when there may be too few left for another question."""
        with self._lock:
            if self._most is not None and self._spent + self._longest > self._most:
                raise Stopped(f"{self._spent:,} of {self._most:,} tokens are spent")

    def spend(self, reply: Reply) -> None:
        with self._lock:
            tokens = reply.prompt_tokens + reply.answer_tokens
            self._spent += tokens
            self._longest = max(self._longest, tokens)


class Memory:
    """Replies on disk, by all that they depend on; several threads and runs may share one.

    Args:
        path: of an SQLite file, made with its folder where it does not exist.

    Raises:
        InputError: a file that is none, or that cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
            self._database.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"{path}: replies cannot be kept here ({error}); name another file (--cache)") from error

    def get(self, key: str) -> Reply | None:
        with self._lock:
            row = self._database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else Reply(**json.loads(row[0]))

    def put(self, key: str, reply: Reply) -> None:
        """Kept as soon as this returns; raises InputError where it cannot be."""
        try:
            with self._lock:
                self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, json.dumps(asdict(reply))))
        except sqlite3.Error as error:
            raise InputError(f"{self._path}: the reply cannot be kept ({error}); make room") from error

    def close(self) -> None:
        self._database.close()


def key_of(model: str, image: bytes, turns: Turns, schema: dict[str, Any]) -> str:
    """SHA-256 of all that a reply depends on: the model's name, the image's bytes, what was said, and the form."""
    digest = hashlib.sha256(hashlib.sha256(image).digest())
    digest.update(json.dumps([model, turns, schema], sort_keys=True).encode())
    return digest.hexdigest()
