"""The rows of `results.parquet`: every query of every search of a sweep, and what its incumbent was worth.

One row a live query, sorted by method, task, signal, seed, query; no clock and no path, so that equal sweeps are equal bytes.
"""

import hashlib
import io
import itertools
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nasjax.base import Space
from nasjax.scan import Trace

_TEXT = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        ("method", _TEXT),
        ("space", _TEXT),
        ("task", _TEXT),
        ("signal_name", _TEXT),
        ("seed", pa.int32()),
        ("query", pa.int32()),
        ("step", pa.int32()),
        ("architecture", _TEXT),
        ("key_hi", pa.uint32()),
        ("key_lo", pa.uint32()),
        ("signal", pa.float32()),
        ("validation", pa.float32()),
        ("test", pa.float32()),
        ("incumbent_test", pa.float32()),
        ("regret", pa.float32()),
        ("test_regret", pa.float32()),
        ("cost", pa.float32()),
        ("cost_total", pa.float64()),
        ("valid", pa.bool_()),
        ("repeat", pa.bool_()),
    ]
)
"""Columns of a sweep's results.

`query` counts live rows from 1; `signal` is the reward as the method saw it, `validation` the same without noise, `test`
what is reported. `incumbent_test`, `regret` (of the noise-free signal) and `test_regret` are those of the architecture
with the best signal so far, the earlier one on ties; NaN before the first valid query. `repeat`: its key came before.
"""

_ROW_BYTES = 80  # in memory; in a file equal rows take next to nothing
_MOST_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
_SORTING = ("method", "task", "signal_name", "seed", "query")


class Labels(NamedTuple):
    """What is the same in all rows of one method's searches on one task."""

    method: str
    space: str
    task: str
    signal_name: str


class Best(NamedTuple):
    """The maxima that regret is measured against, over the searchable set."""

    validation: float
    test: float


def rows(space: Space, trace: Trace, seeds: Sequence[int], batch: int, labels: Labels, best: Best) -> pa.Table:
    """Returns the results of searches.

    Args:
      space: writes the architectures.
      trace: Trace[S, T] in NumPy, its metrics "validation" and "test" where the evaluator has them.
      seeds: S of them.
      batch: rows of a step.
      labels: of all rows.
      best: of the noise-free signal and of the test column.
    """
    live = np.asarray(trace.live)
    search, place = np.nonzero(live)  # sorted by search, then by place
    reward = np.where(trace.valid, trace.reward, np.nan).astype(np.float32)
    validation = np.asarray(trace.metrics.get("validation", reward), np.float32)
    test = np.asarray(trace.metrics.get("test", np.full_like(reward, np.nan)), np.float32)
    incumbent = incumbents(reward, np.asarray(trace.valid) & live)
    known = incumbent >= 0

    def of_incumbent(column: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        taken = np.take_along_axis(column, np.maximum(incumbent, 0), axis=1)
        return np.where(known, taken, np.float32(np.nan))

    incumbent_test = of_incumbent(test)
    columns = {
        "seed": np.asarray(seeds, np.int32)[search],
        "query": np.cumsum(live, axis=1, dtype=np.int32)[search, place],
        "step": (place // batch).astype(np.int32),
        "key_hi": np.asarray(trace.keys)[..., 0][search, place],
        "key_lo": np.asarray(trace.keys)[..., 1][search, place],
        "signal": reward[search, place],
        "validation": validation[search, place],
        "test": test[search, place],
        "incumbent_test": incumbent_test[search, place],
        "regret": (np.float32(best.validation) - of_incumbent(validation))[search, place],
        "test_regret": (np.float32(best.test) - incumbent_test)[search, place],
        "cost": np.asarray(trace.cost, np.float32)[search, place],
        "cost_total": np.cumsum(np.where(live, trace.cost, 0), axis=1, dtype=np.float64)[search, place],
        "valid": np.asarray(trace.valid)[search, place],
        "repeat": _repeats(trace, live)[search, place],
    }
    archs = jax.tree.map(lambda leaf: np.asarray(leaf)[search, place], trace.archs)
    arrays = {name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()}
    arrays["architecture"] = _specs(space, archs, len(search))
    for name, text in labels._asdict().items():
        arrays[name] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(search), np.int32)), pa.array([text]))
    return pa.Table.from_arrays([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def incumbents(signal: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Returns int64[S, T]: place of the best usable signal so far, the earlier on ties; -1 before the first.

    Args:
      signal: float32[S, T].
      usable: bool[S, T], live and valid.
    """
    value = np.where(usable, signal, -np.inf)
    before = np.concatenate([np.full((len(value), 1), -np.inf), np.maximum.accumulate(value, axis=1)[:, :-1]], axis=1)
    places = np.where(value > before, np.arange(value.shape[1]), -1)
    return np.maximum.accumulate(places, axis=1)


def join(tables: Iterable[pa.Table]) -> pa.Table:
    """Returns all rows, sorted, with one sorted dictionary a column of texts: the same whatever the tables' order."""
    whole = pa.concat_tables(list(tables)).unify_dictionaries().combine_chunks()
    for place, field in enumerate(SCHEMA):
        if field.type == _TEXT:
            whole = whole.set_column(place, field, _sorted_dictionary(whole[field.name].combine_chunks()))

    def codes(name: str) -> npt.NDArray[Any]:
        column = whole[name].combine_chunks()
        return np.asarray(column.indices if whole.schema.field(name).type == _TEXT else column)

    order = np.lexsort([codes(name) for name in reversed(_SORTING)])
    return whole.take(pa.array(order)).combine_chunks()


def _sorted_dictionary(column: pa.Array) -> pa.DictionaryArray:
    """The column with its texts, each once, in sorted order; those that no row has are left out."""
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    texts, indices = column.dictionary.to_pylist(), np.asarray(column.indices)
    unique = sorted({texts[place] for place in np.unique(indices)})
    places = {text: place for place, text in enumerate(unique)}
    renamed = np.array([places.get(text, -1) for text in texts], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(renamed[indices], pa.int32()), pa.array(unique, pa.string()))


def pack(table: pa.Table, metadata: dict[str, str] | None = None) -> bytes:
    """Returns the table as a Parquet file's bytes; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        store_schema=True,
        write_statistics=True,
        write_page_checksum=True,
    )
    return sink.getvalue()


def digest(table: pa.Table) -> str:
    """Returns the sha256 of all rows, in hexadecimal digits: a Parquet file's own checksums leave out how to read it."""
    found = hashlib.sha256()
    for field in SCHEMA:
        column = table[field.name].combine_chunks()
        if column.null_count:
            found.update(b"null")
        if field.type == _TEXT:
            column = _sorted_dictionary(column)
            found.update("\0".join(column.dictionary.to_pylist()).encode() + b"\0")
            column = column.indices
        found.update(np.ascontiguousarray(column.to_numpy(zero_copy_only=False)).tobytes())
    return found.hexdigest()


def unpack(data: bytes) -> tuple[pa.Table, dict[str, str]]:
    """Returns the table of a Parquet file's bytes, and its metadata.

    Raises:
      ValueError: it is no Parquet file, or not of this schema.
    """
    try:
        # By this thread alone: a worker that lets go of a Python object while the interpreter ends aborts the process.
        file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True, pre_buffer=False)
        about = file.metadata
        declared = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if max(about.num_rows * _ROW_BYTES, declared) > _MOST_BYTES:
            raise ValueError(f"{about.num_rows:,} rows, {declared:,} bytes: too large for this machine's memory")
        table = file.read(use_threads=False)
        if len(table) != about.num_rows:
            raise ValueError(f"{len(table):,} rows in place of the {about.num_rows:,} that it declares")
        table.validate(full=True)  # places in dictionaries above all: reading beyond one ends the process
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"no Parquet file ({str(error)[:80]})") from error
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if table.schema.names != SCHEMA.names or not table.schema.equals(SCHEMA):
        raise ValueError("its columns are not those of a sweep's results")
    return table.replace_schema_metadata(None), metadata


def metadata(data: bytes) -> dict[str, str]:
    """Returns the metadata alone of a Parquet file's bytes.

    Raises:
      ValueError: it is no Parquet file.
    """
    try:
        found = pq.read_schema(io.BytesIO(data)).metadata or {}
        return {key.decode(): value.decode() for key, value in found.items()}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"no Parquet file ({str(error)[:80]})") from error


def _specs(space: Space, archs: Any, number: int) -> pa.DictionaryArray:
    """The strings of Arch[number], each different architecture written once."""
    leaves = [np.ascontiguousarray(leaf).reshape(number, -1) for leaf in jax.tree.leaves(archs)]
    flat = np.concatenate(leaves, axis=1)
    packed = np.ascontiguousarray(flat).view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    texts = [space.to_spec(jax.tree.map(lambda leaf, row=row: leaf[row], archs)) for row in first]
    order = sorted(
        range(len(texts)), key=texts.__getitem__
    )  # by text, so that bytes do not depend on the machine's order
    unique: list[str] = []
    place = np.zeros(len(texts), np.int32)
    for text, group in itertools.groupby(order, key=texts.__getitem__):
        place[list(group)] = len(unique)
        unique.append(text)
    return pa.DictionaryArray.from_arrays(pa.array(place[inverse.ravel()], pa.int32()), pa.array(unique, pa.string()))


def _repeats(trace: Trace, live: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """bool[S, T], whether an earlier live query of the search has the key."""
    keys = np.asarray(trace.keys).astype(np.uint64)
    words = (keys[..., 0] << np.uint64(32)) | keys[..., 1]
    found = np.zeros(live.shape, bool)
    for search in range(len(words)):
        places = np.flatnonzero(live[search])
        _, first = np.unique(words[search, places], return_index=True)
        again = np.ones(len(places), bool)
        again[first] = False
        found[search, places] = again
    return found
