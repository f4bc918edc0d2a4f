"""What the searches of a sweep asked for, beside what they took: is a method's trouble its queries or its choice among them?

    python benchmarks/queried.py FOLDER [--at 30 50 75 100] [--spans 1-30 31-100 81-100] [--below 94.2]
                                       [--seeds 200-399]

FOLDER: a sweep's run directory. Prints, as Markdown, a line for each method, task and signal: the incumbent's test value
after so many queries (mean over seeds, standard deviation at the last of them); the mean test value of the queries of each
span, first and last included; T2, the best test value among the queries up to the last of `--at`; and how many searches
have taken one below `--below` by then, and are at the optimum of the signal (in points) by then. `--seeds`: of these only.
"""

import argparse
import pathlib

import numpy as np
import pyarrow.parquet

from nasjax.summary import OPTIMUM
from nasjax.sweep import RESULTS

COLUMNS = ["method", "task", "signal_name", "seed", "query", "test", "incumbent_test", "regret"]


def span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last)


def searches(folder: pathlib.Path, seeds: tuple[int, int] | None) -> dict[tuple[str, str, str], tuple[np.ndarray, ...]]:
    """Returns float[S, T], test values of queries and of incumbents and the latter's regret, by method, task and signal.

    A search that ended early has no more queries (NaN) and keeps its incumbent.
    """
    table = pyarrow.parquet.read_table(folder / RESULTS, columns=COLUMNS)
    if seeds:
        table = table.filter(np.isin(table["seed"].to_numpy(), np.arange(seeds[0], seeds[1] + 1)))
    found = {}
    names = table.select(COLUMNS[:3]).group_by(COLUMNS[:3]).aggregate([]).to_pylist()
    for name in names:
        rows = table
        for column, value in name.items():
            rows = rows.filter(pyarrow.compute.equal(rows[column], value))
        numbers, row = np.unique(rows["seed"].to_numpy(), return_inverse=True)
        place = rows["query"].to_numpy() - 1
        asked = np.full((numbers.size, place.max() + 1), -1)
        asked[row, place] = np.arange(place.size)
        last = np.maximum.accumulate(np.where(asked >= 0, np.arange(asked.shape[1]), 0), axis=1)
        kept = np.take_along_axis(asked, last, axis=1)
        test, incumbent, regret = (rows[column].to_numpy().astype(np.float64) for column in COLUMNS[5:])
        of_queries = np.where(asked >= 0, test[asked], np.nan)
        found[name["method"], name["task"], name["signal_name"]] = of_queries, incumbent[kept], regret[kept]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--at", nargs="+", type=int, default=[30, 50, 75, 100])
    parser.add_argument("--spans", nargs="+", type=span, default=[(1, 30), (31, 100), (81, 100)])
    parser.add_argument("--below", type=float)
    parser.add_argument("--seeds", type=span)
    options = parser.parse_args()
    if min(options.at) < 1:
        parser.error("--at: queries are counted from 1")
    try:
        found = searches(options.folder, options.seeds)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}") from error
    titles = ["method", "task, signal", "seeds", *(f"T1 at {query}" for query in options.at), "sd"]
    titles += [*(f"queries {first}-{last}" for first, last in options.spans), "T2", "at the optimum"]
    titles += [f"below {options.below:g}"] if options.below is not None else []
    print("|" + "|".join(titles) + "|\n|" + "---|" * len(titles))
    for (method, task, signal), (test, incumbent, regret) in found.items():
        places = [min(query, test.shape[1]) - 1 for query in options.at]
        values = [f"{incumbent[:, place].mean():.3f}" for place in places]
        values.append(f"{incumbent[:, places[-1]].std(ddof=1):.3f}")
        spans = [test[:, first - 1 : last] for first, last in options.spans]
        values += [f"{np.nanmean(span):.2f}" if np.isfinite(span).any() else "-" for span in spans]
        values.append(f"{np.nanmax(test[:, : places[-1] + 1], axis=1).mean():.3f}")
        values.append(f"{(regret[:, places[-1]] <= OPTIMUM['points']).sum()}")
        if options.below is not None:
            values.append(f"{(incumbent[:, places[-1]] < options.below).sum()}")
        print("|" + "|".join([method, f"{task}, {signal}", str(len(test)), *values]) + "|")


if __name__ == "__main__":
    main()
