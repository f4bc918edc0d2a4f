"""A table in memory: one architecture a row, columns of figures, and what is known of where they come from.

Columns are called `METRIC@FIDELITY`, for example `val_acc@12` for validation accuracy after 12 epochs; the fidelity is left
out where there is one only. `METRIC@FIDELITY:run0`, `:run1`, … are single runs. In a table of several tasks a column of
one task has the task's name and a slash before it, `cifar100/val_acc@12`; columns without are those of every task.

An empty place means that there is no figure; NaN and infinity are mistakes. Whatever is wrong is said with the row: the
line of a text file (counted from 1), else the row (counted from 0, as the published tables count).
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nasjax import options
from nasjax.base import Arch, Space
from nasjax.terminal import printable

ROWS = 2_000_000
"""Rows that a table may have; NAS-Bench-101 has 423,624."""

LARGEST = float(np.finfo(np.float32).max) / 4
SMALLEST = float(np.finfo(np.float32).smallest_normal)
"""Figures, and differences of them, are float32 on the device; in the files that are written, those that are no whole numbers."""

UNITS = ("", "percent", "fraction")
"""Of accuracies."""

_RUN = re.compile(r":run(\d{1,3})$")


class Column(NamedTuple):
    """The figures of a column.

    Attributes:
      values: float64[rows]; NaN where there is none.
      there: bool[rows], whether there is one.
    """

    values: npt.NDArray[np.float64]
    there: npt.NDArray[np.bool_]


class Facts(NamedTuple):
    """What a table says of itself; empty where it says nothing.

    Attributes:
      space: name of its search space.
      source: where its figures come from.
      unit: of its accuracies, "percent" or "fraction".
      signal: what a search is told where its config does not say.
      test: what is reported of the architecture found, likewise.
      modelled: columns (without task) that nobody has measured; every figure from them has to say so.
      single: columns that are one run each, so that `:run` is the column itself; with task.
    """

    space: str = ""
    source: str = ""
    unit: str = ""
    signal: str = ""
    test: str = ""
    modelled: tuple[str, ...] = ()
    single: tuple[str, ...] = ()


_NONE = Facts()


class Architectures(Protocol):
    """The architectures of a table, in whatever form its file writes them."""

    def __len__(self) -> int:
        """Number of rows."""

    def spec(self, row: int) -> str:
        """Returns the string of one row."""

    def arrays(self, space: Space, table: "Columns") -> Arch:
        """Returns Arch[rows] in NumPy.

        Raises:
          ValueError: naming the row of `table` and what is wrong with it.
        """


@dataclasses.dataclass(frozen=True)
class Columns:
    """A table.

    Attributes:
      name: its file, for errors.
      form: what kind of file it is, for people.
      archs: one architecture a row.
      loaders: the columns by name, each made when it is asked for.
      facts: what it says of itself.
      lines: the line of each row, for text files.
      left_out: columns that are no figures, each with what it is.
    """

    name: str
    form: str
    archs: Architectures
    loaders: Mapping[str, Callable[[], Column]]
    facts: Facts = _NONE
    lines: Sequence[int] | None = None
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.archs)

    def place(self, row: int) -> str:
        """Returns "line 7" or "row 6"."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def error(self, row: int, what: str) -> ValueError:
        """Returns the error that says what is wrong with a row."""
        return ValueError(f"{self.name}: {self.place(row)}: {what}")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the columns."""
        return tuple(dict.fromkeys(name.partition("/")[0] for name in self.loaders if "/" in name))

    def task(self, asked: str) -> str:
        """Returns the task that is meant; "" where the table has none.

        Raises:
          ValueError: it has not the one asked for, or has several and none was asked for.
        """
        if not self.tasks:
            return asked  # a table of one task may be called what one likes
        if not asked and len(self.tasks) == 1:
            return self.tasks[0]
        if not asked:
            raise ValueError(f"{self.name}: which task? one of {', '.join(self.tasks)}")
        if asked not in self.tasks:
            raise ValueError(
                f"{self.name}: no task {asked!r}{_meant(asked, self.tasks)}; one of {', '.join(self.tasks)}"
            )
        return asked

    def names(self, task: str) -> tuple[str, ...]:
        """Returns the columns of a task as signals name them, without the task."""
        own = [name.removeprefix(task + "/") for name in self.loaders if name.startswith(task + "/")]
        return tuple(dict.fromkeys([*own, *(name for name in self.loaders if "/" not in name)]))

    def has(self, name: str, task: str) -> bool:
        """Returns whether a task has a column."""
        return f"{task}/{name}" in self.loaders or name in self.loaders

    def column(self, name: str, task: str) -> Column:
        """Returns a column of a task.

        Raises:
          ValueError: there is none of that name, or a figure in it is none; says which row.
        """
        full = f"{task}/{name}" if f"{task}/{name}" in self.loaders else name
        if full not in self.loaders:
            raise self.unknown(name, task)
        found = self.loaders[full]()
        size = np.abs(found.values)
        held = (size == 0) | ((size >= SMALLEST) & (size <= LARGEST))
        for row in np.flatnonzero(found.there & ~held)[:1]:
            value = float(found.values[row])
            trouble = "beyond float32" if np.isfinite(value) else "an empty place says that there is no figure"
            raise self.error(int(row), f"{full} is {value:g}; {trouble}")
        return found

    def unknown(self, name: str, task: str) -> ValueError:
        """Returns the error for a column that is not there: lists those that are, and the nearest name."""
        for full in (f"{task}/{name}", name):
            if full in self.left_out:
                return ValueError(f"{self.name}: column {full} is {self.left_out[full]}")
        there = [known for known in self.names(task) if not _RUN.search(known)]
        which = f" of the task {task!r}" if task and self.tasks else ""
        return ValueError(
            f"{self.name}: no column {printable(name, 100)!r}{which}{_meant(name, there)};"
            f" there are {', '.join(there) or 'none'}"
        )

    def runs(self, name: str, task: str) -> list[Column]:
        """Returns the columns of a column's single runs, by number; none where there are none."""
        numbers = [
            int(match[1])
            for known in self.names(task)
            if (match := _RUN.search(known)) and known[: match.start()] == name
        ]
        return [self.column(f"{name}:run{number}", task) for number in sorted(numbers)]


def given(values: npt.ArrayLike, there: npt.NDArray[np.bool_] | None = None) -> Callable[[], Column]:
    """Returns the loader of a column that is in memory.

    Args:
      values: [rows], numbers.
      there: bool[rows], whether there is a figure; everywhere if None.
    """

    def load() -> Column:
        numbers = np.asarray(values, np.float64)
        exists = np.ones(numbers.shape, bool) if there is None else there
        return Column(np.where(exists, numbers, np.nan), exists)

    return load


def facts_from(content: Any, what: str) -> Facts:
    """Returns the facts that a file's JSON metadata say.

    Raises:
      ValueError: `content` is not what metadata are.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{what}: its metadata are no mapping")
    found: dict[str, Any] = {}
    for field, default in Facts()._asdict().items():
        value = content.get(field, default)
        if isinstance(default, tuple) and isinstance(value, list):
            value = tuple(value)
        texts = value if isinstance(value, tuple) else (value,)
        if type(value) is not type(default) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{what}: its metadata say {field!r} in a form that is not read")
        found[field] = value
    if found["unit"] not in UNITS:
        raise ValueError(f"{what}: its metadata say unit {found['unit']!r:.60}; one of percent, fraction")
    return Facts(**found)


def _meant(name: str, known: Sequence[str]) -> str:
    close = options.nearest(name, known)
    return f", did you mean {close}?" if close else ""
