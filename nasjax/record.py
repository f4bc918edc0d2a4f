"""What a search has evaluated, on the host and in order: the content of `history.npz`.

Neither a clock nor a host name nor a path is part of it: a resumed run's record equals an uninterrupted one's, byte by
byte. Layout: `specs` str[n]; `keys` uint32[n, 2], canonical; `reward` and `cost` float32[n]; `valid` bool[n]; `origin`
int32[n] (`base.Origin`); `step` int32[n]; `metric/NAME` float32[n]; `info/NAME` float32[steps], a method's diagnostics;
`steps` int32[], batches so far; `format` int32[].
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from nasjax import checkpoint
from nasjax.checkpoint import Arrays, DamagedError

FORMAT = 1
"""Version of the files of a run directory."""

_COLUMNS = {
    "keys": (np.uint32, (2,)),
    "reward": (np.float32, ()),
    "valid": (np.bool_, ()),
    "cost": (np.float32, ()),
    "origin": (np.int32, ()),
    "step": (np.int32, ()),
}


@dataclasses.dataclass(frozen=True)
class Record:
    """All evaluations so far; n rows.

    Attributes:
      steps: batches so far.
      specs: the space's strings.
      keys: uint32[n, 2], canonical keys.
      reward: float32[n]; NaN where not valid.
      valid: bool[n].
      cost: float32[n].
      origin: int32[n], a `base.Origin`.
      step: int32[n], the batch of each row.
      metrics: float32[n] by name.
      info: float32[steps] by name.
    """

    steps: int
    specs: tuple[str, ...]
    keys: npt.NDArray[np.uint32]
    reward: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    cost: npt.NDArray[np.float32]
    origin: npt.NDArray[np.int32]
    step: npt.NDArray[np.int32]
    metrics: Arrays
    info: Arrays

    def __len__(self) -> int:
        return len(self.specs)

    @property
    def best(self) -> int | None:
        """The row of the highest reward, of equals the first; None if no row is valid."""
        return int(np.argmax(np.where(self.valid, self.reward, -np.inf))) if self.valid.any() else None

    @property
    def num_invalid(self) -> int:
        """Evaluations without a usable reward."""
        return len(self) - int(self.valid.sum())

    def until(self, steps: int) -> "Record":
        """Returns the record as it was after `steps` batches."""
        rows = int((self.step < steps).sum())
        columns = {name: getattr(self, name)[:rows] for name in _COLUMNS}
        metrics = {name: column[:rows] for name, column in self.metrics.items()} if steps else {}
        info = {name: column[:steps] for name, column in self.info.items()} if steps else {}
        return Record(steps, self.specs[:rows], **columns, metrics=metrics, info=info)

    def extended(self, batch: "Record") -> "Record":
        """Returns the record with one more batch, whose `step` is set here.

        Raises:
          ValueError: the batch has other metrics or other diagnostics than those before.
        """
        step = np.full(len(batch), self.steps, np.int32)
        batch = dataclasses.replace(batch, step=step)
        if not self.steps:
            return batch
        for kind, before, now in (("metrics", self.metrics, batch.metrics), ("info", self.info, batch.info)):
            if before.keys() != now.keys():
                raise ValueError(f"step {self.steps}: {kind} {sorted(now)}, but {sorted(before)} at the steps before")
        columns = {name: np.concatenate([getattr(self, name), getattr(batch, name)]) for name in _COLUMNS}
        metrics = {name: np.concatenate([column, batch.metrics[name]]) for name, column in self.metrics.items()}
        info = {name: np.concatenate([column, batch.info[name]]) for name, column in self.info.items()}
        return Record(self.steps + 1, self.specs + batch.specs, **columns, metrics=metrics, info=info)

    def digest(self) -> bytes:
        """Returns 32 bytes that stand for the whole content."""
        return checkpoint.digest(to_arrays(self))


def empty() -> Record:
    """Returns the record of no evaluation."""
    columns: dict[str, Any] = {name: np.zeros((0, *shape), dtype) for name, (dtype, shape) in _COLUMNS.items()}
    return Record(0, (), **columns, metrics={}, info={})


def to_arrays(record: Record) -> Arrays:
    """Returns the content of `history.npz`."""
    arrays: Arrays = {"format": np.asarray(FORMAT, np.int32), "steps": np.asarray(record.steps, np.int32)}
    specs = np.array(record.specs, np.str_) if record.specs else np.zeros(0, "<U1")
    arrays |= {"specs": specs, **{name: getattr(record, name) for name in _COLUMNS}}
    arrays |= {f"metric/{name}": column for name, column in sorted(record.metrics.items())}
    return arrays | {f"info/{name}": column for name, column in sorted(record.info.items())}


def from_arrays(arrays: Arrays) -> Record:
    """Returns the record that `to_arrays` wrote.

    Raises:
      DamagedError: an array is missing, or has another shape or dtype, or the file is of another format.
    """
    rest = dict(arrays)
    check_format(rest)
    steps = int(_take(rest, "steps", np.int32, ()))
    specs = rest.pop("specs", None)
    if specs is None or specs.dtype.kind != "U" or specs.ndim != 1:
        raise DamagedError("it has no list of specs")
    columns = {name: _take(rest, name, dtype, (len(specs), *shape)) for name, (dtype, shape) in _COLUMNS.items()}
    metrics = {
        name[7:]: _take(rest, name, np.float32, specs.shape) for name in list(rest) if name.startswith("metric/")
    }
    info = {name[5:]: _take(rest, name, np.float32, (steps,)) for name in list(rest) if name.startswith("info/")}
    step = columns["step"]
    if rest or (np.diff(step) < 0).any() or (step < 0).any() or (step >= steps).any():
        raise DamagedError(
            f"its rows do not fit its {steps} steps" if not rest else f"unknown content {sorted(rest)[0]}"
        )
    return Record(steps, tuple(str(spec) for spec in specs), **columns, metrics=metrics, info=info)


def check_format(arrays: Arrays) -> None:
    """Takes the version out of `arrays`.

    Raises:
      DamagedError: it is not this program's.
    """
    version = int(_take(arrays, "format", np.int32, ()))
    if version != FORMAT:
        raise DamagedError(f"format {version}; this nasjax reads format {FORMAT}")


def _take(arrays: Arrays, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    array = arrays.pop(name, None)
    if array is None:
        raise DamagedError(f"{name} is missing")
    if array.dtype != dtype or array.shape != shape:
        found = f"{array.dtype}{list(array.shape)}"
        raise DamagedError(f"{name} is {found}, expected {np.dtype(dtype)}{list(shape)}")
    return array
