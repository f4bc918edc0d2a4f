"""ENAS's macro space: a chain of layers, each one of six operations, with any earlier outputs added to its own.

Source: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing" (arXiv:1802.03268), operations in the
order of its code `melodyguan/enas`; strings as in D-VAE's data (Zhang et al., arXiv:1904.11088): six layers there, twelve in
ENAS's search.

An architecture is `Graph(nodes int32[L + 2], edges int32[L + 2, L + 2])`: node 0 the stem (label 1), node i + 1 layer i
(label 2 + operation), node L + 1 the output (label 8). The edges i -> i + 1 always exist; the edge j -> i + 1, j < i, is
flag j of layer i. Nothing can be dead.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import graph
from nasjax.base import Alphabet, Array, Graph, Key, Rows
from nasjax.spaces import operations, reading
from nasjax.spaces.reading import Reader

OPERATIONS = ("conv3x3", "sep3x3", "conv5x5", "sep5x5", "avgpool3x3", "maxpool3x3")
"""Operations by number: in strings and keys; an array's label is 2 more."""

STEM, OUTPUT = 1, 2 + len(OPERATIONS)
"""Labels of the first and the last node."""

MOST_LAYERS = 48
"""Strings of more would be longer than any space reads."""

HASH_START = np.array([0x9E3779B1, 0x85EBCA77], np.uint32)
"""Where the two words of a hashed key start; also added at each step."""


@dataclasses.dataclass(frozen=True)
class Enas:
    """The space, or its part with the operations `op_names`. Factored and Generable.

    Decisions are the L operations, as places in `op_names`, then the L (L - 1) / 2 flags, layer by layer.

    Attributes:
      layers: L.
      op_names: the operations that the space allows; their order is that of decisions.
      skip: the prior's probability of a flag; ENAS's shared weights are trained with 0.4.
    """

    layers: int = 6
    op_names: tuple[str, ...] = OPERATIONS
    skip: float = 0.5

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: a setting is out of range.
        """
        if not 2 <= self.layers <= MOST_LAYERS:
            raise ValueError(f"{self.name}: {self.layers} layers; 2 to {MOST_LAYERS}")
        if not 0 <= self.skip <= 1:
            raise ValueError(f"{self.name}: skip is {self.skip}; a probability")
        operations.check(self.name, self.op_names, OPERATIONS)

    @property
    def name(self) -> str:
        """`enas`."""
        return "enas"

    @property
    def num_flags(self) -> int:
        """Number of flags, L (L - 1) / 2."""
        return self.layers * (self.layers - 1) // 2

    # Space

    def sample(self, key: Key) -> Graph:
        """Returns a draw: operations uniform, flags 1 with probability `skip`."""
        operation_key, flag_key = jax.random.split(key)
        places = jax.random.randint(operation_key, (self.layers,), 0, len(self.op_names))
        flags = jax.random.bernoulli(flag_key, self.skip, (self.num_flags,))
        return self.from_decisions(jnp.concatenate([places, flags.astype(jnp.int32)]))

    def is_valid(self, arch: Graph) -> Array:
        """Returns bool[]: operations in the subset, flags 0 or 1, the chain whole, nothing else."""
        allowed = jnp.asarray(self._labels())
        known = (arch.nodes[1:-1, None] == allowed[None, :]).any(axis=1).all()
        ends = (arch.nodes[0] == STEM) & (arch.nodes[-1] == OUTPUT)
        free, chain = self._masks()
        flags = ((arch.edges == 0) | (arch.edges == 1)) & jnp.asarray(free)
        return known & ends & (flags | (arch.edges == chain)).all()

    def canonical_key(self, arch: Graph) -> Array:
        """Returns uint32[2]: exact up to eight layers, where equal keys are equal arrays; hashed above.

        With `operations` the operations' numbers in base 6, layer 0 most significant, and `flags` a bit string whose
        bit 0 is flag 0 of layer 1, then layer 2's, and so on: L <= 6: [0, operations · 2^15 + flags]. L <= 8:
        [operations, flags]. Above: 64 bits mixed from the operations (a word for twelve layers) and the words of flags;
        each step is a bijection, so architectures that differ in one word only never meet. Others do like independent
        random words: n of them with probability below n² / 2^65.
        """
        numbers = (arch.nodes[1:-1] - 2).astype(jnp.uint32)
        senders, receivers = self._flag_places()
        flags = arch.edges[senders, receivers].astype(jnp.uint32)
        base = len(OPERATIONS)
        if self.layers <= 8:
            operation, flag = _number(numbers, base), _number(flags[::-1], 2)
            if self.layers <= 6:
                return jnp.stack([jnp.uint32(0), operation * jnp.uint32(2**15) + flag])
            return jnp.stack([operation, flag])
        words = [_number(numbers[start : start + 12], base) for start in range(0, self.layers, 12)]
        words += [_number(flags[start : start + 32][::-1], 2) for start in range(0, self.num_flags, 32)]
        constant = jnp.asarray(HASH_START)
        key = constant
        for word in words:
            key = graph.mix((key ^ word) + constant)
        return key

    def mutate(self, key: Key, arch: Graph) -> Graph:
        """Returns one of the `neighbours`, uniformly."""
        others = len(self.op_names) - 1
        drawn = jax.random.bits(key, (), jnp.uint32) % jnp.uint32(self.layers * others + self.num_flags)
        edit = drawn.astype(jnp.int32)
        places = jnp.arange(self.layers + self.num_flags, dtype=jnp.int32)
        flag = self.layers + edit - self.layers * others
        changed = jnp.where(edit < self.layers * others, edit // max(others, 1), flag)
        shift = jnp.where(edit < self.layers * others, edit % max(others, 1) + 1, 1)
        decisions = self.decisions(arch)
        moved = (decisions + shift) % jnp.asarray(np.array(self.choices, np.int32))
        return self.from_decisions(jnp.where(places == changed, moved, decisions))

    def neighbours(self, arch: Graph) -> tuple[Graph, Array]:
        """Returns all M one-edit neighbours, layer by layer its other operations by decision, then each flag; all valid.

        M = L (K - 1) + L (L - 1) / 2: 45 for 6 layers, 126 for 12.
        """
        decisions = self.decisions(arch)
        others, length = len(self.op_names) - 1, self.layers + self.num_flags
        layer = np.repeat(np.arange(self.layers, dtype=np.int32), others)
        other = jnp.asarray(np.tile(np.arange(others, dtype=np.int32), self.layers))
        other = other + (other >= decisions[layer]).astype(jnp.int32)  # skips the present one
        value = jnp.concatenate([other, 1 - decisions[self.layers :]])
        place = np.concatenate([layer, np.arange(self.layers, length, dtype=np.int32)])
        changed = place[:, None] == np.arange(length)[None]
        rows = jnp.where(changed, value[:, None], decisions[None])
        return jax.vmap(self.from_decisions)(rows), jnp.ones(place.size, bool)

    def graphs(self, arch: Graph) -> Graph:
        """Returns Graph[1, L + 2], the architecture itself."""
        return Graph(arch.nodes[None], arch.edges[None])

    def to_spec(self, arch: Graph) -> str:
        """Returns D-VAE's literal, `[[2], [5, 0], [4, 0, 0], …]`: a layer's operation and its flags. Host.

        Raises:
          ValueError: a label that is no operation.
        """
        nodes, edges = np.asarray(arch.nodes), np.asarray(arch.edges)
        rows = [[int(nodes[i + 1]) - 2, *(int(edges[j, i + 1]) for j in range(i))] for i in range(self.layers)]
        wrong = [row[0] for row in rows if not 0 <= row[0] < len(OPERATIONS)]
        if wrong:
            raise ValueError(f"{self.name}: {wrong[0]} is no operation; 0..{len(OPERATIONS) - 1}")
        return str(rows)

    def from_spec(self, spec: str) -> Graph:
        """Reads such a literal; a blank after a comma may be left out. Host.

        Raises:
          ValueError: naming the 0-based character position, what stood there and what is allowed.
        """
        reader = Reader(self.name, spec)
        places, flags = [], []
        reader.expect("[")
        for layer in range(self.layers):
            if layer:
                _comma(reader)
            reader.expect("[")
            places.append(self._read_operation(reader))
            for _ in range(layer):
                _comma(reader)
                flags.append(int(reader.one_of("01")))
            reader.expect("]")
        reader.expect("]")
        reader.end()
        return self.from_decisions(jnp.array(places + flags, jnp.int32))

    def from_specs(self, specs: Sequence[str]) -> Graph:
        """Reads many literals, a hundred times faster than one by one; returns Graph[n] in NumPy. Host.

        Raises:
          reading.RowError: as `from_spec`, and which of them.
        """
        rows = [r"\[(\d)" + ", ?([01])" * layer + r"\]" for layer in range(self.layers)]
        operation = {str(OPERATIONS.index(name)): OPERATIONS.index(name) for name in self.op_names}
        values = [value for layer in range(self.layers) for value in [operation, *[{"0": 0, "1": 1}] * layer]]
        firsts = np.array([layer * (layer + 1) // 2 for layer in range(self.layers)])  # where each layer's group is

        def one(spec: str) -> np.ndarray:
            arch = self.from_spec(spec)
            nodes, edges = np.asarray(arch.nodes), np.asarray(arch.edges)
            return np.concatenate([[nodes[i + 1] - 2, *edges[:i, i + 1]] for i in range(self.layers)])

        read = reading.many(specs, r"\[" + ", ?".join(rows) + r"\]", values, one)
        size = self.layers + 2
        nodes, edges = np.full((len(specs), size), STEM, np.int32), np.zeros((len(specs), size, size), np.int32)
        nodes[:, 1:-1], nodes[:, -1] = read[:, firsts] + 2, OUTPUT
        edges[:, np.arange(size - 1), np.arange(1, size)] = 1
        for layer, first in enumerate(firsts):
            edges[:, :layer, layer + 1] = read[:, first + 1 : first + 1 + layer]
        return Graph(nodes, edges)  # type: ignore[arg-type]

    def _read_operation(self, reader: Reader) -> int:
        """The place in `op_names` of the operation whose number stands at the reader's position."""
        position = reader.position
        number = reader.until(",] ")
        known = [str(OPERATIONS.index(name)) for name in self.op_names]
        if number in known:
            return known.index(number)
        outside = number in [str(label) for label in range(len(OPERATIONS))]
        what = "operation outside this space's subset" if outside else "unknown operation"
        raise reader.error(what, number, ", ".join(known), position)

    # Factored

    @property
    def choices(self) -> tuple[int, ...]:
        """L operations, then the flags."""
        return (len(self.op_names),) * self.layers + (2,) * self.num_flags

    @property
    def none_choices(self) -> tuple[int, ...]:
        """A flag's 0; operations have no such value."""
        return (-1,) * self.layers + (0,) * self.num_flags

    def decisions(self, arch: Graph) -> Array:
        """Returns int32[D]; for valid architectures."""
        places = np.zeros(OUTPUT + 1, np.int32)
        places[self._labels()] = np.arange(len(self.op_names))
        return jnp.concatenate([jnp.asarray(places)[arch.nodes[1:-1]], arch.edges[self._flag_places()]])

    def from_decisions(self, decisions: Array) -> Graph:
        """Returns the architecture of int32[D]."""
        labels = jnp.asarray(self._labels())[decisions[: self.layers]]
        nodes = jnp.concatenate([jnp.full(1, STEM, jnp.int32), labels, jnp.full(1, OUTPUT, jnp.int32)])
        free, chain = self._masks()
        source = chain.copy()  # 0, 1, then the flags: one gather, where a scatter a row costs several times as much
        source.T[free.T] = 2 + np.arange(self.num_flags)
        values = jnp.concatenate([jnp.arange(2, dtype=jnp.int32), decisions[self.layers :]])
        return Graph(nodes, values[source])

    # Generable

    @property
    def alphabet(self) -> Alphabet:
        """The stem, without a label, and the layers: the chain is given, flags are plain edges; no output node."""
        masked = tuple(number for number, name in enumerate(OPERATIONS) if name not in self.op_names)
        labels = len(OPERATIONS)
        return Alphabet(
            self.layers + 1,
            node_labels=labels,
            first_labelled=1,
            masked_nodes=masked,
            chain=True,
            described=operations.described(OPERATIONS),
        )

    def to_rows(self, arch: Graph) -> Rows:
        """Returns the rows: node i + 1 is layer i, its incoming edges the chain's and its flags."""
        nodes = jnp.maximum(arch.nodes[:-1] - 2, 0)
        return Rows(arch.edges[:-1, :-1].T, nodes, jnp.int32(self.layers + 1))

    def from_rows(self, rows: Rows) -> Graph:
        """Returns the architecture; invalid unless all nodes and the chain exist."""
        last = jnp.where(rows.size == self.layers + 1, OUTPUT, 0)
        ends = jnp.full(1, STEM, jnp.int32), last[None].astype(jnp.int32)
        nodes = jnp.concatenate([ends[0], rows.nodes[1:].astype(jnp.int32) + 2, ends[1]])
        edges = jnp.pad(jnp.tril(rows.edges, -1).T.astype(jnp.int32), (0, 1))
        return Graph(nodes, edges.at[self.layers, self.layers + 1].set(1))

    def _labels(self) -> np.ndarray:
        """int32[K], the label of each decision."""
        return np.array([2 + OPERATIONS.index(name) for name in self.op_names], np.int32)

    def _flag_places(self) -> tuple[np.ndarray, np.ndarray]:
        """(senders, receivers) of the flags, layer by layer."""
        senders, receivers = graph.pairs(self.layers)
        return senders, receivers + 1

    def _masks(self) -> tuple[np.ndarray, np.ndarray]:
        """bool[L + 2, L + 2], where flags are; int32[L + 2, L + 2], the edges of the chain."""
        free = np.zeros((self.layers + 2, self.layers + 2), bool)
        free[self._flag_places()] = True
        return free, np.eye(self.layers + 2, k=1, dtype=np.int32)


def _number(digits: Array, base: int) -> Array:
    """uint32[], digits uint32[n] in base `base`, the first most significant; n so small that it fits."""
    powers = np.array([base**place for place in reversed(range(digits.size))], np.uint32)
    return (digits * powers).sum(dtype=jnp.uint32)


def _comma(reader: Reader) -> None:
    """Moves over a comma and a blank, if there is one."""
    reader.expect(",")
    if reader.spec[reader.position : reader.position + 1] == " ":
        reader.position += 1
