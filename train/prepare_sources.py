"""Reading image data sets from the archives that people have: original downloads, or an NPZ file with a part of a set.

An NPZ file holds for s in train, test: `s_label` integers [n], and either `s_image` uint8 [n, H, W, C] or the n JPEG
files `s_jpeg[s_offset[i]:s_offset[i + 1]]` (uint8 bytes, n + 1 ascending integers); and `class_names` in label order.

Nothing that a file says is believed: members are read into memory by the names that are expected, never extracted, so
that links and `..` lead nowhere; sizes are limited before anything is unpacked or decoded (`untrusted`).
"""

import gzip
import hashlib
import io
import math
import os
import pathlib
import re
import warnings
import zipfile
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasjax.train.prepared import Description, Images, check, command, counts, data_dir, describe
from nasjax.train.untrusted import (
    UNPACKED,
    Tree,
    array,
    blamed,
    folder_tree,
    limited,
    regular,
    tar_tree,
    walk,
    zip_tree,
)

_JPEG = 1 << 20  # bytes of one image of 64 x 64
_TEXT = 1 << 24
_CIFAR_RECORD = 1 + 3 * 32 * 32
_CIFAR_MEMBER = re.compile(r"(^|/)(data|test)_batch")
_CIFAR_BYTES = 1 << 26  # of a member, so that the larger pickles are named as such
_CIFAR_MARK = re.compile(r"(cifar-10-batches-(bin|py)/)?(test_batch\.bin|data_batch_1)")
_TINY_MARK = re.compile(r"(tiny-imagenet-200/)?val/val_annotations\.txt")
_TINY_SIDE = 64  # of the images in the original archive; halved for tiny_imagenet32

Bytes = npt.NDArray[np.uint8]


class Loaded(NamedTuple):
    """A data set in memory."""

    splits: dict[str, Images]
    classes: tuple[str, ...]
    origin: str  # one line: of which file, its digest, whether it is a part


class _Source(NamedTuple):
    """Where a set comes from officially: the parts of file names by which downloads are known, and what to fetch."""

    stems: tuple[str, ...]
    ending: str
    files: str
    page: str
    takes: str


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_SOURCES = {
    "cifar10": _Source(
        ("cifar-10-binary",),
        ".tar.gz",
        "cifar-10-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "cifar-10-binary.tar.gz, its extracted folder, or an NPZ file",
    ),
    "fashion_mnist": _Source(
        _IDX,
        ".gz",
        ", ".join(f"{stem}.gz" for stem in _IDX),
        "https://github.com/zalandoresearch/fashion-mnist",
        f"a folder with {_IDX[0]}.gz and the three others, or an NPZ file",
    ),
    "tiny_imagenet32": _Source(
        ("tiny-imagenet-200",),
        ".zip",
        "tiny-imagenet-200.zip",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "tiny-imagenet-200.zip, its extracted folder, or an NPZ file",
    ),
}
_PICKLED = "is the Python version of CIFAR-10, pickles that are not loaded; fetch cifar-10-binary.tar.gz from "


def load(
    name: str, source: str | os.PathLike[str] | None = None, directory: str | os.PathLike[str] | None = None
) -> Loaded:
    """Reads the data set `name` from a file or folder; sizes, labels and class names are checked.

    Tiny ImageNet is shuffled (its archive is sorted by class; NumPy's PCG64, seed 0), its labelled validation images
    become the split `test`, grey images become RGB, and each 2 x 2 pixels become their mean, halves to the even number.

    Args:
      name: one of `prepared.DATASETS`.
      source: the original archive, its extracted folder, a folder where it lies, or an NPZ file (see above). None looks
        for the archive in ROOT/downloads, also under the names that TFDS gives to downloads.
      directory: ROOT, as in `prepared.data_dir`.

    Raises:
      FileNotFoundError: no such source; with None, the message says what to fetch.
      ValueError: an unknown name, or the source is damaged or not of this data set; names the file and what is wrong.
      OSError: it cannot be read.
    """
    describe(name)
    if source is None:
        place = data_dir(directory) / "downloads"
        found = _search(name, place, given=False) if place.is_dir() else {}
        if len(found) < len(_SOURCES[name].stems):
            official = _SOURCES[name]
            text = f"no download of {name} in {place}; fetch {official.files} from {official.page}, then: "
            raise FileNotFoundError(text + command(name, directory))
    else:
        place = pathlib.Path(source).expanduser()
        if not place.exists():
            raise FileNotFoundError(f"no file or folder {os.fspath(place)!r}; {name} is read from {_takes(name)}")
        found = {}
    with blamed(place):
        splits, classes, origin = _from_folder(name, place, found) if place.is_dir() else _from_file(name, place)
        check(name, splits, classes)
    sizes = {split: len(data.labels) for split, data in splits.items()}
    return Loaded(splits, tuple(classes), f"{counts(name, sizes)}, from {origin}")


def _takes(name: str) -> str:
    return _SOURCES[name].takes


_Content = tuple[dict[str, Images], tuple[str, ...], str]


def _from_file(name: str, path: pathlib.Path) -> _Content:
    with blamed(path), regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        file.seek(0)
        magic = file.read(4)
        file.seek(0)
        origin = f"{path.name}, SHA-256 {digest}"
        if magic[:2] == b"PK":
            with zipfile.ZipFile(file) as archive:
                tree = zip_tree(archive)
                if any(member.endswith(".npy") for member in tree.names):
                    return _npz(name, tree, origin)
                if name == "tiny_imagenet32":
                    return *_tiny(tree), origin
        if magic[:2] == b"\x1f\x8b" and name == "cifar10":
            return *_cifar(tar_tree(file, _CIFAR_MEMBER, _CIFAR_BYTES)), origin
        raise ValueError(f"not a source of {name}, which is read from {_takes(name)}")


def _from_folder(name: str, folder: pathlib.Path, found: dict[str, pathlib.Path]) -> _Content:
    """Reads an extracted archive, else archives that lie in the folder; `found` are those already looked up."""
    if not found and name != "fashion_mnist":
        tree = folder_tree(folder)
        reader, mark = (_cifar, _CIFAR_MARK) if name == "cifar10" else (_tiny, _TINY_MARK)
        if any(map(mark.fullmatch, tree.names)):
            return *reader(tree), f"the folder {folder.name}"
    found = found or _search(name, folder, given=True)
    if len(found) < len(_SOURCES[name].stems):
        missing = ", ".join(stem for stem in _SOURCES[name].stems if stem not in found)
        raise ValueError(f"nothing of {name} in this folder (looked for {missing}); it is read from {_takes(name)}")
    if name == "fashion_mnist":
        return _fashion(found)
    (path,) = found.values()
    return _from_file(name, path)


def _search(name: str, folder: pathlib.Path, *, given: bool) -> dict[str, pathlib.Path]:
    """Finds downloads by a part of their names: TFDS puts the site's name before it and a digest behind it.

    Files of MNIST have the names of those of Fashion-MNIST: in TFDS's own folder, which the user did not name
    (`given` is False), and wherever there are both, the path below `folder` must tell which they are.
    """
    official = _SOURCES[name]
    found: dict[str, list[tuple[bool, str]]] = {}
    for file in walk(folder):
        base = file.rpartition("/")[2]
        if ".tmp." in file or "incomplete" in file:  # a download that has not ended
            continue
        for stem in official.stems:
            if stem in base and (base.endswith(official.ending) or (given and base == stem)):
                foreign = name == "fashion_mnist" and "fashion" not in file.lower()
                if given or not foreign:
                    found.setdefault(stem, []).append((foreign, file))
    return {stem: folder / min(files)[1] for stem, files in found.items()}


# NPZ files


def _npz(name: str, tree: Tree, origin: str) -> _Content:
    described = describe(name)
    names = _array(tree, "class_names")
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ValueError(f"class_names is {names.dtype}{list(names.shape)}, expected a list of texts")
    splits = {}
    for split in described.splits:
        labels = _array(tree, f"{split}_label")
        most = described.sizes[split]
        if labels.dtype.kind not in "iu" or labels.ndim != 1 or not 0 < len(labels) <= most:
            shown = f"{labels.dtype}{list(labels.shape)}"
            raise ValueError(f"{split}_label is {shown}, expected integers [n] with n from 1 to {most:,}")
        if labels.min() < 0 or labels.max() >= len(names):  # before uint64 is made int32
            raise ValueError(f"{split}_label holds labels outside 0 to {len(names) - 1}, the class names given")
        if f"{split}_jpeg.npy" in tree.names:
            images = _npz_jpegs(tree, split, len(labels), described)
        else:
            images = _npz_pixels(tree, split, len(labels), described)
        splits[split] = Images(images, labels.astype(np.int32))
    decoded = any(member.endswith("_jpeg.npy") for member in tree.names)
    return splits, tuple(map(str, names)), origin + (", decoded from JPEG" if decoded else "")


def _array(tree: Tree, key: str) -> npt.NDArray[Any]:
    if f"{key}.npy" not in tree.names:
        raise ValueError(f"no array {key}")
    return array(tree.read(f"{key}.npy", UNPACKED), key)


def _npz_pixels(tree: Tree, split: str, count: int, described: Description) -> Bytes:
    images = _array(tree, f"{split}_image")
    side = images.shape[1] if images.ndim == 4 else 0
    sides = {described.side, _jpeg_side(described)}
    if images.dtype != np.uint8 or side not in sides or images.shape != (count, side, side, described.channels):
        allowed = " or ".join(str([count, side, side, described.channels]) for side in sorted(sides))
        raise ValueError(f"{split}_image is {images.dtype}{list(images.shape)}, expected uint8{allowed}")
    return images if side == described.side else np.concatenate([halved(image[None]) for image in images])


def _npz_jpegs(tree: Tree, split: str, count: int, described: Description) -> Bytes:
    data, offsets = _array(tree, f"{split}_jpeg"), _array(tree, f"{split}_offset")
    if data.dtype != np.uint8 or data.ndim != 1:
        raise ValueError(f"{split}_jpeg is {data.dtype}{list(data.shape)}, expected uint8 [bytes]")
    if offsets.dtype.kind not in "iu" or offsets.shape != (count + 1,):
        raise ValueError(f"{split}_offset is {offsets.dtype}{list(offsets.shape)}, expected integers[{count + 1}]")
    if offsets[0] != 0 or offsets[-1] != len(data) or (offsets[1:] <= offsets[:-1]).any():
        raise ValueError(f"{split}_offset does not ascend from 0 to the {len(data):,} bytes of {split}_jpeg")
    files = (data[int(offsets[i]) : int(offsets[i + 1])].tobytes() for i in range(count))
    return _decoded(((f"{split} image {i}", file) for i, file in enumerate(files)), count, described)


# Original archives


def _cifar(tree: Tree) -> tuple[dict[str, Images], tuple[str, ...]]:
    """The binary version: records of a label and 3 x 32 x 32 bytes, colour by colour (Krizhevsky 2009)."""
    described = describe("cifar10")
    root = next((root for root in ("", "cifar-10-batches-bin/") if root + "test_batch.bin" in tree.names), None)
    if root is None:
        if any(re.search(r"(^|/)data_batch_1$", name) for name in tree.names):
            raise ValueError(_PICKLED + _SOURCES["cifar10"].page)
        raise ValueError("no cifar-10-batches-bin/test_batch.bin in it")
    splits = {}
    for split, files in {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}.items():
        each = described.sizes[split] // len(files) * _CIFAR_RECORD
        parts = []
        for file in files:
            data = tree.read(root + file, _CIFAR_BYTES)
            if len(data) != each:
                raise ValueError(f"{file} has {len(data):,} bytes, expected {each:,}")
            parts.append(np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_RECORD))
        records = np.concatenate(parts)
        pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits[split] = Images(np.ascontiguousarray(pixels), records[:, 0].astype(np.int32))
    return splits, described.classes


def _fashion(files: dict[str, pathlib.Path]) -> _Content:
    """Four IDX files: two zero bytes, the type (8: bytes), the number of dimensions, their lengths, the values."""
    described = describe("fashion_mnist")
    splits = {}
    for split, start in {"train": "train", "test": "t10k"}.items():
        size = described.sizes[split]
        images = _idx(files[f"{start}-images-idx3-ubyte"], (size, described.side, described.side))
        labels = _idx(files[f"{start}-labels-idx1-ubyte"], (size,))
        splits[split] = Images(images[..., None], labels.astype(np.int32))
    folder = files[_IDX[0]].parent.name
    return splits, described.classes, f"the four IDX files in the folder {folder}"


def _idx(path: pathlib.Path, shape: tuple[int, ...]) -> Bytes:
    header = bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape)
    with blamed(path), regular(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        most = len(header) + math.prod(shape)
        data = limited(gzip.GzipFile(fileobj=file) if packed else file, most, "unpacked")
        if data[: len(header)] != header or len(data) != most:
            raise ValueError(f"not an IDX file of bytes {list(shape)}: {len(data):,} bytes, expected {most:,}")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def _tiny(tree: Tree) -> tuple[dict[str, Images], tuple[str, ...]]:
    described = describe("tiny_imagenet32")
    annotations = "val/val_annotations.txt"
    root = next((root for root in ("tiny-imagenet-200/", "") if root + annotations in tree.names), None)
    if root is None:
        raise ValueError(f"no tiny-imagenet-200/{annotations} in it")
    pattern = re.compile(re.escape(root) + r"train/(n\d{8})/images/\1_(\d{1,6})\.JPEG")
    train = sorted((m[1], int(m[2]), m[0]) for m in map(pattern.fullmatch, tree.names) if m)
    wnids = sorted({wnid for wnid, _, _ in train})
    if len(wnids) != described.num_classes:
        raise ValueError(f"{len(wnids)} classes in {root}train, expected {described.num_classes}")
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    test = []
    for number, line in enumerate(tree.read(root + annotations, _TEXT).decode().splitlines(), 1):
        file, wnid = [*line.split("\t"), ""][:2]
        if not re.fullmatch(r"val_\d{1,6}\.JPEG", file) or wnid not in label_of:
            raise ValueError(f"line {number} of {annotations} names no image and class: {line[:60]!r}")
        test.append((wnid, number, f"{root}val/images/{file}"))
    splits = {}
    for split, items in {"train": train, "test": test}.items():
        if len(items) != described.sizes[split]:
            raise ValueError(f"{len(items):,} images for split {split}, expected {described.sizes[split]:,}")
        chosen = [items[i] for i in np.random.default_rng(0).permutation(len(items))]
        files = ((path, tree.read(path, _JPEG)) for _, _, path in chosen)
        images = _decoded(files, len(chosen), described)
        splits[split] = Images(images, np.array([label_of[wnid] for wnid, _, _ in chosen], np.int32))
    return splits, _tiny_names(tree, root + "words.txt", wnids)


def _tiny_names(tree: Tree, path: str, wnids: list[str]) -> tuple[str, ...]:
    """The first of the words that WordNet has for each class; with its number where another class has that, too."""
    words = {}
    if path in tree.names:
        lines = tree.read(path, _TEXT).decode().splitlines()
        words = {wnid: text.split(",")[0].strip() for wnid, _, text in (line.partition("\t") for line in lines)}
    names = [words.get(wnid) or wnid for wnid in wnids]
    return tuple(f"{text} ({wnid})" if names.count(text) > 1 else text for text, wnid in zip(names, wnids, strict=True))


# Pixels


def _jpeg_side(described: Description) -> int:
    """The side of the images in sources; only Tiny ImageNet is shrunk."""
    return _TINY_SIDE if described == describe("tiny_imagenet32") else described.side


def _decoded(files: Iterable[tuple[str, bytes]], count: int, described: Description) -> Bytes:
    """Decodes JPEG files; a size is compared before anything of that size is allocated."""
    from PIL import Image

    side, mode = _jpeg_side(described), "RGB" if described.channels == 3 else "L"
    images = np.empty((count, described.side, described.side, described.channels), np.uint8)
    for place, (what, data) in enumerate(files):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                picture = Image.open(io.BytesIO(data), formats=("JPEG",))
            if picture.size != (side, side):
                raise ValueError(f"{picture.width} x {picture.height} pixels, expected {side} x {side}")
            pixels = np.asarray(picture.convert(mode)).reshape(1, side, side, described.channels)
        except Exception as error:  # Pillow raises OSError, SyntaxError and others at damaged files
            said = str(error).partition("\n")[0][:100] if isinstance(error, ValueError) else "not a readable JPEG file"
            raise ValueError(f"{what}: {said}") from error
        images[place] = halved(pixels)[0] if side != described.side else pixels[0]
    return images


def halved(images: Bytes) -> Bytes:
    """Returns uint8[n, H/2, W/2, C], the means of 2 x 2 pixels of uint8[n, H, W, C], halves to the even number."""
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels).astype(np.float32)
    means: Bytes = np.rint(blocks.mean((2, 4))).astype(np.uint8)
    return means
