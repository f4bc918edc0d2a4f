"""Sources that are not what they should be: each is refused by name, and nothing is written."""

import gzip
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image
from prepared_sources import (
    NAMES,
    RNG,
    SIZES,
    cifar_files,
    fashion_files,
    idx,
    jpeg,
    packed,
    pixels,
    raw,
    save,
    tar,
    tiny_files,
    unpack,
    zipped,
)

from nasjax.train import prepare, untrusted


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
