"""What spaces of cells with one operation on every edge of a complete DAG share: NAS-Bench-201 and its small relative.

An architecture is `Graph(nodes = 1, edges = operations)`; label 0 is the operation `none`, hence no edge. Labels
always count the full set of operations, also where a space allows a subset: keys, strings and networks do not change
with the subset. `index` alone counts *decisions*, places in the subset.
"""

import abc
import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax import graph
from nasjax.base import Alphabet, Array, Graph, Key, Rows
from nasjax.spaces import cell_classes, operations, reading

Prior: TypeAlias = Literal["uniform", "no_none"]


@dataclasses.dataclass(frozen=True)
class EdgeCells(abc.ABC):
    """Cells of `NUM_NODES` nodes. Enumerable, Generable, Factored and PathEncoded.

    Attributes:
      op_names: the operations that the space allows; their order is that of decisions and of `index`.
      prior: "uniform" over the operations, or "no_none": uniform over all but `none`, which stays in the space.
    """

    NUM_NODES: ClassVar[int]
    OPERATIONS: ClassVar[tuple[str, ...]]

    op_names: tuple[str, ...]
    prior: Prior = "uniform"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: no operation, a repeated or unknown one, an unknown prior, or nothing left to draw.
        """
        operations.check(self.name, self.op_names, self.OPERATIONS)
        if self.prior not in ("uniform", "no_none"):
            raise ValueError(f"{self.name}: unknown prior {self.prior!r}; one of uniform, no_none")
        if self.prior == "no_none" and self.op_names == ("none",):
            raise ValueError(f"{self.name}: prior='no_none' leaves no operation of op_names=('none',)")

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name that configs, reports and errors use."""

    @abc.abstractmethod
    def smallest_codes(self) -> cell_classes.Table:
        """Returns uint16[K^P]: the smallest code of each string's class, over the full set of operations. Host."""

    @property
    def num_edges(self) -> int:
        """Number of edges P, each with one operation."""
        return self.NUM_NODES * (self.NUM_NODES - 1) // 2

    def operations(self, arch: Graph) -> Array:
        """Returns int32[..., P], the label of each edge in the order of the string."""
        senders, receivers = graph.pairs(self.NUM_NODES)
        if isinstance(arch.edges, np.ndarray):  # stays on the host, also while something else is traced
            return arch.edges[..., senders, receivers]
        # Slices one by one: XLA sees through them, where a gather of all would be a pass of its own; so below.
        return jnp.stack([arch.edges[..., s, r] for s, r in zip(senders, receivers, strict=True)], axis=-1)

    def from_operations(self, operations: Array) -> Graph:
        """Returns Graph[...] of labels int32[..., P] in the order of the string."""
        none = jnp.zeros(operations.shape[:-1], jnp.int32)
        edges = [[none] * self.NUM_NODES for _ in range(self.NUM_NODES)]
        for place, (sender, receiver) in enumerate(zip(*graph.pairs(self.NUM_NODES), strict=True)):
            edges[sender][receiver] = operations[..., place].astype(jnp.int32)
        nodes = jnp.ones((*operations.shape[:-1], self.NUM_NODES), jnp.int32)
        return Graph(nodes, jnp.stack([jnp.stack(row, axis=-1) for row in edges], axis=-2))

    # Space

    def sample(self, key: Key) -> Graph:
        """Returns a draw from `prior`.

        One word modulo the number of strings: uniform up to a relative 4e-6 (15,625 / 2^32), and a sixth of the work of
        drawing the edges one by one, which is most of what random search costs.
        """
        labels = tuple(label for label in self._labels() if label != 0 or self.prior == "uniform")
        drawn = _below(key, len(labels) ** self.num_edges)
        return self.from_operations(_looked_up(labels, _digits(drawn, len(labels), self.num_edges)))

    def is_valid(self, arch: Graph) -> Array:
        """Returns bool[]: every edge's operation is in the subset. A cell with a dead output is valid."""
        allowed = jnp.asarray(np.array(self._labels(), np.int32))
        known = (self.operations(arch)[:, None] == allowed[None, :]).any(axis=1).all()
        return known & (arch.nodes == 1).all() & graph.is_topological(arch)

    def canonical_key(self, arch: Graph) -> Array:
        """Returns uint32[2] = [0, smallest code of the class], equal within a class and nowhere else."""
        code = _number(self.operations(arch), len(self.OPERATIONS))
        return jnp.stack([jnp.uint32(0), jnp.asarray(self.smallest_codes())[code].astype(jnp.uint32)])

    def mutate(self, key: Key, arch: Graph) -> Graph:
        """Returns `arch` with another operation on one edge, uniform over the pairs of edge and other operation.

        Raises:
          ValueError: the space has one operation only.
        """
        choices = len(self.op_names)
        if choices == 1:
            raise ValueError(f"{self.name}: nothing to mutate, op_names has only {self.op_names[0]!r}")
        draw = _below(key, self.num_edges * (choices - 1))
        edge = (draw // jnp.uint32(choices - 1)).astype(jnp.int32)
        shift = (draw % jnp.uint32(choices - 1)).astype(jnp.int32) + 1
        decisions = self._decisions(self.operations(arch))
        moved = [decisions[place] + jnp.where(edge == place, shift, 0) for place in range(self.num_edges)]
        return self._decided(jnp.stack([jnp.where(m >= choices, m - choices, m) for m in moved]))

    def neighbours(self, arch: Graph) -> tuple[Graph, Array]:
        """Returns the M = P (K - 1) cells with one other operation, edge by edge, by decision; all are valid."""
        decisions = self._decisions(self.operations(arch))
        choices = len(self.op_names)
        edge = np.repeat(np.arange(self.num_edges, dtype=np.int32), choices - 1)
        other = jnp.asarray(np.tile(np.arange(choices - 1, dtype=np.int32), self.num_edges))
        other = other + (other >= decisions[edge]).astype(jnp.int32)  # skips the present one
        changed = jnp.where(edge[:, None] == np.arange(self.num_edges)[None], other[:, None], decisions[None])
        return self._decided(changed), jnp.ones(edge.size, bool)

    def graphs(self, arch: Graph) -> Graph:
        """Returns Graph[1, N], only the operations on a path from the first to the last node."""
        live = graph.prune(arch)
        return Graph(live.nodes[None], live.edges[None])

    def to_spec(self, arch: Graph) -> str:
        """Returns the published string, `|op~0|+|op~0|op~1|+…`; dead edges are kept. Host.

        Raises:
          ValueError: a label that is no operation.
        """
        labels = np.asarray(self.operations(arch))
        wrong = [int(label) for label in labels if not 0 <= label < len(self.OPERATIONS)]
        if wrong:
            raise ValueError(f"{self.name}: label {wrong[0]} is no operation; 0..{len(self.OPERATIONS) - 1}")
        words = [
            f"{self.OPERATIONS[label]}~{s}|" for label, s in zip(labels, graph.pairs(self.NUM_NODES)[0], strict=True)
        ]
        starts = np.cumsum(np.arange(self.NUM_NODES))  # 0, 1, 3, 6: where each node's in-edges begin
        return "+".join("|" + "".join(words[a:b]) for a, b in itertools.pairwise(starts))

    def from_spec(self, spec: str) -> Graph:
        """Reads the published string. Host.

        Raises:
          ValueError: naming the 0-based character position, what stood there and what is allowed.
        """
        reader = reading.Reader(self.name, spec)
        labels = []
        for node in range(1, self.NUM_NODES):
            reader.expect("+|" if node > 1 else "|")
            for sender in range(node):
                labels.append(self._read_operation(reader))
                reader.expect(f"~{sender}|")
        reader.end()
        return self.from_operations(jnp.array(labels, jnp.int32))

    def from_specs(self, specs: Sequence[str]) -> Graph:
        """Reads many strings, a hundred times faster than one by one; returns Graph[n] in NumPy. Host.

        Raises:
          reading.RowError: as `from_spec`, and which of them.
        """
        senders, receivers = graph.pairs(self.NUM_NODES)
        cells = [rf"([^~|+]*)~{sender}\|" for sender in senders]
        starts = np.cumsum(np.arange(self.NUM_NODES))
        pattern = r"\+".join(r"\|" + "".join(cells[a:b]) for a, b in itertools.pairwise(starts))
        labels = {name: self.OPERATIONS.index(name) for name in self.op_names}
        read = reading.many(
            specs, pattern, [labels] * self.num_edges, lambda spec: np.asarray(self.operations(self.from_spec(spec)))
        )
        edges = np.zeros((len(specs), self.NUM_NODES, self.NUM_NODES), np.int32)
        edges[:, senders, receivers] = read
        return Graph(np.ones((len(specs), self.NUM_NODES), np.int32), edges)  # type: ignore[arg-type]

    def _read_operation(self, reader: reading.Reader) -> int:
        """The label of the operation that stands at the reader's position."""
        position = reader.position
        name = reader.until("~|+")
        if name not in self.OPERATIONS:
            raise reader.error("unknown operation", name, ", ".join(self.op_names), position)
        if name not in self.op_names:
            raise reader.error("operation outside this space's subset", name, ", ".join(self.op_names), position)
        return self.OPERATIONS.index(name)

    # Enumerable

    @property
    def size(self) -> int:
        """Number of strings, K^P."""
        return int(len(self.op_names) ** self.num_edges)

    @property
    def num_classes(self) -> int:
        """Number of classes over the full set of operations."""
        return _num_classes(self)

    def all(self) -> Graph:
        """Returns Graph[size], in the order of `index`."""
        return self.from_operations(jnp.asarray(_enumerate(self)))

    def index(self, arch: Graph) -> Array:
        """Returns int32[]: decisions as digits in base K, the first edge most significant. For valid architectures."""
        return _number(self._decisions(self.operations(arch)), len(self.op_names))

    def at(self, index: Array) -> Graph:
        """Returns Graph[...], `all()[index]`."""
        choices = len(self.op_names)
        return self._decided(_digits(index.astype(jnp.uint32), choices, self.num_edges))

    def class_of(self, index: Array) -> Array:
        """Returns int32[...]: rank of the class of `all()[index]` among all classes, by smallest code."""
        return jnp.asarray(_class_table(self))[index].astype(jnp.int32)

    def class_members(self) -> Array:
        """Returns int32[num_classes]: smallest `index` of each class in this subset, -1 where it has none."""
        members = np.full(self.num_classes, -1, np.int32)
        found, first = np.unique(_class_table(self), return_index=True)
        members[found] = first
        return jnp.asarray(members)

    # Generable

    @property
    def alphabet(self) -> Alphabet:
        """Edge labels only; operations outside the subset are masked."""
        masked = tuple(label for label, name in enumerate(self.OPERATIONS) if name not in self.op_names)
        return Alphabet(
            num_nodes=self.NUM_NODES,
            edge_labels=len(self.OPERATIONS),
            masked_edges=masked,
            described=operations.described(self.OPERATIONS),
        )

    def to_rows(self, arch: Graph) -> Rows:
        """Returns the rows: `edges` transposed, no node labels, all nodes."""
        return Rows(arch.edges.T, jnp.zeros(self.NUM_NODES, jnp.int32), jnp.int32(self.NUM_NODES))

    def from_rows(self, rows: Rows) -> Graph:
        """Returns the cell; invalid (without nodes) unless all nodes exist."""
        whole = (rows.size == self.NUM_NODES).astype(jnp.int32)
        return Graph(jnp.full(self.NUM_NODES, 1, jnp.int32) * whole, jnp.tril(rows.edges, -1).T.astype(jnp.int32))

    # Factored

    @property
    def choices(self) -> tuple[int, ...]:
        """One decision an edge, in the order of the string: its operation's place in `op_names`."""
        return (len(self.op_names),) * self.num_edges

    @property
    def none_choices(self) -> tuple[int, ...]:
        """The place of `none` in `op_names`, -1 where the subset lacks it."""
        place = self.op_names.index("none") if "none" in self.op_names else -1
        return (place,) * self.num_edges

    def decisions(self, arch: Graph) -> Array:
        """Returns int32[P], places in `op_names`; for valid architectures."""
        return self._decisions(self.operations(arch))

    def from_decisions(self, decisions: Array) -> Graph:
        """Returns the cell of int32[P]."""
        return self._decided(decisions)

    # PathEncoded

    @property
    def num_paths(self) -> int:
        """Sequences of 1 to N - 1 operations other than `none`: 4 + 16 + 64 = 84 for all of NAS-Bench-201's."""
        walked = self._walked()
        return sum(len(walked) ** length for length in range(1, self.NUM_NODES))

    def paths(self, arch: Graph) -> Array:
        """Returns float32[num_paths]: 1 for each sequence of operations on a path from the first to the last node.

        By length; then as a number whose digits are the operations in the order of `op_names` without `none`, the
        first most significant. `skip_connect` is an operation like any other.
        """
        walked = self._walked()
        places = [walked.index(label) if label in walked else 0 for label in range(len(self.OPERATIONS))]
        operations = self.operations(arch)
        digits = _looked_up(tuple(places), operations)
        features = jnp.arange(self.num_paths, dtype=jnp.int32)
        found = jnp.zeros(self.num_paths, bool)
        for route in self._routes():
            first = sum(len(walked) ** length for length in range(1, len(route)))
            feature = first + _number(jnp.stack([digits[edge] for edge in route]), len(walked))
            live = jnp.stack([operations[edge] != 0 for edge in route]).all()
            found |= live & (features == feature)
        return found.astype(jnp.float32)

    def _walked(self) -> tuple[int, ...]:
        """Labels of the operations that a path can have."""
        return tuple(label for label in self._labels() if label != 0)

    def _routes(self) -> list[tuple[int, ...]]:
        """Edges, by their place in the string, of each path from the first to the last node."""
        place = {
            pair: edge
            for edge, pair in enumerate(zip(*map(np.ndarray.tolist, graph.pairs(self.NUM_NODES)), strict=True))
        }
        inner = range(1, self.NUM_NODES - 1)
        stops = [s for length in range(self.NUM_NODES - 1) for s in itertools.combinations(inner, length)]
        return [tuple(place[pair] for pair in itertools.pairwise((0, *s, self.NUM_NODES - 1))) for s in stops]

    # Decisions and labels

    def _labels(self) -> tuple[int, ...]:
        """The label of each decision."""
        return tuple(self.OPERATIONS.index(name) for name in self.op_names)

    def _decisions(self, operations: Array) -> Array:
        """Places in `op_names` of labels; 0 for labels outside."""
        places = [0] * len(self.OPERATIONS)
        for place, label in enumerate(self._labels()):
            places[label] = place
        return _looked_up(tuple(places), operations)

    def _decided(self, decisions: Array) -> Graph:
        """The cells of decisions int32[..., P]."""
        return self.from_operations(_looked_up(self._labels(), decisions))


def _below(key: Key, limit: int) -> Array:
    """uint32[] in 0..limit-1 from one random word."""
    drawn: Array = jax.random.bits(key, (), jnp.uint32) % jnp.uint32(limit)
    return drawn


def _digits(number: Array, base: int, length: int) -> Array:
    """int32[..., length] of uint32[...] in base `base`, the first most significant; signs would double the work."""
    places = [number // jnp.uint32(base**place) % jnp.uint32(base) for place in reversed(range(length))]
    return jnp.stack(places, axis=-1).astype(jnp.int32)


def _number(digits: Array, base: int) -> Array:
    """int32[...], digits int32[..., P] in base `base`, the first most significant."""
    number: Array = digits[..., 0]
    for place in range(1, digits.shape[-1]):
        number = base * number + digits[..., place]
    return number


def _looked_up(table: tuple[int, ...], places: Array) -> Array:
    """int32[...], `table[places]` of a small table with places within it: arithmetic, since gathers do not fuse."""
    first, step = table[0], table[1] - table[0] if len(table) > 1 else 0
    if table == tuple(first + step * place for place in range(len(table))):
        line: Array = jnp.int32(step) * places + jnp.int32(first)
        return line
    values = jnp.full(places.shape, first, jnp.int32)
    for place, value in enumerate(table[1:], 1):
        values = jnp.where(places == place, jnp.int32(value), values)
    return values


@functools.cache
def _enumerate(space: EdgeCells) -> npt.NDArray[np.int32]:
    """int32[size, P], the labels of every string in the order of `index`."""
    decisions = np.indices((len(space.op_names),) * space.num_edges).reshape(space.num_edges, -1).T
    return np.array(space._labels(), np.int32)[decisions]


@functools.cache
def _class_table(space: EdgeCells) -> cell_classes.Table:
    """uint16[size], the class of every string in the order of `index`."""
    weights = len(space.OPERATIONS) ** np.arange(space.num_edges - 1, -1, -1)
    dense = cell_classes.dense_ids(space.smallest_codes()).astype(np.uint16)
    table: cell_classes.Table = dense[_enumerate(space) @ weights]
    return table


@functools.cache
def _num_classes(space: EdgeCells) -> int:
    return len(np.unique(space.smallest_codes()))
