"""Three nodes, two of them labelled, edges plain: 72 graphs, all different. For tests of models' node labels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax import graph
from nasjax.base import Alphabet, Array, Graph, Key, Rows
from nasjax.spaces.reading import Reader

_FLIPS = np.array([[0, 0, 0, 1, 0], [0, 0, 0, 2, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 2]], np.int32)
"""Label edits, added modulo 3; columns are the three edges and the two labels."""

_EDITS = np.concatenate([np.eye(3, 5, dtype=np.int32), _FLIPS])


@dataclasses.dataclass(frozen=True)
class ToyNodes:
    """Node 0 with label 1, nodes 1 and 2 with labels 2..4, every edge present or not.

    Enumerable, Generable and Factored. Inside, an architecture is five digits: edges (0,1), (0,2), (1,2) in 0..1 and the
    labels less 2 in 0..2.
    """

    @property
    def name(self) -> str:
        """`toy_nodes`."""
        return "toy_nodes"

    def sample(self, key: Key) -> Graph:
        """Returns a draw, uniform over the 72 graphs."""
        return _from_digits(jnp.asarray(_enumerate())[jax.random.randint(key, (), 0, self.size)])

    def is_valid(self, arch: Graph) -> Array:
        """Returns bool[]: labels in range, edges upward."""
        nodes = (arch.nodes[0] == 1) & ((arch.nodes[1:] >= 2) & (arch.nodes[1:] <= 4)).all()
        return nodes & ((arch.edges >= 0) & (arch.edges <= 1)).all() & graph.is_topological(arch)

    def canonical_key(self, arch: Graph) -> Array:
        """Returns uint32[2] = [0, 9 x edges as a binary number + 3 a + b]; nothing is identified."""
        return jnp.stack([jnp.uint32(0), self.index(arch).astype(jnp.uint32)])

    def mutate(self, key: Key, arch: Graph) -> Graph:
        """Returns one of the seven `neighbours`, uniformly."""
        edit = jnp.asarray(_EDITS)[jax.random.randint(key, (), 0, len(_EDITS))]
        return _from_digits(_edited(_digits(arch), edit))

    def neighbours(self, arch: Graph) -> tuple[Graph, Array]:
        """Returns the 3 graphs with one edge flipped and the 4 with one other label, (Graph[7], bool[7]); all valid."""
        return _from_digits(_edited(_digits(arch)[None], jnp.asarray(_EDITS))), jnp.ones(len(_EDITS), bool)

    def graphs(self, arch: Graph) -> Graph:
        """Returns Graph[1, 3], without what lies on no path from node 0 to node 2."""
        live = graph.prune(arch)
        return Graph(live.nodes[None], live.edges[None])

    def to_spec(self, arch: Graph) -> str:
        """Returns `BBB:a,b`: three edge bits, two labels less 2. Host."""
        digits = [int(digit) for digit in np.asarray(_digits(arch))]
        return "{}{}{}:{},{}".format(*digits)

    def from_spec(self, spec: str) -> Graph:
        """Reads such a string. Host.

        Raises:
          ValueError: naming the 0-based character position, what stood there and what is allowed.
        """
        reader = Reader(self.name, spec)
        digits = [reader.one_of("01") for _ in range(3)]
        reader.expect(":")
        digits.append(reader.one_of("012"))
        reader.expect(",")
        digits.append(reader.one_of("012"))
        reader.end()
        return _from_digits(jnp.array([int(digit) for digit in digits], jnp.int32))

    @property
    def size(self) -> int:
        """Number of graphs, 72."""
        return 72

    @property
    def num_classes(self) -> int:
        """Number of different graphs, 72."""
        return 72

    def all(self) -> Graph:
        """Returns Graph[72], in the order of `index`."""
        return _from_digits(jnp.asarray(_enumerate()))

    def index(self, arch: Graph) -> Array:
        """Returns int32[]: 9 x edges as a binary number, the first edge most significant, + 3 a + b."""
        return (_digits(arch) * np.array([36, 18, 9, 3, 1], np.int32)).sum(dtype=jnp.int32)

    def at(self, index: Array) -> Graph:
        """Returns Graph[...], `all()[index]`."""
        return _from_digits(jnp.asarray(_enumerate())[index])

    def class_of(self, index: Array) -> Array:
        """Returns `index`: no two graphs are equal."""
        return index

    def class_members(self) -> Array:
        """Returns int32[72] = 0..71."""
        return jnp.arange(72, dtype=jnp.int32)

    @property
    def choices(self) -> tuple[int, ...]:
        """Three edges and two labels."""
        return (2, 2, 2, 3, 3)

    @property
    def none_choices(self) -> tuple[int, ...]:
        """An edge's 0 says that there is none; labels have no such value."""
        return (0, 0, 0, -1, -1)

    def decisions(self, arch: Graph) -> Array:
        """Returns int32[5], the digits."""
        return _digits(arch)

    def from_decisions(self, decisions: Array) -> Graph:
        """Returns the graph of int32[5]."""
        return _from_digits(decisions)

    @property
    def alphabet(self) -> Alphabet:
        """Three node labels, node 0's is fixed; edges are only present or absent."""
        return Alphabet(num_nodes=3, node_labels=3, first_labelled=1)

    def to_rows(self, arch: Graph) -> Rows:
        """Returns the rows: edges transposed, labels less 2, 0 for node 0."""
        return Rows(arch.edges.T, jnp.maximum(arch.nodes - 2, 0), jnp.int32(3))

    def from_rows(self, rows: Rows) -> Graph:
        """Returns the graph; invalid (without nodes) unless all nodes exist."""
        nodes = jnp.concatenate([jnp.ones(1, jnp.int32), rows.nodes[1:].astype(jnp.int32) + 2])
        return Graph(jnp.where(rows.size == 3, nodes, 0), jnp.tril(rows.edges, -1).T.astype(jnp.int32))


def _enumerate() -> npt.NDArray[np.int32]:
    """int32[72, 5], the digits of every graph."""
    return np.indices((2, 2, 2, 3, 3), np.int32).reshape(5, -1).T


def _digits(arch: Graph) -> Array:
    """int32[5] of one graph."""
    senders, receivers = graph.pairs(3)
    return jnp.concatenate([arch.edges[senders, receivers], arch.nodes[1:] - 2])


def _edited(digits: Array, edits: Array) -> Array:
    """int32[..., 5], edits added modulo the size of each digit."""
    sizes = jnp.array([2, 2, 2, 3, 3], jnp.int32)
    return (digits + edits) % sizes.reshape((1,) * (edits.ndim - 1) + (5,))


def _from_digits(digits: Array) -> Graph:
    """Graph[...] of int32[..., 5]."""
    senders, receivers = graph.pairs(3)
    edges = jnp.zeros((*digits.shape[:-1], 3, 3), jnp.int32).at[..., senders, receivers].set(digits[..., :3])
    return Graph(jnp.concatenate([jnp.ones_like(digits[..., :1]), digits[..., 3:] + 2], axis=-1), edges)
