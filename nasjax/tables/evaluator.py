"""Tables as evaluators: the reward of an architecture is what stands in a file, and a search is one program.

`Table` says which file, which task of it, what the search is told (`signal`) and what is reported (`test`). Built for a
space it becomes a `TableEvaluator`, whose arrays are arguments of the programs that it is called in.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax import field_types
from nasjax.base import Arch, Array, Evaluation, Key, Space, evaluation_key
from nasjax.tables.architectures import placed
from nasjax.tables.arranging import arranged, distinct, missing, share
from nasjax.tables.columns import Column, Columns
from nasjax.tables.lookup import Dense, Lookup
from nasjax.tables.opening import load
from nasjax.tables.partial import RARE, Rows, part
from nasjax.tables.signals import Exact, Name, Noise, Signal, offered, read_column, read_signal

_ENDING = re.compile(r"(?<=.)\.(csv|parquet|npz|txt|txt\.gz)$", re.IGNORECASE)

_NO_ACCURACY = {"seconds", "time", "latency", "energy", "params", "flops", "memory", "loss", "error"}

SIZES = ("params", "flops")
"""Columns that `describe` knows, where the table has them."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A file of benchmark results, and what a search sees of it.

    Attributes:
      file: its path: as it stands, else in the folder that NASJAX_DATA names; a bare name is a table of the package.
      task: which of its tasks; may be left out where it has one.
      signal: what the search is told, METRIC@FIDELITY[:NOISE], for example "val_acc@12:run".
      test: the column that is reported of the architecture found; by default what the table says.
      cost: the column of seconds; by default train_seconds of the signal's fidelity, 0 where there is none.
      complete: refuse a table that lacks an architecture of the space.
      draws: what the prior's draws are where the table lacks some: "prior", "rows" = each row equally likely, "auto" =
        "rows" where under a tenth of the prior's draws have one.
    """

    file: str
    task: str = ""
    signal: str = ""
    test: str = ""
    cost: str = ""
    complete: bool = False
    draws: Literal["auto", "prior", "rows"] = "auto"

    def build(self, space: Space) -> "TableEvaluator":
        """Returns the evaluator for a space; rows with operations that the space leaves out are ignored.

        Raises:
          FileNotFoundError: there is no such file; says where it was looked for.
          ValueError: a setting, the file, or a row of it is wrong; says what there is, and which row.
        """
        field_types.check(self, "table")
        table, digest = load(self.file)
        chosen = _chosen(table, self)
        signal = chosen.signal
        where = placed(table, space)
        used = where.inside & signal.mean.there
        first = distinct(table, where.identity, np.flatnonzero(used), chosen.figures())
        if not first.size:
            raise ValueError(f"{table.name}: no row has {signal.name.column} and an architecture of {space.name}")
        lookup, rows, found = arranged(space, where, first)
        lacking = missing(space, found, len(np.unique(where.identity[signal.mean.there])))
        if self.complete and lacking:
            raise ValueError(f"{table.name}: complete=True, but {lacking}")
        draw_rows = self.draws == "rows" or (self.draws == "auto" and bool(lacking) and share(space, found) < RARE)
        repeats = int(used.sum()) - len(first)
        about = About(
            source={
                "file": self.file.rpartition("/")[2],
                "sha256": digest,
                "modelled": bool(chosen.modelled),
                "unit": _unit(table, signal),
            },
            notes=tuple(_notes(table, chosen, repeats, lacking, draw_rows)),
            sizes={
                name: table.column(name, chosen.task).values[rows] for name in SIZES if table.has(name, chosen.task)
            },
            rows=found if lacking or draw_rows else None,
            draw_rows=draw_rows,
            repeats=repeats,
            named=(chosen.task or _ENDING.sub("", self.file.rpartition("/")[2]), chosen.wanted),
        )

        def on_device(column: Column, otherwise: float) -> Array:
            return jnp.asarray(np.where(column.there, column.values, otherwise)[rows].astype(np.float32))

        return TableEvaluator(
            lookup=jax.tree.map(jnp.asarray, lookup),
            signal=on_device(signal.mean, np.nan),
            test=on_device(chosen.test, np.nan),
            seconds=on_device(chosen.seconds, 0.0),
            noise=jax.tree.map(jnp.asarray, signal.noise.at(rows)),
            space=space,
            about=about,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class About:
    """What no program depends on: any two are equal, so that the tasks of a table share their programs.

    Attributes:
      source: what results say of the table: "file", "sha256", "modelled", "unit".
      notes: what a person should be told.
      sizes: float64 by name, one a row of the lookup.
      rows: what there is, where something is missing.
      draw_rows: whether rows are drawn in place of the prior, where something is missing.
      repeats: rows that repeated an architecture with equal figures.
      named: what the task and the signal are called where the settings do not say.
    """

    source: dict[str, Any]
    notes: tuple[str, ...]
    sizes: dict[str, npt.NDArray[np.float64]]
    rows: Rows | None
    draw_rows: bool
    repeats: int
    named: tuple[str, str]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, About)

    def __hash__(self) -> int:
        return hash(About)


_ARRAYS = ["lookup", "signal", "test", "seconds", "noise"]


@functools.partial(jax.tree_util.register_dataclass, data_fields=_ARRAYS, meta_fields=["space", "about"])
@dataclasses.dataclass(frozen=True)
class TableEvaluator:
    """A table for one space, task and signal, on the device.

    Attributes:
      lookup: from an architecture to its row.
      signal: float32[rows], noise-free.
      test: float32[rows], what is reported; NaN where there is none.
      seconds: float32[rows], what an evaluation would have cost; 0 where that is not known.
      noise: on the signal.
      space: of the architectures.
      about: what is known beside.
    """

    lookup: Lookup
    signal: Array
    test: Array
    seconds: Array
    noise: Noise
    space: Space
    about: About

    @property
    def pure(self) -> bool:
        """True: a search on a table is one program."""
        return True

    @property
    def source(self) -> dict[str, Any]:
        """What results say of the table: "file", "sha256", "modelled", "unit" of the signal."""
        return dict(self.about.source)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should be told, a line each."""
        return self.about.notes

    @property
    def named(self) -> tuple[str, str]:
        """The task and the signal by name, the file's where it has no tasks."""
        return self.about.named

    def __call__(self, key: Key, archs: Arch) -> Evaluation:
        """Looks up Arch[B]; the noise on each is drawn from `key` with its canonical key folded in.

        Metrics are "validation", the signal without noise, and "test". An architecture without a row is not valid.
        """
        return jax.vmap(self._one, (None, 0))(key, archs)

    def _one(self, key: Key, arch: Arch) -> Evaluation:
        row, found = self.lookup.find(self.space, arch)
        value = self.signal[row]
        seen = value
        if not isinstance(self.noise, Exact):
            seen = self.noise.seen(evaluation_key(key, self.space.canonical_key(arch)), row, value)

        def known(figure: Array, otherwise: float = np.nan) -> Array:
            return jnp.where(found, figure, jnp.float32(otherwise))

        metrics = {"validation": known(value), "test": known(self.test[row])}
        return Evaluation(known(seen), found, known(self.seconds[row], 0.0), metrics)

    def searchable(self, space: Space) -> Space:
        """Returns the space in which architectures without a row count as seen; `space` itself where none is missing.

        Raises:
          ValueError: the table was built for another space.
        """
        self._check(space)
        about = self.about
        return space if about.rows is None else part(space, about.rows, about.draw_rows)

    def best(self, space: Space) -> dict[str, float]:
        """Returns the maxima over what can be found: "validation", of the noise-free signal, and "test"; NaN if unknown.

        Raises:
          ValueError: the table was built for another space.
        """
        self._check(space)
        there = np.asarray(self.lookup.there) if isinstance(self.lookup, Dense) else np.array(True)
        return {"validation": _largest(self.signal, there), "test": _largest(self.test, there)}

    def describe(self, arch: Arch) -> dict[str, int]:
        """Returns what the table has of an architecture's size: "params", "flops". Host."""
        row, found = _find(self, arch)
        if not bool(found):
            return {}
        values = {name: column[int(row)] for name, column in self.about.sizes.items()}
        return {name: round(value) for name, value in values.items() if np.isfinite(value)}

    def _check(self, space: Space) -> None:
        # Rows are places in the subset; keys, hence noise and what stands for a class, follow the classes.
        ours, other = ([getattr(one, name, None) for name in ("op_names", "classes")] for one in (self.space, space))
        if not isinstance(space, type(self.space)) or ours != other:
            raise ValueError(f"table: it was built for the space {self.space}, not for {space}")


@jax.jit
def _find(evaluator: TableEvaluator, arch: Arch) -> tuple[Array, Array]:
    return evaluator.lookup.find(evaluator.space, arch)


def _largest(values: Array, there: npt.NDArray[np.bool_]) -> float:
    known = np.asarray(values)[there & ~np.isnan(np.asarray(values))]
    return float(known.max()) if known.size else np.nan


class _Chosen(NamedTuple):
    """What a search sees of a table."""

    task: str
    wanted: str
    signal: Signal
    test: Column
    shown: str  # the name of the test column
    seconds: Column
    modelled: tuple[str, ...]  # what of it nobody has measured

    def figures(self) -> dict[str, npt.NDArray[Any]]:
        """What rows that repeat an architecture must agree on."""
        runs = {f"a run of {self.signal.name.column}": leaf for leaf in jax.tree.leaves(self.signal.noise)}
        named = {self.signal.name.column: self.signal.mean, "the test figure": self.test, "the seconds": self.seconds}
        return {**{name: column.values for name, column in named.items()}, **runs}


def _chosen(table: Columns, settings: Table) -> _Chosen:
    """What the settings say, or by default the table."""
    task = table.task(settings.task)
    wanted = settings.signal or table.facts.signal
    if not wanted:
        raise ValueError(f"{table.name}: which signal? one of {', '.join(offered(table, task))}")
    signal = read_signal(table, task, wanted)
    shown = settings.test or table.facts.test or _only_test(table, task)
    cost = settings.cost or _seconds_column(table, task, signal.name)
    none = Column(np.full(len(table), np.nan), np.zeros(len(table), bool))
    modelled = [f"{wanted}"] if signal.modelled else []
    return _Chosen(
        task=task,
        wanted=wanted,
        signal=signal,
        test=read_column(table, task, shown) if shown else none,
        shown=shown,
        seconds=table.column(cost, task) if cost else none,
        modelled=(*modelled, *([shown] if shown in table.facts.modelled else [])),
    )


def _unit(table: Columns, signal: Signal) -> str:
    """The unit of a signal; "" where that is not known. Of accuracies the table says it, or where it does not, their size."""
    words = signal.name.metric.lower().replace("-", "_").split("_")
    if words[-1] == "ce":
        return "nats"
    if _NO_ACCURACY & set(words):
        return ""
    largest = np.abs(signal.mean.values[signal.mean.there]).max(initial=0)
    by_size = "fraction" if largest < 1.001 else "percent" if largest < 100.1 else ""
    return table.facts.unit or (by_size if any(word.startswith(("acc", "top")) for word in words) else "")


def _only_test(table: Columns, task: str) -> str:
    """A table's test accuracy, where it has one; empty where it has none."""
    tests = [name for name in table.names(task) if name.partition("@")[0] == "test_acc" and ":" not in name]
    if len(tests) > 1:
        raise ValueError(f"{table.name}: which test figure is reported? test= one of {', '.join(tests)}")
    return tests[0] if tests else ""


def _seconds_column(table: Columns, task: str, signal: Name) -> str:
    """The seconds of the signal's fidelity; empty where the table has none."""
    name = f"train_seconds@{signal.fidelity}" if signal.fidelity else "train_seconds"
    return name if table.has(name, task) else ""


def _notes(table: Columns, chosen: _Chosen, repeats: int, lacking: str, draw_rows: bool) -> Iterator[str]:
    """What a person should know before reading figures from this table."""
    yield from chosen.signal.notes
    if chosen.modelled:
        yield f"{table.name}: a modelled table, nobody has measured {', '.join(dict.fromkeys(chosen.modelled))}"
    if repeats:
        yield f"{table.name}: {repeats:,} rows repeat an architecture with equal figures; one of each counts"
    empty = int((~chosen.signal.mean.there).sum())
    if empty:
        yield f"{table.name}: {empty:,} of {len(table):,} rows have no {chosen.signal.name.column} and are left out"
    untested = int((chosen.signal.mean.there & ~chosen.test.there).sum()) if chosen.shown else 0
    if untested:
        yield f"{table.name}: {untested:,} rows have no {chosen.shown}; where a search ends at one, its method has no T1"
    if lacking:
        yield f"{table.name}: {lacking}; what has no row counts as seen"
    if draw_rows:
        yield f"{table.name}: rows of the table are drawn in place of the space's prior"
