"""Sweeps: many methods x tasks x seeds, in compiled programs, chunk by chunk, resumable.

A sweep's run directory holds

    config.json       the resolved config without what may grow: seeds and the choice of methods; versions, devices
    LOCK              held while a process runs
    plan.json         the width of each program, so that a resumed sweep has the same programs
    chunks/*.parquet  METHOD-TASK-START-STOP: the results of some seeds; each is whole or not there
    events.jsonl      clock, seconds, memory: the only file that differs between two equal sweeps
    results.parquet   all chunks of the methods and seeds asked for, joined (`results`)
    summary.json      statistics over seeds (`summary`)

A chunk costs at most what its searches cost: a killed sweep repeats that much. More seeds or other methods go on in the same
directory, as no search depends on another. A chunk is used only as it was written: it carries the sweep's hash and a digest of
its rows, and one that does not open, has changed or is another's is named and left alone.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.compute

from nasjax import files, interrupts, machine, resolved, results, rundir, seeds, summary
from nasjax.base import Enumerable, Space
from nasjax.record import FORMAT
from nasjax.results import Best, Labels
from nasjax.sweep_settings import Entry, Sweep, SweptEvaluator, TaskSettings, check, check_tasks, stem

__all__ = ["Entry", "Sweep", "SweepProgress", "SweepResult", "SweptEvaluator", "TaskSettings", "check", "run_sweep"]

PLAN, RESULTS, SUMMARY, CHUNKS = "plan.json", "results.parquet", "summary.json", "chunks"

_CHUNK_LIMIT = 1 << 31
_LAW = "2"  # what of a search is no setting; without one: a batch could stay short in a space that is not enumerable


class SweepProgress(NamedTuple):
    """Told after each chunk, when it is safe on the disk.

    Attributes:
      chunk: chunks done by this call, of `chunks`.
      chunks: those that were missing.
      method: of this chunk, with its task, signal and seeds [start, stop).
      task: see above.
      signal: see above.
      start: see above.
      stop: see above.
      seconds: wall clock of this chunk: "run" and, part of it, "compile".
    """

    chunk: int
    chunks: int
    method: str
    task: str
    signal: str
    start: int
    stop: int
    seconds: dict[str, float]


class SweepResult(NamedTuple):
    """What a sweep came to.

    Attributes:
      folder: its run directory.
      done: chunks computed by this call.
      chunks: those that the results stand on.
      summary: the content of `summary.json`.
    """

    folder: pathlib.Path
    done: int
    chunks: int
    summary: dict[str, Any]


class _Chunk(NamedTuple):
    """Seeds start..stop-1 of a method on a task; the name of its file says so."""

    entry: Entry
    task: TaskSettings
    start: int
    stop: int

    @property
    def file(self) -> str:
        return f"{self.stem}-{self.start:06}-{self.stop:06}.parquet"

    @property
    def stem(self) -> str:
        return stem(self.entry.name, self.task.task, self.task.signal)

    def fits(self, table: pa.Table) -> bool:
        """Whether a table has rows of all these searches, and no others."""
        names = {"method": self.entry.name, "task": self.task.task, "signal_name": self.task.signal}
        same = all(set(table[column].unique().to_pylist()) <= {name} for column, name in names.items())
        seeds = np.unique(table["seed"].to_numpy())
        return (
            same and len(seeds) == self.stop - self.start and np.array_equal(seeds - self.start, np.arange(len(seeds)))
        )


def run_sweep(
    sweep: Sweep,
    name: str,
    folder: pathlib.Path,
    *,
    methods: Sequence[str] = (),
    on_chunk: Callable[[SweepProgress], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> SweepResult:
    """Runs a sweep in a run directory, or goes on with the one that is there.

    Args:
      sweep: what to run.
      name: of the config; stands in the summary.
      folder: the run directory; made if need be.
      methods: names of those to run, all if empty; those left out are neither run nor in the results.
      on_chunk: called after each chunk.
      on_note: called with one line where something is otherwise than expected.

    Raises:
      ValueError: a setting is out of range, a method is unknown, an evaluator cannot be traced.
      FileNotFoundError: a table is missing.
      rundir.RunDirError: the directory or a file in it does not fit; nothing in it was changed.
      OSError: a file could not be written; run again to go on.
      interrupts.Interrupted: SIGINT or SIGTERM; run again to go on.
    """
    chosen = check(sweep, methods)
    identity = rundir.Identity(_fixed(sweep), 0, machine.describe())
    with interrupts.raised() as watch:
        evaluators = [_built(task, sweep.space) for task in sweep.tasks]
        for entry in chosen:
            entry.method.build(sweep.space, sweep.budget.evaluations)  # refused before a run directory is claimed
        sweep = dataclasses.replace(sweep, tasks=tuple(map(_named, sweep.tasks, evaluators)))
        check_tasks(sweep.tasks)
        with rundir.claimed(folder, identity) as notes:
            tell = on_note or (lambda line: None)
            told = dict.fromkeys([*notes, *itertools.chain.from_iterable(map(_notes, evaluators))])
            for note in told:
                tell(note)
            files.make_folder(folder / CHUNKS)
            rundir.log(folder, {"event": "start", "time": time.time(), **machine.describe()})
            runner = _Runner(sweep, folder, identity.hash, dict(zip(sweep.tasks, evaluators, strict=True)))
            there, missing = _plan(sweep, chosen, folder / CHUNKS)
            for note in runner.check(there):
                tell(note)
            for number, chunk in enumerate(missing):
                seconds = runner.run(chunk)
                there.append(chunk)
                if on_chunk is not None:
                    about = (chunk.entry.name, chunk.task.task, chunk.task.signal, chunk.start, chunk.stop)
                    on_chunk(SweepProgress(number + 1, len(missing), *about, seconds))
                watch.check()
            found = runner.finish(there, chosen, name)
            for note in itertools.chain.from_iterable(table["notes"] for table in found["config"]["tables"]):
                if note not in told:  # what only the results say
                    tell(note)
            rundir.log(folder, {"event": "finish", "time": time.time()})
            return SweepResult(folder, len(missing), len(there), found)


def _fixed(sweep: Sweep) -> resolved.Plain:
    """The config without what may differ between two calls that share a directory: a search depends on none of it."""
    methods = tuple(dataclasses.replace(entry, seeds=0) for entry in sweep.methods)
    free = {"seeds", "compare", "memory"} | ({"width"} if not sweep.width else set())  # runs of before had no width
    fields = [field.name for field in dataclasses.fields(sweep) if field.name not in free]
    same = dataclasses.replace(sweep, methods=methods)
    return {name: resolved.plain(getattr(same, name), f"config.{name}") for name in fields}


def _built(task: TaskSettings, space: Space) -> SweptEvaluator:
    evaluator = task.build(space)
    if not evaluator.pure or not isinstance(evaluator, SweptEvaluator):
        kind = type(evaluator).__name__
        raise ValueError(f"sweep: {kind} is no table, so its searches are no single program; use nasjax search")
    return evaluator


def _named(task: TaskSettings, evaluator: SweptEvaluator) -> TaskSettings:
    """The settings under the names by which results go, where they leave the choice to the table."""
    if task.task and task.signal:
        return task
    found, signal = getattr(evaluator, "named", ("", ""))
    named: TaskSettings = dataclasses.replace(  # type: ignore[type-var]
        task, task=task.task or found, signal=task.signal or signal
    )
    return named


def _notes(evaluator: SweptEvaluator) -> Sequence[str]:
    """What a person should know of an evaluator."""
    notes: Sequence[str] = getattr(evaluator, "notes", ())
    return notes


def _plan(sweep: Sweep, chosen: Sequence[Entry], folder: pathlib.Path) -> tuple[list[_Chunk], list[_Chunk]]:
    """The chunks that are there and hold seeds asked for, and those that are missing, task after task.

    An earlier call may have had other numbers of seeds, so what is there is read from the names, and only gaps are filled.
    """
    there, missing = [], []
    names = {path.name for path in folder.glob("*.parquet")}
    for entry, task in itertools.product(chosen, sweep.tasks):
        pattern = re.compile(re.escape(stem(entry.name, task.task, task.signal)) + r"-(\d+)-(\d+)\.parquet")
        found = [_Chunk(entry, task, *map(int, match.groups())) for match in map(pattern.fullmatch, names) if match]
        named = (chunk for chunk in found if chunk.file in names and chunk.start < chunk.stop)  # others are not ours
        found = sorted(named, key=lambda chunk: chunk.start)
        for before, after in itertools.pairwise(found):
            if after.start < before.stop:
                both = f"{folder / before.file} and {after.file} hold the same seeds"
                raise rundir.RunDirError(f"{both}; move one of them away and run again")
        size, wanted, covered = _chunk_size(sweep, entry), _num_seeds(sweep, entry), 0
        for start, stop in [*((chunk.start, chunk.stop) for chunk in found), (wanted, wanted)]:
            end = min(start, wanted)
            missing += [_Chunk(entry, task, first, min(first + size, end)) for first in range(covered, end, size)]
            covered = max(covered, stop)
            if start < min(stop, wanted):
                there.append(_Chunk(entry, task, start, stop))
    return there, missing


def _chunk_size(sweep: Sweep, entry: Entry) -> int:
    """Seeds a file. Those that train a model take seconds to a minute each, all of which a kill would cost again."""
    method = entry.method.build(sweep.space, sweep.budget.evaluations)
    devices = jax.local_devices()
    width = sweep.width or seeds.side_by_side(method, devices[0].platform)
    return sweep.chunk or max(4 * len(devices) if method.learned else 1024, len(devices) * width)  # not half empty


def _is_width(width: object, widest: int) -> bool:
    return type(width) is int and 1 <= width <= widest


def _unusable(path: pathlib.Path, trouble: str) -> rundir.RunDirError:
    return rundir.RunDirError(f"{path}: {trouble}; move it away and run again: it is computed anew")


def _num_seeds(sweep: Sweep, entry: Entry) -> int:
    return min(sweep.seeds, entry.seeds) if entry.seeds else sweep.seeds


@dataclasses.dataclass
class _Runner:
    """Runs chunks and puts them together."""

    sweep: Sweep
    folder: pathlib.Path
    hash: str
    evaluators: dict[TaskSettings, SweptEvaluator]

    def run(self, chunk: _Chunk) -> dict[str, float]:
        """Computes a chunk, writes its file, and returns the seconds it took."""
        begun, compiled = time.monotonic(), machine.compile_seconds()
        evaluator = self.evaluators[chunk.task]
        space = evaluator.searchable(self.sweep.space)
        program = self._program(chunk, space, evaluator)
        self._compute(chunk, space, evaluator, program)
        seconds = {"run": time.monotonic() - begun, "compile": machine.compile_seconds() - compiled}
        event = {"event": "chunk", "time": time.time(), "file": chunk.file, "seconds": seconds}
        rundir.log(self.folder, event | {"width": program.width, "memory": machine.memory()})
        return seconds

    def check(self, chunks: Sequence[_Chunk]) -> list[str]:
        """Refuses files of other sweeps, or of other figures of a table, before anything is computed beside them.

        Returns what a person should know of the others, a line each.
        """
        early = 0
        for chunk in chunks:
            path = self.folder / CHUNKS / chunk.file
            try:
                about = results.metadata(rundir.read(path, _CHUNK_LIMIT))
            except ValueError as error:
                raise _unusable(path, str(error)) from error
            if about.get("sweep") != self.hash:
                raise rundir.RunDirError(f"{path} belongs to another sweep; move it away and run again")
            if about.get("table") not in (None, *self._figures(chunk.task)):  # chunks of early versions have none
                file = self.evaluators[chunk.task].source.get("file", "the table")
                raise rundir.RunDirError(
                    f"{path} stands on other figures than {file} has now; put that file back, or move {self.folder} away"
                )
            early += about.get("law") is None and not isinstance(self.sweep.space, Enumerable)
        # An enumerable space was always drawn from to its last architecture.
        said = "are of an early nasjax, whose searches here may have ended short of their queries"
        return [f"{self.folder}: {early:,} chunks {said}; moved away, they are computed anew"] if early else []

    def _figures(self, task: TaskSettings) -> list[str]:
        """Digests of what a task's rewards come from: the one that is written, and those of early versions.

        How the figures are called is none of it; early digests had the unit in them.
        """
        evaluator = self.evaluators[task]
        source = {name: value for name, value in evaluator.source.items() if name != "unit"}
        units = ({}, *({"unit": unit} for unit in ("", "percent", "fraction", "nats", "points")))
        best = evaluator.best(self.sweep.space)
        return [
            hashlib.sha256(json.dumps([source | unit, best], sort_keys=True).encode()).hexdigest() for unit in units
        ]

    def finish(self, chunks: Sequence[_Chunk], chosen: Sequence[Entry], name: str) -> dict[str, Any]:
        """Joins the chunks, writes results and summary, and returns the latter."""
        return self._conclude(results.join(self._read(chunk) for chunk in chunks), chosen, name)

    def _compute(self, chunk: _Chunk, space: Space, evaluator: SweptEvaluator, program: seeds.Seeds) -> None:
        wanted = range(chunk.start, chunk.stop)
        trace = program(evaluator, wanted)
        labels = Labels(chunk.entry.name, space.name, chunk.task.task, chunk.task.signal)
        batch = chunk.entry.method.build(space, self.sweep.budget.evaluations).batch
        table = results.rows(space, trace, wanted, batch, labels, Best(**evaluator.best(space)))
        about = {
            "sweep": self.hash,
            "table": self._figures(chunk.task)[0],
            "digest": results.digest(table),
            "law": _LAW,
        }
        files.write(self.folder / CHUNKS / chunk.file, results.pack(table, about))

    def _conclude(self, whole: pa.Table, chosen: Sequence[Entry], name: str) -> dict[str, Any]:
        files.write(self.folder / RESULTS, results.pack(whole))
        about = summary.About(name, self.hash, self.sweep.space, self.sweep.budget.evaluations, self.sweep.seeds)
        sources = {
            (task.task, task.signal): evaluator.source | {"notes": list(_notes(evaluator))}
            for task, evaluator in self.evaluators.items()
        }
        order = [entry.name for entry in chosen]
        found = summary.summarize(whole, order, about, sources, self.sweep.compare)
        text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
        files.write(self.folder / SUMMARY, text.encode() + b"\n")
        return found

    def _program(self, chunk: _Chunk, space: Space, evaluator: SweptEvaluator) -> seeds.Seeds:
        """The method's program; its width is looked up in, or added to, plan.json."""
        path, stem = self.folder / PLAN, chunk.stem
        plan = rundir.read_json(path) if os.path.lexists(path) else {"format": FORMAT, "widths": {}}
        widths = plan.get("widths")
        widest = self.sweep.width or seeds.WIDEST
        if not isinstance(widths, dict) or not all(_is_width(width, widest) for width in widths.values()):
            raise rundir.RunDirError(f"{path}: its widths are none; move it away and run again")
        width = widths.get(stem)
        limit = self.sweep.memory or machine.usable_memory()
        budget = self.sweep.budget.evaluations
        program = seeds.program(
            space, chunk.entry.method, evaluator, budget, limit=limit, width=width, widest=self.sweep.width or None
        )
        if width is None:
            widths[stem] = program.width
            files.write(path, json.dumps(plan, indent=1).encode() + b"\n")
        return program

    def _read(self, chunk: _Chunk) -> pa.Table:
        """The rows of a chunk that belong to the seeds asked for."""
        path = self.folder / CHUNKS / chunk.file
        try:
            table, about = results.unpack(rundir.read(path, _CHUNK_LIMIT))
        except ValueError as error:
            raise _unusable(path, str(error)) from error
        if about.get("digest") not in (None, results.digest(table)):  # chunks of early versions have none
            raise _unusable(path, "its rows have changed since it was written")
        if not chunk.fits(table):
            raise _unusable(path, "its rows are of other searches than its name says")
        return table.filter(pa.compute.less(table["seed"], _num_seeds(self.sweep, chunk.entry)))
