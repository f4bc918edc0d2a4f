"""Run directories: what a search leaves behind, and how it goes on after it was killed at any instant.

    config.json          the resolved config, its hash, seed, versions, devices, table; written once, before any work
    LOCK                 locked (flock) while a process runs; the file stays, the kernel drops the lock with the process
    history.npz          all evaluations (`record`); rewritten after each batch
    state.npz            the method's state after the last batch, the number of batches, the history's digest
    state-previous.npz   the same one batch earlier
    events.jsonl         clock, seconds, memory; the only file that differs between two equal runs
    result.json          the best architecture; written at the end, so its presence says "finished"

A batch is saved in three operations, each atomic (`files`); killed before the first, between two, or after the last:

    before              history s-1, state s-1, previous s-2    go on from s-1
    write history.npz   history s,   state s-1, previous s-2    go on from s-1, the history is cut back to it
    rename the state    history s,              previous s-1    go on from s-1, the history is cut back to it
    write state.npz     history s,   state s,   previous s-1    go on from s

A state is used only where the history, cut back to as many batches, has the digest that the state remembers. As a batch
is reported only after the last operation, nothing that was reported is repeated. Files that do not open are
named and moved aside or left, never deleted or overwritten.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nasjax import checkpoint, files, record, resolved
from nasjax.base import PyTree
from nasjax.checkpoint import Arrays, DamagedError
from nasjax.record import FORMAT, Record

CONFIG, HISTORY, EVENTS, RESULT, LOCK = "config.json", "history.npz", "events.jsonl", "result.json", "LOCK"
STATE, PREVIOUS = "state.npz", "state-previous.npz"

_LIMIT = 1 << 32  # bytes of an NPZ file
_TEXT_LIMIT = 1 << 24  # bytes of a JSON file
_EVENTS_LIMIT = 1 << 30
_LINE_LIMIT = 1 << 16  # no event is longer
_NAME_LIMIT = 200


class RunDirError(RuntimeError):
    """A run directory that does not fit: damaged, in use, of another config, or none at all."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """What makes two runs the same one.

    Attributes:
      config: the resolved config (`resolved.plain`).
      seed: the search's seed.
      about: recorded beside them and free to differ: versions, devices. But a "table" ("file", "sha256"), whose figures
        are half of a run's, has to stay what it was.
    """

    config: resolved.Plain
    seed: int
    about: dict[str, Any]

    @property
    def hash(self) -> str:
        """sha256 of config and seed."""
        return resolved.digest({"config": self.config, "seed": self.seed})


@dataclasses.dataclass
class Run:
    """An open run directory; this process holds its lock.

    Attributes:
      folder: where it is.
      record: evaluations up to the point to go on from.
      state: the method's state there.
      result: what `result.json` says, None while unfinished.
      notes: what a person should be told, a line each.
    """

    folder: pathlib.Path
    record: Record
    state: PyTree
    result: dict[str, Any] | None = None
    notes: list[str] = dataclasses.field(default_factory=list)

    def save(self, new: Record, state: PyTree) -> None:
        """Keeps a batch; the head of this file says why a kill at any point is harmless.

        Raises:
          OSError: naming the file; the directory is as after a kill at that point.
        """
        files.write(self.folder / HISTORY, checkpoint.pack(record.to_arrays(new)))
        files.rename(self.folder / STATE, self.folder / PREVIOUS)
        files.write(self.folder / STATE, _pack_state(new, state))
        self.record, self.state = new, state

    def log(self, event: dict[str, Any]) -> None:
        """Appends one line to `events.jsonl`."""
        log(self.folder, event)

    def finish(self, result: dict[str, Any]) -> None:
        """Writes `result.json`, which makes the run a finished one. NaN becomes null: JSON has none."""
        result = {"format": FORMAT, "finished": True, **result, "history": self.record.digest().hex()}
        files.write(self.folder / RESULT, json.dumps(result, indent=2, allow_nan=False).encode() + b"\n")
        self.result = result


def run_folder(name: str, runs: pathlib.Path = pathlib.Path("runs")) -> pathlib.Path:
    """Returns the folder of the run called `name`, which lies in `runs`; makes nothing.

    Raises:
      ValueError: the name would lead out of `runs`, or no file system takes it.
    """
    shown, size = ascii(name[:40]) + "..." * (len(name) > 40), len(name.encode("utf-8", "replace"))
    if not 0 < size <= _NAME_LIMIT:
        raise ValueError(f"run name {shown}: {size} bytes; 1 to {_NAME_LIMIT} are allowed")
    if name.startswith((".", "~", "-")) or not name.isprintable() or {"/", "\\"} & set(name):
        raise ValueError(
            f"run name {shown}: one folder's name, without '/', '\\' and control characters, not starting in . ~ or -"
        )
    folder = runs / name
    if folder.is_symlink() and not _leads_into(folder, runs):
        raise ValueError(f"run name {shown}: {folder} is a link that leads to no folder in {runs}")
    return folder


def _leads_into(link: pathlib.Path, folder: pathlib.Path) -> bool:
    try:
        return folder.resolve() in link.resolve(strict=True).parents
    except (OSError, RuntimeError):  # nowhere, or round in a circle
        return False


@contextlib.contextmanager
def claimed(folder: pathlib.Path, identity: Identity) -> Iterator[list[str]]:
    """Makes a run directory or finds it, checks whose it is, and holds its lock; yields what a person should be told.

    Raises:
      RunDirError: it is another config's, another process holds it, or it is none. Nothing in it was changed then, but
        for a torn last line of `events.jsonl`.
      OSError: a first file could not be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            if folder.exists() and not folder.is_dir():
                raise RunDirError(f"{folder} is a file, not a run directory")
            files.make_folder(folder)
            _refuse_foreign(folder)
            stack.enter_context(files.lock(folder / LOCK))
        except OSError as error:
            raise RunDirError(f"{folder} cannot be used: {_reason(error)}") from error
        # A link that leads nowhere is something that stands there, too: it is refused by who reads it, never written over.
        if not os.path.lexists(folder / CONFIG):
            content = {"format": FORMAT, "hash": identity.hash, "seed": identity.seed, "config": identity.config}
            files.write(folder / CONFIG, json.dumps(content | identity.about, indent=2).encode() + b"\n")
            # killed here: a config and nothing else, which the next start takes for a fresh run of that config
        notes = _compare(folder, read_config(folder), identity)
        _cut_torn_line(folder / EVENTS)
        yield notes


@contextlib.contextmanager
def opened(folder: pathlib.Path, identity: Identity, initial: Callable[[], PyTree]) -> Iterator[Run]:
    """Opens a search's run directory, or makes it; `initial` makes the state before all batches.

    Raises:
      RunDirError: as `claimed`, or a file in it cannot be used.
      OSError: a first file could not be written.
    """
    with claimed(folder, identity) as notes:
        yield _open(folder, initial, notes)


def log(folder: pathlib.Path, event: dict[str, Any]) -> None:
    """Appends one line to `events.jsonl`."""
    files.append(folder / EVENTS, json.dumps(event).encode() + b"\n")


def is_finished(folder: pathlib.Path) -> bool:
    """Whether a finished run lies there, by its looks; `opened` checks."""
    return os.path.lexists(folder / RESULT)


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """Returns `config.json`: format, config, seed, hash, versions, devices.

    Raises:
      RunDirError: it is missing or damaged.
    """
    content = read_json(folder / CONFIG, "start again under another --run")
    identity = {"config": content.get("config"), "seed": content.get("seed")}
    if content.get("hash") != resolved.digest(identity):
        raise RunDirError(f"{folder / CONFIG}: its hash does not fit its config, so it was changed or damaged")
    return content


def read_history(folder: pathlib.Path) -> Record:
    """Returns `history.npz`.

    Raises:
      RunDirError: it is missing or damaged.
    """
    path = folder / HISTORY
    try:
        return record.from_arrays(checkpoint.unpack(read(path, _LIMIT)))
    except DamagedError as error:
        raise RunDirError(f"{path}: {error}; put back a good copy, or start again under another --run") from error


def read_result(folder: pathlib.Path) -> dict[str, Any] | None:
    """Returns `result.json`, None if the run is not finished.

    Raises:
      RunDirError: it is damaged.
    """
    path = folder / RESULT
    return (
        read_json(path, "move it away and run again: it is made anew from the history") if is_finished(folder) else None
    )


def read_events(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the events of `events.jsonl`; lines that are none, such as a torn last one, are left out."""
    path = folder / EVENTS
    if not path.exists():
        return []
    events = []
    for line in read(path, _EVENTS_LIMIT).split(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict):
                events.append(event)
    return events


def _open(folder: pathlib.Path, initial: Callable[[], PyTree], notes: list[str]) -> Run:
    there = [name for name in (HISTORY, STATE, PREVIOUS) if os.path.lexists(folder / name)]
    if not there and not is_finished(folder):
        return _start(folder, initial, notes)
    history = read_history(folder)
    result = read_result(folder)
    if result is not None:
        if result.get("history") != history.digest().hex():
            raise RunDirError(f"{folder / RESULT} does not belong to {folder / HISTORY}; move it away and run again")
        return Run(folder, history, None, result, notes=notes)
    if there == [HISTORY] and not history.steps:
        return _start(folder, initial, notes)  # killed between the first two files
    return _resume(folder, history, initial, notes)


def _start(folder: pathlib.Path, initial: Callable[[], PyTree], notes: list[str]) -> Run:
    """Writes what a run starts from, so that from here on a missing state is a loss and not a beginning."""
    run = Run(folder, record.empty(), initial(), notes=notes)
    files.write(folder / HISTORY, checkpoint.pack(record.to_arrays(run.record)))
    files.write(folder / STATE, _pack_state(run.record, run.state))
    return run


def _resume(folder: pathlib.Path, history: Record, initial: Callable[[], PyTree], notes: list[str]) -> Run:
    """Goes on from the newest state that opens and agrees with the history."""
    troubles = []
    for name in (STATE, PREVIOUS):
        path = folder / name
        try:
            steps, state = _read_state(path, history, initial)
        except DamagedError as error:
            troubles.append(f"{path}: {error}")
            continue
        if name == PREVIOUS:
            notes += _make_way(folder, troubles[0])
        if steps < history.steps:
            shared = history.until(steps)
            back = f"{folder}: going back to the {len(shared)} evaluations that state and history share"
            notes.append(f"{back}; the {len(history) - len(shared)} after them are repeated")
        return Run(folder, history.until(steps), state, notes=notes)
    raise RunDirError("; ".join(troubles) + "; put back a good copy of one of them, or start again under another --run")


def _make_way(folder: pathlib.Path, trouble: str) -> list[str]:
    """Lets the previous state be the state, and returns what to say.

    The next `save` makes the state the previous one: a damaged one would take the place of the only good one.
    """
    notes = []
    path = folder / STATE
    if os.path.lexists(path):
        number = 1
        while os.path.lexists(aside := folder / f"state-damaged-{number}.npz"):
            number += 1
        files.rename(path, aside)  # killed here: as if there were no state, which is the case below
        notes.append(f"{trouble}; moved aside to {aside.name}, the state before it is used")
    files.rename(folder / PREVIOUS, path)  # killed here: a state that agrees, and no previous one
    files.sync_folder(folder)
    return notes


def _pack_state(history: Record, state: PyTree) -> bytes:
    header: Arrays = {
        "format": np.asarray(FORMAT, np.int32),
        "steps": np.asarray(history.steps, np.int32),
        "history": np.frombuffer(history.digest(), np.uint8),
    }
    return checkpoint.pack(header | {f"leaf{name}": leaf for name, leaf in checkpoint.leaves(state).items()})


def _read_state(path: pathlib.Path, history: Record, initial: Callable[[], PyTree]) -> tuple[int, PyTree]:
    """Returns a state and its number of batches, if it opens and agrees with the history.

    A file that cannot be read (permission, a bad disk) is not taken for a damaged one: it may be readable tomorrow.
    """
    if not os.path.lexists(path):
        raise DamagedError("it is missing")
    arrays = checkpoint.unpack(read(path, _LIMIT))
    record.check_format(arrays)
    counter, digest = arrays.pop("steps", None), arrays.pop("history", None)
    if counter is None or counter.shape != () or counter.dtype != np.int32 or digest is None:
        raise DamagedError("it does not say which batch it belongs to")
    steps = int(counter)
    if not 0 <= steps <= history.steps:
        raise DamagedError(f"it stands at batch {steps}, the history at {history.steps}")
    if digest.tobytes() != history.until(steps).digest():
        raise DamagedError(f"it belongs to another {HISTORY}")
    return steps, checkpoint.restore(initial(), {name.removeprefix("leaf"): leaf for name, leaf in arrays.items()})


def _refuse_foreign(folder: pathlib.Path) -> None:
    """A folder of somebody's own files is not filled up with a run."""
    ours = {LOCK, CONFIG + ".tmp"}
    foreign = sorted(set(os.listdir(folder)) - ours)
    if foreign and CONFIG not in foreign:
        raise RunDirError(
            f"{folder} holds {foreign[0]!a} but no {CONFIG}, so it is no run directory; use another --run"
        )


def _compare(folder: pathlib.Path, content: dict[str, Any], identity: Identity) -> list[str]:
    """Refuses another config; returns what else has changed, as a note."""
    if content["hash"] != identity.hash:
        old = {"config": content["config"], "seed": content["seed"]}
        found = resolved.differences(old, {"config": identity.config, "seed": identity.seed})
        raise RunDirError(f"{folder} is a run of another config ({'; '.join(found)}); use another --run")
    begun, now = content.get("table"), identity.about.get("table")
    if begun is not None and not isinstance(begun, dict):
        raise RunDirError(f"{folder / CONFIG}: its table is no mapping; put back a good copy, or use another --run")
    if begun and now and begun != now:
        raise RunDirError(
            f"{folder} stands on other figures than {now['file']} has now; put that file back, or use another --run"
        )
    free = {name: value for name, value in identity.about.items() if name != "table"}
    about = {name: content.get(name) for name in free}
    changed = resolved.differences(about, json.loads(json.dumps(free)))
    return [f"{folder} was begun with other versions or devices ({'; '.join(changed)})"] if changed else []


def _cut_torn_line(path: pathlib.Path) -> None:
    """Cuts what a kill left of a last line: the next line would be glued to it."""
    if not os.path.lexists(path):
        return
    data = read(path, _EVENTS_LIMIT)
    torn = data[data.rfind(b"\n") + 1 :]
    if torn and (len(torn) > _LINE_LIMIT or not torn.startswith(b"{")):
        raise RunDirError(f"{path}: its end is no event; put back a good copy, or move it away")
    if torn:
        files.cut(path, len(data) - len(torn))


def read_json(path: pathlib.Path, remedy: str = "move it away and run again") -> dict[str, Any]:
    """Returns a JSON file of a run directory.

    Raises:
      RunDirError: it is missing, damaged or of another format; says what to do.
    """
    try:
        content = json.loads(read(path, _TEXT_LIMIT), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RunDirError(f"{path}: not JSON ({str(error)[:80]}); {remedy}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise RunDirError(f"{path}: format {version!r:.40}; this nasjax reads format {FORMAT}; {remedy}")
    return dict(content)


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are no JSON, and have no hash."""
    raise ValueError(f"{name} in it")


def read(path: pathlib.Path, limit: int) -> bytes:
    """Returns the bytes of a run directory's file.

    Raises:
      RunDirError: it is missing, longer than `limit` bytes, no regular file, or may not be read; it may be readable
        tomorrow, so that is no damage.
    """
    try:
        return files.read(path, limit)
    except OSError as error:
        raise RunDirError(f"{path}: {_reason(error, named=True)}") from error


def _reason(error: OSError, named: bool = False) -> str:
    reason = error.strerror or type(error).__name__
    return reason if named or error.filename is None else f"{reason} ({error.filename})"
