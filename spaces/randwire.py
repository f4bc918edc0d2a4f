"""RandWire's space: a few stages, each a DAG of N nodes without labels.

Source: Xie et al., "Exploring Randomly Wired Neural Networks for Image Recognition" (arXiv:1904.01569), for the three
random graphs; GraphPNAS (Li et al., arXiv:2211.15155) for the space over them. Constraint `single_ends`: ours.

An architecture is `Graph(nodes int32[S, N] = 1, edges int32[S, N, N])`, edges 0 or 1 and upward, at least one a stage. A
stage's nodes without an in-edge are its sources, those without an out-edge its sinks; nodes without either do not exist.
"""

import dataclasses
import string

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import graph
from nasjax.base import Array, Graph, Key
from nasjax.spaces import random_graphs
from nasjax.spaces.random_graphs import Prior
from nasjax.spaces.reading import LONGEST, Reader

PROBABILITIES: dict[str, float] = {"er": 0.2, "ws": 0.75, "ba": 1.0}
"""Of an edge; of rewiring; unused."""

SEEDS = np.array([0x9E3779B1, 0x85EBCA77], np.uint32)
OTHER_SEEDS = np.array([0xC2B2AE3D, 0x27D4EB2F], np.uint32)
"""Constants of the two words of a key."""


@dataclasses.dataclass(frozen=True)
class RandWire:
    """The space. Factored: one decision an edge, stage by stage, row by row, (0,1) (0,2) … (N-2,N-1).

    Attributes:
      num_nodes: N of a stage.
      stages: S.
      prior: each stage's graph, given that it has an edge. "er": every edge independently. "ws": a ring of N nodes, each
        joined to two on either side, rewired with `probability`. "ba": each new node is joined to five older ones, by
        their degrees.
      probability: None = 0.2 of an edge (er), 0.75 of rewiring (ws).
      single_ends: node 0 is the only source of a stage and the last node its only sink.
      rounds: of colour refinement in `canonical_key`, None = N: then colours are stable. 8 were enough for draws of
        the priors; keys of different `rounds` have nothing to do with each other.
    """

    num_nodes: int = 32
    stages: int = 3
    prior: Prior = "er"
    probability: float | None = None
    single_ends: bool = False
    rounds: int | None = None

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: a setting is out of range.
        """
        if self.prior not in PROBABILITIES:
            raise ValueError(f"{self.name}: unknown prior {self.prior!r}; one of {', '.join(PROBABILITIES)}")
        least = {"er": 3, "ws": random_graphs.WS_DEGREE + 1, "ba": random_graphs.BA_EDGES + 1}[self.prior]
        for setting, value, minimum in (
            ("num_nodes", self.num_nodes, least),
            ("stages", self.stages, 1),
            ("rounds", self.rounds, 1),
        ):
            if value is not None and value < minimum:
                raise ValueError(f"{self.name}: {setting} is {value}; at least {minimum} with prior={self.prior!r}")
        lowest = 0 if self.prior == "ws" else 1e-6  # some stage must come to have an edge
        if self.probability is not None and not lowest <= self.probability <= 1:
            raise ValueError(f"{self.name}: probability is {self.probability}; from {lowest:g} to 1")

    @property
    def name(self) -> str:
        """`randwire`."""
        return "randwire"

    @property
    def num_edges(self) -> int:
        """Number of places for edges in a stage, N (N - 1) / 2."""
        return self.num_nodes * (self.num_nodes - 1) // 2

    # Space

    def sample(self, key: Key) -> Graph:
        """Returns a draw from `prior`, each stage its own; with `single_ends` after `repair` with uniform priorities."""
        probability = PROBABILITIES[self.prior] if self.probability is None else self.probability
        draw_key, repair_key = jax.random.split(key)
        keys = jax.random.split(draw_key, self.stages)
        arch = self._of(jax.vmap(lambda k: random_graphs.draw(k, self.prior, self.num_nodes, probability))(keys))
        if not self.single_ends:
            return arch
        return self.repair(arch, jax.random.uniform(repair_key, arch.edges.shape, jnp.float32))

    def repair(self, arch: Graph, priority: Array) -> Graph:
        """Returns the architecture with edges added until node 0 is the only source and node N-1 the only sink.

        A node without an in-edge gets the one of highest priority (ties: from the later node), then a node without an
        out-edge likewise (ties: to the earlier node). Idempotent.

        Args:
          arch: any edges.
          priority: float[S, N, N], of the edge i -> j at [i, j].
        """
        upward = np.triu(np.ones((self.num_nodes, self.num_nodes), bool), 1)
        nodes = np.arange(self.num_nodes, dtype=np.int32)
        lowest = jnp.asarray(-jnp.inf, priority.dtype)

        def stage(edges: Array, priority: Array) -> Array:
            priority = jnp.where(upward, priority, lowest)
            best = self.num_nodes - 1 - jnp.argmax(priority[::-1], axis=0)
            wanted = ~edges.any(axis=0) & (nodes > 0)
            edges = edges | ((nodes[:, None] == best[None, :]) & wanted[None, :])
            best = jnp.argmax(priority, axis=1)
            wanted = ~edges.any(axis=1) & (nodes < self.num_nodes - 1)
            repaired: Array = edges | ((nodes[None, :] == best[:, None]) & wanted[:, None])
            return repaired

        return self._of(jax.vmap(stage)(arch.edges > 0, priority))

    def is_valid(self, arch: Graph) -> Array:
        """Returns bool[]: all nodes, edges 0 or 1 and upward, an edge in every stage; with `single_ends` also those."""
        edges = (arch.edges >= 0) & (arch.edges <= 1)
        plain = (arch.nodes == 1).all() & edges.all() & graph.is_topological(arch).all()
        links = arch.edges > 0
        if self.single_ends:  # then there is an edge too
            return plain & links[:, :, 1:].any(axis=1).all() & links[:, :-1].any(axis=2).all()
        return plain & links.any(axis=(1, 2)).all()

    def canonical_key(self, arch: Graph) -> Array:
        """Returns uint32[2], equal for architectures whose stages are the same graphs in whatever order of nodes.

        Hashed: each stage's nodes are coloured by `rounds` of directed colour refinement (a node's colour is mixed with
        the sums over its predecessors and over its successors), a stage's key is mixed from the sum over its nodes,
        and stages are mixed in order. Graphs that refinement cannot tell apart have one key although they differ:
        regular structures, such as six sources and six sinks joined as one ring of twelve or as two rings of six.
        Such a pair counts as a repeat. Others meet by chance, as 64-bit words do.
        """
        seed, rounds = jnp.asarray(SEEDS), self.num_nodes if self.rounds is None else self.rounds
        stages = jax.vmap(lambda edges: _stage_key(edges > 0, rounds))(arch.edges)
        key: Array = seed
        for stage in range(self.stages):
            key = graph.mix((key ^ stages[stage]) + seed)
        return key

    def mutate(self, key: Key, arch: Graph) -> Graph:
        """Returns `arch` with one edge flipped, uniformly among the flips that are valid."""
        bits = self.decisions(arch)
        allowed = self._flippable(arch)
        ends = jnp.cumsum(allowed, dtype=jnp.int32)
        rank = (jax.random.bits(key, (), jnp.uint32) % ends[-1].astype(jnp.uint32)).astype(jnp.int32)
        return self.from_decisions(jnp.where(allowed & (ends - 1 == rank), 1 - bits, bits))

    def neighbours(self, arch: Graph) -> tuple[Graph, Array]:
        """Returns the flips of each edge, stage by stage and row by row; M = S N (N - 1) / 2, 1,488 by default.

        Not valid is one that leaves a stage without an edge or, with `single_ends`, gives it another source or sink.
        """
        bits = self.decisions(arch)
        rows = bits[None] ^ jnp.eye(bits.size, dtype=jnp.int32)
        return jax.vmap(self.from_decisions)(rows), self._flippable(arch)

    def graphs(self, arch: Graph) -> Graph:
        """Returns Graph[S, N], nodes without an edge removed."""
        links = arch.edges > 0
        live = links.any(axis=1) | links.any(axis=2)
        return Graph(jnp.where(live, arch.nodes, 0), arch.edges)

    def to_spec(self, arch: Graph) -> str:
        """Returns a hexadecimal triangle a stage, joined by `/`. Host.

        The bits row by row, the first one most significant, filled up with zeros at the end: 124 digits for N = 32.
        """
        bits = np.asarray(self.decisions(arch)).reshape(self.stages, -1)
        return "/".join(_to_hex(row) for row in bits)

    def from_spec(self, spec: str) -> Graph:
        """Reads such a string; small or capital digits. Host.

        Raises:
          ValueError: naming the 0-based character position, what stood there and what is allowed.
        """
        num_digits = -(-self.num_edges // 4)
        reader = Reader(self.name, spec, max(LONGEST, self.stages * (num_digits + 1)))
        decisions: list[int] = []
        for stage in range(self.stages):
            if stage:
                reader.expect("/")
            start = reader.position
            digits = [int(reader.one_of(string.hexdigits), 16) for _ in range(num_digits)]
            bits = [digit >> shift & 1 for digit in digits for shift in (3, 2, 1, 0)]
            if any(bits[self.num_edges :]):
                last = reader.position - 1
                raise reader.error("bits beyond the last edge in", spec[last], "zeros there", last)
            fault = self._fault(bits[: self.num_edges])
            if fault:
                raise reader.error(f"{fault} in the stage", spec[start : reader.position], self._demand(), start)
            decisions += bits[: self.num_edges]
        reader.end()
        return self.from_decisions(jnp.array(decisions, jnp.int32))

    # Factored

    @property
    def choices(self) -> tuple[int, ...]:
        """Every edge is there or not."""
        return (2,) * (self.stages * self.num_edges)

    @property
    def none_choices(self) -> tuple[int, ...]:
        """0 says that there is no edge."""
        return (0,) * (self.stages * self.num_edges)

    def decisions(self, arch: Graph) -> Array:
        """Returns int32[S · N (N - 1) / 2], the bits."""
        senders, receivers = np.triu_indices(self.num_nodes, 1)
        return arch.edges[:, senders, receivers].reshape(-1)

    def from_decisions(self, decisions: Array) -> Graph:
        """Returns the architecture of int32[S · N (N - 1) / 2]; not valid where a stage has no edge."""
        place = np.full((self.num_nodes, self.num_nodes), self.num_edges, np.int32)
        place[np.triu_indices(self.num_nodes, 1)] = np.arange(self.num_edges)
        bits = jnp.pad(decisions.reshape(self.stages, -1), ((0, 0), (0, 1)))  # what is no place for an edge reads a 0
        return Graph(jnp.ones((self.stages, self.num_nodes), jnp.int32), bits[:, place])

    def _of(self, links: Array) -> Graph:
        """The architecture with edges bool[S, N, N]."""
        return Graph(jnp.ones((self.stages, self.num_nodes), jnp.int32), links.astype(jnp.int32))

    def _flippable(self, arch: Graph) -> Array:
        """bool[M], which flips leave a valid architecture valid."""
        links = arch.edges > 0
        if self.single_ends:
            others = (
                (links.sum(axis=1, dtype=jnp.int32) > 1)[:, None, :],
                (links.sum(axis=2, dtype=jnp.int32) > 1)[:, :, None],
            )
            kept = others[0] & others[1]
        else:
            kept = jnp.broadcast_to((links.sum(axis=(1, 2), dtype=jnp.int32) > 1)[:, None, None], links.shape)
        return self.decisions(Graph(arch.nodes, (~links | kept).astype(jnp.int32))) > 0

    def _fault(self, bits: list[int]) -> str:
        """What is wrong with a stage's bits, if anything."""
        links = np.zeros((self.num_nodes, self.num_nodes), bool)
        links[np.triu_indices(self.num_nodes, 1)] = bits
        if not links.any():
            return "no edge"
        if self.single_ends:
            for node in range(self.num_nodes):
                if node and not links[:, node].any():
                    return f"a second source, node {node},"
                if node < self.num_nodes - 1 and not links[node].any():
                    return f"a second sink, node {node},"
        return ""

    def _demand(self) -> str:
        return "one source, node 0, and one sink, the last node" if self.single_ends else "at least one edge a stage"


def _stage_key(links: Array, rounds: int) -> Array:
    """uint32[2] of one stage, edges bool[N, N]."""
    seed, other = jnp.asarray(SEEDS)[:, None], jnp.asarray(OTHER_SEEDS)[:, None]
    live = (links.any(axis=0) | links.any(axis=1))[None]
    three, five = jnp.uint32(3), jnp.uint32(5)
    # Sums over neighbours as products of integers, modulo 2^32: 9 us a stage, where masked sums take 13 to 55
    # (32 nodes and rounds, vmapped, one thread).
    senders = links.astype(jnp.uint32)
    receivers = senders.T

    def refine(_: int, colour: Array) -> Array:
        forward = graph.mix(colour * jnp.uint32(2) + seed)
        backward = graph.mix(colour * jnp.uint32(2) + other + jnp.uint32(1))
        neighbours = three * graph.mix((forward @ senders) ^ seed) + five * graph.mix((backward @ receivers) ^ other)
        return jnp.where(live, graph.mix(graph.mix(colour + other) + neighbours), jnp.uint32(0))

    start = jnp.where(live, graph.mix(seed), jnp.uint32(0))
    colour = jax.lax.fori_loop(0, rounds, refine, start)
    return graph.mix(jnp.where(live, graph.mix(colour + seed), jnp.uint32(0)).sum(axis=1, dtype=jnp.uint32))


def _to_hex(bits: np.ndarray) -> str:
    """Bits as hexadecimal digits, four each, the first most significant."""
    padded = np.pad(bits, (0, -bits.size % 4)).reshape(-1, 4)
    return "".join(f"{digit:x}" for digit in padded @ np.array([8, 4, 2, 1]))
