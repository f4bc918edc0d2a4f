"""What is static in a search by GraphPNAS: sizes, schedules and the model, from settings, space and budget."""

import dataclasses
import functools
from typing import cast

import jax.numpy as jnp

from nasjax.base import Alphabet, Array, Generable, Space
from nasjax.generator import GeneratorConfig
from nasjax.methods import drawing, elites, encoding
from nasjax.methods.graphpnas_settings import Settings
from nasjax.methods.refit import Refit


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is static in a search.

    Attributes:
      settings: with what `fidelity` fills in (`Settings.resolved`).
      space: can be written row by row.
      budget: most unique queries.
    """

    settings: Settings
    space: Generable
    budget: int

    @property
    def free_repeats(self) -> bool:
        """Whether the reward of a known canonical key, in another encoding, is recalled and counts for nothing."""
        return self.settings.dedupe == "encoding" and not self.settings.count_repeats

    @property
    def least_steps(self) -> int:
        """Steps that the budget takes where every row counts."""
        return -(-self.budget // self.settings.batch)

    @property
    def steps(self) -> int:
        """Most steps: a recalled repeat uses up its row."""
        return self.least_steps * (2 if self.free_repeats else 1)

    @property
    def rows(self) -> int:
        """Rows of the archive; recalled repeats stand in it too."""
        return self.steps * self.settings.batch if self.free_repeats else self.budget

    @property
    def first_refit(self) -> int:
        """The batch before which the generator is fitted for the first time."""
        return 1 if self.settings.refit_during_explore else self.settings.explore_iters

    @functools.cached_property
    def seen_space(self) -> Space:
        """The space by whose keys the history tells what is new."""
        return encoding.by_encoding(self.space) if self.settings.dedupe == "encoding" else self.space

    @functools.cached_property
    def alphabet(self) -> Alphabet:
        """The space's, without `mask_ops`."""
        alphabet, extra = self.space.alphabet, set(self.settings.mask_ops)
        if alphabet.edge_labels:
            return alphabet._replace(masked_edges=tuple(sorted(extra | set(alphabet.masked_edges))))
        return alphabet._replace(masked_nodes=tuple(sorted(extra | set(alphabet.masked_nodes))))

    @functools.cached_property
    def config(self) -> GeneratorConfig:
        """The generator's."""
        settings = self.settings
        return GeneratorConfig(
            self.alphabet,
            hidden=settings.hidden,
            rounds=settings.rounds,
            mixture=settings.mixture,
            form=settings.form,
            none_label=settings.none_label or "mask",
            node_label_input=settings.node_label_input,
            label_after_edges=settings.label_after_edges,
        )

    @functools.cached_property
    def model(self) -> drawing.Model:
        """The generator as what is sampled and scored."""
        return drawing.graph_model(self.config)

    @property
    def refit(self) -> Refit:
        """Minibatches of two of the elite, or with `full_batch` all of it at every step."""
        settings = self.settings
        rate = cast(float, settings.learning_rate)
        if settings.full_batch:
            return Refit(max(self.sizes), rate, settings.steps, shuffle=False, stop_at=settings.stop_at)
        return Refit(2, rate, stop_at=settings.stop_at)

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """Largest elite by the size of the archive."""
        settings = self.settings
        arguments = (settings.elite, self.rows, settings.elite_schedule, settings.elite_fraction)
        return tuple(elites.elite_sizes(settings.elite_rule, *arguments).tolist())

    def epochs(self, step: Array) -> Array:
        """int32[], epochs of a refit from scratch before batch `step`."""
        settings = self.settings
        if settings.full_batch:
            return jnp.asarray(settings.steps, jnp.int32)
        full = settings.epochs
        if not settings.epoch_ramp:
            return jnp.asarray(full, jnp.int32)
        before = step - 1  # the code counts the batch after which it refits
        third = jnp.where(3 * before < 2 * full, 2 * full // 3, full)
        epochs: Array = jnp.where(3 * before < full, full // 3, third).astype(jnp.int32)
        return epochs
