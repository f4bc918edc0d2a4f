"""TensorFlow's record files, read without TensorFlow: framed records, each with two checksums.

A record is its length (uint64, little-endian), the masked CRC-32C of these eight bytes, the content, and the masked
CRC-32C of the content. Checksums of thousands of records are computed side by side, byte place by byte place.
"""

import struct
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

RECORD = 1 << 16
"""Bytes of a record; NAS-Bench-101's have some hundreds."""

_BATCH = 8192
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed


def records(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the contents of a file's records, each batch of them checked.

    Raises:
      ValueError: the file is cut off or changed; the record is named, counted from 0.
    """
    first = 0
    while batch := _framed(file, first):
        headers, contents, sums = zip(*batch, strict=True)
        lengths_ok = _masked(crc32c([header[:8] for header in headers])) == np.array(
            [_word(header[8:]) for header in headers]
        )
        contents_ok = _masked(crc32c(list(contents))) == np.array([_word(sum_) for sum_ in sums])
        for wrong in np.flatnonzero(~(lengths_ok & contents_ok))[:1]:
            raise ValueError(f"record {first + int(wrong)}: its checksum does not fit, so it was changed or damaged")
        yield from contents
        first += len(batch)


def crc32c(texts: list[bytes]) -> npt.NDArray[np.uint32]:
    """Returns uint32[n], the CRC-32C of each."""
    lengths = np.array([len(text) for text in texts], np.int64)
    order = np.argsort(-lengths, kind="stable")  # the longest first, so that those still going are a prefix
    data = np.frombuffer(b"".join(texts), np.uint8)
    starts = (np.cumsum(lengths) - lengths)[order]
    going = np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)), side="left")
    state = np.full(len(texts), 0xFFFFFFFF, np.uint32)
    for place, number in enumerate(going):
        before = state[:number]
        state[:number] = _TABLE[(before ^ data[starts[:number] + place]) & 0xFF] ^ (before >> np.uint32(8))
    result = np.empty_like(state)
    result[order] = ~state
    return result


def _framed(file: IO[bytes], first: int) -> list[tuple[bytes, bytes, bytes]]:
    """Up to a batch of records: length with its checksum, content, checksum of the content."""
    batch = []
    for number in range(first, first + _BATCH):
        header = file.read(12)
        if not header:
            break
        length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 0
        if length > RECORD:
            raise ValueError(f"record {number} declares {length:,} bytes; at most {RECORD:,} are read")
        content, check = file.read(length), file.read(4)
        if len(header) < 12 or len(content) < length or len(check) < 4:
            raise ValueError(f"record {number}: the file is cut off")
        batch.append((header, content, check))
    return batch


def _word(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _masked(sums: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """TensorFlow's mask: checksums of checksums are weak, so it stores them turned and shifted."""
    turned = (sums >> np.uint32(15)) | (sums << np.uint32(17))
    return turned + np.uint32(0xA282EAD8)


def _table() -> npt.NDArray[np.uint32]:
    state = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        state = (state >> np.uint32(1)) ^ np.where(state & np.uint32(1), np.uint32(_POLYNOMIAL), np.uint32(0))
    return state


_TABLE = _table()
