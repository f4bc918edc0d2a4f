"""Really trained children as an evaluator: the reward of an architecture is what its network reaches on validation images."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Arch, Array, Evaluation, Key, Space, evaluation_key
from nasjax.spaces.nasbench201 import NasBench201, operations
from nasjax.train import data as images
from nasjax.train.data import TaskSettings
from nasjax.train.executors import Executor, Population
from nasjax.train.networks.nasbench201 import Skeleton, cost, counted
from nasjax.train.recipe import Hyper, Recipe, Scores

REWARDS = ("neg_val_ce", "val_acc")


@dataclasses.dataclass(frozen=True)
class ChildTraining:
    """Trains each architecture from scratch.

    Attributes:
      task: the images.
      channels: width of the child's first stage.
      cells: cells in each of its three stages.
      recipe: how it is trained.
      executor: how a population is trained; "auto" by the devices there are.
      chunk: children in flight; None = by the executor.
      reward: "neg_val_ce", minus the mean cross-entropy on validation images in nats, or "val_acc", the share of them
        classified correctly.
    """

    task: TaskSettings = TaskSettings()
    channels: int = 8
    cells: int = 1
    recipe: Recipe = Recipe()
    executor: Executor = "auto"
    chunk: int | None = None
    reward: Literal["neg_val_ce", "val_acc"] = "neg_val_ce"

    def build(self, space: Space) -> "Children":
        """Returns the evaluator for a space; loads the images.

        Raises:
          ValueError: a setting is out of range, or the space has no child network.
          FileNotFoundError: the data set is not prepared; says which command does it.
        """
        if not isinstance(space, NasBench201):
            raise ValueError(f"child training: no child network for the space {space.name!r}; one of nasbench201")
        if self.reward not in REWARDS:
            raise ValueError(f"child training: reward is {self.reward!r}; one of {', '.join(REWARDS)}")
        task, data = images.load(self.task)
        self.recipe.check(task)
        skeleton = Skeleton(self.channels, self.cells, task.resolution, task.classes, task.in_channels)
        population = Population(skeleton, self.recipe, task, data, self.executor, self.chunk)
        return Children(space, skeleton, population, self.reward)


@dataclasses.dataclass(frozen=True)
class Children:
    """An evaluator; called from the host.

    Attributes:
      space: of the architectures.
      skeleton: their network.
      population: trains them.
      reward: which score is the reward.
    """

    space: NasBench201
    skeleton: Skeleton
    population: Population
    reward: str

    @property
    def pure(self) -> bool:
        """False: children are trained by programs of their own."""
        return False

    def __call__(self, key: Key, archs: Arch) -> Evaluation:
        """Trains Arch[B]; each child's key is the run's `key` with its canonical key folded in.

        `cost` is multiply-adds: those of one image's forward pass times the images of the training.
        """
        return self.evaluate(archs, _child_keys(self.space, key, archs))

    def evaluate(self, archs: Arch, keys: Key, hyper: Hyper | None = None) -> Evaluation:
        """Trains Arch[B] with Key[B], and learning rates and weight decays of their own where given."""
        scores: Scores = self.population.train(archs, keys, hyper)
        recipe, task = self.population.recipe, self.population.task
        macs = counted(np.asarray(operations(archs)), self.skeleton).macs
        reward = -scores.val_ce if self.reward == "neg_val_ce" else scores.val_acc
        metrics: dict[str, Any] = scores._asdict()
        return Evaluation(
            reward=jnp.asarray(reward, jnp.float32),
            valid=jnp.isfinite(scores.val_ce) & jnp.isfinite(scores.val_acc),
            cost=jnp.asarray(macs * np.float64(recipe.num_steps(task) * recipe.batch), jnp.float32),
            metrics=metrics,
        )

    def describe(self, arch: Arch) -> dict[str, int]:
        """Returns an architecture's exact parameters and multiply-adds of one image."""
        found = cost(arch, self.skeleton)
        return {"params": found.params, "macs": found.macs}


@functools.partial(jax.jit, static_argnums=0)
def _child_keys(space: NasBench201, key: Key, archs: Arch) -> Array:
    return jax.vmap(lambda arch: evaluation_key(key, space.canonical_key(arch)))(archs)
