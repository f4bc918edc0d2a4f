"""Searches: as one compiled program (`scan_search`), and from the host with a run directory (`run_search`).

Both draw the same keys from the run's one key, so that a method without floating-point learning walks the same
trajectory in both, bit for bit. In a run directory a search may be killed at any instant; started again it ends with
the same `history.npz` and `result.json` as if it had not been (`rundir`).
"""

import dataclasses
import functools
import json
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import field_types, interrupts, machine, resolved, rundir
from nasjax.base import Arch, Array, Enumerable, Evaluation, Evaluator, Key, MethodSettings, Proposals, PyTree, Space
from nasjax.record import Record
from nasjax.scan import INIT, RUN, Trace, full_precision, num_steps, scan_search, strong, usable

__all__ = ["Budget", "EvaluatorSettings", "Progress", "Result", "Search", "Trace", "run_search", "scan_search"]


class EvaluatorSettings(Protocol):
    """An evaluator's frozen dataclass of settings: what a config writes and the command line overrides."""

    def build(self, space: Any) -> Evaluator:
        """Returns the evaluator.

        Raises:
          ValueError: a setting is out of range.
          FileNotFoundError: data are missing; the message has the command that makes them.
        """


@dataclasses.dataclass(frozen=True)
class Budget:
    """When a search ends.

    Attributes:
      evaluations: number of unique queries.
    """

    evaluations: int = 100


SpaceT = TypeVar("SpaceT", bound=Space)
MethodT = TypeVar("MethodT", bound=MethodSettings)
EvaluatorT = TypeVar("EvaluatorT", bound=EvaluatorSettings)


@dataclasses.dataclass(frozen=True)
class Search(Generic[SpaceT, MethodT, EvaluatorT]):
    """What a config returns.

    Attributes:
      space: where to search.
      method: how.
      evaluator: what rewards an architecture.
      budget: how long.
    """

    space: SpaceT
    method: MethodT
    evaluator: EvaluatorT
    budget: Budget = Budget()


class Progress(NamedTuple):
    """Told after each batch, when it is safe on the disk.

    Attributes:
      step: batches done, of `steps`.
      steps: batches done, and those that the rest of the budget takes if every row counts.
      evaluations: architectures evaluated, of `budget`.
      budget: the search's budget.
      reward: float32[b], this batch's, NaN where not valid.
      invalid: evaluations without a usable reward so far.
      best_reward: the highest so far; NaN before the first valid one.
      best_spec: its architecture; empty before.
      info: the method's diagnostics of this batch.
      seconds: of this batch: ask, evaluate, tell, and compile (which is part of those three).
    """

    step: int
    steps: int
    evaluations: int
    budget: int
    reward: np.ndarray[Any, np.dtype[np.float32]]
    invalid: int
    best_reward: float
    best_spec: str
    info: dict[str, float]
    seconds: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
      folder: its run directory.
      begun: whether this call did the whole run, went on with one, or found it finished and did nothing.
      resumed_from: evaluations that were there when this call began.
      evaluations: architectures evaluated in all.
      invalid: of them, those without a usable reward.
      best_spec: the best architecture; None if no reward was usable.
      best_reward: its reward; NaN if none.
      summary: the content of `result.json`.
      record: all evaluations.
    """

    folder: pathlib.Path
    begun: Literal["fresh", "resumed", "finished"]
    resumed_from: int
    evaluations: int
    invalid: int
    best_spec: str | None
    best_reward: float
    summary: dict[str, Any]
    record: Record


def run_search(
    search: Search[Any, Any, Any],
    seed: int,
    folder: pathlib.Path,
    *,
    on_batch: Callable[[Progress], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Result:
    """Runs a search in a run directory, goes on with the one that is there, or finds it finished and does nothing.

    Args:
      search: what to run.
      seed: of its key, 0..2**32-1.
      folder: the run directory; made if need be.
      on_batch: called after each batch.
      on_note: called with one line where something is done otherwise than a person would expect (resumed behind the
        last evaluation, invalid children, other devices); printed to stderr by default.

    Raises:
      ValueError: a setting is out of range or of another type than its field.
      FileNotFoundError: data are missing.
      rundir.RunDirError: the directory does not fit; nothing in it was changed.
      OSError: a file could not be written; run again to go on.
      interrupts.Interrupted: SIGINT or SIGTERM; run again to go on.
    """
    tell_person = on_note or _print_note
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 1 << 32:
        raise ValueError(f"seed {seed!r}: 0 to {(1 << 32) - 1} are allowed")
    for name in ("space", "method", "evaluator", "budget"):
        if dataclasses.is_dataclass(settings := getattr(search, name)):
            field_types.check(settings, f"config.{name}")
    budget = search.budget.evaluations
    if budget < 1:
        raise ValueError(f"budget.evaluations {budget}: at least 1")
    _refuse_unhashable(search)
    config = resolved.plain(search)
    with interrupts.raised() as watch:
        # Before the directory is made: a run that cannot start must not claim a name. A finished one needs no data.
        evaluator = None if rundir.is_finished(folder) else search.evaluator.build(search.space)
        identity = rundir.Identity(config, seed, machine.describe() | _table(evaluator))
        programs = _programs(search, evaluator)
        key = jax.random.key(seed)
        with rundir.opened(folder, identity, lambda: programs.init(jax.random.fold_in(key, INIT))) as run:
            for note in [*run.notes, *getattr(evaluator, "notes", ())]:
                tell_person(note)
            there = len(run.record)
            if run.result is not None:
                return _result(run, "finished", there)
            run.log({"event": "start", "time": time.time(), "evaluations": there, **machine.describe()})
            if evaluator is None:
                evaluator = search.evaluator.build(search.space)
                programs = _programs(search, evaluator)
            loop = _Loop(search, programs, evaluator, key, run, tell_person)
            while loop.is_unfinished() and (progress := loop.step()) is not None:
                if on_batch is not None:
                    on_batch(progress)
                watch.check()
            run.finish(_summary(search, run.record, evaluator))
            run.log({"event": "finish", "time": time.time(), "evaluations": len(run.record)})
            return _result(run, "resumed" if there else "fresh", there)


def _table(evaluator: Evaluator | None) -> dict[str, dict[str, str]]:
    """The file that rewards are looked up in, where that is what an evaluator does."""
    source = getattr(evaluator, "source", None)
    texts = [source.get(name) if isinstance(source, dict) else None for name in ("file", "sha256")]
    file, digest = (text if isinstance(text, str) else "" for text in texts)
    return {"table": {"file": file, "sha256": digest}} if digest else {}


def _programs(search: Search[Any, Any, Any], evaluator: Evaluator | None) -> "_Programs":
    """The method's programs, in the part of the space that the evaluator has (`tables.partial`) where it has a part."""
    part = getattr(evaluator, "searchable", None)
    space = search.space if part is None else part(search.space)
    return _compiled(space, search.method, search.budget.evaluations)


def _refuse_unhashable(search: Search[Any, Any, Any]) -> None:
    """Settings are static arguments of compiled programs."""
    for name, settings in (("space", search.space), ("method", search.method)):
        try:
            hash(settings)
        except TypeError as error:
            kind = type(settings).__name__
            raise ValueError(
                f"config.{name}: {error} in {kind}; settings are frozen dataclasses with tuples"
            ) from error


class _Programs(NamedTuple):
    """A method's functions and the space's key, compiled; whether a batch without a live row is the end."""

    init: Callable[[Key], PyTree]
    ask: Callable[[PyTree, Key, Array], tuple[Proposals, PyTree]]
    tell: Callable[[PyTree, Proposals, Evaluation, Array], PyTree]
    keys: Callable[[Arch], Array]
    batch: int
    steps: int
    ends_dead: bool


@functools.lru_cache(maxsize=16)  # one search of many seeds in one process compiles once
def _compiled(space: Space, settings: MethodSettings, budget: int) -> _Programs:
    method = settings.build(space, budget)

    def init(key: Key) -> PyTree:
        return strong(method.init(key))

    def ask(state: PyTree, key: Key, step: Array) -> tuple[Proposals, PyTree]:
        proposals, state = method.ask(state, jax.random.fold_in(key, step), step)
        return proposals, strong(state)

    def tell(state: PyTree, proposals: Proposals, evaluation: Evaluation, step: Array) -> PyTree:
        return strong(method.tell(state, proposals, evaluation, step))

    return _Programs(
        init=jax.jit(full_precision(init)),
        ask=jax.jit(full_precision(ask)),
        tell=jax.jit(full_precision(tell)),
        keys=jax.jit(jax.vmap(space.canonical_key)),
        batch=method.batch,
        steps=num_steps(method, budget),
        # Where all classes can be listed, nothing live means that nothing is left: `history` looks through them.
        # Elsewhere this batch was without luck; and a method with steps of its own may have recalled all rows.
        ends_dead=isinstance(space, Enumerable) and method.steps is None,
    )


@functools.cache
def _compiled_evaluator(kind: type) -> Callable[[Evaluator, Key, Arch], Evaluation]:
    """A pure evaluator is an argument of the program, so that its tables are not constants in it."""
    del kind

    def evaluate(evaluator: Evaluator, key: Key, archs: Arch) -> Evaluation:
        return evaluator(key, archs)

    return jax.jit(full_precision(evaluate))


@dataclasses.dataclass
class _Loop:
    """The batches of one call of `run_search`."""

    search: Search[Any, Any, Any]
    programs: _Programs
    evaluator: Evaluator
    key: Key
    directory: rundir.Run
    tell_person: Callable[[str], None]

    def is_unfinished(self) -> bool:
        """Whether there are steps and budget left."""
        record = self.directory.record
        return record.steps < self.programs.steps and len(record) < self.search.budget.evaluations

    def step(self) -> Progress | None:
        """Runs one batch and saves it; None if the method asks for nothing more, as the space is exhausted."""
        step, before = jnp.int32(self.directory.record.steps), self.directory.record
        compiled, start = machine.compile_seconds(), time.monotonic()
        proposals, state = self.programs.ask(self.directory.state, self.key, step)
        live = np.asarray(proposals.live)
        if not live.any() and self.programs.ends_dead:
            return None
        asked = time.monotonic()
        wanted = live.any() or self.evaluator.pure or not before.steps  # children that nobody counts are not trained
        evaluation = self._evaluate(proposals) if wanted else _none(live.shape, before.metrics)
        evaluated = time.monotonic()
        state = self.programs.tell(state, proposals, evaluation, step)
        batch = self._record(proposals, evaluation, live)
        seconds = {"ask": asked - start, "evaluate": evaluated - asked, "tell": time.monotonic() - evaluated}
        seconds["compile"] = machine.compile_seconds() - compiled
        after = before.extended(batch)
        self.directory.save(after, state)
        event = {"event": "batch", "time": time.time(), "step": after.steps, "evaluations": len(after)}
        self.directory.log(event | {"seconds": seconds, "memory": machine.memory()})
        if batch.num_invalid and not before.num_invalid:
            self.tell_person(
                f"batch {after.steps}: {batch.num_invalid} of {len(batch)} evaluations gave no usable reward; such ones"
                " count, and are not proposed again (said once)"
            )
        return self._progress(after, batch, seconds)

    def _evaluate(self, proposals: Proposals) -> Evaluation:
        """Evaluates all rows, dead ones too: another width would be another program, with other last bits."""
        run_key, archs = jax.random.fold_in(self.key, RUN), proposals.archs
        if self.evaluator.pure:
            evaluation = _compiled_evaluator(type(self.evaluator))(self.evaluator, run_key, archs)
        else:
            evaluation = self.evaluator(run_key, archs)
        # To the host and back: `tell` runs on one device, wherever and on however many the children were trained.
        evaluation = jax.tree.map(np.asarray, evaluation)
        _check(evaluation, proposals.live.shape, type(self.evaluator).__name__)
        cleaned: Evaluation = jax.tree.map(np.asarray, usable(evaluation))
        return cleaned

    def _record(self, proposals: Proposals, evaluation: Evaluation, live: np.ndarray[Any, Any]) -> Record:
        archs = jax.tree.map(np.asarray, proposals.archs)
        rows = np.flatnonzero(live)

        def spec(row: int) -> str:
            return str(self.search.space.to_spec(jax.tree.map(lambda leaf: leaf[row], archs)))

        return Record(
            steps=1,
            specs=tuple(spec(int(row)) for row in rows),
            keys=np.asarray(self.programs.keys(proposals.archs))[rows],
            reward=np.asarray(evaluation.reward)[rows],
            valid=np.asarray(evaluation.valid)[rows],
            cost=np.asarray(evaluation.cost)[rows],
            origin=np.asarray(proposals.origin)[rows],
            step=np.zeros(len(rows), np.int32),
            metrics={name: np.asarray(value)[rows] for name, value in evaluation.metrics.items()},
            info={name: np.asarray(value, np.float32)[None] for name, value in proposals.info.items()},
        )

    def _progress(self, record: Record, batch: Record, seconds: dict[str, float]) -> Progress:
        best, budget = record.best, self.search.budget.evaluations
        left = math.ceil((budget - len(record)) / self.programs.batch)
        return Progress(
            step=record.steps,
            steps=min(record.steps + left, self.programs.steps),
            evaluations=len(record),
            budget=budget,
            reward=batch.reward,
            invalid=record.num_invalid,
            best_reward=math.nan if best is None else float(record.reward[best]),
            best_spec="" if best is None else record.specs[best],
            info={name: float(value[-1]) for name, value in record.info.items()},
            seconds=seconds,
        )


def _summary(search: Search[Any, Any, Any], record: Record, evaluator: Evaluator) -> dict[str, Any]:
    """The content of `result.json`: no clock, no path, nothing of this machine."""
    summary: dict[str, Any] = {
        "space": search.space.name,
        "method": type(search.method).__name__,
        "evaluator": type(search.evaluator).__name__,
        "budget": search.budget.evaluations,
        "evaluations": len(record),
        "exhausted": len(record) < search.budget.evaluations,
        "invalid": record.num_invalid,
        "cost": float(record.cost.astype(np.float64).sum()),
        "best": None,
    }
    source = getattr(evaluator, "source", None)  # optional: which table, and whether its figures are modelled
    if source is not None:
        summary["table"] = resolved.plain(source, "source")
    row = record.best
    if row is None:
        return _finite(summary)
    summary["best"] = {
        "spec": record.specs[row],
        "evaluation": row + 1,
        "reward": float(record.reward[row]),
        "cost": float(record.cost[row]),
        "metrics": {name: float(column[row]) for name, column in sorted(record.metrics.items())},
    }
    describe = getattr(evaluator, "describe", None)  # optional: parameters and multiply-adds, exact, on the host
    if describe is not None:
        summary["best"] |= resolved.plain(describe(search.space.from_spec(record.specs[row])), "describe")
    return _finite(summary)


def _result(run: rundir.Run, begun: Literal["fresh", "resumed", "finished"], there: int) -> Result:
    record, best = run.record, run.record.best
    return Result(
        folder=run.folder,
        begun=begun,
        resumed_from=there,
        evaluations=len(record),
        invalid=record.num_invalid,
        best_spec=None if best is None else record.specs[best],
        best_reward=math.nan if best is None else float(record.reward[best]),
        summary=run.result or {},
        record=record,
    )


def _none(shape: tuple[int, ...], metrics: Iterable[str]) -> Evaluation:
    """The evaluation of a batch without a live row."""
    nothing: Any = np.full(shape, np.nan, np.float32)
    return Evaluation(nothing, np.zeros(shape, bool), np.zeros_like(nothing), dict.fromkeys(metrics, nothing))  # type: ignore[arg-type]


def _check(evaluation: Evaluation, shape: tuple[int, ...], name: str) -> None:
    """An evaluator is a user's own code: a wrong shape must not be broadcast into a wrong history."""
    arrays = {"reward": evaluation.reward, "valid": evaluation.valid, "cost": evaluation.cost}
    arrays |= {f"metric {metric}": value for metric, value in evaluation.metrics.items()}
    for what, array in arrays.items():
        dtype = np.dtype(bool if what == "valid" else np.float32)
        if array.shape != shape or array.dtype != dtype:
            found, wanted = f"{array.dtype}{list(array.shape)}", f"{dtype}{list(shape)}"
            raise ValueError(f"{name}: {what} is {found}, expected {wanted}")


def _finite(summary: dict[str, Any]) -> dict[str, Any]:
    """NaN becomes null, which JSON has."""
    text = json.dumps(summary)
    cleaned: dict[str, Any] = json.loads(text, parse_constant=lambda name: None)
    return cleaned


def _print_note(note: str) -> None:
    print(f"nasjax: {note}", file=sys.stderr)
