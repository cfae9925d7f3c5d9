"""Where the two judges of a round come from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fusargpt.embedding.model_folder import check_model, fingerprint
from fusargpt.scio.settings import HALVES


class Fitter(Protocol):
    """Makes models of halves."""

    @property
    def most_rounds(self) -> int | None:
        """That it can be asked for; None for any number."""
        ...

    def conditions(self) -> dict[str, object]:
        """What models depend on beside the data, as plain JSON."""
        ...

    def fit(self, half: str, data: Callable[[], Path], folder: Path) -> Path:
        """The folder of a model that was fitted on a half and on nothing else of the dataset.

        Args:
            half: of `fusargpt.scio.settings.HALVES`.
            data: leaves the half's captions in a folder, as `datasets` reads them.
            folder: for what is made; a fit that was cut goes on there.
        """
        ...


@dataclass(frozen=True)
class GivenModels:
    """Two models that were fitted before, one on each half: they judge one round.

    Attributes:
        a, b: folders of the models that were fitted on these halves.
    """

    a: Path
    b: Path
    most_rounds: int | None = 1

    def conditions(self) -> dict[str, object]:
        for folder in (self.a, self.b):
            check_model(str(folder))
        return {"models": [fingerprint(str(folder)) for folder in (self.a, self.b)]}

    def fit(self, half: str, data: Callable[[], Path], folder: Path) -> Path:
        return self.a if half == HALVES[0] else self.b
