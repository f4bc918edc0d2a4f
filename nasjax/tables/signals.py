"""Signals: what a search is told of an architecture, by the name of a column, and the noise on it.

`METRIC@FIDELITY[:NOISE]`, for example `val_acc@12`, `val_acc@200:run`, `test_acc_model:nb101`. The noise of an architecture is
drawn from its evaluation key, so once a search and cell, whatever the order, batch or method.

| noise | what is seen |
|---|---|
| (none) | the column |
| `run` | one of the column's single runs, each equally likely; see `_runs` for tables that keep none |
| `nb101`, `nb101x3` | NAS-Bench-101's modelled validation accuracy of one run, of the mean of three |
| `gauss(SD)` | the column plus N(0, SD) |

A column that a table lacks is made where it follows: the mean of its runs; `neg_X`, minus X.
"""

import math
import re
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax.base import Array, Key
from nasjax.tables.columns import Column, Columns
from nasjax.terminal import printable

NOISES = "run, nb101, nb101x3, gauss(SD)"

NB101_TEST, NB101_VALIDATION = "test_acc_model", "val_acc_model"
"""NAS-Bench-101's modelled mean test accuracy, and what a run's validation accuracy is on average, given the former."""
_NB101_BINS = (90.0, 92.0, 93.0, 93.5)  # the page of nasbench101.npz, "The modelled signal"; bins of the test accuracy
_NB101_ABOVE = (1.00, 0.93, 0.82, 0.76, 0.70)  # validation less test
_NB101_SD = (0.36, 0.27, 0.24, 0.23, 0.23)  # of one run

_SPLIT = re.compile(r"(?P<column>.+?)(:(?P<noise>run|nb101|nb101x3|gauss\((?P<sd>[^()]*)\)))?")


_PART = re.compile(r":(run\d+|delta)$")  # columns that belong to another one


class Name(NamedTuple):
    """A signal's name, taken apart.

    Attributes:
      column: `METRIC@FIDELITY`.
      noise: "", "run", "nb101", "nb101x3" or "gauss".
      sd: of "gauss".
    """

    column: str
    noise: str
    sd: float

    @property
    def metric(self) -> str:
        """What stands before the @."""
        return self.column.partition("@")[0]

    @property
    def fidelity(self) -> str:
        """What stands after the @; empty where there is none."""
        return self.column.partition("@")[2].partition(":")[0]


def parse(signal: str) -> Name:
    """Takes a signal's name apart.

    Raises:
      ValueError: the noise is none, or its deviation is no number above 0.
    """
    match = _SPLIT.fullmatch(signal)
    column, noise = (match["column"], match["noise"] or "") if match else ("", "")
    unknown = re.search(r":(?!run\d)[^:]*$", column)
    if not column or unknown:
        what = f"noise {printable(unknown[0][1:], 60)!r}" if unknown else "signal"
        raise ValueError(
            f"signal {printable(signal, 100)!r}: unknown {what}; METRIC@FIDELITY[:NOISE] with one of {NOISES}"
        )
    if not noise.startswith("gauss"):
        return Name(column, noise, 0.0)
    try:
        sd = float(match["sd"]) if match else math.nan
    except ValueError:
        sd = math.nan
    if not 0 < sd < math.inf:
        raise ValueError(f"signal {printable(signal, 100)!r}: gauss(SD) needs a number above 0")
    return Name(column, "gauss", sd)


class Noise(Protocol):
    """What is seen instead of the column: a pytree of arrays with one entry a row."""

    def seen(self, key: Key, row: Array, value: Array) -> Array:
        """Returns float32[], the column's `value` of `row` as an evaluation with `key` sees it."""

    def at(self, rows: npt.NDArray[np.int64]) -> "Noise":
        """Returns the noise of these rows, in this order. Host."""


class Exact(NamedTuple):
    """No noise."""

    def seen(self, key: Key, row: Array, value: Array) -> Array:
        """Returns `value`."""
        del key, row
        return value

    def at(self, rows: npt.NDArray[np.int64]) -> Noise:
        """Returns itself."""
        del rows
        return self


class Runs(NamedTuple):
    """One of the single runs, uniformly.

    Attributes:
      values: float32[rows, R], those that there are first.
      number: int32[rows], how many, at least 1.
    """

    values: Array
    number: Array

    def seen(self, key: Key, row: Array, value: Array) -> Array:
        """Returns a run's figure."""
        del value
        return self.values[row, jax.random.randint(key, (), 0, self.number[row])]

    def at(self, rows: npt.NDArray[np.int64]) -> Noise:
        """Returns these rows' runs."""
        return Runs(self.values[rows], self.number[rows])


class Either(NamedTuple):
    """The column plus or minus a fixed difference, both equally likely: two runs of which the mean is known.

    Attributes:
      difference: float32[rows].
    """

    difference: Array

    def seen(self, key: Key, row: Array, value: Array) -> Array:
        """Returns one of the two."""
        return value + jnp.where(jax.random.bernoulli(key), self.difference[row], -self.difference[row])

    def at(self, rows: npt.NDArray[np.int64]) -> Noise:
        """Returns these rows' differences."""
        return Either(self.difference[rows])


class Normal(NamedTuple):
    """The column plus a normal draw.

    Attributes:
      sd: float32[rows].
    """

    sd: Array

    def seen(self, key: Key, row: Array, value: Array) -> Array:
        """Returns a draw."""
        return value + self.sd[row] * jax.random.normal(key)

    def at(self, rows: npt.NDArray[np.int64]) -> Noise:
        """Returns these rows' deviations."""
        return Normal(self.sd[rows])


class Signal(NamedTuple):
    """A signal of a table.

    Attributes:
      name: taken apart.
      mean: the noise-free figures.
      noise: on it; its arrays are NumPy's.
      modelled: whether a figure in it has not been measured.
      notes: what a person should be told, a line each.
    """

    name: Name
    mean: Column
    noise: Noise
    modelled: bool
    notes: tuple[str, ...]


def read_signal(table: Columns, task: str, signal: str) -> Signal:
    """Returns a signal of a task of a table.

    Raises:
      ValueError: the table has no such column or no such noise; says what there is.
    """
    name = parse(signal)
    if name.noise.startswith("nb101"):
        return _nb101(table, task, name)
    mean = read_column(table, task, name.column)
    modelled = name.column in table.facts.modelled
    if name.noise == "run":
        return _runs(table, task, name, mean, modelled)
    noise: Noise = Exact()
    if name.noise == "gauss":
        noise = Normal(np.full(len(table), name.sd, np.float32))  # type: ignore[arg-type]
    return Signal(name, mean, noise, modelled, ())


def read_column(table: Columns, task: str, name: str) -> Column:
    """Returns a column of a table, or what follows from others: the mean of its runs, minus another.

    Raises:
      ValueError: there is none.
    """
    if table.has(name, task):
        return table.column(name, task)
    if runs := table.runs(name, task):
        there = np.any([run.there for run in runs], axis=0)
        total = np.sum([np.where(run.there, run.values, 0) for run in runs], axis=0)
        number = np.sum([run.there for run in runs], axis=0)
        return Column(np.where(there, total / np.maximum(number, 1), np.nan), there)
    positive = name.removeprefix("neg_")
    if positive != name and (table.has(positive, task) or table.runs(positive, task)):
        found = read_column(table, task, positive)
        return Column(-found.values, found.there)
    raise table.unknown(name, task)


def offered(table: Columns, task: str) -> list[str]:
    """Returns the signals of a task that the table has, without `:gauss(SD)`, which any may have."""
    names = table.names(task)
    bases = dict.fromkeys(_PART.sub("", name) for name in names)
    with_runs = {_PART.sub("", name) for name in names if _PART.search(name)}
    with_runs |= {name.removeprefix(f"{task}/") for name in table.facts.single}
    found = [signal for base in bases for signal in ([base, f"{base}:run"] if base in with_runs else [base])]
    return found + ([f"{NB101_VALIDATION}:{noise}" for noise in ("nb101", "nb101x3")] if NB101_TEST in bases else [])


def nb101_validation(test: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns what a run's validation accuracy is on average where the mean test accuracy is `test`, percent."""
    return np.asarray(test + np.array(_NB101_ABOVE)[np.digitize(test, _NB101_BINS)])


def _nb101(table: Columns, task: str, name: Name) -> Signal:
    """The modelled validation accuracy: t + m(t) + s(t) z, t the modelled test accuracy; mean of three: s / sqrt 3."""
    if name.column not in (NB101_TEST, NB101_VALIDATION):
        raise ValueError(f"{table.name}: the noise {name.noise} is that of {NB101_VALIDATION}, not of {name.column}")
    test = table.column(NB101_TEST, task)
    sd = np.array(_NB101_SD)[np.digitize(test.values, _NB101_BINS)] / math.sqrt(3 if name.noise == "nb101x3" else 1)
    mean = Column(nb101_validation(test.values), test.there)
    return Signal(name, mean, Normal(sd.astype(np.float32)), True, ())  # type: ignore[arg-type]


def _runs(table: Columns, task: str, name: Name, mean: Column, modelled: bool) -> Signal:
    """Single runs: columns `:run0`, …; or a column `:delta`, two runs at mean ± delta; or a column that is one run."""
    sign = 1.0
    source = name.column
    if not table.has(source, task) and not table.runs(source, task):  # neg_X: minus the runs of X
        source, sign = source.removeprefix("neg_"), -1.0
    if runs := table.runs(source, task):
        values = sign * np.stack([run.values for run in runs], axis=1)
        order = np.argsort(np.isnan(values), axis=1, kind="stable")  # those that there are first
        values = np.take_along_axis(values, order, axis=1).astype(np.float32)
        number = np.stack([run.there for run in runs]).sum(axis=0).astype(np.int32)
        there = mean.there & (number > 0)
        noise = Runs(np.nan_to_num(values), np.maximum(number, 1))  # type: ignore[arg-type]
        return Signal(name, Column(mean.values, there), noise, modelled, ())
    if table.has(f"{source}:delta", task):
        delta = table.column(f"{source}:delta", task)
        there = mean.there & delta.there
        note = f"{name.column}:run is modelled: {table.name} has the mean of two runs, not the runs"
        noise_of_two = Either(np.nan_to_num(delta.values).astype(np.float32))  # type: ignore[arg-type]
        return Signal(name, Column(mean.values, there), noise_of_two, True, (note,))
    full = f"{task}/{source}" if f"{task}/{source}" in table.loaders else source
    if full in table.facts.single:
        note = f"{name.column}:run of {task or table.name} is {name.column} itself: there is one run"
        return Signal(name, mean, Exact(), modelled, (note,))
    bases = [_PART.sub("", known) for known in table.names(task) if _PART.search(known)]
    known = ", ".join(dict.fromkeys(bases)) or "none"
    raise ValueError(f"{table.name}: no single runs of {name.column!r}; there are those of {known}")
