"""CSV, Parquet and NPZ files with a column `arch` and columns of figures, read as `Columns`. None of them is trusted."""

import csv
import io
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import numpy as np

from nasjax.npy import OtherKindError
from nasjax.tables.architectures import Hashes, Specs
from nasjax.tables.columns import ROWS, Architectures, Column, Columns, Facts, facts_from, given
from nasjax.tables.npz_arrays import Arrays
from nasjax.train.untrusted import UNPACKED, blamed, limited, regular

ARCH, HASH, METADATA = "arch", "hash", "nasjax"
"""The column of the architectures' strings, that of NAS-Bench-101's official hashes, and where a file keeps its facts."""

COLUMNS = 10_000
"""Columns that a table may have."""
TEXT_BYTES = 1 << 28
"""Bytes of a CSV file."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?|[+-]?(nan|inf|infinity)", re.IGNORECASE | re.ASCII)


def read_csv(path: pathlib.Path, name: str) -> Columns:
    """Returns the table of a CSV file: UTF-8 with or without a byte order mark, commas, any line ends, blank lines skipped.

    Columns that hold no numbers are left out, and listed.

    Raises:
      ValueError: it is no such file; the line is named.
    """
    with blamed(path), regular(path) as file:
        text = _decoded(limited(file, TEXT_BYTES, "content"))
        records = _records(csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True))
        header = [field.strip() for field in next(records, (0, []))[1]]
        _check_header(header)
        lines, fields = _fields(records, len(header))
        key = ARCH if ARCH in header else HASH
        texts = dict(zip(header, fields, strict=True))
        archs = texts.pop(key)
        for line, arch in zip(lines, archs, strict=True):
            if not arch:
                raise ValueError(f"line {line}: no architecture")
    loaders = {column: _parsed(name, column, values, lines) for column, values in texts.items() if _has_number(values)}
    left_out = {column: _text(values, lines) for column, values in texts.items() if column not in loaders}
    return Columns(name, "CSV", _architectures(archs, key), loaders, lines=lines, left_out=left_out)


def read_parquet(path: pathlib.Path, name: str) -> Columns:
    """Returns the table of a Parquet file; columns that hold no numbers are left out, and listed.

    Raises:
      ValueError: it is no such file, or too large.
    """
    import pyarrow as pa

    with blamed(path), regular(path) as raw:
        # Read as a dictionary: a short file may say one long string a million times.
        named = [column for column in (ARCH, HASH) if column in _parquet(raw).schema_arrow.names]
        file = _parquet(raw, named)
        about, schema = file.metadata, file.schema_arrow
        declared = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if about.num_rows > ROWS or len(schema) > COLUMNS or declared > UNPACKED:
            raise ValueError(f"{about.num_rows:,} rows of {len(schema):,} columns, {declared:,} bytes: too large")
        _check_header(schema.names)
        column = ARCH if ARCH in schema.names else HASH
        numeric = [field.name for field in schema if field.name != column and _is_numeric(field.type)]
        table = file.read(columns=[column, *numeric], use_threads=False)
        if table.column_names != [n for n in schema.names if n in (column, *numeric)] or len(table) != about.num_rows:
            raise ValueError("its columns are not those that it declares")
        archs = _dictionary(table[column])
        facts = _facts((schema.metadata or {}).get(METADATA.encode()))
        loaders = {}
        for other in numeric:
            there = table[other].is_valid().to_numpy(zero_copy_only=False)
            values = table[other].cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
            loaders[other] = given(values, there)
        others = {field.name: str(field.type) for field in schema if field.name not in (column, *numeric)}
    return Columns(name, "Parquet", _architectures(archs, column), loaders, facts, left_out=others)


def read_npz(arrays: Arrays, name: str) -> Columns:
    """Returns the table of an NPZ archive: an array `arch` of strings, and arrays as long with numbers.

    Arrays of other shapes and kinds are left out, and listed; objects are refused. NaN says that there is no figure in the
    columns that the metadata list.

    Raises:
      ValueError: an array is missing, damaged, or holds objects.
    """
    if ARCH not in arrays.names:
        raise ValueError(f"no array {ARCH!r}; there are {', '.join(sorted(arrays.names))[:200] or 'none'}")
    archs = arrays.any(ARCH, "U")
    if archs.ndim != 1 or not 1 <= archs.size <= ROWS:
        raise ValueError(f"array {ARCH}: {list(archs.shape)}, expected one row an architecture")
    facts, empty = Facts(), set()
    if METADATA in arrays.names:
        content = json.loads(str(arrays.array(METADATA, "U", ())))
        facts = facts_from(content, f"array {METADATA}")
        empty = _names(content.get("empty", []))
    loaders, left_out = {}, {}
    for column in sorted(arrays.names - {ARCH, METADATA}):
        try:
            values = arrays.any(column)
        except OtherKindError as error:
            left_out[column] = f"of another kind ({str(error).removeprefix(f'array {column}: ')[:120]})"
            continue
        if values.shape == archs.shape and values.dtype.kind in "biuf":
            there = ~np.isnan(values.astype(np.float64)) if column in empty else None
            loaders[column] = given(values, there)
        else:
            left_out[column] = f"{values.dtype}{list(values.shape)}, not a figure a row"
    for row in np.flatnonzero(archs == "")[:1]:
        raise ValueError(f"row {row}: no architecture")
    return Columns(name, "NPZ", Specs(tuple(archs.tolist())), loaders, facts, left_out=left_out)


def _names(content: Any) -> set[str]:
    """The columns that an archive's metadata list under "empty"."""
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"array {METADATA}: its metadata say 'empty' in a form that is not read")
    return set(content)


def _records(rows: Any) -> Iterator[tuple[int, list[str]]]:
    """The records of a text file that are no blank lines, each with the number of its last line."""
    while True:
        first = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            hint = "; a double quote is opened and not closed" if "end of data" in str(error) else ""
            raise ValueError(f"line {first}: {error}{hint}") from error
        if row is None:
            return
        if row and row != [""]:
            yield rows.line_num, row


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("line 1: UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")  # spreadsheets put a byte order mark before UTF-8
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line}: a byte {data[error.start]:#04x} that is no UTF-8") from error


def _check_header(header: list[str]) -> None:
    if len(header) > COLUMNS:
        raise ValueError(f"{len(header):,} columns; at most {COLUMNS:,} are read")
    before: set[str] = set()
    for place, column in enumerate(header):
        if not column or not column.isprintable() or len(column) > 100:
            raise ValueError(f"column {place + 1} is called {column[:100]!a}; a short printable name is needed")
        if column in before:
            raise ValueError(f"column {column!r} stands in it twice")
        before.add(column)
    if ARCH not in header and HASH not in header:
        only = "; columns are separated by commas" if len(header) == 1 else ""
        raise ValueError(f"no column {ARCH!r}; there are {', '.join(header)[:200] or 'none'}{only}")


def _fields(records: Iterator[tuple[int, list[str]]], width: int) -> tuple[list[int], list[list[str]]]:
    """The line of each row, and the fields column by column."""
    lines: list[int] = []
    fields: list[list[str]] = [[] for _ in range(width)]
    for line, row in records:
        if len(row) != width:
            hint = "; an architecture with commas stands in double quotes" if len(row) > width else ""
            raise ValueError(f"line {line}: {len(row)} fields, the first line has {width}{hint}")
        if len(lines) == ROWS:
            raise ValueError(f"more than {ROWS:,} rows")
        lines.append(line)
        for texts, text in zip(fields, row, strict=True):
            texts.append(text.strip())
    if not lines:
        raise ValueError("no rows")
    return lines, fields


def _parquet(file: IO[bytes], as_dictionary: Sequence[str] = ()) -> Any:
    """The open file, its checksums to be checked, and no more taken at its word than a table needs."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        file,
        read_dictionary=list(as_dictionary),
        page_checksum_verification=True,
        pre_buffer=False,  # nor read by a worker: one that lets go of a file while the interpreter ends aborts the process
        thrift_string_size_limit=1 << 24,
        thrift_container_size_limit=1 << 20,
    )


def _architectures(texts: Sequence[str], column: str) -> Architectures:
    return Specs(tuple(texts)) if column == ARCH else Hashes(tuple(texts))


def _parsed(name: str, column: str, texts: list[str], lines: list[int]) -> Callable[[], Column]:
    """The loader of a column of a text file; what is no number is said when the column is used."""

    def load() -> Column:
        for line, text in zip(lines, texts, strict=True):
            if text and not _NUMBER.fullmatch(text):
                raise ValueError(f"{name}: line {line}: {column} is {text[:60]!a}, which is no number")
        values = np.array([float(text) if text else np.nan for text in texts])
        return Column(values, np.array([bool(text) for text in texts]))

    return load


def _has_number(texts: list[str]) -> bool:
    """Whether a column is one of figures, of which some may be mistaken, or all may be missing."""
    return any(_NUMBER.fullmatch(text) for text in texts) or not any(texts)


def _text(texts: list[str], lines: list[int]) -> str:
    """Says of a column without a number what stands in it, and where first: it may be one of figures, all mistaken."""
    line, first = next((line, text) for line, text in zip(lines, texts, strict=True) if text)
    comma = "; numbers have a point, no comma" if _NUMBER.fullmatch(first.replace(",", ".", 1)) else ""
    return f"text (line {line}: {first[:60]!a}{comma})"


def _is_numeric(kind: Any) -> bool:
    import pyarrow as pa

    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(check(kind) for check in numbers)


def _dictionary(column: Any) -> tuple[str, ...]:
    """The strings of a dictionary-encoded column."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type) or not pa.types.is_string(column.type.value_type):
        raise ValueError(f"its architectures are {column.type}, not strings")
    texts: list[str] = []
    for chunk in column.chunks:
        values = chunk.dictionary.to_pylist()
        texts += [values[index] if index is not None else "" for index in chunk.indices.to_pylist()]
    for row, text in enumerate(texts):
        if not text:
            raise ValueError(f"row {row}: no architecture")
    if not texts:
        raise ValueError("no rows")
    return tuple(texts)


def _facts(metadata: bytes | None) -> Facts:
    return Facts() if metadata is None else facts_from(json.loads(metadata), "its metadata")
