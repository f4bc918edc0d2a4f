"""`summary.json` of a sweep as typed values: what is missing is NaN, what is of another form is refused."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Place(NamedTuple):
    """A task and what the methods saw of it; the unit in which results stand beside each other."""

    task: str
    signal: str


class Source(NamedTuple):
    """The table behind a place.

    Attributes:
      file: its name.
      sha256: of the file, "" where unknown.
      modelled: whether its figures come from a model and nobody measured them.
      unit: of regret: "points", "nats", …; "" where unknown.
      notes: what a person should know of it, a line each.
    """

    file: str
    sha256: str
    modelled: bool
    unit: str
    notes: tuple[str, ...] = ()


class Reached(NamedTuple):
    """Queries until the regret is within a threshold: the median, infinite where most never are, and the share."""

    median: float
    share: float


class Row(NamedTuple):
    """What one method came to at one place after some queries; floats are NaN where unknown.

    Attributes:
      method: its name.
      place: where.
      queries: after how many.
      seeds: number of searches.
      mean: of T1, the incumbent's test value.
      low: of the mean's 95 % interval.
      high: of the mean's 95 % interval.
      sd: of T1.
      median: of T1.
      regret: the mean.
      regret_low: of its 95 % interval.
      regret_high: of its 95 % interval.
      median_regret: the median.
      at_optimum: share of searches.
      t2: mean of the best test value among all queries.
      unique: mean number of different queries.
      reached: by threshold, as written.
      rank: mean over seeds, 1 = best.
    """

    method: str
    place: Place
    queries: int
    seeds: int
    mean: float
    low: float
    high: float
    sd: float
    median: float
    regret: float
    regret_low: float
    regret_high: float
    median_regret: float
    at_optimum: float
    t2: float
    unique: float
    reached: dict[str, Reached]
    rank: float


class Test(NamedTuple):
    """A paired comparison; `difference` is method less reference.

    Attributes:
      place: where.
      queries: after how many.
      measure: "regret" or "t1".
      reference: what the method is compared with.
      method: its name.
      pairs: number of seeds that both have.
      difference: mean.
      low: of its 95 % interval.
      high: of its 95 % interval.
      name: of the test.
      p: two-sided.
      p_holm: corrected within the family.
      family: "reference" or "claim".
      effect: rank-biserial correlation of the differences, -1..1.
    """

    place: Place
    queries: int
    measure: str
    reference: str
    method: str
    pairs: int
    difference: float
    low: float
    high: float
    name: str
    p: float
    p_holm: float
    family: str
    effect: float

    @property
    def verdict(self) -> str:
        """Whether the method is "better" or "worse"; "" where chance is not excluded at .05 after the correction.

        "mixed" where mean and ranks say opposite things: little better in most seeds and much worse in a few, or so.
        """
        if not self.p_holm < 0.05:
            return ""
        if self.name != "sign_flip" and self.difference * self.effect <= 0:
            return "mixed"
        return "better" if (self.difference < 0) == (self.measure == "regret") else "worse"


class Rank(NamedTuple):
    """A method's mean rank over all places after some queries."""

    method: str
    queries: int
    rank: float


class Outcome(NamedTuple):
    """A sweep's summary.

    Attributes:
      name: of the config.
      hash: of the config.
      space: its name.
      op_names: operations that the space allows.
      unique: what counts as the same query.
      budget: queries of a search.
      seeds: searches of a method at a place.
      sources: by place, in the order of the report.
      rows: results.
      tests: comparisons.
      ranks: over places.
    """

    name: str
    hash: str
    space: str
    op_names: tuple[str, ...]
    unique: str
    budget: int
    seeds: int
    sources: dict[Place, Source]
    rows: list[Row]
    tests: list[Test]
    ranks: list[Rank]

    @property
    def methods(self) -> list[str]:
        """All methods, in the order of the summary."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def counts(self) -> list[int]:
        """The numbers of queries at which there are results, most first."""
        return sorted({row.queries for row in self.rows}, reverse=True)

    def at(self, place: Place, queries: int) -> list[Row]:
        """The results at a place after some queries, a row a method."""
        return [row for row in self.rows if (row.place, row.queries) == (place, queries)]


def parse(summary: object) -> Outcome:
    """Returns the content of `summary.json` as typed values.

    Raises:
      ValueError: it is of another form; says where.
    """
    whole = _dict(summary, "summary")
    config = _dict(whole.get("config"), "config")
    rows = _each(whole, "results", _row)
    sources: dict[Place, Source] = {}
    for number, table in enumerate(_list(config.get("tables", []), "config.tables")):
        name = f"config.tables.{number}"
        found = _dict(table, name)
        sources[_place(found, name)] = _source(found)
    first = _source(_dict(config.get("table", {}), "config.table"))
    for row in rows:
        sources.setdefault(row.place, first)
    return Outcome(
        name=_text(config, "name", "config"),
        hash=_text(config, "hash", "config"),
        space=_text(config, "space", "config"),
        op_names=tuple(str(name) for name in _list(config.get("op_names", []), "config.op_names")),
        unique=str(config.get("unique", "key")),
        budget=_count(config, "budget", "config"),
        seeds=_count(config, "seeds", "config"),
        sources=sources,
        rows=rows,
        tests=_each(whole, "tests", _test),
        ranks=_each(whole, "ranks", _rank) if "ranks" in whole else [],
    )


def _row(found: dict[str, Any], name: str) -> Row:
    low, high = _pair(found.get("ci95"), f"{name}.ci95")
    regret_low, regret_high = _pair(found.get("mean_regret_ci95"), f"{name}.mean_regret_ci95")
    reached = _dict(found.get("queries_to", {}), f"{name}.queries_to")
    return Row(
        method=_text(found, "method", name),
        place=_place(found, name),
        queries=_count(found, "queries", name),
        seeds=_count(found, "seeds", name),
        mean=_float(found.get("mean"), f"{name}.mean"),
        low=low,
        high=high,
        sd=_float(found.get("sd"), f"{name}.sd"),
        median=_float(found.get("median"), f"{name}.median"),
        regret=_float(found.get("mean_regret"), f"{name}.mean_regret"),
        regret_low=regret_low,
        regret_high=regret_high,
        median_regret=_float(found.get("median_regret"), f"{name}.median_regret"),
        at_optimum=_float(found.get("share_at_optimum"), f"{name}.share_at_optimum"),
        t2=_float(found.get("t2_mean"), f"{name}.t2_mean"),
        unique=_float(found.get("unique_queries"), f"{name}.unique_queries"),
        reached={key: _reached(value, f"{name}.queries_to.{key}") for key, value in reached.items()},
        rank=_float(found.get("mean_rank"), f"{name}.mean_rank"),
    )


def _reached(value: object, name: str) -> Reached:
    found = _dict(value, name)
    median = _float(found.get("median"), f"{name}.median")
    return Reached(math.inf if math.isnan(median) else median, _float(found.get("share"), f"{name}.share"))


def _test(found: dict[str, Any], name: str) -> Test:
    low, high = _pair(found.get("ci95"), f"{name}.ci95")
    return Test(
        place=_place(found, name),
        queries=_count(found, "queries", name),
        measure=_text(found, "measure", name),
        reference=_text(found, "reference", name),
        method=_text(found, "method", name),
        pairs=_count(found, "pairs", name),
        difference=_float(found.get("mean_difference"), f"{name}.mean_difference"),
        low=low,
        high=high,
        name=_text(found, "test", name),
        p=_float(found.get("p"), f"{name}.p"),
        p_holm=_float(found.get("p_holm"), f"{name}.p_holm"),
        family=str(found.get("family", "reference")),
        effect=_float(found.get("rank_biserial"), f"{name}.rank_biserial"),
    )


def _rank(found: dict[str, Any], name: str) -> Rank:
    rank = _float(found.get("mean_rank"), f"{name}.mean_rank")
    return Rank(_text(found, "method", name), _count(found, "queries", name), rank)


def _place(found: dict[str, Any], name: str) -> Place:
    return Place(_text(found, "task", name), _text(found, "signal", name))


def _source(found: dict[str, Any]) -> Source:
    """What a table says of itself; `modelled` may name the columns that are."""
    unit = str(found.get("unit", "points"))
    notes = tuple(str(note) for note in _list(found.get("notes", []), "notes"))
    return Source(str(found.get("file", "")), str(found.get("sha256") or ""), bool(found.get("modelled")), unit, notes)


def _each(whole: dict[str, Any], name: str, read: Callable[[dict[str, Any], str], T]) -> list[T]:
    values = _list(whole.get(name), name)
    return [read(_dict(value, f"{name}.{number}"), f"{name}.{number}") for number, value in enumerate(values)]


def _dict(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r:.40}, no object")
    return value


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r:.40}, no list")
    return value


def _text(found: dict[str, Any], key: str, name: str) -> str:
    value = found.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{name}.{key} is {value!r:.40}, no string")
    return value


def _count(found: dict[str, Any], key: str, name: str) -> int:
    value = found.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise ValueError(f"{name}.{key} is {value!r:.40}, no count")
    return value


def _float(value: object, name: str) -> float:
    """NaN for null; infinities cannot stand in JSON."""
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= 1e300:
        raise ValueError(f"{name} is {value!r:.40}, no number")
    return float(value)


def _pair(value: object, name: str) -> tuple[float, float]:
    values = [None, None] if value is None else _list(value, name)
    if len(values) != 2:
        raise ValueError(f"{name} has {len(values)} values, not 2")
    return _float(values[0], name), _float(values[1], name)
