"""Which visitors have pressed Stop: the answer looks here after each token, and ends itself."""

from collections import OrderedDict
from threading import Event, Lock

from space_app.limits import SESSIONS


class Stops:
    """One flag for each visitor whose question is waiting or being answered; the oldest go beyond `SESSIONS`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._flags: OrderedDict[str, Event] = OrderedDict()

    def begin(self, visitor: str) -> None:
        """A new question: not stopped."""
        with self._lock:
            self._flags[visitor] = Event()
            self._flags.move_to_end(visitor)
            while len(self._flags) > SESSIONS:
                self._flags.popitem(last=False)

    def stop(self, visitor: str) -> None:
        with self._lock:
            if visitor in self._flags:
                self._flags[visitor].set()

    def is_stopped(self, visitor: str) -> bool:
        with self._lock:
            return visitor in self._flags and self._flags[visitor].is_set()

    def end(self, visitor: str) -> None:
        with self._lock:
            self._flags.pop(visitor, None)
