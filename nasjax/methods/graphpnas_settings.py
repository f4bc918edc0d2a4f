"""The settings of GraphPNAS: what they mean, what `fidelity` fills in, and which values are refused."""

import dataclasses
import typing
from typing import Literal, cast

from nasjax.base import Alphabet, Generable, Space
from nasjax.methods import elites


@dataclasses.dataclass(frozen=True)
class Settings:
    """`explore_iters` batches of the prior, then batches of a generator refitted to the elite before each of them.

    The defaults are those of the digits experiment. The paper's protocols, with its code's budget of queries:

    | | budget | batch | explore_iters | elite | epochs |
    |---|---|---|---|---|---|
    | NAS-Bench-101 | 150 | 10 | 3 | 15 | 70 |
    | NAS-Bench-201, CIFAR-10 | 100 | 1 | 30 | 15 | 70 |
    | NAS-Bench-201, CIFAR-100 | 100 | 1 | 15 | 10 | 60 |
    | NAS-Bench-201, ImageNet16-120 | 100 | 1 | 10 | 5 | 50 |
    | ENAS macro (ours) | 300 | 10 | 3 | 20 | 70 |
    | RandWire (ours) | 120 | 8 | 5 | 15 | 50 |

    Attributes:
      fidelity: what the fields below mean that say "by fidelity" and are None. "paper": the published method. "code": besides
        `none_label="code"`, `dedupe="encoding"`, `count_repeats=True`. "improved": `objective="nll"`,
        `prior_smoothing=0.1`, `screen="gp"`.
      batch: architectures a step.
      explore_iters: steps that draw from the space's prior.
      elite: M, number of best architectures that train the generator.
      epochs: E of a refit: ceil(elite / 2) · E steps.
      refit_every: batches between two refits, the first before the first batch that is generated.
      refit_during_explore: also refit where nobody samples; changes nothing but with `warm_start`.
      warm_start: what a refit keeps of the one before: nothing, the parameters, or ("all") Adam's moments too.
      warm_epochs: epochs of a refit that kept something.
      reset_every: start afresh at every n-th refit; None = never.
      full_batch: one step = the whole elite, `steps` of them, rate falling to 0 along a cosine.
      steps: Adam steps of a full-batch refit.
      learning_rate: Adam's; None = 1e-3, or 3e-3 with `full_batch` or `on_policy`.
      stop_at: stop a refit when the elite's weighted mean of -log p is below it, nats a graph; looked at once an epoch.
      epoch_ramp: E / 3, then 2 E / 3, then E epochs, changing where the number of batches passes E / 3 and 2 E / 3:
        what the published CIFAR-10 log shows and the released code lacks.
      objective: by fidelity. "code": the published loss with its weights; "nll": weighted mean of -log p.
      entropy: weight of an entropy bonus, estimated from draws of the generator.
      ensemble: number of generators; draws come from their average.
      elite_rule: "top": `elite` best. "schedule": as many as `elite_schedule` says. "fraction": ceil(`elite_fraction` ·
        archive), at least 5. "thompson": `elite` best by reward + `elite_noise` · N(0, 1).
      elite_schedule: pairs (least archive size, elite size), ascending from 0.
      elite_fraction: see `elite_rule`.
      elite_noise: in deviations of the archive's rewards.
      weights: of the elite, best 1: "rank", "log" (CMA-ES), "softmax" of reward / `weight_temperature`, "uniform".
      weight_temperature: in units of the reward.
      hidden: H of the generator.
      rounds: R, message-passing rounds.
      mixture: K, components of the Bernoulli mixture.
      form: of message passing: "jraph", or "dense": the same up to rounding, on CPUs faster in refits and slower in draws.
      none_label: by fidelity. Whether an edge that exists may be labelled "none": "mask" no, "code" yes.
      node_label_input: operators of earlier nodes enter the network.
      label_after_edges: a node's label is predicted with its edges known.
      node_order: of the elite's graphs: as "given", "augment" (a random topological order each time), "canonical" (by
        least rows). Without effect where edges carry labels.
      mask_ops: labels of the generator's alphabet (of edges; of nodes where edges have none) that are never generated.
      init_prior: start with the prior's label frequencies and edge rate in the last biases.
      rows_per_step: train on that many random rows of each graph; None = all.
      candidates: draws a step, of which the first new ones are evaluated.
      temperature: of the first generated batch; falls linearly to 1 at the last one.
      prior_smoothing: by fidelity, 0 with `on_policy`. Share of draws that come from the prior.
      screen: by fidelity, none with `on_policy`. Evaluate those of the first `screen_candidates` new draws that come out
        best by "likelihood", "ridge", "thompson" or "gnn" (`nasjax.methods.screen`), or by expected improvement under a
        Gaussian process with a learned distance ("gp", `nasjax.methods.graph_process`); "none": the first.
      screen_candidates: see `screen`.
      screen_every: batches between two fits of the "gp" screen's hyperparameters; the data are always all.
      dedupe: by fidelity. New means: another canonical "key", or another "encoding".
      count_repeats: by fidelity. With `dedupe="encoding"`, whether a known canonical key is evaluated and counted
        again; else its reward is recalled and its row is not live. Such a search needs more steps for its budget, and
        gets up to twice as many.
      on_policy: no elite; each generated batch updates the generator once by REINFORCE with leave-one-out ("loo") or
        rank ("rank") advantages. The draws are deduplicated, so the batch is not quite the generator's.
      inner_steps: Adam steps a batch.
      replay_is: on-policy updates use all generated architectures, weighted by min(p / p when drawn, 2).
    """

    fidelity: Literal["paper", "code", "improved"] = "paper"
    batch: int = 8
    explore_iters: int = 5
    elite: int = 15
    epochs: int = 70
    refit_every: int = 1
    refit_during_explore: bool = False
    warm_start: Literal["none", "params", "all"] = "none"
    warm_epochs: int = 7
    reset_every: int | None = None
    full_batch: bool = False
    steps: int = 100
    learning_rate: float | None = None
    stop_at: float | None = None
    epoch_ramp: bool = False
    objective: Literal["code", "nll"] | None = None
    entropy: float = 0.0
    ensemble: int = 1
    elite_rule: elites.Rule = "top"
    elite_schedule: tuple[tuple[int, int], ...] = ()
    elite_fraction: float = 0.15
    elite_noise: float = 0.5
    weights: elites.Weights = "rank"
    weight_temperature: float = 1.0
    hidden: int = 24
    rounds: int = 7
    mixture: int = 10
    form: Literal["jraph", "dense"] = "jraph"
    none_label: Literal["mask", "code"] | None = None
    node_label_input: bool = False
    label_after_edges: bool = False
    node_order: Literal["given", "augment", "canonical"] = "given"
    mask_ops: tuple[int, ...] = ()
    init_prior: bool = False
    rows_per_step: int | None = None
    candidates: int = 128
    temperature: float = 1.0
    prior_smoothing: float | None = None
    screen: Literal["none", "likelihood", "ridge", "thompson", "gnn", "gp"] | None = None
    screen_candidates: int = 64
    screen_every: int = 1
    dedupe: Literal["key", "encoding"] | None = None
    count_repeats: bool | None = None
    on_policy: Literal["none", "loo", "rank"] = "none"
    inner_steps: int = 1
    replay_is: bool = False

    def resolved(self) -> "Settings":
        """Returns the settings with `fidelity` and `learning_rate` written out."""
        values: dict[str, object] = dict(_PRESETS["paper"]) | dict(_PRESETS.get(self.fidelity, {}))
        if self.on_policy != "none":  # a policy's draws are its own, and all are taken
            values |= {"prior_smoothing": 0.0, "screen": "none"}
        values["learning_rate"] = 3e-3 if self.full_batch or self.on_policy != "none" else 1e-3
        open_fields = {name: value for name, value in values.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **open_fields)  # type: ignore[arg-type]

    def check(self, space: Space, budget: int) -> None:
        """Looks at every setting.

        Raises:
          ValueError: a setting is out of range, two of them exclude each other, or the space cannot be written
            row by row: names it, what was given and what is allowed.
        """
        missing = [name for name in ("alphabet", "to_rows", "from_rows") if not hasattr(space, name)]
        if missing:
            raise ValueError(
                f"graphpnas: the space {getattr(space, 'name', space)!r} cannot be written row by row: it has no "
                f"{', '.join(missing)}; a space with all three (nasjax.base.Generable) is needed"
            )
        if budget < 1:
            raise ValueError(f"graphpnas: the budget is {budget}; at least 1")
        for name, hint in typing.get_type_hints(Settings).items():
            choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
            for part in typing.get_args(hint):
                choices = choices or (typing.get_args(part) if typing.get_origin(part) is Literal else ())
            value = getattr(self, name)
            if choices and value is not None and value not in choices:
                raise ValueError(f"graphpnas: {name} is {value!r}; one of {', '.join(map(repr, choices))}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"graphpnas: {name} is {value!r}; at least {least}")
        for name, most in _POSITIVE.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise ValueError(
                    f"graphpnas: {name} is {value!r}; above 0" + (f", at most {most:g}" if most < 1e9 else "")
                )
        if not 0 <= (self.prior_smoothing or 0) <= 1:
            raise ValueError(f"graphpnas: prior_smoothing is {self.prior_smoothing!r}; from 0 to 1")
        alphabet = cast(Generable, space).alphabet
        labels, masked = alphabet.edge_labels or alphabet.node_labels, set(self.mask_ops)
        already = set(alphabet.masked_edges if alphabet.edge_labels else alphabet.masked_nodes)
        chosen = set(range(labels))
        if (
            not alphabet.edge_labels and alphabet.stop_label is not None
        ):  # that one ends the graph, 0 is the first node's
            chosen -= {0, alphabet.stop_label}
        if len(masked) < len(self.mask_ops) or not masked <= chosen or (chosen and chosen <= masked | already):
            raise ValueError(
                f"graphpnas: mask_ops is {self.mask_ops!r}; different labels of {min(chosen, default=0)}.."
                f"{max(chosen, default=-1)}, and not all that {space.name} has left"
            )
        least_sizes = [least for least, _ in self.elite_schedule]
        ascending = least_sizes == sorted(set(least_sizes)) and least_sizes[:1] == [0]
        if self.elite_rule == "schedule" and not (ascending and all(size >= 1 for _, size in self.elite_schedule)):
            raise ValueError(
                f"graphpnas: elite_schedule is {self.elite_schedule!r}; pairs (least archive size, elite size), the first "
                "of them ascending from 0, the second at least 1"
            )
        for name, needed, holds in _conflicts(self, alphabet):
            if not holds:
                raise ValueError(f"graphpnas: {name} is {getattr(self, name)!r}; {needed}")


_PRESETS: dict[str, dict[str, object]] = {
    "paper": {
        "objective": "code",
        "none_label": "mask",
        "prior_smoothing": 0.0,
        "screen": "none",
        "dedupe": "key",
        "count_repeats": False,
    },
    "code": {"none_label": "code", "dedupe": "encoding", "count_repeats": True},
    "improved": {"objective": "nll", "prior_smoothing": 0.1, "screen": "gp"},
}

_LEAST: dict[str, float] = {
    "batch": 1,
    "explore_iters": 0,
    "elite": 1,
    "epochs": 1,
    "refit_every": 1,
    "warm_epochs": 1,
    "reset_every": 1,
    "steps": 1,
    "entropy": 0,
    "ensemble": 1,
    "elite_noise": 0,
    "hidden": 1,
    "rounds": 1,
    "mixture": 1,
    "rows_per_step": 1,
    "candidates": 1,
    "screen_candidates": 1,
    "screen_every": 1,
    "inner_steps": 1,
}
_POSITIVE: dict[str, float] = {
    "learning_rate": 1e9,
    "weight_temperature": 1e9,
    "temperature": 1e9,
    "elite_fraction": 1,
}


def _conflicts(settings: Settings, alphabet: Alphabet) -> list[tuple[str, str, bool]]:
    """(setting, what it needs, whether that holds)."""
    default = Settings()
    policy = settings.on_policy != "none"
    table = [
        ("prior_smoothing", "on_policy draws from the generator alone: 0", not policy or not settings.prior_smoothing),
        ("temperature", "on_policy draws at 1, as the loss says", not policy or settings.temperature == 1),
        (
            "screen",
            "on_policy does not choose among its new draws: 'none'",
            not policy or settings.screen in (None, "none"),
        ),
        ("batch", "on_policy needs at least 2", not policy or settings.batch >= 2),
        ("replay_is", "it needs on_policy", policy or not settings.replay_is),
        ("inner_steps", "it needs on_policy", policy or settings.inner_steps == 1),
        ("reset_every", "it needs warm_start", settings.warm_start != "none" or settings.reset_every is None),
        (
            "elite_schedule",
            "it needs elite_rule='schedule'",
            settings.elite_rule == "schedule" or not settings.elite_schedule,
        ),
        (
            "warm_start",
            "full_batch ends at rate 0: none or params",
            settings.warm_start != "all" or not settings.full_batch,
        ),
        ("epoch_ramp", "full_batch has steps instead", not (settings.epoch_ramp and settings.full_batch)),
        ("node_label_input", "nodes have no labels here", alphabet.node_labels > 0 or not settings.node_label_input),
        ("label_after_edges", "nodes have no labels here", alphabet.node_labels > 0 or not settings.label_after_edges),
    ]
    elite_only = (
        "refit_every",
        "refit_during_explore",
        "warm_start",
        "full_batch",
        "stop_at",
        "epoch_ramp",
        "ensemble",
        "node_order",
    )
    unused = [name for name in elite_only if policy and getattr(settings, name) != getattr(default, name)]
    return table + [(name, "on_policy refits no elite", False) for name in unused]
