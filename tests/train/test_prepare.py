"""Prepared image data sets: what is written comes back through TFDS, and nothing that a file says is believed."""

import hashlib
import itertools

import numpy as np
import pytest
from prepared_sources import (
    NAMES,
    SIZES,
    assert_holds,
    cifar_files,
    fashion_files,
    from_jpeg,
    packed,
    pixels,
    raw,
    save,
    tar,
    tiny_files,
    unpack,
    zipped,
)

from nasjax.train import prepare, prepare_sources, prepared


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
