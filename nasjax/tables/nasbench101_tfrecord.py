"""NAS-Bench-101's own file, `nasbench_only108.tfrecord`, or `nasbench_full.tfrecord`: read without TensorFlow.

Source: google-research/nasbench (Apache-2.0), `nasbench/api.py` and `lib/model_metrics.proto`. A record is a JSON list: the
cell's hash, epochs, adjacency row by row, operations by commas, and base64 of a protobuf message; one record a training,
three trainings a cell and number of epochs. Of a training's three evaluations (start, half, end) the last two are read:
`@108` is the end of 108 epochs, `@54of108` their half.
"""

import array
import base64
import binascii
import json
import math
import pathlib
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasjax.spaces import nasbench101_hash
from nasjax.spaces.nasbench101_specs import OPERATIONS
from nasjax.tables.architectures import Specs
from nasjax.tables.columns import ROWS, Columns, Facts, given
from nasjax.tables.tfrecords import records
from nasjax.train.untrusted import blamed, regular

VERTICES = 7

FILE = 1 << 32
"""Bytes of the file; the full one has two thousand million."""

RUNS, EPOCHS = 8, 8
"""Trainings of a cell with equal epochs, and different numbers of epochs, that are read; published: three, and four."""

FACTS = Facts(
    space="nasbench101",
    source="NAS-Bench-101, published file (Ying et al., arXiv:1902.09635)",
    unit="percent",
    signal="val_acc@108:run",
    test="test_acc@108",
)

_FIGURES = ("train_seconds", "train_acc", "val_acc", "test_acc")
"""Fields 2 to 5 of an evaluation."""


class _Training(NamedTuple):
    """One record."""

    hash: str
    epochs: int
    adjacency: str
    operations: str
    params: int
    half: tuple[float, ...]  # the figures
    end: tuple[float, ...]


def read(source: pathlib.Path, name: str, tell: Callable[[str], None]) -> Columns:
    """Returns the table: per number of epochs mean and single runs, percent, and seconds; `params`.

    Args:
      source: the file.
      name: what to call it in errors.
      tell: told now and then how far it is.

    Raises:
      ValueError: the file is damaged or of another kind; the record is named, counted from 0.
    """
    numbers: dict[str, int] = {}  # of each cell, by hash
    cells: list[tuple[str, str, int]] = []
    trainings: dict[int, tuple[array.array[int], array.array[float]]] = {}  # by epochs: cells, and figures side by side
    with blamed(source), regular(source, FILE) as file:
        for record, content in enumerate(records(file)):
            try:
                training = _training(content)
                known = numbers.setdefault(training.hash, len(numbers))
                about = (training.adjacency, training.operations, training.params)
                if known == len(cells):
                    _check_hash(training)
                    cells.append(about)
                elif cells[known] != about:
                    raise ValueError(f"another cell or size than before under the hash {training.hash}")
                places, figures = trainings.setdefault(training.epochs, (array.array("l"), array.array("d")))
                if len(cells) > ROWS or len(trainings) > EPOCHS:
                    raise ValueError("more cells or numbers of epochs than are read")
            except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
                raise ValueError(f"record {record}: {error}") from error
            places.append(known)
            figures.extend(training.half + training.end)
            if record % 100_000 == 99_999:
                tell(f"{record + 1:,} records read")
        if not cells:
            raise ValueError("no records")
        loaders: dict[str, Callable[[], Any]] = {}
        for epochs, (places, figures) in sorted(trainings.items()):
            table = _by_run(
                np.frombuffer(places, np.int64), np.frombuffer(figures).reshape(len(places), -1), len(cells)
            )
            loaders |= _loaders(table, str(epochs), len(_FIGURES), runs=True)
            loaders |= _loaders(table, f"{epochs / 2:g}of{epochs}", 0, runs=False)
        loaders["params"] = given([params for _, _, params in cells])
        specs = tuple(_spec(adjacency, operations) for adjacency, operations, _ in cells)
    return Columns(name, "nasbench101_tfrecord", Specs(specs), loaders, FACTS)


def _training(content: bytes) -> _Training:
    """Takes a record apart."""
    parts = json.loads(content)
    if not isinstance(parts, list) or [type(part) for part in parts] != [str, int, str, str, str]:
        raise ValueError("not [hash, epochs, adjacency, operations, metrics]")
    digest, epochs, adjacency, operations, metrics = parts
    if not 1 <= epochs <= 10_000:
        raise ValueError(f"{epochs} epochs")
    try:
        message = base64.b64decode(metrics, validate=True)
    except binascii.Error as error:
        raise ValueError(f"its metrics are no base64: {error}") from error
    evaluations, params = [], -1
    for field, value in _fields(message):
        if field == 1:
            evaluations.append(value)
        elif field == 2:
            params = value
    if len(evaluations) != 3 or not isinstance(params, int) or params < 0:
        raise ValueError(f"{len(evaluations)} evaluations and {params} parameters, expected three, and some")
    half, end = map(_evaluation, evaluations[1:])
    return _Training(digest, epochs, adjacency, operations, params, half, end)


def _evaluation(message: Any) -> tuple[float, ...]:
    """The figures of one evaluation; accuracies in percent."""
    if not isinstance(message, bytes):
        raise ValueError("an evaluation that is no message")
    found = {field: value for field, value in _fields(message) if isinstance(value, float)}
    figures = tuple(found.get(number, math.nan) for number in range(2, 6))
    if not all(0 <= accuracy <= 1 for accuracy in figures[1:]) or not 0 <= figures[0] < math.inf:
        raise ValueError(f"an evaluation of {figures}: seconds and three accuracies from 0 to 1 are expected")
    return (figures[0], *(100 * accuracy for accuracy in figures[1:]))


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message: int, float (of eight bytes) or bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value: Any
            value, place = _varint(message, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            content = message[place : place + size].ljust(size, b"\0")  # a short one is refused below
            value = struct.unpack("<d" if kind == 1 else "<f", content)[0]
            place += size
        elif kind == 2:
            length, place = _varint(message, place)
            value = message[place : place + length]
            place += length
        else:
            raise ValueError(f"a field of kind {kind} in its metrics")
        if place > len(message):
            raise ValueError("its metrics are cut off")
        yield key >> 3, value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("its metrics are cut off")
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than ten bytes in its metrics")


def _check_hash(training: _Training) -> None:
    """The cell is what its hash says; so rows and columns, and names and labels, are read the right way round."""
    matrix, labels = _cell(training.adjacency, training.operations)
    ends = [nasbench101_hash.INPUT, *labels, nasbench101_hash.OUTPUT]
    if nasbench101_hash.hash_module(matrix, ends) != training.hash:
        raise ValueError(f"its cell has another hash than {training.hash[:40]!a}")


def _cell(adjacency: str, operations: str) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Adjacency int64[n, n] and the numbers of the inner operations."""
    names = operations.split(",")
    size = len(names)
    if not 2 <= size <= VERTICES or names[0] != "input" or names[-1] != "output":
        raise ValueError(f"operations {operations[:80]!a}: input, at most five others, output are expected")
    unknown = [name for name in names[1:-1] if name not in OPERATIONS]
    if unknown:
        raise ValueError(f"unknown operation {unknown[0][:40]!a}; one of {', '.join(OPERATIONS)}")
    if len(adjacency) != size * size or set(adjacency) - {"0", "1"}:
        raise ValueError(f"an adjacency of {len(adjacency)} signs for {size} vertices")
    matrix = np.array([int(sign) for sign in adjacency]).reshape(size, size)
    if np.tril(matrix).any():
        raise ValueError("an edge that leads back")
    return matrix, [OPERATIONS.index(name) for name in names[1:-1]]


def _spec(adjacency: str, operations: str) -> str:
    """The cell's string; the upper triangle row by row is part of the adjacency."""
    matrix, labels = _cell(adjacency, operations)
    bits = "".join(map(str, matrix[np.triu_indices(len(matrix), 1)]))
    return bits + ":" + ",".join(OPERATIONS[label] for label in labels)


def _by_run(places: npt.NDArray[np.int64], figures: npt.NDArray[np.float64], cells: int) -> npt.NDArray[np.float64]:
    """float64[cells, runs, figures], runs in the order of the file; NaN where a cell has fewer."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    run = np.arange(len(places)) - np.searchsorted(ordered, ordered)
    if run.max() >= RUNS:
        raise ValueError(f"more than {RUNS} trainings of one cell")
    table = np.full((cells, run.max() + 1, figures.shape[1]), np.nan)
    table[ordered, run] = figures[order]
    return table


def _loaders(table: npt.NDArray[np.float64], fidelity: str, first: int, runs: bool) -> dict[str, Callable[[], Any]]:
    """Mean of the runs, and where asked for the runs themselves, of the figures from `first` on."""
    there = ~np.isnan(table[:, :, 0])
    number = there.sum(axis=1)
    loaders: dict[str, Callable[[], Any]] = {}
    for place, metric in enumerate(_FIGURES, first):
        mean = np.nansum(table[:, :, place], axis=1) / np.maximum(number, 1)
        loaders[f"{metric}@{fidelity}"] = given(mean, number > 0)
        for run in range(table.shape[1]) if runs and metric in ("val_acc", "test_acc") else ():
            loaders[f"{metric}@{fidelity}:run{run}"] = given(table[:, run, place], there[:, run])
    return loaders
