"""The types that everything else stands on: architectures, spaces, evaluators, methods.

An architecture is a fixed-shape pytree of small integers, so that one compiled program serves every architecture of a
space. A method is three pure functions on a state pytree, so that a search is a scan, many searches are its vmap and a
checkpoint is the state. The step is an argument of `ask` and `tell` and never part of the state: `lax.cond` on it stays
one branch when the state is batched.

Shapes: `...` stands for any leading batch axes, `N` for the nodes of a space, `B` for the rows of a batch.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
"""A typed PRNG key (`jax.random.key`). A function that takes one consumes it: pass it once."""

Arch: TypeAlias = Any
"""A pytree of arrays, as the space says: a `Graph` for most, a `Graph` with a leading stage axis for others."""

PyTree: TypeAlias = Any


class Graph(NamedTuple):
    """A labelled DAG, nodes in topological order, padded to the space's size N.

    Attributes:
      nodes: int32[..., N], the label of each node; 0 = absent.
      edges: int32[..., N, N], `edges[i, j]` = label of the edge i -> j for i < j; 0 = no edge.
    """

    nodes: Array
    edges: Array


class Rows(NamedTuple):
    """A graph as a row-wise autoregressive generator writes it: node by node, each with its incoming edges.

    Labels are the generator's alphabets (`Alphabet`), which start at 0 for nodes too; papers write `edges` as L or A.

    Attributes:
      edges: int32[..., N, N], strictly lower triangular; `edges[t, j]` = label of j -> t, 0 = no edge. Where the alphabet
        has no edge labels, 0 or 1.
      nodes: int32[..., N], label of node t in 0..node_labels-1; zeros where nodes have no labels.
      size: int32[...], number of nodes that exist; rows from `size` on mean nothing.
    """

    edges: Array
    nodes: Array
    size: Array


class Alphabet(NamedTuple):
    """What a space's `Rows` are made of; static.

    Attributes:
      num_nodes: N.
      node_labels: size of the node alphabet, 0 where nodes have none.
      edge_labels: size of the edge alphabet including 0 = "no edge"; 0 where an edge is only present or absent.
      first_labelled: the first node whose label is modelled; those before have a fixed label.
      stop_label: the node label that ends a graph, None where every graph has N nodes.
      masked_nodes: node labels outside the space's operation subset: never generated.
      masked_edges: edge labels outside the subset. 0 among them means that every edge is present.
      chain: whether the edge t-1 -> t always exists: it stands in `Rows.edges`, nobody chooses it. Only where edges have
        no labels.
      described: for each label (of edges where those have labels, else of nodes) numbers that say what its operation is:
        like ones lie close. () where nothing is known of them.
    """

    num_nodes: int
    node_labels: int = 0
    edge_labels: int = 0
    first_labelled: int = 0
    stop_label: int | None = None
    masked_nodes: tuple[int, ...] = ()
    masked_edges: tuple[int, ...] = ()
    chain: bool = False
    described: tuple[tuple[float, ...], ...] = ()


class Origin(enum.IntEnum):
    """Where a proposal came from; `Proposals.origin`."""

    PRIOR = 0  # the space's prior: random search, warm-up, exploring phase
    MODEL = 1  # a learned model's sample, with the share of the prior that a method mixes into it
    EDIT = 2  # an edit of an evaluated architecture
    REFILL = 3  # the prior again, because all candidates had been seen
    FALLBACK = 4  # uniform over unseen classes, or a table's rows, because candidates and refills had all been seen


class Proposals(NamedTuple):
    """What a method asks for.

    Attributes:
      archs: Arch[B].
      live: bool[B]; False = neither evaluated nor counted (the last batch of a budget, an exhausted space).
      origin: int32[B], an `Origin`.
      info: diagnostics of this batch by name, float32[]; logged and drawn, never read by the method. The names are the
        same at every step.
    """

    archs: Arch
    live: Array
    origin: Array
    info: dict[str, Array]


class Evaluation(NamedTuple):
    """What came back for a batch.

    Attributes:
      reward: float32[B], higher is better.
      valid: bool[B]; False = evaluated and counted, but without a usable reward (diverged), and never proposed again.
      cost: float32[B], deterministic: table seconds, or steps x multiply-adds; never a clock.
      metrics: float32[B] by name. Test metrics may be among them; a reward never contains one.
    """

    reward: Array
    valid: Array
    cost: Array
    metrics: dict[str, Array]


@runtime_checkable
class Space(Protocol):
    """A search space: a frozen dataclass, hashable, static under jit. Functions are for one architecture; vmap them."""

    @property
    def name(self) -> str:
        """The name that configs, reports and errors use."""

    def sample(self, key: Key) -> Arch:
        """Returns a draw from the prior; `key` is consumed. Fixed shape, no rejection on the host."""

    def is_valid(self, arch: Arch) -> Array:
        """Returns bool[]: labels in range, edges upward, and the space's own rules."""

    def canonical_key(self, arch: Arch) -> Array:
        """Returns uint32[2] = [hi, lo], equal for architectures that are the same network; made on the device."""

    def mutate(self, key: Key, arch: Arch) -> Arch:
        """Returns `arch` after exactly one edit: valid and never the identity; `key` is consumed."""

    def neighbours(self, arch: Arch) -> tuple[Arch, Array]:
        """Returns all one-edit neighbours, (Arch[M], bool[M] = valid); M is static."""

    def graphs(self, arch: Arch) -> Graph:
        """Returns Graph[..., G, N], pruned: what graph networks see."""

    def to_spec(self, arch: Arch) -> str:
        """Returns the string that the community writes. Host."""

    def from_spec(self, spec: str) -> Arch:
        """Reads such a string. Host.

        Raises:
          ValueError: naming the position, what stood there and what is allowed.
        """


@runtime_checkable
class Enumerable(Space, Protocol):
    """A space small enough to list. Architectures are numbered by `index`, their classes by `class_of`."""

    @property
    def size(self) -> int:
        """Number of architectures, equal ones counted apart."""

    @property
    def num_classes(self) -> int:
        """Number of classes of the full space (all operations), the range of `class_of`."""

    def all(self) -> Arch:
        """Returns Arch[size], in the order of `index`."""

    def index(self, arch: Arch) -> Array:
        """Returns int32[], the architecture's place in `all()`."""

    def class_of(self, index: Array) -> Array:
        """Returns int32[], the dense id (0..num_classes-1) of the class of equal networks that holds `all()[index]`."""

    def class_members(self) -> Array:
        """Returns int32[num_classes]: smallest `index` of each class within this space, -1 where it has none."""


@runtime_checkable
class Factored(Space, Protocol):
    """A space that is a product of independent choices, up to validity: D decisions, decision d one of `choices[d]`.

    What models without graphs stand on: independent categoricals, one-hot encodings, bitwise mutation.
    """

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of values of each decision, each at least 1; static, and of one order for all architectures."""

    @property
    def none_choices(self) -> tuple[int, ...]:
        """For each decision the value that says "nothing here" (no operation), -1 where it has none; static."""

    def decisions(self, arch: Arch) -> Array:
        """Returns int32[D]; an architecture whose parts are absent says for them what `from_decisions` ignores."""

    def from_decisions(self, decisions: Array) -> Arch:
        """Returns the architecture of int32[D]; one that `is_valid` refuses where the decisions do not fit together."""


@runtime_checkable
class PathEncoded(Space, Protocol):
    """A space whose architectures are told apart by the operations along their paths."""

    @property
    def num_paths(self) -> int:
        """Number of sequences of operations that a path can have, F; static."""

    def paths(self, arch: Arch) -> Array:
        """Returns float32[F]: 1 for each sequence that a live path from input to output has, else 0."""


@runtime_checkable
class Generable(Space, Protocol):
    """A space whose architectures a row-wise graph generator can write."""

    @property
    def alphabet(self) -> Alphabet:
        """Sizes and labels of `Rows` for this space; static."""

    def to_rows(self, arch: Arch) -> Rows:
        """Returns the architecture in the generator's form."""

    def from_rows(self, rows: Rows) -> Arch:
        """Returns the architecture that `rows` say; one that `is_valid` refuses where they say none."""


@runtime_checkable
class Partial(Space, Protocol):
    """A space of which a part only can be evaluated, for example what has a row in a table; the rest counts as seen.

    `history` asks spaces that are not `Enumerable`; those say it by `class_members`.
    """

    def has_row(self, arch: Arch) -> Array:
        """Returns bool[], whether the architecture can be evaluated."""

    def sample_row(self, key: Key) -> Arch:
        """Returns an architecture that can be evaluated, one of each network, each equally likely."""


@runtime_checkable
class Evaluator(Protocol):
    """Rewards for a batch. A pytree: its arrays are arguments of the compiled program, never constants in it.

    `pure` evaluators may be traced (tables, proxies); the others are called from the host (populations of children).
    """

    @property
    def pure(self) -> bool:
        """Whether the call can be traced."""

    def __call__(self, key: Key, archs: Arch) -> Evaluation:
        """Evaluates Arch[B]. `key` is the run's; each architecture folds its canonical key into it (`evaluation_key`)."""


InitFn: TypeAlias = Callable[[Key], PyTree]
AskFn: TypeAlias = Callable[[PyTree, Key, Array], tuple[Proposals, PyTree]]
TellFn: TypeAlias = Callable[[PyTree, Proposals, Evaluation, Array], PyTree]


class Method(NamedTuple):
    """A search method.

    Attributes:
      init: key -> state.
      ask: (state, key, step) -> (proposals, state); `step` int32[], unbatched.
      tell: (state, proposals, evaluation, step) -> state.
      batch: rows of a step.
      learned: whether it trains a model. Then its bits depend on the compiled program, and many searches run one after
        another on a CPU, where those of other methods stand side by side.
      steps: most steps of a search; None = ceil(budget / batch), all that the budget takes where every row counts. More
        where rows may be dead before the budget is spent; those after that ask for nothing.
    """

    init: InitFn
    ask: AskFn
    tell: TellFn
    batch: int
    learned: bool = False
    steps: int | None = None


@runtime_checkable
class MethodSettings(Protocol):
    """A method's frozen dataclass of settings: what a config writes and the command line overrides."""

    def build(self, space: Any, budget: int) -> Method:
        """Returns the method for at most `budget` unique queries.

        Raises:
          ValueError: a setting is out of range, or the space lacks what the method needs.
        """


def evaluation_key(run_key: Key, canonical_key: Array) -> Key:
    """Returns the key of one architecture's evaluation: the run's key with the canonical key folded in, hi then lo.

    So a child's result depends neither on its neighbours in the batch nor on the batch's size, order or devices.
    """
    return jax.random.fold_in(jax.random.fold_in(run_key, canonical_key[0]), canonical_key[1])
