"""HCoT again, by rules: what the stages of `fusargpt caption` make of a row whose part was flagged."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fusargpt.captioning.sources import CaptionItem, DatasetSource
from fusargpt.captioning.stages import RulesBackend, caption
from fusargpt.errors import InputError
from fusargpt.scio.dataset import CaptionRows


@dataclass
class RulesCaptioner:
    """Captions rows by `fusargpt.captioning.stages.RulesBackend`: from land cover, boxes, backscatter and AlphaEarth.

    Args:
        rows: to be captioned.
    """

    rows: CaptionRows
    name: str = "rules"
    _source: DatasetSource = field(init=False)

    def __post_init__(self) -> None:
        self._source = DatasetSource(self.rows.name, self.rows.config, (self.rows.split,))

    def phrases(self, number: int) -> Mapping[str, str]:
        seen = self._source.read(CaptionItem(self.rows.ids[number], self.rows.split, (0, number)))
        try:
            findings = caption(seen.observation, RulesBackend()).findings
        except InputError:  # nothing can be said
            return {}
        said: dict[str, str] = {}
        for prefix, record in (("", findings.record("landform")), ("target_", findings.record("target"))):
            said |= {f"{prefix}{name}": phrase for name, phrase in (record or {}).items() if phrase is not None}
        return said
