"""How one child network is trained and judged: optimiser, schedule, epochs, and the pass that follows. Pure.

The defaults are those of the `digits` task. SGD with Nesterov momentum and a cosine to zero, as NAS-Bench-201 (Dong and
Yang, arXiv:2001.00326, table 1) trains, with its own rate and length.
"""

import dataclasses
from collections.abc import Hashable
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from nasjax.base import Arch, Array, Key, PyTree
from nasjax.train.data import NO_LABEL, Data, Task, augment, standardise, unit

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of a training; static.

    Attributes:
      epochs: passes over the training images, each in a fresh order, the last incomplete batch left out.
      batch: images of a step.
      learning_rate: of the first step; falls to 0 along a half cosine.
      momentum: Nesterov's.
      weight_decay: added to the gradient of all parameters.
      label_smoothing: share of a label that is spread over all classes.
      augmentation: whether training images are changed at random.
      dtype: of images and activations; the parameters that are trained stay float32 (float64 in float64).
    """

    epochs: int = 20
    batch: int = 32
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    augmentation: bool = True
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"

    def check(self, task: Task) -> None:
        """Looks at every setting.

        Raises:
          ValueError: one is out of range; what was given and what is allowed.
        """
        ranges = {
            "epochs": (1, 10**6),
            "batch": (2, task.train_images),
            "learning_rate": (0, 1e3),
            "momentum": (0, 1),
            "weight_decay": (0, 1),
            "label_smoothing": (0, 1),
        }
        for name, (least, most) in ranges.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"recipe: {name} is {getattr(self, name)!r}; from {least} to {most:g}")
        if self.dtype not in DTYPES:
            raise ValueError(f"recipe: dtype is {self.dtype!r}; one of {', '.join(DTYPES)}")
        if jax.dtypes.canonicalize_dtype(DTYPES[self.dtype]) != DTYPES[self.dtype]:  # jax would round without a word
            raise ValueError("recipe: dtype is 'float64'; it needs jax's 64 bits, JAX_ENABLE_X64=1")

    def num_steps(self, task: Task) -> int:
        """Returns the number of steps of a training."""
        return self.epochs * (task.train_images // self.batch)


class Hyper(NamedTuple):
    """What may differ from child to child; float32[] for one child, float32[K] for a population."""

    learning_rate: Array
    weight_decay: Array


class Network(Hashable, Protocol):
    """A child network whose architecture is an argument; a frozen dataclass, static under jit."""

    def init(self, key: Key) -> PyTree:
        """Returns float32 parameters for every architecture."""

    def apply(self, params: Any, arch: Any, images: Array, statistics: Any = None, form: str = "switch") -> Any:
        """Returns (logits float[B, classes], the batch norms' statistics: of this batch, or as given)."""

    def static_apply(self, params: Any, arch: Any, images: Array, statistics: Any = None) -> Any:
        """`apply` for one concrete architecture, which becomes part of the program."""


class Scores(NamedTuple):
    """What a trained child is worth: float32[] each."""

    val_ce: Array  # mean cross-entropy on validation images, nats
    val_acc: Array  # share of them classified correctly
    test_ce: Array
    test_acc: Array


def train_child(
    network: Network,
    recipe: Recipe,
    task: Task,
    form: str,
    data: Data,
    arch: Arch,
    key: Key,
    hyper: Hyper,
) -> Scores:
    """Returns the scores of one child, trained from scratch.

    Args:
      network: static.
      recipe: static.
      task: static.
      form: "switch" or "dense" (`Network.apply`), or "static": then `arch` is concrete.
      data: the task's arrays.
      arch: one architecture.
      key: `fold_in(key, 0)` draws the weights, `fold_in(key, 1)` batches and augmentation.
      hyper: learning rate and weight decay.
    """
    dtype = DTYPES[recipe.dtype]
    kept = jnp.float64 if recipe.dtype == "float64" else jnp.float32

    def apply(params: PyTree, images: Array, statistics: PyTree = None) -> tuple[Array, PyTree]:
        cast = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
        shown = standardise(data, images).astype(dtype)
        if form == "static":
            logits, used = network.static_apply(cast, arch, shown, statistics)
        else:
            logits, used = network.apply(cast, arch, shown, statistics, form)
        return logits.astype(kept), used

    def loss(params: PyTree, images: Array, labels: Array) -> Array:
        logits, _ = apply(params, images)
        target = jax.nn.one_hot(labels, task.classes, dtype=kept)
        if recipe.label_smoothing:
            target = optax.smooth_labels(target, recipe.label_smoothing)
        mean: Array = optax.softmax_cross_entropy(logits, target).mean()
        return mean

    weights_key, batches_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    params = jax.tree.map(lambda leaf: leaf.astype(kept), network.init(weights_key))
    schedule = optax.cosine_decay_schedule(1.0, recipe.num_steps(task))
    optimiser = optax.chain(
        optax.add_decayed_weights(hyper.weight_decay.astype(kept)),
        optax.trace(recipe.momentum, nesterov=True),
        optax.scale_by_schedule(lambda step: -hyper.learning_rate.astype(kept) * schedule(step.astype(kept))),
    )
    steps = task.train_images // recipe.batch

    def epoch(carry: PyTree, number: Array) -> tuple[PyTree, None]:
        order_key, augment_key = jax.random.split(jax.random.fold_in(batches_key, number))
        order = jax.random.permutation(order_key, task.train_images)[: steps * recipe.batch]

        def step(carry: PyTree, given: tuple[Array, Array]) -> tuple[PyTree, None]:
            params, state = carry
            rows, number = given
            stored = data.train[rows]
            change = jax.random.fold_in(augment_key, number)
            images = augment(task, change, stored) if recipe.augmentation else unit(task, stored)
            gradient = jax.grad(loss)(params, images, data.labels[rows])
            updates, state = optimiser.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, carry, (order.reshape(steps, recipe.batch), jnp.arange(steps)))

    (params, _), _ = jax.lax.scan(epoch, (params, optimiser.init(params)), jnp.arange(recipe.epochs))
    # Batch norm of a short training has no settled moving average: one pass over training images gives the statistics.
    _, statistics = apply(params, unit(task, data.moments))

    def judge(chunk: tuple[Array, Array]) -> tuple[Array, Array]:
        images, labels = chunk
        logits, _ = apply(params, unit(task, images), statistics)
        safe = jnp.maximum(labels, 0)
        ce = optax.softmax_cross_entropy_with_integer_labels(logits, safe)
        return ce, (jnp.argmax(logits, -1).astype(safe.dtype) == safe).astype(kept)

    ce, hit = (v.reshape(-1) for v in jax.lax.map(judge, (data.held_out, data.held_out_labels)))
    labels = data.held_out_labels.reshape(-1)
    validates = jnp.arange(labels.size) < task.num_validation
    means = [
        jnp.where(mask, value, 0).sum() / mask.sum(dtype=kept)
        for mask in (validates, ~validates & (labels != NO_LABEL))
        for value in (ce, hit)
    ]
    return Scores(*means)
