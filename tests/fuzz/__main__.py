"""The whole of it by hand; see `tests.fuzz`."""

import argparse
import io
import sys
from collections import Counter

from tqdm import tqdm

from tests.fuzz.campaign import chosen, run
from tests.fuzz.kinds import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Hostile input to every verb.")
    parser.add_argument("--inputs", metavar="N", type=int, default=6000, help="default: 6000")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="default: 0")
    parser.add_argument("--first", metavar="N", type=int, default=0, help="leave out those before: a run that was cut")
    parser.add_argument("--only", metavar="KIND", action="append", choices=KINDS, default=[], help="may be repeated")
    parser.add_argument("--number", metavar="N", type=int, help="this one alone, of the one kind of --only")
    options = parser.parse_args()
    inputs = chosen(options.inputs, options.seed, options.only)[options.first :]
    if options.number is not None:
        (kind,) = options.only
        inputs = [(kind, options.number)]
    # Hostile texts are shown as they can be.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    harms: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for name, _, finding in tqdm(run(inputs, options.seed), total=len(inputs), unit="input"):
        tried[name] += 1
        if finding is not None:
            harms[name] += 1
            tqdm.write(str(finding))
    for name, count in sorted(tried.items()):
        print(f"{count:>6,} {name}: {harms[name]} with harm")
    print(f"{len(inputs):,} inputs, {harms.total()} with harm (seed {options.seed})")
    return 1 if harms else 0


if __name__ == "__main__":
    sys.exit(main())
