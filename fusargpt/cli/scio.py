"""`fusargpt scio`: captions whose wrong parts are found, left out or said anew by models of other places."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusargpt.checkpoints import shipped
from fusargpt.cli.extras import needs
from fusargpt.cli.parser import Parser
from fusargpt.errors import InputError, naming

if TYPE_CHECKING:
    from fusargpt.scio.models import Fitter
    from fusargpt.scio.run import ScioReport

_FITS = ("recipe", "model_a", "only_halves")
_OF_THE_RUN = (
    "rounds",
    "precision",
    "min_auroc",
    "max_flagged",
    "together",
    "draws",
    "reconstruct",
    "seed",
    "batch_rows",
)


@dataclass(frozen=True)
class RecipeFitter:
    """Fits each half by a recipe of trl_recipes/klip, which goes on from its last checkpoint.

    Attributes:
        recipe: its file.
        overrides: of its fields, as `--key value`.
    """

    recipe: Path
    overrides: tuple[str, ...]
    most_rounds: int | None = None

    def conditions(self) -> dict[str, object]:
        return {"recipe": self.recipe.read_text(encoding="utf-8"), "overrides": list(self.overrides)}

    def fit(self, half: str, data: Callable[[], Path], folder: Path) -> Path:
        from trl_recipes.klip.train import run_recipe

        if (folder / "config.json").is_file():
            return folder
        given = [*self.overrides, "--dataset_name", str(data()), "--dataset_config", "captions"]
        run_recipe([str(self.recipe), *given, "--output_dir", str(folder), "--resume", "true"])
        return folder


def main(arguments: Sequence[str]) -> int:
    """Leave cleaned captions, a journal and a page in a folder.

    Raises:
        InputError: an extra is not installed, or what `fusargpt.scio.run.run_scio` raises.
    """
    # Intermixed, so that DATASET may also come after the options.
    chosen = vars(_parser().parse_intermixed_args(arguments))
    _check(chosen)
    extras = ("train", "captions") if "recipe" in chosen else ("captions",)
    with needs("cleaning captions needs", *extras):
        return _run(chosen)


def _check(chosen: dict[str, Any]) -> None:
    given = [name for name in _FITS if name in chosen]
    if len(given) != 1:
        found = " and ".join(_option(name) for name in given) or "none of them"
        raise InputError(
            f"found {found}; expected one of --recipe (fits judges), --model-a with --model-b (fitted before) and "
            "--only-halves (writes what each is to be fitted on)"
        )
    if ("model_a" in chosen) != ("model_b" in chosen):
        raise InputError("--model-a, --model-b: found one of them; expected both, each fitted on its own half")
    if "start" in chosen and "recipe" not in chosen:
        raise InputError("--start: is what a recipe starts from; leave it out, or give --recipe")
    if "only_halves" in chosen and (more := [name for name in (*_OF_THE_RUN, "captioner") if name in chosen]):
        raise InputError(f"{_option(more[0])}: halves do not depend on it; leave it out with --only-halves")
    if "recipe" in chosen:
        with needs("cleaning captions needs", "train", "captions"), naming("--recipe"):
            from trl_recipes.recipe_file import recipe_path

            chosen["recipe"] = Path(recipe_path(chosen["recipe"]))


def _run(chosen: dict[str, Any]) -> int:
    import datasets

    from fusargpt.inference.quiet import quiet_libraries
    from fusargpt.scio.captioner import RulesCaptioner
    from fusargpt.scio.dataset import CaptionRows
    from fusargpt.scio.run import run_scio, write_halves
    from fusargpt.scio.settings import ScioSettings

    datasets.disable_progress_bars()
    quiet_libraries()
    if "model_a" in chosen:
        chosen.setdefault("rounds", 1)
    settings = ScioSettings(out=chosen["out"], **{name: chosen[name] for name in _OF_THE_RUN if name in chosen})
    rows = CaptionRows(chosen["dataset"], chosen["split"], chosen.get("config"))
    if "only_halves" in chosen:
        for half, folder in write_halves(rows, chosen["out"]).items():
            print(f"half {half}: {folder}")
        return 0
    captioner = RulesCaptioner(rows) if chosen.get("captioner", "rules") == "rules" else None
    try:
        _tell(run_scio(rows, _fitter(chosen), settings, captioner, chosen.get("device")))
    except (FileExistsError, FileNotFoundError) as error:  # of a recipe
        raise InputError(str(error)) from error
    return 0


def _fitter(chosen: dict[str, Any]) -> "Fitter":
    from fusargpt.scio.models import GivenModels

    if "model_a" in chosen:
        a, b = (Path(shipped(str(chosen[name]))) for name in ("model_a", "model_b"))
        return GivenModels(a, b)
    start = ("--model_name_or_path", str(chosen["start"])) if "start" in chosen else ()
    return RecipeFitter(chosen["recipe"], start)


def _tell(report: "ScioReport") -> None:
    for one in report.rounds:
        print(
            f"Round {one.number}: AUROC of planted errors {one.auroc:.3f}, {100 * one.share:.1f} % of parts flagged, "
            f"{one.accepted:,} said anew, {one.dropped:,} left out"
        )
    print(f"Stopped: {report.stopped}")
    print(f"{report.written:>9,} rows: {report.out}")
    if report.left_out:
        print(f"{report.left_out:>9,} rows left out: too little of them is trusted (journal.jsonl)")
    if report.unjudged:
        print(f"{report.unjudged:>9,} rows not judged: fewer than three parts")
    print(f"Page: {report.out / 'report.html'}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt scio",
        description=(
            "Clean captions of sixteen parts. Two models are fitted, each on the places of one half, and each judges "
            "the captions of the other: a part without which image and text fit better, and that the model would not "
            "have said, is left out or said anew. Thresholds come from errors that are planted. A run that was cut "
            "goes on with the same command."
        ),
        epilog="Exit codes: 0; 2 when something is wrong with the input.",
        examples=(
            "fusargpt scio captions --recipe trl_recipes/klip/nano/scio.yaml --out clean",
            "fusargpt scio captions --only-halves --out halves",
            "fusargpt scio captions --model-a fitted/a --model-b fitted/b --out clean",
        ),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="with the columns of `captions`: folder, Parquet file, or name on the Hub; stays as it is",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder, or one to go on with")
    parser.add_argument("--config", metavar="NAME", help="of the dataset (default: captions where there is one)")
    parser.add_argument("--split", metavar="NAME", default="train", help="that is cleaned (default: train)")
    judges = parser.add_argument_group("judges (one of --recipe, --model-a and --model-b, --only-halves)")
    judges.add_argument("--recipe", metavar="FILE", help="by which each half is fitted anew in every round")
    judges.add_argument("--start", metavar="MODEL", help="from which the recipe starts (default: as it says)")
    judges.add_argument("--model-a", metavar="DIR", type=Path, help="that was fitted on half a; judges half b")
    judges.add_argument("--model-b", metavar="DIR", type=Path, help="that was fitted on half b; judges half a")
    judges.add_argument(
        "--only-halves", action="store_true", help="write halves a and b to --out, to fit models elsewhere, and end"
    )
    judges.add_argument(
        "--device", metavar="NAME", help="of judges, as torch names it (default: a GPU where there is one)"
    )
    run = parser.add_argument_group("what is done")
    run.add_argument("--rounds", metavar="N", type=int, help="at most (default: 3; 1 with given models)")
    run.add_argument(
        "--precision", metavar="P", type=float, help="of flags, estimated from planted errors (default: 0.8)"
    )
    run.add_argument(
        "--min-auroc", metavar="A", type=float, help="of planted errors, below which nothing is cleaned (default: 0.65)"
    )
    run.add_argument("--max-flagged", metavar="P", type=float, help="share of a dimension's parts (default: 0.4)")
    run.add_argument("--together", metavar="N", type=int, help="parts that are judged in one text (default: 4)")
    run.add_argument("--draws", metavar="N", type=int, help="texts in which a part is judged (default: 1)")
    run.add_argument(
        "--no-reconstruct", dest="reconstruct", action="store_false", help="leave flagged parts out, say none anew"
    )
    run.add_argument(
        "--captioner",
        choices=("rules", "none"),
        help="proposes phrases too: rules of `fusargpt caption`, by boxes, radar and AlphaEarth (default), or none",
    )
    run.add_argument("--seed", metavar="N", type=int, help="of planted errors and texts (default: 0)")
    run.add_argument("--batch-rows", metavar="N", type=int, help="images judged at a time (default: 16)")
    return parser
