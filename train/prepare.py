"""Writing image data sets that `tfds.data_source` reads, from the archives that people have, without TensorFlow.

A prepared set is there as a whole or not at all (`write`), and one that is there is never touched unless asked. What
the archives may be, and why nothing in them is believed, stands in `prepare_sources`.
"""

import contextlib
import fcntl
import io
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasjax.train import prepare_sources
from nasjax.train.prepared import (
    DATASETS,
    FEATURES,
    INFO,
    LABELS,
    Description,
    Images,
    check,
    counts,
    data_dir,
    describe,
    facts,
)

_CONNECTORS = "tensorflow_datasets.core.features."
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def prepare(
    name: str,
    source: str | os.PathLike[str] | None = None,
    directory: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes the data set `name` into ROOT/NAME/VERSION from `source`, and returns that folder.

    CIFAR-10 as a whole takes 14 s of CPU time and 0.6 GB of memory: all images are read before any is written.

    Args:
      name: one of `prepared.DATASETS`.
      source: what `prepare_sources.load` takes; None looks into TFDS's folder of downloads, ROOT/downloads.
      directory: ROOT, as in `prepared.data_dir`.
      overwrite: replace a set that is there.

    Raises:
      FileExistsError: the set is there; it is left as it is.
      FileNotFoundError: no source; the message says what to fetch.
      ValueError: an unknown name, a source that is damaged or of another data set, named with what is wrong, or
        something else under the set's name.
      OSError: no room, no permission, or another process is preparing the same set.
    """
    refuse_existing(name, directory, overwrite=overwrite)
    loaded = prepare_sources.load(name, source, directory)
    return write(name, loaded.splits, loaded.classes, loaded.origin, directory, overwrite=overwrite)


def write(
    name: str,
    splits: Mapping[str, Images],
    classes: Sequence[str],
    description: str,
    directory: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes a prepared set, so that it is there as a whole or not at all, and returns its folder.

    All files go to VERSION.incomplete-XXXX beside it, are flushed to the disk, and the folder takes its name by a
    rename. What a killed run left under such a name is removed by the next one.

    Args:
      name: one of `DATASETS`.
      splits: the images by split.
      classes: the class names in label order.
      description: where the images come from, kept in dataset_info.json.
      directory: as in `data_dir`.
      overwrite: replace a set that is there.

    Raises:
      FileExistsError: the set is there and not to be replaced.
      ValueError: the images do not fit the data set, or something else has its name.
      OSError: no room, no permission, or another process is preparing the same set.
    """
    check(name, splits, classes)
    version = DATASETS[name].version
    folder = data_dir(directory) / name
    target = folder / version
    refuse_existing(name, directory, overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, version):
        temporary = folder / f"{version}.incomplete-{secrets.token_hex(4)}"
        try:
            temporary.mkdir()
            _write_files(temporary, name, splits, classes, description)
            refuse_existing(name, directory, overwrite=overwrite)  # another process may have been faster
            _take_name(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return target


def refuse_existing(name: str, directory: str | os.PathLike[str] | None = None, *, overwrite: bool = False) -> None:
    """Checks that nothing stands where the set `name` would be written; with `overwrite`, nothing but such a set.

    Raises:
      FileExistsError: the set is there; says what it holds.
      ValueError: an unknown name, or what is there is damaged or something else.
    """
    target = data_dir(directory) / name / describe(name).version
    if not os.path.lexists(target) or (overwrite and not target.is_symlink() and (target / INFO).is_file()):
        return
    try:
        found = facts(name, directory)
    except FileNotFoundError:
        raise ValueError(f"{target} is there and is no prepared set; move it away") from None
    text = f"{name} is already prepared: {counts(name, found.sizes)}; it is left as it is"
    raise FileExistsError(f"{text}; to make it anew, remove {target}")


@contextlib.contextmanager
def _alone(folder: pathlib.Path, version: str) -> Iterator[None]:
    """Keeps other processes from preparing into `folder`, and removes what dead ones left there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "another process is preparing this data set", str(folder)) from None
        except OSError:  # a file system without locks on folders: nothing can be known to be dead
            pass
        else:
            for left in folder.glob(f"{version}.incomplete-*"):
                if not left.is_symlink():
                    shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def _take_name(temporary: pathlib.Path, target: pathlib.Path) -> None:
    """Renames the whole folder; a set that it replaces is removed only once the new one has its name."""
    if not target.exists():
        os.rename(temporary, target)
        _flush(target.parent)
        return
    aside = target.with_name(f"{target.name}.replaced-{secrets.token_hex(4)}")  # a kill leaves both, neither is cleaned
    os.rename(target, aside)
    try:
        os.rename(temporary, target)
    except BaseException:
        os.rename(aside, target)
        raise
    _flush(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _flush(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_files(
    folder: pathlib.Path, name: str, splits: Mapping[str, Images], classes: Sequence[str], description: str
) -> None:
    described = DATASETS[name]
    entries = []
    for split in described.splits:
        path = folder / f"{name}-{split}.array_record-00000-of-00001"
        written = _write_records(path, split, splits[split], described.ids)
        length = str(len(splits[split].labels))
        entries.append(
            {"filepathTemplate": _TEMPLATE, "name": split, "numBytes": str(written), "shardLengths": [length]}
        )
    info = {
        "citation": "",
        "description": description,
        "fileFormat": "array_record",
        "name": name,
        "releaseNotes": {described.version: ""},
        "version": described.version,
        "splits": entries,
    }
    (folder / FEATURES).write_text(json.dumps(_features(described, len(classes)), indent=2) + "\n", encoding="utf-8")
    (folder / LABELS).write_text("".join(f"{text}\n" for text in classes), encoding="utf-8")
    (folder / INFO).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        _flush(path)
    _flush(folder)


def _features(described: Description, classes: int) -> dict[str, Any]:
    shape = [str(described.side), str(described.side), str(described.channels)]
    image = {"shape": {"dimensions": shape}, "dtype": "uint8", "encodingFormat": "png"}
    features: dict[str, Any] = {
        "image": {"pythonClassName": _CONNECTORS + "image_feature.Image", "image": image},
        "label": {
            "pythonClassName": _CONNECTORS + "class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(classes)},
        },
    }
    if described.ids:
        features["id"] = {"pythonClassName": _CONNECTORS + "text_feature.Text", "text": {}}
    return {"pythonClassName": _CONNECTORS + "features_dict.FeaturesDict", "featuresDict": {"features": features}}


def _write_records(path: pathlib.Path, split: str, data: Images, ids: bool) -> int:
    """Writes one split and returns the bytes of its records."""
    from array_record.python import array_record_module

    total = 0
    writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1")
    try:
        for place, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
            record = example(_png(image), int(label), f"{split}_{place:05d}" if ids else None)
            total += len(record)
            writer.write(record)
        writer.close()
        count = array_record_module.ArrayRecordReader(os.fspath(path)).num_records()
    except (RuntimeError, ValueError) as error:  # how a full disk shows
        said = str(error).strip().partition("\n")[0][:200]
        raise OSError(0, f"cannot be written, is the disk full? ({said})", str(path)) from error
    finally:
        with contextlib.suppress(Exception):
            writer.close()
    if count != len(data.labels):
        raise OSError(0, f"holds {count:,} of {len(data.labels):,} records, is the disk full?", str(path))
    return total


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def example(image: bytes, label: int, identifier: str | None = None) -> bytes:
    """Returns a serialised tf.train.Example: protobuf's wire format, written by hand since there is no TensorFlow.

    An Example has one field, a map from names to features, its entries here in the order of the names; a feature is a
    list of bytes (field 1) or of packed integers (field 3).
    """
    features = {"image": _field(1, _field(1, image)), "label": _field(3, _field(1, _varint(label)))}
    if identifier is not None:
        features["id"] = _field(1, _field(1, identifier.encode()))
    entries = (_field(1, name.encode()) + _field(2, features[name]) for name in sorted(features))
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field (wire type 2)."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    """Seven bits a byte, the low ones first, the top bit set on all but the last."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
