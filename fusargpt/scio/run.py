"""A run from captions to cleaned captions: rounds until nothing changes, then the dataset, the journal and the page.

All that takes long is kept in the folder piece by piece (`fusargpt.scio.chunks`, the checkpoints of fits), and all else
follows from it. So a run that was cut, at whatever point, goes on with the same command and ends in the same bytes on
the same machine.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from fusargpt.errors import InputError
from fusargpt.files import held, output_file, reason, watching_disk
from fusargpt.inference.journal import check_same
from fusargpt.scio.dataset import CaptionRows, write_captions
from fusargpt.scio.models import Fitter
from fusargpt.scio.outcome import RoundReport, ScioReport
from fusargpt.scio.parts import Caption
from fusargpt.scio.report import journal_lines, write_page, write_readme
from fusargpt.scio.round import Captioner, Round, changed, tally, write_half
from fusargpt.scio.settings import ScioSettings

SETTINGS, JOURNAL, PAGE, README, ROUNDS = "settings.json", "journal.jsonl", "report.html", "README.md", "rounds"
SCIO_VERSION = 1
"""Raised by every change of what is done with captions, so that runs of two kinds are not mixed."""
SETTLED, FALLEN = 0.005, 0.01
"""Change of the flagged share below which rounds end; fall of the AUROC of planted errors at which they do."""
_LOCK, _RUN = ".lock", "a cleaning"
_REMEDY = "make room, and the same command goes on with what is done; or choose another --out"


def run_scio(
    rows: CaptionRows,
    fitter: Fitter,
    settings: ScioSettings,
    captioner: Captioner | None = None,
    device: str | None = None,
) -> ScioReport:
    """Clean all captions of `rows`, and write the folder.

    Args:
        rows: a split of a dataset.
        fitter: makes the judges.
        settings: see `ScioSettings`.
        captioner: proposes phrases in the place of flagged ones.
        device: as torch names it; None takes a GPU where there is one.

    Raises:
        InputError: rows of one place or too few, judges that do not find planted errors, a folder that holds something
            else, has another run at work on it or cannot be written, or an image that cannot be read.
    """
    if fitter.most_rounds is not None and settings.rounds > fitter.most_rounds:
        raise InputError(
            f"rounds: found {settings.rounds} with models that are given, expected {fitter.most_rounds}: a next round "
            "needs models that were fitted on what this one makes"
        )
    conditions = {
        "version": SCIO_VERSION,
        **rows.conditions(),
        **settings.as_json(),
        **fitter.conditions(),
        "captioner": None if captioner is None else captioner.name,
    }
    out = settings.out
    _claim(out)
    with held(out / _LOCK, out), watching_disk(out, str(out), None, _REMEDY):
        _keep_settings(out / SETTINGS, conditions)
        rounds, captions, stopped = _rounds(rows, fitter, settings, captioner, device)
        return _write(rows, rounds, captions, stopped, settings)


def write_halves(rows: CaptionRows, out: Path) -> dict[str, Path]:
    """Write each half as a dataset of its own in `out`, to fit a model on it elsewhere; returns their folders."""
    folders: dict[str, Path] = {}
    for half, numbers in rows.halves().items():
        folders[half] = out / half
        try:
            out.mkdir(parents=True, exist_ok=True)
            with watching_disk(out, str(out), None, "choose a folder with room"):
                write_half(folders[half], rows, numbers, rows.captions)
        except OSError as error:
            raise InputError(f"{out}: cannot be written ({reason(error)}); choose another folder") from error
    return folders


def _claim(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file; expected a folder")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set[str]()
    if found - {_LOCK, f"{SETTINGS}.partial"} and SETTINGS not in found:
        raise InputError(f"{out}: holds files that no cleaning left there; name a new folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a folder ({reason(error)}); choose another --out") from error


def _keep_settings(path: Path, conditions: Mapping[str, object]) -> None:
    told = json.loads(json.dumps(conditions))
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: a damaged file; choose another --out") from error
        check_same(str(path), found, told, _RUN)
        return
    with output_file(path, _REMEDY) as partial:
        partial.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _rounds(
    rows: CaptionRows, fitter: Fitter, settings: ScioSettings, captioner: Captioner | None, device: str | None
) -> tuple[list[RoundReport], list[Caption], str]:
    halves = rows.halves()
    captions, done = list(rows.captions), list[RoundReport]()
    for number in range(1, settings.rounds + 1):
        one = Round(number, rows, halves, captions, settings, device)
        screened = one.screen(fitter)
        if not screened.auroc >= settings.min_auroc:
            problem = f"planted errors are told from other parts with an AUROC of {screened.auroc:.3f}"
            if number == 1:
                raise InputError(
                    f"{problem}, expected at least {settings.min_auroc:g}: these judges cannot clean captions. Fit "
                    "them for longer or on more rows"
                )
            return done, captions, f"{problem}, below {settings.min_auroc:g}; round {number} is not used"
        if done and screened.auroc < done[-1].auroc - FALLEN:
            reason_ = f"planted errors are found less well than before ({screened.auroc:.3f}, {done[-1].auroc:.3f})"
            return done, captions, f"{reason_}; round {number} is not used"
        found = one.reconstruct(screened, captioner)
        after = changed(captions, screened, found, number)
        accepted = sum(row["accepted"] is not None for row in found.values())
        dropped = sum(part.origin == "dropped" for caption in after for part in caption.values())
        done.append(RoundReport(number, screened.auroc, screened.share, accepted, dropped, screened, found, captions))
        captions = after
        if len(done) > 1 and abs(done[-1].share - done[-2].share) < SETTLED:
            return done, captions, "the share of flagged parts no longer changes"
    return done, captions, "all rounds are done"


def _write(
    rows: CaptionRows,
    rounds: list[RoundReport],
    captions: list[Caption],
    stopped: str,
    settings: ScioSettings,
) -> ScioReport:
    out = settings.out
    everything = list(range(len(rows)))
    written = write_captions(out, rows, everything, captions)
    first = rounds[0].screened.scores
    judged = {number for number, _ in first}
    report = ScioReport(
        out, rounds, stopped, tally(captions), written, len(rows) - written, len(rows) - len(judged), captions
    )
    with output_file(out / JOURNAL, _REMEDY) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in journal_lines(rows, report))
    with output_file(out / PAGE, _REMEDY) as partial:
        write_page(partial, rows, report)
    with output_file(out / README, _REMEDY) as partial:
        write_readme(partial, rows, report)
    return report
