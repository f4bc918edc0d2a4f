"""The controls beside those of an independent implementation: is a baseline here what it is called?

    python benchmarks/controls_agree.py FOLDER [--none] [--methods NAME ...]

FOLDER: the run directory of `nasjax sweep nb201_controls`, with --none of `nb201_controls_with_none`; all methods of
which figures were kept, or those named. The other implementation
is plain NumPy, shares no line with this engine, and drew other random numbers. Of it are kept, below, the mean test accuracy and
mean regret after 100 queries. Prints, as Markdown, both beside ours, and ours less theirs in standard errors of the difference
(our deviation standing for theirs where that was not kept; what rounding may have taken is not counted). Fails where one is
beyond 3.
"""

import argparse
import math
import pathlib
from typing import NamedTuple

import numpy as np
import pyarrow.compute
import pyarrow.parquet

from nasjax.configs.nb201_controls import SIGNALS, TASKS
from nasjax.sweep import RESULTS

QUERIES, MOST = 100, 3.0
COLUMNS = ["method", "task", "signal_name", "seed", "query", "incumbent_test", "regret"]


class Other(NamedTuple):
    """What an implementation found of one method, six figures: both signals of three data sets.

    Attributes:
      seeds: number of searches.
      test: mean test accuracy of the incumbent, per cent; each with the decimals that were kept.
      regret: mean regret of the signal, points, likewise; empty where it was not kept.
      sd: of the test accuracy, of the first signal's three; empty where it was not kept.
    """

    seeds: int
    test: str
    regret: str = ""
    sd: tuple[float, ...] = ()


OTHERS = {
    "random_search": Other(1000, "93.95 71.89 45.51 93.97 72.13 45.93", "0.86 1.65 2.03 0.39 1.41 0.81"),
    "regularized_evolution": Other(
        2000, "94.25 72.64 46.09 94.31 73.20 46.48", "0.23 0.29 0.63 0.07 0.25 0.23", (0.21, 0.63, 0.64)
    ),
    "local_search": Other(
        500, "94.31 72.76 46.21 94.36 73.50 46.61", "0.10 0.17 0.33 0.01 0.02 0.24", (0.17, 0.59, 0.55)
    ),
    "cem": Other(1000, "94.32 72.79 46.30 94.34 73.43 46.58", "0.09 0.12 0.23 0.033 0.065 0.112", (0.15, 0.53, 0.45)),
    "cem_a1": Other(1000, "94.21 72.67 46.07 94.30 73.19 46.46"),
    "gp_bo": Other(
        100, "94.31 72.79 46.44 94.34 73.51 46.46", "0.099 0.110 0.115 0.024 0.000 0.030", (0.18, 0.50, 0.22)
    ),
    "bananas": Other(
        40, "94.28 72.67 46.36 94.30 73.51 46.56", "0.133 0.171 0.223 0.064 0.000 0.045", (0.21, 0.66, 0.38)
    ),
}
WITH_NONE = {
    "random_search": Other(1000, "93.80 71.30 45.06 93.83 71.61 45.57"),
    "regularized_evolution": Other(2000, "94.13 72.41 45.90 94.21 72.93 46.36"),
}


def ours(folder: pathlib.Path) -> dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]:
    """Returns float64[S] each, test accuracy and regret of the incumbents after `QUERIES`, by method, task and signal."""
    whole = pyarrow.parquet.read_table(folder / RESULTS, columns=COLUMNS)
    rows = whole.filter(pyarrow.compute.equal(whole["query"], QUERIES)).to_pydict()
    names = zip(rows["method"], rows["task"], rows["signal_name"], strict=True)
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for name, *figures in zip(names, rows["incumbent_test"], rows["regret"], strict=True):
        found.setdefault(name, []).append(tuple(figures))
    return {name: tuple(np.array(values, np.float64).T) for name, values in found.items()}


def apart(mine: np.ndarray, theirs: str, seeds: int, sd: float | None) -> float:
    """Returns standard errors between two means, ours less theirs.

    Args:
      mine: float[S].
      theirs: their mean, rounded to the decimals that it has; what rounding may have taken is not counted.
      seeds: of theirs.
      sd: of theirs; ours if None.
    """
    own = mine.std(ddof=1)
    error = math.sqrt(own**2 / mine.size + (own if sd is None else sd) ** 2 / seeds)
    difference = mine.mean() - float(theirs)
    beyond = max(0.0, abs(difference) - 0.5 * 10.0 ** -len(theirs.partition(".")[2]))
    return math.copysign(beyond / error, difference) if beyond else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--none", action="store_true")
    parser.add_argument("--methods", nargs="+", choices=OTHERS, default=[])
    options = parser.parse_args()
    others = WITH_NONE if options.none else OTHERS
    if not set(options.methods) <= set(others):
        parser.error(f"--methods: with none, figures of {', '.join(others)} were kept")
    try:
        found = ours(options.folder)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}") from error
    print("| method | task, signal | T1, ours | theirs | standard errors | regret, ours | theirs | standard errors |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    largest = 0.0
    for method, other in others.items():
        if options.methods and method not in options.methods:
            continue
        for place, (signal, task) in enumerate((signal, task) for signal in SIGNALS for task in TASKS):
            if (method, task, signal) not in found:
                raise SystemExit(f"{options.folder}: no {method} on {task}, {signal}, with {QUERIES} queries")
            test, regret = found[method, task, signal]
            sd = other.sd[place] if place < len(other.sd) else None
            theirs = other.test.split()[place]
            away = apart(test, theirs, other.seeds, sd)
            line = [method, f"{task}, {signal}", f"{test.mean():.3f}", theirs, f"{away:+.1f}"]
            line += [f"{regret.mean():.3f}", "", ""]
            largest = max(largest, abs(away))
            if other.regret:
                theirs = other.regret.split()[place]
                away = apart(regret, theirs, other.seeds, None)
                line[-2:] = [theirs, f"{away:+.1f}"]
                largest = max(largest, abs(away))
            print("| " + " | ".join(line) + " |")
    print(f"\nThe largest difference is {largest:.1f} standard errors.")
    if largest > MOST:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
