"""Prepared image data sets: what is written comes back through TFDS, and nothing that a file says is believed."""

import dataclasses
import gzip
import hashlib
import io
import itertools
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from nasjax import data_command, options
from nasjax.train import prepare, prepare_sources, prepared, untrusted

SIZES = {"train": 10, "test": 4}
RNG = np.random.default_rng(0)
NAMES = list(prepared.DATASETS)


@pytest.fixture
def small(monkeypatch):
    """Data sets of 10 and 4 images, so that original archives are small files."""
    for name, described in prepared.DATASETS.items():
        classes = 2 if name == "tiny_imagenet32" else 10
        changed = dataclasses.replace(described, sizes=SIZES, num_classes=classes)
        monkeypatch.setitem(prepared.DATASETS, name, changed)


def pixels(name, split, side=None):
    described = prepared.DATASETS[name]
    side = side or described.side
    return RNG.integers(0, 256, (SIZES[split], side, side, described.channels), np.uint8)


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "JPEG")
    return buffer.getvalue()


def from_jpeg(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def labels(split, classes=2):
    return np.arange(SIZES[split], dtype=np.uint8) % classes


def names_of(name):
    return np.array(prepared.DATASETS[name].classes or ("goldfish", "tailed frog"))


def raw(name="cifar10"):
    arrays = {"class_names": names_of(name)}
    for split in SIZES:
        arrays |= {f"{split}_image": pixels(name, split), f"{split}_label": labels(split)}
    return arrays


def packed(name="tiny_imagenet32", side=64):
    arrays = {"class_names": names_of(name)}
    for split in SIZES:
        files = [jpeg(image) for image in pixels(name, split, side)]
        ends = np.cumsum([0, *map(len, files)])
        arrays |= {f"{split}_jpeg": np.frombuffer(b"".join(files), np.uint8), f"{split}_offset": ends.astype(np.uint32)}
        arrays[f"{split}_label"] = labels(split)
    return arrays


def save(path, arrays):
    np.savez_compressed(path, **arrays)
    return path


def tar(path, files, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size, member.type = len(data), kind
            archive.addfile(member, io.BytesIO(data))
    return path


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def unpack(folder, files):
    for name, data in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def cifar_files(images):
    """What the archive holds, for images by split of which five files share those for training."""
    every = {}
    for split, names in {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}.items():
        records = [
            bytes([label]) + image.transpose(2, 0, 1).tobytes()
            for label, image in zip(labels(split), images[split], strict=True)
        ]
        size = len(records) // len(names)
        for i, name in enumerate(names):
            every["cifar-10-batches-bin/" + name] = b"".join(records[i * size : (i + 1) * size])
    return list(every.items())


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def fashion_files(images, before="", behind=""):
    for split, start in {"train": "train", "test": "t10k"}.items():
        yield f"{before}{start}-images-idx3-ubyte{behind}.gz", gzip.compress(idx(images[split][..., 0]))
        yield f"{before}{start}-labels-idx1-ubyte{behind}.gz", gzip.compress(idx(labels(split)))


def tiny_files():
    """The archive's files, one image of them grey, and what each image must become, by label and its sum of pixels."""
    files, expected, test_lines = [], {"train": [], "test": []}, []
    wnids = ("n00000002", "n00000001")
    for split in SIZES:
        for i, image in enumerate(pixels("tiny_imagenet32", split, 64)):
            wnid = wnids[i % 2]
            data = jpeg(image[..., 0] if i == 3 else image)
            if split == "train":
                files.append((f"tiny-imagenet-200/train/{wnid}/images/{wnid}_{i}.JPEG", data))
            else:
                files.append((f"tiny-imagenet-200/val/images/val_{i}.JPEG", data))
                test_lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t9\t9\n")
            blocks = from_jpeg(data).reshape(32, 2, 32, 2, 3).astype(int).sum((1, 3))
            down, left = np.divmod(blocks, 4)
            mean = down + (left > 2) + ((left == 2) & (down % 2 == 1))
            expected[split].append((1 - i % 2, mean.astype(np.uint8).tobytes()))
    files.append(("tiny-imagenet-200/val/val_annotations.txt", "".join(test_lines).encode()))
    files.append(
        ("tiny-imagenet-200/words.txt", b"n00000001\ttailed frog, bell toad\nn00000002\tgoldfish, Carassius\nbad\n")
    )
    return files, expected


def assert_holds(root, name, images, order=True):
    """Reads it by TFDS alone, and by `prepared.read`."""
    import tensorflow_datasets as tfds

    version = prepared.DATASETS[name].version
    read = prepared.read(name, root)
    source = tfds.data_source(f"{name}:{version}", data_dir=str(root), download=False)
    for split in SIZES:
        data = read[split]
        assert data.images.dtype == np.uint8
        assert data.labels.dtype == np.int32
        np.testing.assert_array_equal(data.images, images[split])
        np.testing.assert_array_equal(data.labels, labels(split))
        assert len(source[split]) == SIZES[split]
        np.testing.assert_array_equal(source[split][3]["image"], images[split][3])
        assert source[split][3]["label"] == labels(split)[3]
        if name == "cifar10":
            assert source[split][3]["id"] == f"{split}_00003".encode()
    assert sorted(os.listdir(root / name)) == [version]


@pytest.mark.parametrize("name", NAMES)
def test_raw_pixels_come_back(tmp_path, name):
    arrays = raw(name)
    folder = prepare.prepare(name, save(tmp_path / "part.npz", arrays), tmp_path)
    assert folder == tmp_path / name / prepared.DATASETS[name].version
    assert_holds(tmp_path, name, {split: arrays[f"{split}_image"] for split in SIZES})
    assert prepared.class_names(name, tmp_path) == tuple(arrays["class_names"])
    assert prepared.about(name, tmp_path) == f"{name} (subset of 14 images)"
    digest = hashlib.sha256((tmp_path / "part.npz").read_bytes()).hexdigest()
    assert f"subset of 14 images), from part.npz, SHA-256 {digest}" in prepared.facts(name, tmp_path).description


def test_jpegs_are_decoded(tmp_path):
    arrays = packed("cifar10", side=32)
    prepare.prepare("cifar10", save(tmp_path / "part.npz", arrays), tmp_path)
    images = {}
    for split in SIZES:
        ends = arrays[f"{split}_offset"]
        files = [arrays[f"{split}_jpeg"][a:b].tobytes() for a, b in itertools.pairwise(ends)]
        images[split] = np.stack([from_jpeg(file) for file in files])
    assert_holds(tmp_path, "cifar10", images)


def test_halving_takes_means_and_rounds_halves_to_even():
    block = np.array([[[1, 1], [2, 2]], [[0, 1], [1, 1]], [[255, 255], [255, 254]]], np.uint8)  # means 1.5, .75, 254.75
    np.testing.assert_array_equal(prepare_sources.halved(block[..., None]).ravel(), [2, 1, 255])
    half = np.array([[[0, 1], [1, 0]]], np.uint8)  # .5
    assert prepare_sources.halved(half[..., None]).item() == 0


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["archive", "folder", "folder above", "download"])
def test_cifar10_from_the_binary_version(tmp_path, kind):
    images = {split: pixels("cifar10", split) for split in SIZES}
    files = [("cifar-10-batches-bin/readme.html", b"x" * 99), *cifar_files(images)]
    source = None
    if kind == "archive":
        source = tar(tmp_path / "any-name", files)
    elif kind == "download":
        (tmp_path / "downloads").mkdir()
        tar(tmp_path / "downloads" / "cs.toronto.edu_kriz_cifar-10-binaryq6urq6us.tar.gz", files)
        (tmp_path / "downloads" / "cs.toronto.edu_kriz_cifar-10-binaryq6urq6us.tar.gz.INFO").write_text("{}")
    else:
        above = unpack(tmp_path / "from", files)
        source = above if kind == "folder above" else above / "cifar-10-batches-bin"
    prepare.prepare("cifar10", source, tmp_path)
    assert_holds(tmp_path, "cifar10", images)
    assert prepared.about("cifar10", tmp_path) == "cifar10"
    assert prepared.class_names("cifar10", tmp_path)[3] == "cat"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("before", ["", "fashion-mnist_"])
def test_fashion_mnist_from_idx_files(tmp_path, before):
    images = {split: pixels("fashion_mnist", split) for split in SIZES}
    folder = unpack(tmp_path / "downloads", fashion_files(images, before, "q6u" if before else ""))
    others = {split: pixels("fashion_mnist", split) for split in SIZES}
    if before:  # MNIST itself, beside it
        unpack(folder, fashion_files(others, "cvdf-datasets_mnist_", "q6u"))
        prepare.prepare("fashion_mnist", None, tmp_path)
    else:
        with pytest.raises(FileNotFoundError, match=r"fetch train-images-idx3-ubyte\.gz"):  # may be MNIST
            prepare.prepare("fashion_mnist", None, tmp_path)
        prepare.prepare("fashion_mnist", folder, tmp_path)
    assert_holds(tmp_path, "fashion_mnist", images)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["archive", "folder", "folder of the archive"])
def test_tiny_imagenet_from_the_archive(tmp_path, kind):
    files, expected = tiny_files()
    if kind == "folder":
        source = unpack(tmp_path / "from", files) / "tiny-imagenet-200"
    else:
        (tmp_path / "from").mkdir()
        source = zipped(tmp_path / "from" / "tiny-imagenet-200.zip", files)
        source = source.parent if kind == "folder of the archive" else source
    prepare.prepare("tiny_imagenet32", source, tmp_path)
    for split, data in prepared.read("tiny_imagenet32", tmp_path).items():
        found = [(int(label), image.tobytes()) for image, label in zip(data.images, data.labels, strict=True)]
        assert sorted(found) == sorted(expected[split])
        assert list(data.labels) != sorted(data.labels)  # the archive is sorted by class
    assert prepared.class_names("tiny_imagenet32", tmp_path) == ("tailed frog", "goldfish")


def test_the_published_part_of_fashion_mnist(tmp_path, published_data):
    source = published_data / "fashion_mnist_subset.npz"
    prepare.prepare("fashion_mnist", source, tmp_path)
    read = prepared.read("fashion_mnist", tmp_path)
    with np.load(source, allow_pickle=False) as arrays:
        for split, size in {"train": 1700, "test": 400}.items():
            assert read[split].images.shape == (size, 28, 28, 1)
            np.testing.assert_array_equal(read[split].images, arrays[f"{split}_image"])
            np.testing.assert_array_equal(read[split].labels, arrays[f"{split}_label"])


# Sources that are not what they should be


class Hostile:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def npy(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def declared(shape, descr="|u1"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": descr})
    return buffer.getvalue() + b"x" * 8


def members(**changed):
    """An NPZ file's members, some of them changed or, as None, left out."""
    plain = {f"{name}.npy": npy(array) for name, array in raw().items()}
    return [(n, d) for n, d in (plain | {f"{k}.npy": v for k, v in changed.items()}).items() if d is not None]


TEN = np.arange(10, dtype=np.uint8)
HOSTILE_NPZ = [
    (members(train_label=npy(np.array([Hostile()] * 10, object), allow_pickle=True)), "arrays of object"),
    (members(train_label=pickle.dumps(Hostile())), r"train_label: not an NPY file \(the magic string"),
    (members(train_image=declared((10**15, 32, 32, 3))), "declared, 8 bytes there"),
    (members(train_image=declared((-1, 32, 32, 3))), "declared, 8 bytes there"),
    (members(train_image=npy(np.zeros((10, 32, 32, 3), np.uint16))), "train_image is uint16"),
    (members(train_image=npy(np.zeros((10, 3, 32, 32), np.uint8))), r"expected uint8\[10, 32, 32, 3\]"),
    (members(train_image=npy(np.zeros((9, 32, 32, 3), np.uint8))), r"expected uint8\[10, 32, 32, 3\]"),
    (members(train_image=None), "no array train_image"),
    (members(test_label=None), "no array test_label"),
    (members(test_label=npy(TEN[6:] + 1)), "test_label holds labels outside 0 to 9"),
    (members(test_label=npy(np.array([0, 1, -1, 2]))), "test_label holds labels outside 0 to 9"),
    (members(test_label=npy(np.array([0, 1, 2**32, 2], np.uint64))), "test_label holds labels outside 0 to 9"),
    (members(test_label=npy(np.zeros((4, 1), np.uint8))), "expected integers"),
    (members(test_label=npy(np.zeros(0, np.uint8))), "expected integers"),
    (members(test_label=npy(np.zeros(10_001, np.uint8))), "from 1 to 10,000"),
    (members(test_label=npy(np.zeros(4))), "arrays of float64 are not read"),
    (members(class_names=npy(TEN)), "expected a list of texts"),
    (members(class_names=npy(np.array(list("abcdefghij")))), "class names a, b"),
    ([*members(), ("train_label.npy", npy(TEN))], "'train_label.npy' stands in it twice"),
    ([("../train_label.npy", npy(TEN)), *members(train_label=None)], "no array train_label"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("files", "message"), HOSTILE_NPZ)
def test_hostile_npz(tmp_path, files, message):
    assert_refused(tmp_path, "cifar10", zipped(tmp_path / "part.npz", files), message)


def assert_refused(root, name, source, message, kind=ValueError):
    with pytest.raises(kind, match=message) as caught:
        prepare.prepare(name, source, root)
    text = str(caught.value)
    assert "\n" not in text
    assert str(source) in text
    assert not (root / name).exists()  # nothing was begun


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("train_offset", lambda a: a[::-1], "does not ascend"),
        ("train_offset", lambda a: a + 1, "does not ascend"),
        ("train_offset", lambda a: a[:-1], "train_offset is uint32"),
        ("train_offset", lambda a: np.r_[a[:-1], np.uint32(2**31)], "does not ascend from 0 to the"),
        ("train_offset", lambda a: np.r_[a[:4], a[5], a[4], a[6:]], "does not ascend"),
        ("train_jpeg", lambda a: a[None], "expected uint8"),
        ("train_jpeg", lambda a: a * 0, "train image 0: not a readable JPEG file"),
        ("class_names", lambda a: np.array(["a\nb", "c"]), "class names must be different and printable"),
        ("class_names", lambda a: np.array(["a", "a"]), "class names must be different and printable"),
    ],
)
def test_hostile_jpegs(tmp_path, key, change, message):
    arrays = packed()
    arrays[key] = change(arrays[key])
    assert_refused(tmp_path, "tiny_imagenet32", save(tmp_path / "part.npz", arrays), message)


@pytest.mark.parametrize("damage", ["size", "bomb", "half", "png"])
def test_hostile_image(tmp_path, damage):
    arrays = packed()
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(buffer, "PNG")
    plain = jpeg(pixels("tiny_imagenet32", "test", 64)[0])
    place = plain.index(b"\xff\xc0") + 5  # height and width, two bytes each
    image, message = {
        "size": (jpeg(np.zeros((32, 64, 3), np.uint8)), "64 x 32 pixels, expected 64 x 64"),
        "bomb": (plain[:place] + b"\xff\xff\xff\xff" + plain[place + 4 :], "not a readable JPEG file"),
        "half": (plain[: len(plain) // 2], "not a readable JPEG file"),
        "png": (buffer.getvalue(), "not a readable JPEG file"),
    }[damage]
    arrays["test_label"] = np.zeros(1, np.uint8)
    arrays["test_jpeg"], arrays["test_offset"] = np.frombuffer(image, np.uint8), np.array([0, len(image)])
    assert_refused(tmp_path, "tiny_imagenet32", save(tmp_path / "part.npz", arrays), f"test image 0: {message}")


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
def test_truncated_npz(tmp_path, keep):
    data = save(tmp_path / "part.npz", raw()).read_bytes()
    (tmp_path / "part.npz").write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    assert_refused(tmp_path, "cifar10", tmp_path / "part.npz", "damaged|not a source")


def test_flipped_bits_in_an_npz_are_found(tmp_path):
    data = bytearray(save(tmp_path / "part.npz", raw()).read_bytes())
    data[len(data) // 3] ^= 16
    (tmp_path / "part.npz").write_bytes(data)
    assert_refused(tmp_path, "cifar10", tmp_path / "part.npz", "damaged")


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "UNPACKED", 100_000)
    with zipfile.ZipFile(tmp_path / "part.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_image.npy", bytes(200_000))
    assert_refused(tmp_path, "cifar10", tmp_path / "part.npz", "declare more than 100,000 bytes")
    source = tar(tmp_path / "bomb.tar.gz", [("cifar-10-batches-bin/readme.html", bytes(200_000))])
    assert_refused(tmp_path, "cifar10", source, "unpacks to more than 100,000 bytes")


def damaged(change):
    images = {split: pixels("cifar10", split) for split in SIZES}
    return change(dict(cifar_files(images)))


BATCH = "cifar-10-batches-bin/data_batch_2.bin"


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: [*f.items(), (BATCH, f[BATCH])], "data_batch_2.bin' stands in it twice"),
        (lambda f: (f | {BATCH: f[BATCH][:-1]}).items(), "data_batch_2.bin has 6,145 bytes, expected 6,146"),
        (lambda f: (f | {BATCH: b"\x0a" + f[BATCH][1:]}).items(), "labels must be integers from 0 to 9"),
        (
            lambda f: [(n.replace("cifar-10-batches-bin", ".."), d) for n, d in f.items()],
            "no cifar-10-batches-bin/test_batch",
        ),
        (lambda f: [("/" + n, d) for n, d in f.items()], "no cifar-10-batches-bin/test_batch"),
        (lambda f: [(n, d) for n, d in f.items() if n != BATCH], "data_batch_2.bin is missing"),
        (
            lambda f: [("cifar-10-batches-py/data_batch_1", bytes(31_035_704))],
            "Python version .* fetch cifar-10-binary.tar.gz",
        ),
    ],
)
def test_hostile_tar(tmp_path, change, message):
    assert_refused(tmp_path, "cifar10", tar(tmp_path / "a.tar.gz", damaged(change)), message)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_in_a_tar_lead_nowhere(tmp_path, kind):
    files = damaged(lambda f: [(n, d) for n, d in f.items() if n != BATCH])
    source = tmp_path / "a.tar.gz"
    with tarfile.open(source, "w:gz") as archive:
        member = tarfile.TarInfo(BATCH)
        member.type, member.linkname = kind, "cifar-10-batches-bin/data_batch_1.bin"
        for name, data in files:
            plain = tarfile.TarInfo(name)
            plain.size = len(data)
            archive.addfile(plain, io.BytesIO(data))
        archive.addfile(member)
    assert_refused(tmp_path, "cifar10", source, "data_batch_2.bin is missing")


@pytest.mark.usefixtures("small")
def test_truncated_archives(tmp_path):
    images = {split: pixels("cifar10", split) for split in SIZES}
    data = tar(tmp_path / "a.tar.gz", cifar_files(images)).read_bytes()
    for part in (data[:20], data[: len(data) // 2], data[:-4]):
        (tmp_path / "a.tar.gz").write_bytes(part)
        assert_refused(tmp_path, "cifar10", tmp_path / "a.tar.gz", "damaged|missing|cut off")
    flipped = bytearray(data)
    flipped[-6] ^= 1  # the checksum of the whole
    (tmp_path / "a.tar.gz").write_bytes(flipped)
    assert_refused(tmp_path, "cifar10", tmp_path / "a.tar.gz", "CRC")


@pytest.mark.usefixtures("small")
def test_the_pickled_version_of_cifar10_is_refused(tmp_path):
    folder = unpack(tmp_path / "cifar-10-batches-py", [("data_batch_1", pickle.dumps(Hostile())), ("test_batch", b"x")])
    assert_refused(tmp_path, "cifar10", folder, "pickles that are not loaded; fetch cifar-10-binary.tar.gz")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: gzip.compress(idx(RNG.integers(0, 9, (9, 28, 28), np.uint8))),
            r"not an IDX file of bytes \[10, 28, 28\]",
        ),
        (lambda d: gzip.compress(idx(RNG.integers(0, 9, (10, 32, 32), np.uint8))), "unpacked: more than"),
        (lambda d: gzip.compress(bytes(10**7)), "unpacked: more than"),
        (lambda d: gzip.compress(b"\0\0\x0d" + gzip.decompress(d)[3:]), "not an IDX file"),
        (lambda d: d[:-9], "damaged"),
        (lambda d: b"", "not an IDX file"),
    ],
)
def test_hostile_idx(tmp_path, change, message):
    files = dict(fashion_files({split: pixels("fashion_mnist", split) for split in SIZES}))
    files["train-images-idx3-ubyte.gz"] = change(files["train-images-idx3-ubyte.gz"])
    assert_refused(tmp_path, "fashion_mnist", unpack(tmp_path / "from", files.items()), f"train-images.*{message}")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"val_2.JPEG", b"../../words.txt", "line 3 of val/val_annotations.txt names no image and class"),
        (b"val_2.JPEG\tn00000002", b"val_2.JPEG\tn00000009", "line 3 of .* names no image and class"),
        (b"val_2.JPEG\tn00000002\t0\t0\t9\t9\n", b"", "3 images for split test, expected 4"),
        (b"val_2.JPEG", b"val_77.JPEG", "val_77.JPEG is missing"),
    ],
)
def test_hostile_annotations(tmp_path, old, new, message):
    files = [(name, data.replace(old, new) if name.endswith(".txt") else data) for name, data in tiny_files()[0]]
    assert_refused(tmp_path, "tiny_imagenet32", zipped(tmp_path / "a.zip", files), message)


def test_an_archive_of_very_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "FILES", 3)
    files = [(f"{i}/x", b"") for i in range(4)]
    assert_refused(tmp_path, "cifar10", tar(tmp_path / "a.tar.gz", files), "more than 3 members")
    assert_refused(tmp_path, "tiny_imagenet32", zipped(tmp_path / "a.zip", files), "4 members; at most 3")
    assert_refused(tmp_path, "tiny_imagenet32", unpack(tmp_path / "from", files), "more than 3 files")


def test_a_source_of_another_kind(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert_refused(tmp_path, "cifar10", tmp_path / "pipe", "not a regular file")
    assert_refused(tmp_path, "cifar10", save(tmp_path / "fashion.npz", raw("fashion_mnist")), "train_image is uint8")
    (tmp_path / "text").write_text("hello")
    assert_refused(
        tmp_path, "fashion_mnist", tmp_path / "text", "not a source of fashion_mnist, which is read from a folder"
    )
    (tmp_path / "empty").mkdir()
    for name in NAMES:
        assert_refused(tmp_path, name, tmp_path / "empty", f"nothing of {name} in this folder")
    assert_refused(tmp_path, "cifar10", tmp_path / "nowhere", "no file or folder", FileNotFoundError)


# What is there already, and what an interruption leaves


def test_a_set_that_is_there_is_left_alone(tmp_path):
    source = save(tmp_path / "part.npz", raw())
    folder = prepare.prepare("cifar10", source, tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    other = save(tmp_path / "other.npz", raw())
    with pytest.raises(
        FileExistsError, match=r"already prepared: train 10, test 4 \(subset of 14 images\); it is left"
    ):
        prepare.prepare("cifar10", other, tmp_path)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    prepare.prepare("cifar10", other, tmp_path, overwrite=True)
    with np.load(other) as arrays:
        np.testing.assert_array_equal(prepared.read("cifar10", tmp_path)["train"].images, arrays["train_image"])
    assert os.listdir(folder.parent) == ["3.0.2"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_something_else_under_the_name_is_left_alone(tmp_path, overwrite):
    folder = tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="is no prepared set; move it away"):
        prepare.prepare("cifar10", save(tmp_path / "part.npz", raw()), tmp_path, overwrite=overwrite)
    assert os.listdir(folder) == ["thesis.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("call", ["_png", "_flush", "_take_name", "os.rename"])
def test_an_interruption_leaves_what_was_there(tmp_path, monkeypatch, overwrite, call):
    source = save(tmp_path / "part.npz", raw())
    if overwrite:
        prepare.prepare("cifar10", source, tmp_path)
    expected = sorted(path.name for path in tmp_path.glob("cifar10/*"))
    bystander = tmp_path / "cifar10" / "3.0.1.incomplete-1234"
    bystander.mkdir(parents=True)
    original = prepare.os.rename if call == "os.rename" else getattr(prepare, call)
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == (2 if call != "_take_name" and (overwrite or call != "os.rename") else 1):
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(prepare.os if call == "os.rename" else prepare, call.rpartition(".")[2], interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare("cifar10", save(tmp_path / "other.npz", raw()), tmp_path, overwrite=overwrite)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.glob("cifar10/*")) == sorted([*expected, bystander.name])
    if overwrite:
        with np.load(source) as arrays:
            np.testing.assert_array_equal(prepared.read("cifar10", tmp_path)["train"].images, arrays["train_image"])
    else:
        with pytest.raises(FileNotFoundError, match="not prepared"):
            prepared.read("cifar10", tmp_path)


def test_a_killed_run_leaves_nothing_readable_and_the_next_one_cleans_up(tmp_path):
    source = save(tmp_path / "part.npz", raw())
    code = (
        "import os, signal, sys; from nasjax.train import prepare; "
        "prepare._take_name = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        "prepare.prepare('cifar10', sys.argv[1], sys.argv[2])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(source), str(tmp_path)], check=False)
    assert result.returncode == -9
    (left,) = os.listdir(tmp_path / "cifar10")
    assert left.startswith("3.0.2.incomplete-")
    with pytest.raises(FileNotFoundError, match="not prepared"):
        prepared.read("cifar10", tmp_path)
    prepare.prepare("cifar10", source, tmp_path)
    assert os.listdir(tmp_path / "cifar10") == ["3.0.2"]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the disk: the same error comes from the same call."""
    source = save(tmp_path / "part.npz", raw())
    code = (
        "import resource, signal, sys; from nasjax.train import prepare; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); "
        "prepare.prepare('cifar10', sys.argv[1], sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    assert result.stderr.splitlines()[-1].startswith("OSError: ")
    assert "is the disk full?" in result.stderr.splitlines()[-1]
    assert os.listdir(tmp_path / "cifar10") == []


def test_two_at_once(tmp_path):
    (tmp_path / "cifar10").mkdir()
    source = save(tmp_path / "part.npz", raw())
    busy = pytest.raises(BlockingIOError, match="another process is preparing")
    with prepare._alone(tmp_path / "cifar10", "3.0.2"), busy:
        prepare.prepare("cifar10", source, tmp_path)
    prepare.prepare("cifar10", source, tmp_path)


# Reading


def test_a_set_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        prepared.read("cifar10", tmp_path)
    expected = f"cifar10 3.0.2 is not prepared in {tmp_path}; to do it: nasjax data prepare cifar10 --from FILE_OR_DIR"
    assert str(caught.value) == f"{expected} --data-dir {tmp_path}"
    with pytest.raises(FileNotFoundError, match=r"fetch cifar-10-binary.tar.gz from https://\S+, then: nasjax data"):
        prepare.prepare("cifar10", None, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="unknown data set 'cifar100'; did you mean cifar10"):
        prepared.read("cifar100", tmp_path)


def info_changed(**changed):
    def change(folder):
        path = folder / prepared.INFO
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return change


def replaced(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def cut(folder):
    path = folder / "cifar10-train.array_record-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-100])


def exchanged(folder):
    """The records of another data set under this one's name."""
    arrays = raw("fashion_mnist")
    other = prepare.prepare("fashion_mnist", save(folder / "part.npz", arrays), folder)
    for split in SIZES:
        record = f"{split}.array_record-00000-of-00001"
        os.replace(other / f"fashion_mnist-{record}", folder / f"cifar10-{record}")


ONE = [{"name": "train", "shardLengths": ["1"]}]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (replaced(prepared.INFO, b"{"), "not a JSON file"),
        (replaced(prepared.INFO, b"[" * 10**5), "not a JSON file"),
        (replaced(prepared.INFO, b"[]"), "entries do not fit"),
        (info_changed(fileFormat="tfrecord"), "says 'cifar10 3.0.2 tfrecord', expected 'cifar10 3.0.2 array_record'"),
        (info_changed(version="3.0.1"), "says 'cifar10 3.0.1"),
        (info_changed(splits=ONE), "splits train; expected train, test"),
        (info_changed(splits=[*ONE, {"name": "test", "shardLengths": ["1" * 18]}]), "1 to 10,000 are possible"),
        (info_changed(splits=[*ONE, {"name": "test", "shardLengths": [1e999]}]), "entries do not fit"),
        (replaced(prepared.LABELS, b""), "0 class names"),
        (replaced(prepared.LABELS, b"only\n"), "there are 1 classes"),
        (replaced("cifar10-test.array_record-00000-of-00001", b""), "cannot be read"),
        (replaced(prepared.FEATURES, b"{}"), "cannot be read"),
        (cut, "cannot be read"),
        (lambda folder: os.remove(folder / "cifar10-train.array_record-00000-of-00001"), "cannot be read"),
        (exchanged, "cannot be read"),
    ],
)
def test_a_damaged_set_is_named(tmp_path, damage, message):
    folder = prepare.prepare("cifar10", save(tmp_path / "part.npz", raw()), tmp_path)
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        prepared.read("cifar10", tmp_path)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_grey_images_are_not_taken_for_colour(tmp_path):
    with pytest.MonkeyPatch.context() as grey:  # written by another program, say
        changed = dataclasses.replace(prepared.DATASETS["cifar10"], channels=1)
        grey.setitem(prepared.DATASETS, "cifar10", changed)
        prepare.prepare("cifar10", save(tmp_path / "part.npz", raw()), tmp_path)
    with pytest.raises(ValueError, match=r"image 0 is uint8\[32, 32, 1\], expected uint8\[32, 32, 3\]"):
        prepared.read("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train": None}, "splits test; expected train, test"),
        ({"test": (np.zeros((4, 32, 32, 3)), labels("test"))}, "test images float64"),
        ({"test": (np.zeros((3, 32, 32, 3), np.uint8), labels("test"))}, r"expected uint8\[4, 32, 32, 3\]"),
        (
            {"test": (np.zeros((4, 32, 32, 3), np.uint8), labels("test") + 9)},
            "test labels must be integers from 0 to 9",
        ),
        (
            {"test": (np.zeros((4, 32, 32, 3), np.uint8), labels("test") / 1)},
            "test labels must be integers from 0 to 9",
        ),
    ],
)
def test_images_that_do_not_fit_are_not_written(tmp_path, changed, message):
    splits = {split: (pixels("cifar10", split), labels(split)) for split in SIZES} | changed
    given = {split: prepared.Images(*data) for split, data in splits.items() if data}
    with pytest.raises(ValueError, match=message):
        prepare.write("cifar10", given, names_of("cifar10"), "", tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_sets_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert prepared.data_dir() == tmp_path
    assert prepared.data_dir("x") == pathlib.Path("x")
    monkeypatch.setenv("TFDS_DATA_DIR", "")
    monkeypatch.setenv("HOME", "/somewhere")
    assert prepared.data_dir() == pathlib.Path("/somewhere/tensorflow_datasets")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for an account without an entry
    with pytest.raises(ValueError, match="--data-dir or TFDS_DATA_DIR"):
        prepared.data_dir()


# The command


def test_prepare_and_list_on_the_command_line(tmp_path, capsys):
    source = save(tmp_path / "part.npz", raw())
    arguments = ["prepare", "cifar10", f"--from={source}", "--data-dir", str(tmp_path)]
    data_command.run(arguments)
    data_command.run(arguments)
    data_command.run(["list", "--data-dir", str(tmp_path)])
    first, second, digits, cifar, *others = capsys.readouterr().out.splitlines()
    assert first == f"cifar10 is prepared: train 10, test 4 (subset of 14 images), in {tmp_path}/cifar10/3.0.2"
    assert "already prepared" in second
    assert digits.split() == ["digits", "there:", "1,797", "images,", "part", "of", "nasjax"]
    assert "version 3.0.2, train 10, test 4 (subset of 14 images)" in cifar
    assert all(f"--from FILE_OR_DIR --data-dir {tmp_path}" in line for line in others)
    (tmp_path / "cifar10" / "3.0.2" / prepared.INFO).write_text("{")
    assert "damaged: " in prepared.listing(tmp_path)[1]
    with pytest.raises(ValueError, match="not a JSON file"):
        data_command.run(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command; usage: nasjax data prepare"),
        (["prepar"], "did you mean prepare"),
        (["prepare"], "0 data sets"),
        (["prepare", "a", "b"], "2 data sets"),
        (["prepare", "cifar10", "--form", "x"], "unknown option --form; did you mean --from"),
        (["prepare", "cifar10", "--from"], "--from: its value is missing"),
        (["prepare", "cifar10", "--from", "--data-dir", "x"], "--from: its value is missing"),
        (["prepare", "cifar10", "--from", "x", "--from", "y"], "given twice"),
        (["list", "cifar10"], "one argument too many"),
    ],
)
def test_command_lines_that_cannot_be_followed(arguments, message):
    with pytest.raises(options.UsageError, match=message):
        data_command.run(arguments)


@pytest.mark.parametrize("arguments", [["--help"], ["prepare", "-h"], ["list", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(options.HelpShown):
        data_command.run(arguments)
    assert "nasjax data prepare DATASET [--from FILE_OR_DIR]" in capsys.readouterr().out
