"""A child network and a task that compile in a second, for tests of what surrounds the real ones."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.spaces.nasbench201 import NasBench201, operations
from nasjax.train.data import Data, Task
from nasjax.train.recipe import Recipe

SPACE = NasBench201()
TASK = Task("tiny", 4, 1, 3, train_images=24, num_validation=10, full_scale=16, augmentation="shift_noise")
RECIPE = Recipe(epochs=3, batch=6, learning_rate=0.1)


class Params(NamedTuple):
    first: jax.Array
    second: jax.Array


@dataclasses.dataclass(frozen=True)
class TinyNetwork:
    """Pixels -> 5 normalised features, changed by the first two operations -> logits."""

    def init(self, key):
        first, second = jax.random.split(key)
        return Params(
            jax.random.normal(first, (16, 5), jnp.float32) / 4, jax.random.normal(second, (5, 3), jnp.float32) / 2
        )

    def apply(self, params, arch, images, statistics=None, form="switch"):
        return self._forward(params, operations(arch)[:2], images, statistics, form)

    def static_apply(self, params, arch, images, statistics=None):
        return self._forward(params, np.asarray(operations(arch))[:2], images, statistics, "static")

    def _forward(self, params, ops, images, statistics, form):
        x = images.reshape(images.shape[0], -1) @ params.first
        used = (x.mean(0), x.var(0)) if statistics is None else statistics
        x = (x - used[0][None]) / jnp.sqrt(used[1] + jnp.asarray(1e-5, x.dtype))[None]
        branches = [lambda x: 0 * x, lambda x: x, jnp.tanh, jnp.sin, lambda x: jnp.flip(x, 1)]
        for place in range(2):
            if form == "switch":
                x = jax.lax.switch(ops[place], branches, x)
            elif form == "dense":
                x = sum(jnp.where(ops[place] == i, branch(x), 0) for i, branch in enumerate(branches))
            else:
                x = branches[int(ops[place])](x)
        return x @ params.second, jax.tree.map(jax.lax.stop_gradient, used)


def data(seed=0):
    """Three classes that a line can nearly tell apart; 10 validation and 8 test images in two chunks of 10."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 42)
    pixels = np.clip(rng.normal(6, 2, (42, 4, 4, 1)) + 3 * (labels[:, None, None, None] - 1), 0, 16)
    held_out = np.concatenate([pixels[24:], np.zeros((2, 4, 4, 1))]).reshape(2, 10, 4, 4, 1)
    held_out_labels = np.concatenate([labels[24:], [-1, -1]]).reshape(2, 10)
    return Data(
        jnp.asarray(pixels[:24].astype(np.uint8)),
        jnp.asarray(labels[:24], jnp.int32),
        jnp.asarray(pixels[:24].astype(np.uint8)),
        jnp.asarray(held_out.astype(np.uint8)),
        jnp.asarray(held_out_labels, jnp.int32),
        jnp.array([0.4], jnp.float32),
        jnp.array([4.0], jnp.float32),
    )


def children(num, seed=0):
    """Returns (Arch[num], Key[num]); all first two operations differ from `none`."""
    rng = np.random.default_rng(seed)
    ops = rng.integers(1, 5, (num, 6))
    return SPACE.from_operations(jnp.asarray(ops, jnp.int32)), jax.random.split(jax.random.key(seed), num)
