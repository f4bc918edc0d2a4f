"""What a sweep is: methods, tasks, seeds and comparisons, and which of them are refused before anything runs."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from nasjax import field_types
from nasjax.base import Evaluator, MethodSettings, Space
from nasjax.options import nearest
from nasjax.search import Budget, EvaluatorSettings
from nasjax.summary import Comparison

_NAME = re.compile(r"[a-z0-9_.+@=]+")
MOST_SIDE_BY_SIDE = 1 << 16
"""The largest `width`; what a device really holds is found out by compiling."""

_LONGEST = 70  # characters: method, task and signal stand in the names of files, which end at 255 bytes
_KINDS = {"methods": "Entry(name, settings)", "tasks": "tables or other evaluators' settings with task and signal"}


@runtime_checkable
class TaskSettings(EvaluatorSettings, Protocol):
    """What a sweep asks of an evaluator's settings beside `build`: how its results are called."""

    @property
    def task(self) -> str:
        """Name of the data set or problem."""

    @property
    def signal(self) -> str:
        """Name of what the method sees."""


@runtime_checkable
class SweptEvaluator(Evaluator, Protocol):
    """What a sweep asks of a pure evaluator beside the call. Its metrics may have "validation" and "test"."""

    def best(self, space: Space) -> dict[str, float]:
        """Returns the maxima over the searchable set, "validation" of the noise-free signal and "test"; NaN if unknown."""

    def searchable(self, space: Space) -> Space:
        """Returns the space without what cannot be evaluated; `space` itself where all can."""

    @property
    def source(self) -> dict[str, Any]:
        """Returns what the summary says of the table: "file", "sha256", "modelled", "unit"."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One method of a sweep.

    Attributes:
      name: in tables and on the command line: lower-case letters, digits and _ . + @ =
      method: its settings.
      seeds: of an expensive method, at most so many of the sweep's seeds; 0 = all.
    """

    name: str
    method: MethodSettings
    seeds: int = 0


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What a config returns for `nasjax sweep`.

    Attributes:
      space: where to search.
      methods: what is compared.
      tasks: the evaluators, one a task and signal.
      budget: unique queries of each search.
      seeds: searches of each method on each task, seeds 0..seeds-1.
      compare: what is tested, and against which methods.
      chunk: seeds a file; 0 = 1,024, or for methods that train a model what stands side by side, on CPUs 4 a device.
      memory: bytes that a device may use; 0 = half of what there is.
      width: seeds side by side in a device's program, fewer where its memory ends; 0 = 64, on CPUs 1 for methods that train a
        model. Accelerators want more. Another width is another program: it may round otherwise.
    """

    space: Space
    methods: tuple[Entry, ...]
    tasks: tuple[TaskSettings, ...]
    budget: Budget = Budget()
    seeds: int = 100
    compare: Comparison = Comparison()
    chunk: int = 0
    memory: int = 0
    width: int = 0


def check(sweep: Sweep, methods: Sequence[str] = ()) -> list[Entry]:
    """Returns the methods that are meant, in the sweep's order.

    Raises:
      ValueError: a setting is out of range, two methods or tasks have one name, or a name is unknown.
    """
    kinds = {"space": Space, "budget": Budget, "compare": Comparison}
    for name, kind in kinds.items():
        if not isinstance(getattr(sweep, name), kind):
            raise ValueError(f"{name}: a {type(getattr(sweep, name)).__name__} where a {kind.__name__} is needed")
    for what, number in (("seeds", sweep.seeds), ("budget.evaluations", sweep.budget.evaluations)):
        if type(number) is not int or not 1 <= number < 1 << 31:
            raise ValueError(f"{what} {number!r}: a whole number, 1 to {(1 << 31) - 1:,}")
    for what, number in (("chunk", sweep.chunk), ("memory", sweep.memory), ("width", sweep.width)):
        if type(number) is not int or number < 0:
            raise ValueError(f"{what} {number!r}: a whole number, at least 0")
    if sweep.width > MOST_SIDE_BY_SIDE:
        raise ValueError(f"width {sweep.width:,}: at most {MOST_SIDE_BY_SIDE:,}")
    for what, given, kind in (("methods", sweep.methods, Entry), ("tasks", sweep.tasks, TaskSettings)):
        wrong = [] if not isinstance(given, tuple) else [one for one in given if not isinstance(one, kind)]
        if not isinstance(given, tuple) or wrong:
            found = type(wrong[0] if wrong else given).__name__
            raise ValueError(f"{what}: a {found} where a tuple of {_KINDS[what]} is needed")
    for entry in sweep.methods:
        if not isinstance(entry.method, MethodSettings):
            raise ValueError(f"method {entry.name!r:.80}: {entry.method!r:.60} is no method's settings")
    names = [entry.name for entry in sweep.methods]
    for number, entry in enumerate(sweep.methods):
        if not isinstance(entry.name, str) or not _NAME.fullmatch(entry.name) or len(entry.name) > _LONGEST:
            allowed = "lower-case letters, digits and _ . + @ = are allowed"
            raise ValueError(f"method name {entry.name!r:.80}: {allowed}, {_LONGEST} at most")
        if type(entry.seeds) is not int or entry.seeds < 0:
            raise ValueError(f"method {entry.name}: seeds {entry.seeds!r}; a whole number, at least 0")
        if entry.name in names[:number]:
            raise ValueError(f"two methods are called {entry.name!r}")
    if not names or not sweep.tasks:
        raise ValueError("a sweep needs methods and tasks")
    check_tasks([task for task in sweep.tasks if task.task and task.signal])  # the others get their names later
    check_comparison(sweep.compare, names)
    for settings in (sweep.space, *(entry.method for entry in sweep.methods), *sweep.tasks):
        if dataclasses.is_dataclass(settings):
            field_types.check(settings, getattr(settings, "__name__", type(settings).__name__))
    unknown = [name for name in methods if name not in names]
    if unknown:
        close = nearest(unknown[0], names)
        raise ValueError(
            f"unknown method {unknown[0]!r}; " + (f"did you mean {close}?" if close else f"one of {', '.join(names)}")
        )
    return [entry for entry in sweep.methods if not methods or entry.name in methods]


def check_tasks(tasks: Sequence[TaskSettings]) -> None:
    """Refuses tasks whose results would go by one name.

    Raises:
      ValueError: naming both.
    """
    pairs = [(task.task, task.signal) for task in tasks]
    for number, pair in enumerate(pairs):
        named = f"task {pair[0]!r:.100} with signal {pair[1]!r:.100}"
        if not all(isinstance(name, str) for name in pair):
            raise ValueError(f"{named}: both are texts")
        if max(map(len, pair)) > _LONGEST:
            raise ValueError(
                f"{named}: {_LONGEST} characters at most; a table can be given a name, Table(..., task=NAME), or its file"
            )
        if pair in pairs[:number]:
            raise ValueError(f"{named} stands in the sweep twice; a table can be given a name, Table(..., task=NAME)")
    stems: dict[str, tuple[str, str]] = {}
    for pair in pairs:
        other = stems.setdefault(stem("", *pair), pair)
        if other != pair:
            both = [f"task {task!r} with signal {signal!r}" for task, signal in (other, pair)]
            raise ValueError(f"{' and '.join(both)} would have the same file names; rename one of them")


def check_comparison(compare: Comparison, methods: Sequence[str]) -> None:
    """Refuses a comparison that the results of these methods cannot answer, before they are computed.

    Raises:
      ValueError: naming the field.
    """
    field_types.check(compare, "compare")
    for query in compare.at:
        if query < 1:
            raise ValueError(f"compare.at {query!r:.40}: a whole number, at least 1")
    default = Comparison()
    for field in ("references", "claims", "against"):
        names = getattr(compare, field)
        for name in names if names != getattr(default, field) else ():
            if name not in methods:
                close = nearest(name, methods)
                hint = f"did you mean {close}?" if close else f"one of {', '.join(methods)}"
                raise ValueError(f"compare.{field} {name!r} is no method of the sweep; {hint}")
    if bool(compare.claims) != bool(compare.against):
        raise ValueError("compare.claims and compare.against go together: who is claimed to be better, and than whom")


def stem(method: str, task: str, signal: str) -> str:
    """Returns what the names of a method's and task's chunks begin with."""
    return "-".join([method, *(re.sub(r"[^A-Za-z0-9_.@+=]", "_", text) for text in (task, signal))])
