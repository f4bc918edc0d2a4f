"""`summary.json`: what a sweep's results say, method by method, and whether differences are more than chance.

Measures, for one search: the *incumbent* is the query with the best signal so far, the earlier on ties. T1 is its test
value, T2 the best test value among the queries, *regret* the best noise-free signal that can be found less the incumbent's.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from nasjax import resolved, stats, uniqueness
from nasjax.base import Space

OPTIMUM = {"points": 1e-4, "fraction": 1e-6, "nats": 1e-6}
"""A regret up to this counts as being at the optimum, by the unit of the signal; where that is not known, none does."""

THRESHOLDS = {"points": (0.1, 0.5, 1.0), "fraction": (0.001, 0.005, 0.01), "nats": (0.01, 0.05, 0.1)}
"""Regrets that `queries_to` counts queries to, by the unit of the signal; 0 where it is not known."""

ROUNDINGS = 2
"""Two equal differences of two float32 figures each, their subtractions included, come out at most so many of the largest
figure's last places apart."""

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What of a sweep is compared.

    Attributes:
      references: methods that all others are tested against, each with Holm's correction within a task.
      measure: of the tests: "regret" or "t1", both of the incumbent.
      at: numbers of queries at which everything is reported; empty = the whole budget only, which is also what a number
        beyond it means.
      claims: methods that are claimed to be better than `against`: Holm's correction over these comparisons of a task.
      against: what they are tested against.
    """

    references: tuple[str, ...] = ("cem", "local_search")
    measure: Literal["regret", "t1"] = "regret"
    at: tuple[int, ...] = ()
    claims: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


class About(NamedTuple):
    """What the summary says of the sweep as a whole: name and hash of the config, space, budget, seeds."""

    name: str
    hash: str
    space: Space
    budget: int
    seeds: int


class Searches(NamedTuple):
    """The searches of one method on one task and signal; a search that ended early keeps its last values.

    Attributes:
      seeds: int[S].
      regret: float64[S, Q], NaN before the first valid query.
      test: float64[S, Q], the incumbent's.
      best_test: float64[S, Q], the best among the queries so far.
      unique: int[S, Q], different keys so far.
      queries: int[S].
      best: the figure that regrets are measured from; 0 where no query was valid.
      asked: uint64[S], a digest of the keys in their order.
    """

    seeds: npt.NDArray[np.int64]
    regret: Floats
    test: Floats
    best_test: Floats
    unique: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]
    best: float
    asked: npt.NDArray[np.uint64]

    def measure(self, name: str, query: int) -> Floats:
        """float64[S] after `query` queries, or after the last: "regret", "t1" or "t2"."""
        columns = {"regret": self.regret, "t1": self.test, "t2": self.best_test}[name]
        return columns[:, min(query, columns.shape[1]) - 1]

    def resolution(self, name: str, query: int) -> float:
        """How far apart float32 may put two equal differences of what `measure` gives."""
        values = np.abs(np.nan_to_num(self.measure(name, query)))
        largest = float(values.max(initial=0)) + (abs(self.best) if name == "regret" else 0.0)
        return ROUNDINGS * float(np.finfo(np.float32).eps) * largest


Group = tuple[str, str, str]
"""(task, signal, method)."""


def summarize(
    whole: pa.Table,
    methods: Sequence[str],
    about: About,
    sources: Mapping[tuple[str, str], dict[str, Any]],
    compare: Comparison,
) -> dict[str, Any]:
    """Returns the content of `summary.json`.

    Args:
      whole: the sweep's results.
      methods: in the order of the tables.
      about: the sweep.
      sources: by (task, signal), in the order of the tables, what the evaluator says of its table: "file", "sha256",
        "modelled", "unit".
      compare: what is compared.
    """
    groups = searches(whole)
    sources = {
        place: {
            **source,
            "unit": _unit(source),
            "notes": [*ended_early(groups, place, about.budget), *alike(groups, place), *source.get("notes", ())],
        }
        for place, source in sources.items()
    }
    first = next(iter(sources.values()), {"unit": "points"})
    config = {
        "name": about.name,
        "hash": about.hash,
        "space": about.space.name,
        "op_names": list(getattr(about.space, "op_names", ())),
        "unique": uniqueness.named(about.space),
        "budget": about.budget,
        "seeds": about.seeds,
        "unit": first["unit"],
        "table": dict(first),
        "tables": [{"task": task, "signal": signal, **source} for (task, signal), source in sources.items()],
        "settings": resolved.plain(about.space, "space"),
    }
    results: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    queries = dict.fromkeys(min(query, about.budget) for query in compare.at or (about.budget,))
    for query, (task, signal) in itertools.product(queries, sources):
        found = {name: groups[task, signal, name] for name in methods if (task, signal, name) in groups}
        results += _results(found, about.space.name, task, signal, query, sources[task, signal]["unit"])
        tests += _tests(found, task, signal, query, compare)
    summary = {"config": config, "results": results, "tests": tests, "ranks": _ranks(results, methods)}
    rounded: dict[str, Any] = _rounded(summary)
    return rounded


def searches(whole: pa.Table) -> dict[Group, Searches]:
    """Returns the searches of each (task, signal, method) in a sweep's results.

    Raises:
      ValueError: a search has gaps, or is there twice.
    """
    codes = np.stack([_codes(whole[name]) for name in ("task", "signal_name", "method")])
    order = np.lexsort((whole["query"].to_numpy(), whole["seed"].to_numpy(), *codes[::-1]))
    starts = np.flatnonzero(np.diff(codes[:, order], axis=1, prepend=-1).any(axis=0))
    names = ("seed", "query", "regret", "incumbent_test", "test", "validation")
    columns = {name: whole[name].to_numpy()[order] for name in names}
    columns["new"] = ~whole["repeat"].to_numpy()[order]
    keys = (whole[name].to_numpy().astype(np.uint64) for name in ("key_hi", "key_lo"))
    columns["key"] = ((next(keys) << np.uint64(32)) | next(keys))[order]
    found = {}
    for start, stop in itertools.pairwise([*starts, len(order)]):
        row = int(order[start])
        group = (whole["task"][row].as_py(), whole["signal_name"][row].as_py(), whole["method"][row].as_py())
        found[group] = _matrices({name: column[start:stop] for name, column in columns.items()})
    return found


def ended_early(groups: Mapping[Group, Searches], place: tuple[str, str], budget: int) -> list[str]:
    """Returns a line for each method whose searches on (task, signal) have asked less than the budget."""
    lines = []
    for (task, signal, method), group in groups.items():
        short = group.queries[group.queries < budget]
        if (task, signal) == place and short.size:
            what = f"{short.size:,} of {group.seeds.size:,} searches ended before {budget:,} queries"
            lines.append(f"{method} on {' '.join(place)}: {what}, the shortest after {short.min():,}")
    return lines


def alike(groups: Mapping[Group, Searches], place: tuple[str, str]) -> list[str]:
    """Returns a line for methods that asked the same in all searches on (task, signal): mostly such as only explored."""
    same: dict[bytes, list[str]] = {}
    found = {method: group for (*where, method), group in groups.items() if tuple(where) == place}
    fewest = min((group.seeds.size for group in found.values()), default=0)
    for method, group in found.items():
        same.setdefault(group.asked[:fewest].tobytes() + group.seeds[:fewest].tobytes(), []).append(method)
    return [
        f"{', '.join(methods)} on {' '.join(place)}: the same queries in each of {fewest:,} searches;"
        " a method that explores for all of its budget is random search"
        for methods in same.values()
        if len(methods) > 1
    ]


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Places of texts among the column's different texts, sorted."""
    whole = column.unify_dictionaries().combine_chunks()
    _, places = np.unique(whole.dictionary.to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    codes: npt.NDArray[np.int64] = places.astype(np.int64)[whole.indices.to_numpy()]
    return codes


def _matrices(columns: dict[str, npt.NDArray[Any]]) -> Searches:
    """One group's rows, sorted by seed and query, as matrices."""
    seeds, first, row = np.unique(columns["seed"], return_index=True, return_inverse=True)
    place = columns["query"] - 1
    if not np.array_equal(place, np.arange(len(row)) - first[row]):
        raise ValueError("the queries of a search are not 1, 2, 3 and so on")
    shape = (len(seeds), int(columns["query"].max()))
    last = np.zeros(shape, np.int64)
    last[row, place] = np.arange(len(row))
    last = np.maximum.accumulate(last, axis=1)  # rows are sorted, so a later one of the same search is larger

    def spread(values: npt.NDArray[Any]) -> Floats:
        return values.astype(np.float64)[last]

    tests = np.full(shape, -np.inf)
    tests[row, place] = np.nan_to_num(columns["test"].astype(np.float64), nan=-np.inf)
    best = np.maximum.accumulate(tests, axis=1)
    new = np.zeros(shape, np.int64)
    new[row, place] = columns["new"]
    return Searches(
        seeds,
        spread(columns["regret"]),
        spread(columns["incumbent_test"]),
        np.where(np.isfinite(best), best, np.nan),
        np.cumsum(new, axis=1),
        np.bincount(row),
        _best(columns),
        _digests(columns["key"], first, place),
    )


def _digests(
    keys: npt.NDArray[np.uint64], first: npt.NDArray[np.int64], place: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """uint64[S] of rows sorted by search: a polynomial in an odd number, so that order counts."""
    powers = np.multiply.accumulate(np.full(int(place.max()) + 1, 0x9E3779B97F4A7C15, np.uint64))  # wraps
    digests: npt.NDArray[np.uint64] = np.add.reduceat((keys ^ keys >> np.uint64(29)) * powers[place], first)
    return digests


def _best(columns: dict[str, npt.NDArray[Any]]) -> float:
    """The figure that regrets are measured from: the first known one is that of the query itself, the first valid one."""
    known = np.flatnonzero(np.isfinite(columns["regret"]))[:1]
    return float((columns["validation"][known].astype(np.float64) + columns["regret"][known]).sum())


def _unit(source: Mapping[str, Any]) -> str:
    """The unit of regrets: per cents differ by points."""
    unit = str(source.get("unit", "points"))
    return "points" if unit == "percent" else unit


def _results(
    found: dict[str, Searches], space: str, task: str, signal: str, query: int, unit: str
) -> list[dict[str, Any]]:
    optimum, thresholds = OPTIMUM.get(unit, 0.0), THRESHOLDS.get(unit, (0.0,))
    shared = _shared_seeds(found.values())
    ranks = stats.mean_ranks([s.measure("regret", query)[np.isin(s.seeds, shared)] for s in found.values()])
    rows = []
    for (method, group), rank in zip(found.items(), ranks, strict=True):
        t1, regret = group.measure("t1", query), group.measure("regret", query)
        interval, of_regret = _interval(t1), _interval(regret)
        reached = {f"{x:g}": _queries_to(group.regret[:, :query], x + optimum) for x in thresholds}
        rows.append(
            {
                "method": method,
                "space": space,
                "task": task,
                "signal": signal,
                "queries": query,
                "seeds": len(group.seeds),
                "mean": interval.mean,
                "sd": float(t1.std(ddof=1)) if len(t1) > 1 else math.nan,
                "ci95": [interval.low, interval.high],
                "median": float(np.median(t1)),
                "median_regret": float(np.median(regret)),
                "mean_regret": float(regret.mean()),
                "share_at_optimum": float((regret <= optimum).mean()),
                "t2_mean": float(group.measure("t2", query).mean()),
                "unique_queries": float(group.unique[:, :query][:, -1].mean()),
                "queries_to": {
                    name: {"median": float(np.median(first)), "share": float(np.isfinite(first).mean())}
                    for name, first in reached.items()
                },
                "mean_rank": float(rank),
                "mean_regret_ci95": [of_regret.low, of_regret.high],
            }
        )
    return rows


def _interval(values: Floats) -> stats.Interval:
    """The mean with its interval; NaN where a search has no value: leaving it out would flatter the method.

    A single search says nothing of the mean's spread, where a bootstrap would say that there is none.
    """
    if not len(values) or not np.isfinite(values).all():
        return stats.Interval(math.nan, math.nan, math.nan)
    return stats.mean_interval(values) if len(values) > 1 else stats.Interval(float(values[0]), math.nan, math.nan)


def _queries_to(regret: Floats, threshold: float) -> Floats:
    """float64[S], the first query with at most this regret; infinite where there is none."""
    within = regret <= threshold
    return np.where(within.any(axis=1), within.argmax(axis=1) + 1.0, np.inf)


def _tests(found: dict[str, Searches], task: str, signal: str, query: int, compare: Comparison) -> list[dict[str, Any]]:
    """Each method against each reference; then the claims, corrected among themselves."""

    def row(method: str, reference: str) -> dict[str, Any]:
        ours, other = found[method], found[reference]
        shared = _shared_seeds([ours, other])
        values = [s.measure(compare.measure, query)[np.isin(s.seeds, shared)] for s in (ours, other)]
        differences = values[0] - values[1]
        interval = _interval(differences)
        known = not math.isnan(interval.mean)
        resolution = max(s.resolution(compare.measure, query) for s in (ours, other))
        name, p = stats.paired_test(differences, resolution) if known else ("none", math.nan)
        return {
            "task": task,
            "signal": signal,
            "queries": query,
            "measure": compare.measure,
            "reference": reference,
            "method": method,
            "pairs": len(shared),
            "mean_difference": interval.mean,
            "ci95": [interval.low, interval.high],
            "test": name,
            "p": p,
            "rank_biserial": stats.rank_biserial(differences, resolution) if known else math.nan,
        }

    families = [[(method, reference) for method in found if method != reference] for reference in compare.references]
    families += [[(claim, other) for other in compare.against if other != claim] for claim in compare.claims]
    kinds = ["reference"] * len(compare.references) + ["claim"] * len(compare.claims)
    tests = []
    for kind, family in zip(kinds, families, strict=True):
        rows = [row(*pair) for pair in family if set(pair) <= found.keys()]
        for test, corrected in zip(rows, stats.holm([test["p"] for test in rows]), strict=True):
            effect = test.pop("rank_biserial")
            tests.append(test | {"p_holm": corrected, "family": kind, "rank_biserial": effect})
    return tests


def _shared_seeds(groups: Any) -> npt.NDArray[np.int64]:
    """The seeds that all have."""
    seeds = [group.seeds for group in groups]
    shared: npt.NDArray[np.int64] = seeds[0]
    for others in seeds[1:]:
        shared = np.intersect1d(shared, others)
    return shared


def _ranks(results: list[dict[str, Any]], methods: Sequence[str]) -> list[dict[str, Any]]:
    """Mean over tasks and signals of each method's mean rank, best first, for each number of queries."""
    found = []
    for query in dict.fromkeys(row["queries"] for row in results):
        for method in methods:
            ranks = [row["mean_rank"] for row in results if row["method"] == method and row["queries"] == query]
            if ranks:
                found.append({"method": method, "queries": query, "mean_rank": float(np.mean(ranks))})
    return sorted(found, key=lambda row: (row["queries"], row["mean_rank"]))


def _rounded(value: Any) -> Any:
    """Floats to six digits; what JSON has no number for becomes null."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
