"""Prepared image data sets on disk, in the array_record layout of TensorFlow Datasets: where they lie, reading.

ROOT/NAME/VERSION holds dataset_info.json, features.json, label.labels.txt and one array_record file a split, each
record a serialised tf.train.Example with a PNG. TFDS reads that without TensorFlow, and so does whatever else calls
`tfds.data_source`; sets that TFDS knows have its own name and version. For a set that is not there TFDS would start a
download, so `read` looks first and says what to do.
"""

import contextlib
import dataclasses
import difflib
import json
import logging
import os
import pathlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

INFO, FEATURES, LABELS = "dataset_info.json", "features.json", "label.labels.txt"

_CHUNK = 1024  # images decoded at a time
_LIMIT = 1 << 24  # bytes of a JSON or text file


class Images(NamedTuple):
    """One split: n images of height H and width W with C channels."""

    images: npt.NDArray[np.uint8]  # [n, H, W, C]
    labels: npt.NDArray[np.int32]  # [n]


@dataclasses.dataclass(frozen=True)
class Description:
    """What a known data set looks like.

    Attributes:
      version: TFDS's version where TFDS has the set.
      side: height and width in pixels.
      channels: 1 (grey) or 3 (RGB).
      num_classes: of the whole set; a subset of Tiny ImageNet may have fewer.
      sizes: images by split of the whole set; a prepared subset has fewer.
      classes: names in label order; empty where the source says them.
      ids: whether records have an `id`, as TFDS's own do.
    """

    version: str
    side: int
    channels: int
    num_classes: int
    sizes: Mapping[str, int]
    classes: tuple[str, ...] = ()
    ids: bool = False

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits' names."""
        return tuple(self.sizes)


_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DATASETS: dict[str, Description] = {
    "cifar10": Description("3.0.2", 32, 3, 10, {"train": 50_000, "test": 10_000}, _CIFAR, ids=True),
    "fashion_mnist": Description("3.0.1", 28, 1, 10, {"train": 60_000, "test": 10_000}, _FASHION),
    "tiny_imagenet32": Description("1.0.0", 32, 3, 200, {"train": 100_000, "test": 10_000}),
}
"""The data sets that can be prepared, by name. Tiny ImageNet at 32 x 32 is ours; TFDS reads it from its folder."""


class Facts(NamedTuple):
    """What dataset_info.json says of a prepared set."""

    folder: pathlib.Path
    sizes: dict[str, int]  # images by split
    description: str


def data_dir(given: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns the folder of prepared sets: `given`, else TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
      ValueError: `~` stands for no folder, as for an account without a home directory.
    """
    chosen = given if given is not None else os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    if not os.fspath(chosen):
        raise ValueError("the data directory is an empty string; leave it out, or name a folder")
    try:
        return pathlib.Path(chosen).expanduser()
    except RuntimeError:
        text = f"no home directory for {os.fspath(chosen)!r}; name the data directory by --data-dir or TFDS_DATA_DIR"
        raise ValueError(text) from None


def describe(name: str) -> Description:
    """Returns the description of the data set `name`.

    Raises:
      ValueError: no such data set; names the nearest one.
    """
    if name in DATASETS:
        return DATASETS[name]
    close = difflib.get_close_matches(name, DATASETS, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(DATASETS)}"
    raise ValueError(f"unknown data set {name!r}; {hint}")


def command(name: str, directory: str | os.PathLike[str] | None = None, source: str = "FILE_OR_DIR") -> str:
    """Returns the command line that prepares `name`."""
    place = f" --data-dir {shlex.quote(os.fspath(directory))}" if directory is not None else ""
    return f"nasjax data prepare {name} --from {source}{place}"


def facts(name: str, directory: str | os.PathLike[str] | None = None) -> Facts:
    """Returns what the prepared set `name` says of itself, without reading its images.

    Raises:
      FileNotFoundError: it is not prepared; the message has the command that does it.
      ValueError: an unknown name, or dataset_info.json is damaged, or of another set or format.
    """
    described = describe(name)
    root = data_dir(directory)
    folder = root / name / described.version
    path = folder / INFO
    try:
        info = json.loads(_text(path))
    except FileNotFoundError:
        text = f"{name} {described.version} is not prepared in {root}; to do it: {command(name, directory)}"
        raise FileNotFoundError(text) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({type(error).__name__}); {_again(folder)}") from None
    try:
        sizes = {split["name"]: sum(int(length) for length in split["shardLengths"]) for split in info["splits"]}
        found = str(info["name"]), str(info["version"]), str(info["fileFormat"])
        description = str(info.get("description", ""))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        text = f"{path}: its entries do not fit ({type(error).__name__}); {_again(folder)}"
        raise ValueError(text) from None
    wanted = name, described.version, "array_record"
    if found != wanted:
        shown = " ".join(found)[:200]
        raise ValueError(f"{path}: says {shown!r}, expected {' '.join(wanted)!r}; {_again(folder)}")
    if set(sizes) != set(described.splits):
        shown = ", ".join(map(str, sizes))[:200]
        raise ValueError(f"{path}: splits {shown}; expected {', '.join(described.splits)}; {_again(folder)}")
    for split, size in sizes.items():
        if not 0 < size <= described.sizes[split]:
            most = f"{described.sizes[split]:,}"
            raise ValueError(f"{path}: {size:,} images in split {split}; 1 to {most} are possible; {_again(folder)}")
    return Facts(folder, {split: sizes[split] for split in described.splits}, description)


def class_names(name: str, directory: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """Returns the class names of the prepared set `name`, in label order; a subset may have fewer than the whole set.

    Raises:
      FileNotFoundError: it is not prepared, or the file with the names is missing.
      ValueError: an unknown name, or the names do not fit.
    """
    described = describe(name)
    path = facts(name, directory).folder / LABELS
    names = tuple(line for line in _text(path).split("\n") if line)
    if not 0 < len(names) <= described.num_classes:
        raise ValueError(f"{path}: {len(names)} class names; 1 to {described.num_classes} are possible")
    return names


def about(name: str, directory: str | os.PathLike[str] | None = None) -> str:
    """Returns "cifar10", or for a part of it "cifar10 (subset of 12,000 images)", for reports.

    Raises:
      FileNotFoundError: it is not prepared.
      ValueError: an unknown name, or a damaged set.
    """
    return name + _part(name, facts(name, directory).sizes)


def counts(name: str, sizes: Mapping[str, int]) -> str:
    """Returns "train 10,000, test 2,000 (subset of 12,000 images)", without the latter for a whole set."""
    return ", ".join(f"{split} {size:,}" for split, size in sizes.items()) + _part(name, sizes)


def read(name: str, directory: str | os.PathLike[str] | None = None) -> dict[str, Images]:
    """Returns the splits of the prepared set `name`, all images in memory: about 0.15 ms an image.

    Args:
      name: one of `DATASETS`.
      directory: as in `data_dir`.

    Raises:
      FileNotFoundError: it is not prepared; the message has the command that does it.
      ValueError: an unknown name, or what lies there is damaged or another set.
    """
    described = describe(name)
    found = facts(name, directory)
    classes = len(class_names(name, directory))
    with _quiet():
        import tensorflow_datasets as tfds  # imported late: half a second that few commands need

        try:
            root = found.folder.parent.parent
            sources = tfds.data_source(f"{name}:{described.version}", data_dir=os.fspath(root), download=False)
            return {split: _split(sources[split], described, found.sizes[split], classes) for split in described.splits}
        except MemoryError:
            raise
        except Exception as error:  # whatever TFDS, array_record, protobuf and Pillow raise at damaged files
            said = str(error).strip().partition("\n")[0][:200]
            text = f"{found.folder} cannot be read ({type(error).__name__}: {said}); {_again(found.folder)}"
            raise ValueError(text) from error


def listing(directory: str | os.PathLike[str] | None = None) -> list[str]:
    """Returns one line a data set for `nasjax data list`: what is there and where, or the command that makes it."""
    width = max(map(len, DATASETS))
    lines = [f"{'digits':{width}}  there: 1,797 images, part of nasjax"]
    for name in DATASETS:
        try:
            found = facts(name, directory)
            text = f"there: version {DATASETS[name].version}, {counts(name, found.sizes)}, in {found.folder}"
        except FileNotFoundError:
            text = f"not in {data_dir(directory)}; to prepare it: {command(name, directory)}"
        except (ValueError, OSError) as error:
            text = f"damaged: {error}"
        lines.append(f"{name:{width}}  {text}")
    return lines


def check(name: str, splits: Mapping[str, Images], classes: Sequence[str]) -> None:
    """Checks that the images of a data set are what its description says.

    Raises:
      ValueError: splits, class names, sizes, dtypes or labels that do not fit.
    """
    described = describe(name)
    if set(splits) != set(described.splits):
        raise ValueError(f"{name}: splits {', '.join(splits)}; expected {', '.join(described.splits)}")
    if not 0 < len(classes) <= described.num_classes or (described.classes and tuple(classes) != described.classes):
        allowed = ", ".join(described.classes) or f"1 to {described.num_classes} names"
        raise ValueError(f"{name}: class names {', '.join(classes)[:200]}; expected {allowed}")
    if len(set(classes)) != len(classes) or not all(text.strip() and text.isprintable() for text in classes):
        raise ValueError(f"{name}: class names must be different and printable")
    for split, (images, labels) in splits.items():
        shape = (len(labels), described.side, described.side, described.channels)
        if images.dtype != np.uint8 or images.shape != shape:
            raise ValueError(f"{name}: {split} images {images.dtype}{list(images.shape)}, expected uint8{list(shape)}")
        if not 0 < len(labels) <= described.sizes[split]:
            raise ValueError(f"{name}: {len(labels):,} {split} images; 1 to {described.sizes[split]:,} are possible")
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(classes):
            raise ValueError(f"{name}: {split} labels must be integers from 0 to {len(classes) - 1}")


def _text(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise ValueError(f"{path}: more than {_LIMIT:,} bytes")
    return data.decode("utf-8")  # UnicodeDecodeError is a ValueError


def _again(folder: pathlib.Path) -> str:
    return f"remove {folder} and prepare it again"


def _part(name: str, sizes: Mapping[str, int]) -> str:
    """How a set that is not whole is marked wherever it is named."""
    return "" if dict(sizes) == dict(DATASETS[name].sizes) else f" (subset of {sum(sizes.values()):,} images)"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS's advice to install OpenCV off the screen."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _split(source: Any, described: Description, size: int, classes: int) -> Images:
    if len(source) != size:
        raise ValueError(f"{len(source):,} records, {size:,} declared")
    shape = (described.side, described.side, described.channels)
    images = np.empty((size, *shape), np.uint8)
    labels = np.empty(size, np.int32)
    for start in range(0, size, _CHUNK):
        places = range(start, min(start + _CHUNK, size))
        for place, record in zip(places, source.__getitems__(list(places)), strict=True):
            image, label = np.asarray(record["image"]), int(record["label"])
            if image.shape != shape or image.dtype != np.uint8:
                raise ValueError(f"image {place} is {image.dtype}{list(image.shape)}, expected uint8{list(shape)}")
            if not 0 <= label < classes:
                raise ValueError(f"label {label} of image {place}; there are {classes} classes")
            images[place], labels[place] = image, label
    return Images(images, labels)
