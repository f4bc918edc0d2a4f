"""All prefixes of a graph that is written node by node, as one graph of static shape.

Prefix t holds the nodes 0..t: the "old" ones 0..t-1 with the edges among them, and the "new" node t, joined to every old
one, since its edges are what is asked for. Stacked, the N prefixes have N (N + 1) / 2 node slots (t, i) and (N - 1) N
(N + 1) / 3 directed edge slots (t, sender, receiver), ordered by receiver. Prefix t reads rows below t only, so the
stack is causal by construction.

Source: GraphPNAS (Li et al., arXiv:2211.15155) and its code, whose input features are kept bit by bit, also where the role
bits of sender and receiver overlap; the stack of all prefixes is GRAN's (Liao et al., NeurIPS 2019).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import gather
from nasjax.base import Array


class Slots(NamedTuple):
    """Static tables of some prefixes: n node slots, e edge slots, p = n pairs (new node, node) in the order of nodes.

    Attributes:
      prefix: int[n], t of each node slot.
      node: int[n], i of each node slot.
      new: int[n], the slot of the new node of the same prefix.
      sender: int[e], node slot.
      receiver: int[e], node slot, ascending.
      old: bool[e], whether both ends are old.
      row: int[e], the later of the two nodes; for old ends.
      column: int[e], the earlier one.
      role: int[e]: 0 old -> old, 1 new -> old, 2 old -> new.
      ends: int[e, 2], the nodes i of sender and receiver.
    """

    prefix: np.ndarray
    node: np.ndarray
    new: np.ndarray
    sender: np.ndarray
    receiver: np.ndarray
    old: np.ndarray
    row: np.ndarray
    column: np.ndarray
    role: np.ndarray
    ends: np.ndarray


class Features(NamedTuple):
    """What the rounds of message passing start from.

    Attributes:
      states: float[n, H].
      edges: float[e, H].
      present: float[e].
    """

    states: Array
    edges: Array
    present: Array


ROLE_BITS = ((0, 1), (1,), (0, 2))
"""Which of the first features are 1, by role; sets, so that new -> old has one bit only (as the published code has)."""


@functools.cache
def slots(prefixes: tuple[int, ...]) -> Slots:
    """Returns the tables of the prefixes t in `prefixes`, stacked in that order."""
    prefix: list[int] = []
    node: list[int] = []
    new: list[int] = []
    edges: list[tuple[int, int, int, int]] = []
    for t in prefixes:
        start = len(node)
        prefix += [t] * (t + 1)
        node += range(t + 1)
        new += [start + t] * (t + 1)
        for target in range(t + 1):
            edges += [(start, t, source, target) for source in range(t + 1) if source != target]
    starts, last, sender, receiver = np.array(edges, np.int32).reshape(-1, 4).T
    role = np.where(sender == last, 1, np.where(receiver == last, 2, 0))
    return Slots(
        prefix=np.array(prefix, np.int32),
        node=np.array(node, np.int32),
        new=np.array(new, np.int32),
        sender=starts + sender,
        receiver=starts + receiver,
        old=role == 0,
        row=np.maximum(sender, receiver),
        column=np.minimum(sender, receiver),
        role=role.astype(np.int32),
        ends=np.stack([sender, receiver], axis=1),
    )


def features(
    table: Slots, hidden: int, edge_labels: int, projected: Array, adjacency: Array, labels: Array
) -> Features:
    """Returns the inputs of message passing, in the dtype of `projected`.

    Args:
      table: of P prefixes.
      hidden: H.
      edge_labels: size of the edge alphabet, 0 if edges have no labels.
      projected: float[N, H], the initial state of each node where it is old.
      adjacency: bool[N, N], `[t, j]` = an edge j -> t; only rows below the prefix's t are read.
      labels: int32[N, N], labels of those edges.
    """
    dtype, size = projected.dtype, adjacency.shape[0]
    old_nodes = jnp.asarray((table.node < table.prefix)[:, None])
    states = jnp.where(old_nodes, gather.rows(projected, table.node), jnp.zeros((), dtype))
    label = jnp.where(table.old, labels[table.row, table.column], 0)
    label_bits = jax.nn.one_hot(label, edge_labels, dtype=dtype)
    fixed = jnp.asarray(_fixed_features(table, hidden, edge_labels, size), dtype)
    roles = hidden - edge_labels - size
    edges = jnp.concatenate([fixed[:, :roles], label_bits, fixed[:, roles:]], axis=-1)
    present = jnp.where(table.old, adjacency[table.row, table.column], True).astype(dtype)
    return Features(states, edges, present)


def new_edges(table: Slots, adjacency: Array) -> Array:
    """Returns bool[e]: `Features.present` where the new node too has only its true edges."""
    new = table.ends.max(axis=1)  # the new node is the last one of its prefix
    other = table.ends.min(axis=1)
    return jnp.where(table.old, adjacency[table.row, table.column], adjacency[new, other])


def _fixed_features(table: Slots, hidden: int, edge_labels: int, size: int) -> np.ndarray:
    """float[e, H - edge_labels]: role bits, then -1 at the sender's node and +1 at the receiver's."""
    roles = np.zeros((table.role.size, hidden - edge_labels - size))
    for role, bits in enumerate(ROLE_BITS):
        for bit in bits:
            roles[table.role == role, bit] = 1
    nodes = np.arange(size)
    ends = (table.ends[:, 1:] == nodes).astype(float) - (table.ends[:, :1] == nodes)
    return np.concatenate([roles, ends], axis=1)
