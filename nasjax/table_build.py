"""Building a benchmark table: an evaluator's results for every network of an enumerable space, seed by seed, resumable.

A build's run directory holds

    config.json    the resolved config without the number of seeds; versions, devices
    LOCK           held while a process runs
    seed-S.npz     results of seed S so far: rows 0..done-1 of `order`; rewritten after each chunk, atomically
    events.jsonl   clock, seconds, memory

Seed S has the run key `jax.random.key(S)`, into which each network's key is folded as in a search; a search's own run key
is another (`nasjax.scan.RUN`), so a row is one more training of the kind that a search would have seen. The classes of equal
networks are trained once each, by their smallest member, in one fixed random order: a build that has not ended is a uniform
sample of the space.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import numpy.typing as npt

from nasjax import checkpoint, field_types, files, interrupts, machine, resolved, rundir
from nasjax.base import Enumerable, Evaluator
from nasjax.checkpoint import Arrays, DamagedError
from nasjax.search import EvaluatorSettings
from nasjax.tables.architectures import Specs
from nasjax.tables.columns import Columns, Facts, given

_LIMIT = 1 << 28  # bytes of a seed's file
_ORDER_SEED = 0


@dataclasses.dataclass(frozen=True)
class TableBuild:
    """What a config returns for `nasjax table build`.

    Attributes:
      space: an enumerable one; every class of equal networks is evaluated.
      evaluator: what evaluates, with metrics.
      seeds: evaluations of each network.
      chunk: networks between two writes; also the width of the evaluator's batch, so it may change last bits.
    """

    space: Enumerable
    evaluator: EvaluatorSettings
    seeds: int = 1
    chunk: int = 20


class BuildProgress(NamedTuple):
    """Told after each chunk, when it is safe on the disk.

    Attributes:
      seed: of this chunk, of `seeds`.
      seeds: see above.
      done: networks of this seed so far, of `networks`.
      networks: see above.
      seconds: wall clock of this chunk, "run" and, part of it, "compile".
      left: seconds that the rest of all seeds will take at this chunk's pace.
    """

    seed: int
    seeds: int
    done: int
    networks: int
    seconds: dict[str, float]
    left: float


class Seed(NamedTuple):
    """Results of one seed so far, rows in the order of `order`.

    Attributes:
      places: int32[n], each network's place in the space's `all()`.
      valid: bool[n], whether the evaluator calls it valid and all metrics are finite.
      metrics: float32[n] by name.
    """

    places: npt.NDArray[np.int32]
    valid: npt.NDArray[np.bool_]
    metrics: dict[str, npt.NDArray[np.float32]]

    def __len__(self) -> int:
        """Networks evaluated."""
        return int(self.places.size)


def order(space: Enumerable) -> npt.NDArray[np.int32]:
    """Returns int32[C], the smallest member of each class that the space has, in the order in which they are evaluated."""
    with jax.ensure_compile_time_eval():
        members = np.asarray(space.class_members())
    there = members[members >= 0]
    return np.random.default_rng(_ORDER_SEED).permutation(there).astype(np.int32)


def run_build(
    build: TableBuild,
    folder: pathlib.Path,
    *,
    on_chunk: Callable[[BuildProgress], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[Seed]:
    """Evaluates every network for every seed, or goes on with what is there; returns the seeds' results.

    Args:
      build: what to run.
      folder: the run directory; made if need be.
      on_chunk: called after each chunk.
      on_note: called with one line where something is otherwise than expected.

    Raises:
      ValueError: a setting is out of range, or the space cannot be enumerated.
      FileNotFoundError: data are missing.
      rundir.RunDirError: the directory or a file in it does not fit; nothing in it was changed.
      OSError: a file could not be written; run again to go on.
      interrupts.Interrupted: SIGINT or SIGTERM; run again to go on.
    """
    if not isinstance(build.space, Enumerable):
        raise ValueError(f"table build: the space {getattr(build.space, 'name', '?')!r} cannot be enumerated")
    field_types.check(build, "build")
    if build.seeds < 1 or build.chunk < 1:
        raise ValueError(f"table build: seeds {build.seeds} and chunk {build.chunk} must be at least 1")
    config = cast(dict[str, Any], resolved.plain(build))
    identity = rundir.Identity(
        {name: value for name, value in config.items() if name != "seeds"}, 0, machine.describe()
    )
    networks = order(build.space)
    with interrupts.raised() as watch:
        evaluator: Evaluator | None = None
        with rundir.claimed(folder, identity) as notes:
            for note in notes:
                (on_note or (lambda line: None))(note)
            rundir.log(folder, {"event": "start", "time": time.time(), **machine.describe()})
            found = []
            for number in range(build.seeds):
                seed = read_seed(folder, number, build.space)
                while len(seed) < len(networks):
                    evaluator = evaluator or build.evaluator.build(build.space)
                    begun, compiled = time.monotonic(), machine.compile_seconds()
                    seed = _extended(seed, _evaluated(build, evaluator, number, networks[len(seed) :][: build.chunk]))
                    files.write(folder / _name(number), checkpoint.pack(_to_arrays(seed)))
                    seconds = {"run": time.monotonic() - begun, "compile": machine.compile_seconds() - compiled}
                    event = {"event": "chunk", "time": time.time(), "seed": number, "done": len(seed)}
                    rundir.log(folder, event | {"seconds": seconds, "memory": machine.memory()})
                    if on_chunk is not None:
                        rest = (build.seeds - number) * len(networks) - len(seed)
                        left = (seconds["run"] - seconds["compile"]) / build.chunk * rest
                        on_chunk(BuildProgress(number, build.seeds, len(seed), len(networks), seconds, left))
                    watch.check()
                found.append(seed)
            rundir.log(folder, {"event": "finish", "time": time.time()})
            return found


def read_seed(folder: pathlib.Path, number: int, space: Enumerable) -> Seed:
    """Returns what there is of a seed; nothing of it where there is no file.

    Raises:
      rundir.RunDirError: the file is damaged, or of another space.
    """
    path = folder / _name(number)
    if not path.exists():
        return Seed(np.zeros(0, np.int32), np.zeros(0, bool), {})
    try:
        seed = _from_arrays(checkpoint.unpack(files.read(path, _LIMIT)))
    except DamagedError as error:
        raise rundir.RunDirError(f"{path}: {error}; put back a good copy, or move it away and run again") from error
    if not np.array_equal(seed.places, order(space)[: len(seed)]):
        raise rundir.RunDirError(f"{path}: its rows are not those of {space.name}; move it away and run again")
    return seed


def table(build: TableBuild, seeds: Sequence[Seed], name: str) -> Columns:
    """Returns the table: one row a network, in the order of the space's `all()`, each metric's runs by seed.

    Args:
      build: what was run.
      seeds: its results, whole.
      name: of the config; stands in the table's metadata as the command.
    """
    by_place = np.argsort(seeds[0].places)
    everything = build.space.all()

    def spec(place: int) -> str:
        return build.space.to_spec(jax.tree.map(lambda leaf: np.asarray(leaf[place]), everything))

    loaders = {
        f"{metric}:run{number}": given(seed.metrics[metric][by_place].astype(np.float64), seed.valid[by_place])
        for metric in sorted(seeds[0].metrics)
        for number, seed in enumerate(seeds)
        if metric != "reward"
    }
    versions = ", ".join(f"{library} {version}" for library, version in machine.describe()["versions"].items())
    native = ", C++ layers" if machine.describe()["native_layers"] else ""
    facts = Facts(
        space=build.space.name,
        source=f"nasjax table build {name} --seeds {len(seeds)} ({versions}{native})",
        unit="fraction",
        signal="neg_val_ce",
        test="test_acc",
    )
    specs = tuple(spec(int(place)) for place in seeds[0].places[by_place])
    return Columns(name, "built", Specs(specs), loaders, facts)


def _name(seed: int) -> str:
    return f"seed-{seed}.npz"


def _evaluated(build: TableBuild, evaluator: Evaluator, seed: int, index: npt.NDArray[np.int32]) -> Seed:
    """The results of some networks. The last chunk is padded: another width would be another program."""
    padded = np.resize(index, build.chunk)
    archs = jax.tree.map(lambda leaf: leaf[padded], build.space.all())
    evaluation = jax.tree.map(np.asarray, evaluator(jax.random.key(seed), archs))
    columns = {"reward": evaluation.reward, **evaluation.metrics}
    metrics = {name: np.asarray(column, np.float32)[: len(index)] for name, column in sorted(columns.items())}
    finite = np.all([np.isfinite(column) for column in metrics.values()], axis=0)
    return Seed(index, np.asarray(evaluation.valid)[: len(index)] & finite, metrics)


def _extended(seed: Seed, more: Seed) -> Seed:
    if not len(seed):
        return more
    if seed.metrics.keys() != more.metrics.keys():
        raise ValueError(f"table build: metrics {sorted(more.metrics)}, before {sorted(seed.metrics)}")
    return Seed(
        np.concatenate([seed.places, more.places]),
        np.concatenate([seed.valid, more.valid]),
        {name: np.concatenate([column, more.metrics[name]]) for name, column in seed.metrics.items()},
    )


def _to_arrays(seed: Seed) -> Arrays:
    return {
        "places": seed.places,
        "valid": seed.valid,
        **{f"metrics.{name}": column for name, column in seed.metrics.items()},
    }


def _from_arrays(arrays: Arrays) -> Seed:
    metrics = {name.removeprefix("metrics."): a for name, a in arrays.items() if name.startswith("metrics.")}
    places, valid = arrays.get("places"), arrays.get("valid")
    columns = [places, valid, *metrics.values()]
    kinds = [np.int32, np.bool_, *[np.float32] * len(metrics)]
    if places is None or valid is None or not metrics:
        raise DamagedError("it has no results")
    for column, kind in zip(columns, kinds, strict=True):
        if column is None or column.dtype != kind or column.shape != places.shape or column.ndim != 1:
            raise DamagedError("its columns do not fit together")
    return Seed(places, valid, metrics)
