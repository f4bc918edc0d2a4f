"""A Gaussian process over graphs written row by row, whose distance is learned with it.

Every pair of nodes and every node is a decision. Its label lies at a place in a space of descriptions
(`Alphabet.described`); the distance of two graphs is the weighted distance of those places. The length, the noise, the
weight of each decision and shifts of the labels' places are those of largest posterior density.

Source: Gaussian processes, relevance per input and MAP: Rasmussen and Williams, "Gaussian Processes for Machine Learning"
(2006), §2.2 and §5.1; expected improvement: Jones, Schonlau, Welch (1998). Ours: places of labels that start from what the
operations are, and the logarithm of the gap to the best for targets: what decides a search is the order among the best,
on which a regression of rewards, or of their ranks, spends little.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from nasjax import gather
from nasjax.base import Alphabet, Array, Rows
from nasjax.methods import gaussian_process
from nasjax.methods.screen import Archive

WEIGHT_SPREAD, SHIFT_SPREAD = 0.5, 0.15
"""Prior deviations of a decision's log weight, and of a label's place."""

SOFTENING = 0.5
"""Gaps far below this share of the median gap count as none."""

STEPS, RATE = 40, 0.1
"""Adam steps of a fit, and their rate."""


class Theta(NamedTuple):
    """What is learned, in units of its prior's deviations: each number is N(0, 1) before data.

    Attributes:
      length: float32[], log of the length over the typical distance of two graphs.
      scale: float32[], log of the latent function's variance.
      noise: float32[], log of the noise's variance over `NOISE`.
      pairs: float32[N (N - 1) / 2], log weight of each pair of nodes.
      nodes: float32[N], log weight of each node.
      shift: float32[labels, A], of the places.
    """

    length: Array
    scale: Array
    noise: Array
    pairs: Array
    nodes: Array
    shift: Array


NOISE = 0.03
"""Prior median of the noise's variance; targets have variance 1."""


def start(alphabet: Alphabet) -> Theta:
    """Returns the prior's centre for a space's graphs."""
    num, places = alphabet.num_nodes, _places(alphabet)
    zero = jnp.zeros((), jnp.float32)
    pairs, nodes = jnp.zeros(num * (num - 1) // 2, jnp.float32), jnp.zeros(num, jnp.float32)
    return Theta(zero, zero, zero, pairs, nodes, jnp.zeros(places.shape, jnp.float32))


def fit(alphabet: Alphabet, archive: Archive) -> Theta:
    """Returns theta of largest posterior density, approached by `STEPS` of Adam from the prior's centre."""
    mask = archive.mask
    targets = log_gaps(archive.reward, mask)

    def covariance(theta: Theta) -> Array:
        points = embed(alphabet, theta, archive.rows)
        return gaussian_process.covariance(_distances(points, points), mask, _hyper(theta))

    centre = start(alphabet)
    return gaussian_process.descend(centre, covariance, targets, centre, STEPS, RATE)


def expected_improvement(alphabet: Alphabet, theta: Theta, archive: Archive, candidates: Rows) -> Array:
    """Returns float32[C], over the archive's best, in deviations of the targets."""
    mask = archive.mask
    targets = log_gaps(archive.reward, mask)
    points, others = embed(alphabet, theta, archive.rows), embed(alphabet, theta, candidates)
    given = gaussian_process.posterior(points, targets, mask, _hyper(theta))
    mean, variance = gaussian_process.predict(given, others)
    best = jnp.max(targets, where=mask, initial=-jnp.inf)
    return gaussian_process.expected_improvement(mean, variance, jnp.where(mask.any(), best, 0))


def log_gaps(reward: Array, mask: Array) -> Array:
    """Returns float32[Q], -log(best - reward + `SOFTENING` · median gap), mean 0 and deviation 1; 0 where not `mask`.

    Args:
      reward: float32[Q]; finite where `mask`.
      mask: bool[Q].
    """
    number = mask.sum(dtype=jnp.int32)
    best = jnp.max(reward, where=mask, initial=-jnp.inf)
    gap = jnp.where(mask, best - reward, jnp.inf)
    median = jnp.sort(gap)[jnp.maximum(number, 1) // 2]
    logs = jnp.where(mask, -jnp.log(jnp.where(mask, gap, 1) + jnp.maximum(SOFTENING * median, 1e-9)), 0)
    count = jnp.maximum(number, 1).astype(logs.dtype)
    centred = jnp.where(mask, logs - logs.sum() / count, 0)
    return centred / jnp.sqrt((centred**2).sum() / count + 1e-12)


def embed(alphabet: Alphabet, theta: Theta, rows: Rows) -> Array:
    """Returns float32[C, F], points whose Euclidean distance is the graphs', in units of the length."""
    num = alphabet.num_nodes
    places = jnp.asarray(_places(alphabet)) + SHIFT_SPREAD * theta.shift
    below = np.tril_indices(num, -1)
    index = jnp.arange(num, dtype=jnp.int32)
    exists = index[None] < rows.size[:, None]
    edges = rows.edges[:, below[0], below[1]]
    pairs = gather.rows(places, edges) if alphabet.edge_labels else edges[..., None].astype(jnp.float32)
    parts = [(jnp.exp(WEIGHT_SPREAD * theta.pairs)[None, :, None] * pairs).reshape(edges.shape[0], -1)]
    if alphabet.node_labels:
        labels = jnp.where(exists[..., None], gather.rows(places, rows.nodes), 0)
        nodes = jnp.concatenate([labels, (~exists[..., None]).astype(jnp.float32)], -1)
        parts.append((jnp.exp(WEIGHT_SPREAD * theta.nodes)[None, :, None] * nodes).reshape(edges.shape[0], -1))
    return jnp.concatenate(parts, -1) * (jnp.exp(-theta.length) / _typical(alphabet))


def _places(alphabet: Alphabet) -> np.ndarray:
    """float32[labels, A], at distance 1 from each other where nothing is known; [1, 1] where there are no labels."""
    if alphabet.described:
        return np.array(alphabet.described, np.float32)
    labels = max(alphabet.edge_labels or alphabet.node_labels, 1)
    return np.eye(labels, dtype=np.float32) / np.float32(np.sqrt(2))


def _typical(alphabet: Alphabet) -> np.float32:
    """Root mean square distance of two graphs of random labels and edges, before anything is learned."""
    places, num = _places(alphabet), alphabet.num_nodes
    masked = alphabet.masked_edges if alphabet.edge_labels else alphabet.masked_nodes
    places = places[[label for label in range(len(places)) if label not in masked]]
    labels = ((places[:, None] - places[None]) ** 2).sum(-1).mean()
    pairs = num * (num - 1) / 2
    total = pairs * (labels if alphabet.edge_labels else 0.5) + num * labels * (alphabet.node_labels > 0)
    return np.float32(np.sqrt(total))


def _hyper(theta: Theta) -> Array:
    """float32[3], what `gaussian_process` calls theta; the length is in the points."""
    return jnp.stack([jnp.zeros((), jnp.float32), theta.scale, theta.noise + jnp.float32(np.log(NOISE))])


def _distances(left: Array, right: Array) -> Array:
    """float32[L, R]; with a gradient of 0 where two points are the same."""
    squared = (left**2).sum(-1)[:, None] + (right**2).sum(-1)[None] - 2 * left @ right.T
    apart = squared > 1e-10
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)
