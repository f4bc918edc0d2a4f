"""Small sources of prepared data sets, in all forms in which they are published, and what must come of them."""

import gzip
import io
import os
import tarfile
import zipfile

import numpy as np
from PIL import Image

from nasjax.train import prepared

SIZES = {"train": 10, "test": 4}
RNG = np.random.default_rng(0)
NAMES = list(prepared.DATASETS)


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
