"""Image tasks as device arrays: which images train, validate and test, and how a batch is augmented.

Images lie on the device as they are stored (uint8); everything else happens there, from a child's own key. The
split is made from a fixed seed; a reward is computed on validation images only, test images are for reports.

`digits` (scikit-learn's 1,797 grey 8x8 images) needs no download. Plain digits are too easy to tell architectures apart,
so they are shifted and made noisy: anew at each training step, and in fixed copies for batch norm statistics, validation
and test. Ours; 500 training images and four copies were chosen for the agreement of two trainings of one cell.
"""

import dataclasses
import functools
import pathlib
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, Key
from nasjax.train import prepared

EMBEDDED = "digits"
CHUNK = 512
"""Held-out images of one forward pass."""

MOMENT_IMAGES = 1000
"""Most training images of the pass that gives batch norm its statistics."""

NO_LABEL = -1
"""Label of padding; such images count nowhere."""

DIGITS_SHIFT, DIGITS_NOISE, DIGITS_COPIES = 2, 0.2, 4
DIGITS_TEST, DIGITS_TRAIN = 360, 500
DIGITS_MEAN, DIGITS_FACTOR = 0.25702, 2.42047  # of the corrupted training copies


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """Which images a child is trained and judged on; what a config writes.

    Attributes:
      name: "digits", or a prepared data set (`nasjax data list`): cifar10, fashion_mnist, tiny_imagenet32.
      resolution: side in pixels to which images are scaled down; None = as they are.
      train_images: how many of the training split train; None = all that validation leaves.
      validation_images: how many of the training split validate; None = a tenth.
      test_images: how many of the test split test; None = all.
      split_seed: of the split into training and validation images.
      data_dir: where prepared data sets lie; None = TFDS_DATA_DIR, or TFDS's default.
    """

    name: str = EMBEDDED
    resolution: int | None = None
    train_images: int | None = None
    validation_images: int | None = None
    test_images: int | None = None
    split_seed: int = 0
    data_dir: str | pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """What is static of a task.

    Attributes:
      name: of the data set.
      resolution: side of the images in pixels.
      in_channels: of the images.
      classes: number of labels.
      train_images: images of an epoch.
      num_validation: held-out images up to here validate, the others test; copies counted.
      full_scale: the stored number that is 1.
      augmentation: "shift_noise" moves an image by up to two pixels and adds noise; "crop_flip" moves it by up to an
        eighth of its side and mirrors every second one.
    """

    name: str
    resolution: int
    in_channels: int
    classes: int
    train_images: int
    num_validation: int
    full_scale: int
    augmentation: Literal["shift_noise", "crop_flip"]


class Data(NamedTuple):
    """A task's arrays, on the device.

    Attributes:
      train: uint8[n, H, W, C].
      labels: int32[n].
      moments: float32 or uint8[m, H, W, C], fixed training images that give batch norm its statistics.
      held_out: float32 or uint8[chunks, b, H, W, C]: validation, then test, then padding.
      held_out_labels: int32[chunks, b]; `NO_LABEL` for padding.
      mean: float32[C], of the training images in units of `full_scale`.
      factor: float32[C], one over their deviation.
    """

    train: Array
    labels: Array
    moments: Array
    held_out: Array
    held_out_labels: Array
    mean: Array
    factor: Array


def load(settings: TaskSettings) -> tuple[Task, Data]:
    """Returns a task and its arrays. Host.

    Raises:
      ValueError: a setting is out of range, or asks for more images than there are.
      FileNotFoundError: the data set is not prepared; says which command does it.
    """
    for name in ("resolution", "train_images", "validation_images", "test_images"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ValueError(f"task {settings.name}: {name} is {value}; at least 1")
    if not 0 <= settings.split_seed < 2**32:
        raise ValueError(f"task {settings.name}: split_seed is {settings.split_seed}; 0 to 2**32 - 1")
    return _load_digits(settings) if settings.name == EMBEDDED else _load_prepared(settings)


def standardise(data: Data, images: Array) -> Array:
    """Returns images in units of `full_scale` with mean 0 and deviation 1: float32[..., H, W, C]."""
    shape = (1,) * (images.ndim - 1) + data.mean.shape
    shown: Array = (images - data.mean.reshape(shape)) * data.factor.reshape(shape)
    return shown


def unit(task: Task, images: Array) -> Array:
    """Returns stored images as float32 in units of `full_scale`; float32 ones are there already."""
    if images.dtype == jnp.uint8:
        scaled: Array = images.astype(jnp.float32) / jnp.asarray(task.full_scale, jnp.float32)
        return scaled
    return images


def augment(task: Task, key: Key, images: Array) -> Array:
    """Returns float32[B, H, W, C] in units of `full_scale`, each image changed at random; `key` is consumed.

    Args:
      task: says how.
      key: for shifts, mirroring, noise.
      images: uint8[B, H, W, C].
    """
    shift_key, other_key = jax.random.split(key)
    most = DIGITS_SHIFT if task.augmentation == "shift_noise" else max(1, task.resolution // 8)
    offsets = jax.random.randint(shift_key, (images.shape[0], 2), 0, 2 * most + 1)
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    size = images.shape[1:]
    moved = jax.vmap(lambda image, o: jax.lax.dynamic_slice(image, (o[0], o[1], 0), size))(padded, offsets)
    if task.augmentation == "shift_noise":
        noise = jax.random.normal(other_key, images.shape, jnp.float32)
        noisy: Array = unit(task, moved) + jnp.float32(DIGITS_NOISE) * noise
        return noisy
    mirrored = jax.random.bernoulli(other_key, 0.5, (images.shape[0], 1, 1, 1))
    return unit(task, jnp.where(mirrored, jnp.flip(moved, 2), moved))


@functools.lru_cache(maxsize=4)
def _load_digits(settings: TaskSettings) -> tuple[Task, Data]:
    for name in ("resolution", "train_images", "validation_images", "test_images"):
        if getattr(settings, name) is not None:
            raise ValueError(f"task digits: {name} is {getattr(settings, name)}; its protocol is fixed, leave it None")
    if settings.split_seed:
        raise ValueError(f"task digits: split_seed is {settings.split_seed}; its split is fixed, leave it 0")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = images.reshape(-1, 8, 8).astype(np.uint8)
    labels = labels.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(pixels))
    test, train, validation = np.split(order, [DIGITS_TEST, DIGITS_TEST + DIGITS_TRAIN])
    held_out = np.concatenate(
        [
            _corrupted(pixels[part], first + copy)
            for part, first in ((validation, 200), (test, 300))
            for copy in range(4)
        ]
    )
    held_out_labels = np.concatenate([labels[part] for part in (validation, test) for _ in range(DIGITS_COPIES)])
    task = Task(EMBEDDED, 8, 1, 10, DIGITS_TRAIN, DIGITS_COPIES * validation.size, 16, "shift_noise")
    return task, _on_device(
        pixels[train][..., None],
        labels[train],
        _corrupted(pixels[train], 100)[..., None],
        held_out[..., None],
        held_out_labels,
        np.array([DIGITS_MEAN]),
        np.array([DIGITS_FACTOR]),
    )


def _corrupted(pixels: np.ndarray, seed: int) -> np.ndarray:
    """float32[n, 8, 8], one fixed shifted and noisy copy of uint8[n, 8, 8]."""
    rng = np.random.default_rng(seed)
    offsets = rng.integers(-DIGITS_SHIFT, DIGITS_SHIFT + 1, (len(pixels), 2))
    padded = np.pad(pixels / 16, ((0, 0), (2, 2), (2, 2)))
    moved = np.stack([image[2 + a : 10 + a, 2 + b : 10 + b] for image, (a, b) in zip(padded, offsets, strict=True)])
    return np.asarray(moved + DIGITS_NOISE * rng.standard_normal(moved.shape), np.float32)


@functools.lru_cache(maxsize=4)
def _load_prepared(settings: TaskSettings) -> tuple[Task, Data]:
    splits = prepared.read(settings.name, settings.data_dir)
    classes = len(prepared.class_names(settings.name, settings.data_dir))
    order = np.random.default_rng(settings.split_seed).permutation(len(splits["train"].images))
    num_validation = settings.validation_images or max(1, len(order) // 10)
    num_train = settings.train_images or len(order) - num_validation
    num_test = settings.test_images or len(splits["test"].images)
    for what, wanted, there in (
        ("train_images + validation_images", num_train + num_validation, len(order)),
        ("test_images", num_test, len(splits["test"].images)),
    ):
        if wanted > there or num_train < 1:
            raise ValueError(f"task {settings.name}: {what} is {wanted:,}; the prepared split has {there:,} images")
    chosen_validation, chosen_train = order[:num_validation], order[num_validation : num_validation + num_train]
    side = splits["train"].images.shape[1]
    if settings.resolution is not None and settings.resolution > side:
        raise ValueError(f"task {settings.name}: resolution is {settings.resolution}; at most {side}, as stored")

    def scaled(split: str, rows: np.ndarray) -> np.ndarray:
        return _shrunk(splits[split].images[rows], settings.resolution or side)

    train, tests = scaled("train", chosen_train), np.arange(num_test)
    held_out = np.concatenate([scaled("train", chosen_validation), scaled("test", tests)])
    held_out_labels = np.concatenate([splits["train"].labels[chosen_validation], splits["test"].labels[tests]])
    mean = np.array([train[..., c].mean(dtype=np.float64) / 255 for c in range(train.shape[-1])])
    deviation = np.array([train[..., c].std(dtype=np.float64) / 255 for c in range(train.shape[-1])])
    resolution, channels = train.shape[1], train.shape[3]
    task = Task(settings.name, resolution, channels, classes, len(train), num_validation, 255, "crop_flip")
    return task, _on_device(
        train,
        splits["train"].labels[chosen_train],
        train[:MOMENT_IMAGES],
        held_out,
        held_out_labels,
        mean,
        1 / np.maximum(deviation, 1e-6),
    )


def _shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """uint8[n, side, side, C]: means over the pixels that a new one covers."""
    old = images.shape[1]
    if side == old:
        return images
    if old % side == 0:
        blocks = images.reshape(len(images), side, old // side, side, old // side, images.shape[-1])
        return np.asarray(np.rint(blocks.mean((2, 4), dtype=np.float32)), np.uint8)
    from PIL import Image

    shrunk = [Image.fromarray(image.squeeze()).resize((side, side), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image) for image in shrunk]).reshape(len(images), side, side, -1)


def _on_device(
    train: np.ndarray,
    labels: np.ndarray,
    moments: np.ndarray,
    held_out: np.ndarray,
    held_out_labels: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
) -> Data:
    chunks = -(-len(held_out) // CHUNK)
    width = -(-len(held_out) // chunks)  # even chunks: as little padding as can be
    missing = chunks * width - len(held_out)
    padded = np.concatenate([held_out, np.zeros((missing, *held_out.shape[1:]), held_out.dtype)])
    padded_labels = np.concatenate([held_out_labels, np.full(missing, NO_LABEL)])
    return Data(
        jnp.asarray(train),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(moments),
        jnp.asarray(padded.reshape(chunks, width, *held_out.shape[1:])),
        jnp.asarray(padded_labels.reshape(chunks, width), jnp.int32),
        jnp.asarray(mean, jnp.float32),
        jnp.asarray(factor, jnp.float32),
    )
