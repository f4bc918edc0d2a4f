"""Writes a table: Parquet, or NPZ where the file's name ends so."""

import io
import json
import pathlib
import zipfile
from typing import Any

import numpy as np

from nasjax import files
from nasjax.tables.columns import Columns
from nasjax.tables.reading import ARCH, METADATA


def write_table(table: Columns, path: pathlib.Path) -> None:
    """Writes a table under a new name, whole or not at all. Equal tables give equal bytes.

    Raises:
      ValueError: the name is taken or ends in something else, or a figure of the table is none.
      OSError: the file cannot be written.
    """
    check_target(path)
    files.write(path, packed_npz(table) if path.suffix == ".npz" else packed_parquet(table))


def check_target(path: pathlib.Path) -> None:
    """Checks that a table can be written under a name.

    Raises:
      ValueError: the name is taken, or ends in something else, or there is no such folder.
    """
    check_folder(path)
    if path.suffix not in (".parquet", ".npz"):
        raise ValueError(f"{path}: tables are written as .parquet or .npz")
    if path.exists():
        raise ValueError(f"{path} is there already; remove it, or write to another name")


def check_folder(path: pathlib.Path) -> None:
    """Refuses a file in a folder that is not there, before its content is computed.

    Raises:
      ValueError: there is no such folder.
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}: there is no such folder; make it first")


def packed_parquet(table: Columns) -> bytes:
    """Returns the bytes of a Parquet file.

    Raises:
      ValueError: a figure is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {ARCH: pa.array([table.archs.spec(row) for row in range(len(table))])}
    for name in table.loaders:
        values, there = _smallest(table, name)
        arrays[name] = pa.array(values, mask=~there)
    metadata = {METADATA: json.dumps(_facts(table), ensure_ascii=False)}
    sink = io.BytesIO()
    pq.write_table(
        pa.table(arrays, metadata=metadata), sink, compression="zstd", use_dictionary=False, write_page_checksum=True
    )
    return sink.getvalue()


def packed_npz(table: Columns) -> bytes:
    """Returns the bytes of an NPZ archive; columns with empty places are floats with NaN there.

    Raises:
      ValueError: a figure is none, or a column has the name of the array that keeps the table's facts.
    """
    if METADATA in table.loaders:
        raise ValueError(
            f"{table.name}: column {METADATA}: an NPZ table keeps its facts under that name; write .parquet"
        )
    arrays: dict[str, Any] = {ARCH: np.array([table.archs.spec(row) for row in range(len(table))])}
    empty = []
    for name in table.loaders:
        values, there = _smallest(table, name)
        if not there.all():
            empty.append(name)
            values = np.where(there, values, np.nan).astype(np.float32)
        arrays[name] = values
    arrays[METADATA] = np.array(json.dumps({**_facts(table), "empty": empty}, ensure_ascii=False))
    sink = io.BytesIO()
    with zipfile.ZipFile(
        sink, "w", zipfile.ZIP_DEFLATED
    ) as archive:  # `numpy.savez` takes some columns for its arguments
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return sink.getvalue()


def _smallest(table: Columns, name: str) -> tuple[Any, Any]:
    """The values, whole numbers as int32 or int64, others as float32, and where there are any."""
    values, there = table.column(name, "")
    whole = np.where(there, values, 0)
    if not (whole == np.round(whole)).all() or not there.any() or abs(whole).max() >= 2**63:
        return np.where(there, values, np.nan).astype(np.float32), there
    kind = np.int32 if abs(whole).max() < 2**31 else np.int64
    return whole.astype(kind), there


def _facts(table: Columns) -> dict[str, Any]:
    return dict(table.facts._asdict())
