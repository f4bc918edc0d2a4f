"""The cell of NAS-Bench-201 with its architecture as data: four nodes, six edges, one of five operations on each.

`switch_cell` runs the one operation that an edge has (`lax.map` over children, on CPUs), `dense_cell` computes all and
selects (`vmap` over children, on accelerators), `static_cell` builds one concrete cell. All take the same weights and
agree.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.base import Array
from nasjax.spaces.nasbench201 import EDGES, OPERATIONS
from nasjax.train.networks import convolution as layers
from nasjax.train.networks import native
from nasjax.train.networks.convolution import Moments, Norm

NUM_NODES = 4
NONE, SKIP, CONV1, CONV3, POOL = range(len(OPERATIONS))


class CellWeights(NamedTuple):
    """Weights of all operations on all six edges; leading axes [..., 6]."""

    conv1: Array  # float[..., 6, c, c]
    norm1: Norm  # float[..., 6, c]
    conv3: Array  # float[..., 6, 3, 3, c, c]
    norm3: Norm


_Tree = TypeVar("_Tree", CellWeights, Moments)
_Residuals: TypeAlias = tuple[CellWeights, Array, list[Array], list[Array], Moments]
"""Weights, operations, the images of nodes 0 to 2, each edge's convolved image, moments."""
_ForwardBranch: TypeAlias = Callable[[CellWeights, Array], tuple[Array, Array, Moments]]
"""(weights, x) -> (y, the convolved image or zeros, moments)."""
_BackwardBranch: TypeAlias = Callable[[CellWeights, Array, Array, Moments, Array], tuple[Array, CellWeights]]
"""(weights, x, the convolved image, moments, dy) -> (dx, dweights)."""


def switch_cell(
    weights: CellWeights, operations: Array, x: Array, moments: Moments | None = None
) -> tuple[Array, Moments]:
    """Returns the cell's output float[B, H, W, c] and its moments float[6, c].

    Args:
      weights: leading axis 6.
      operations: int32[6].
      x: float[B, H, W, c].
      moments: None = those of the batch; given = these, leading axis 6.
    """
    if moments is None:
        y, batch = _trained(weights, operations, x)
        return y, jax.tree.map(lax.stop_gradient, batch)
    return _evaluated(weights, operations, x, moments), moments


def dense_cell(
    weights: CellWeights, operations: Array, x: Array, moments: Moments | None = None
) -> tuple[Array, Moments]:
    """`switch_cell` without branches: every edge does the work of one 3x3 convolution and one pooling.

    A 1x1 convolution is the 3x3 one with a kernel that is zero around its centre, so one product serves both.
    """
    nodes = [x, *[jnp.zeros_like(x)] * (NUM_NODES - 1)]
    used = []
    for edge, (source, target) in enumerate(EDGES):
        w, given = _at(weights, edge), None if moments is None else _at(moments, edge)
        is_ = [operations[edge] == name for name in range(len(OPERATIONS))]
        convolves = is_[CONV1] | is_[CONV3]
        centre = jnp.pad(w.conv1[None, None], ((1, 1), (1, 1), (0, 0), (0, 0)))
        kernel = jnp.where(is_[CONV1], centre, jnp.where(is_[CONV3], w.conv3, jnp.zeros_like(w.conv3)))
        norm = jax.tree.map(lambda a, b, one=is_[CONV1]: jnp.where(one, a, b), w.norm1, w.norm3)
        image = nodes[source]
        convolved, batch = layers.batch_norm(layers.conv3x3(layers.relu(image), kernel, 1, True), norm, given)
        y = jnp.where(convolves, convolved, jnp.zeros_like(image))
        y = jnp.where(is_[SKIP], image, jnp.where(is_[POOL], layers.average_pool3x3(image), y))
        nodes[target] += y
        if given is None:
            given = jax.tree.map(lambda a, b, c=convolves: jnp.where(c, a, b), batch, _neutral(x))
        used.append(given)
    return nodes[-1], jax.tree.map(lambda *leaves: jnp.stack(leaves), *used)


def static_cell(
    weights: CellWeights, operations: tuple[int, ...], x: Array, moments: Moments | None = None, plain: bool = False
) -> tuple[Array, Moments]:
    """`switch_cell` for concrete operations; `plain` = XLA's operations differentiated by JAX."""
    nodes = [x, *[jnp.zeros_like(x)] * (NUM_NODES - 1)]
    used = []
    for edge, (source, target) in enumerate(EDGES):
        given = None if moments is None else _at(moments, edge)
        y, batch = _operation(operations[edge], _at(weights, edge), nodes[source], given, plain)
        nodes[target] += y
        used.append(batch)
    return nodes[-1], jax.tree.map(lambda *leaves: jnp.stack(leaves), *used)


def _operation(
    name: int, w: CellWeights, x: Array, moments: Moments | None, plain: bool = False
) -> tuple[Array, Moments]:
    """One edge with a concrete operation."""
    batch_norm = layers.plain_batch_norm if plain else layers.batch_norm
    if name == CONV1:
        return batch_norm(layers.relu(x) @ w.conv1, w.norm1, moments)
    if name == CONV3:
        conv = layers.plain_conv3x3 if plain else layers.conv3x3
        return batch_norm(conv(layers.relu(x), w.conv3, 1), w.norm3, moments)
    y = jnp.zeros_like(x)
    if name == SKIP:
        y = x
    elif name == POOL:
        y = layers.plain_average_pool3x3(x) if plain else layers.average_pool3x3(x)
    return y, _neutral(x) if moments is None else moments


@jax.custom_vjp
def _trained(weights: CellWeights, operations: Array, x: Array) -> tuple[Array, Moments]:
    y, moments = _forward(weights, operations, x)[0]
    return y, moments


def _forward(weights: CellWeights, operations: Array, x: Array) -> tuple[tuple[Array, Moments], _Residuals]:
    nodes: list[Array | None] = [x, None, None, None]
    saved, used = [], []
    for edge, (source, target) in enumerate(EDGES):
        y, convolved, moments = _edge_forward(operations[edge], _at(weights, edge), nodes[source])
        so_far = nodes[target]
        nodes[target] = y if so_far is None else so_far + y
        saved.append(convolved)
        used.append(moments)
    images = [image for image in nodes if image is not None]
    moments = jax.tree.map(lambda *leaves: jnp.stack(leaves), *used)
    return (images[-1], moments), (weights, operations, images[:-1], saved, moments)


def _trained_backward(residuals: _Residuals, cotangents: tuple[Array, Moments]) -> tuple[CellWeights, None, Array]:
    weights, operations, nodes, saved, moments = residuals
    dnodes: list[Array | None] = [None, None, None, cotangents[0]]
    gradients = []
    for edge in reversed(range(len(EDGES))):
        source, target = EDGES[edge]
        w, m = _at(weights, edge), _at(moments, edge)
        dx, dw = _edge_backward(operations[edge], w, nodes[source], saved[edge], m, dnodes[target])
        so_far = dnodes[source]
        dx = dx if so_far is None else so_far + dx
        dnodes[source] = dx
        gradients.append(dw)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *gradients[::-1]), None, dx  # the last edge leaves node 0


_trained.defvjp(_forward, _trained_backward)


def _edge_forward(operation: Array, w: CellWeights, x: Any) -> tuple[Array, Array, Moments]:
    """One operation, chosen in C++ or by `lax.switch`."""
    if native.covers(x.dtype, x.shape[-1]):
        y, convolved, *moments = native.edge_forward(operation, x, _flat(w))
        return y, convolved, Moments(*moments)
    result: tuple[Array, Array, Moments] = lax.switch(operation, _FORWARD, w, x)
    return result


def _edge_backward(
    operation: Array, w: CellWeights, x: Any, convolved: Array, moments: Moments, dy: Any
) -> tuple[Array, CellWeights]:
    if native.covers(x.dtype, x.shape[-1]):
        dx, *dw = native.edge_backward(operation, x, convolved, *moments, _flat(w), dy)
        conv1, scale1, shift1, conv3, scale3, shift3 = dw
        return dx, CellWeights(conv1, Norm(scale1, shift1), conv3, Norm(scale3, shift3))
    result: tuple[Array, CellWeights] = lax.switch(operation, _BACKWARD, w, x, convolved, moments, dy)
    return result


def _conv_forward(name: int) -> _ForwardBranch:
    def forward(w: CellWeights, x: Array) -> tuple[Array, Array, Moments]:
        kernel, norm = (w.conv1, w.norm1) if name == CONV1 else (w.conv3, w.norm3)
        convolved = layers.relu(x) @ kernel if name == CONV1 else layers.conv3x3(layers.relu(x), kernel)
        moments = layers.batch_moments(convolved)
        return layers.normalise(convolved, norm, moments), convolved, moments

    return forward


def _conv_backward(name: int) -> _BackwardBranch:
    def backward(w: CellWeights, x: Array, convolved: Array, moments: Moments, dy: Array) -> tuple[Array, CellWeights]:
        norm = w.norm1 if name == CONV1 else w.norm3
        dconvolved, dnorm = layers.batch_norm_gradient(convolved, norm, moments, dy)
        active = layers.relu(x)
        zeros = jax.tree.map(jnp.zeros_like, w)
        if name == CONV1:
            width = x.shape[-1]
            dkernel = active.reshape(-1, width).T @ dconvolved.reshape(-1, width)
            dactive = dconvolved @ w.conv1.T
            dw = zeros._replace(conv1=dkernel, norm1=dnorm)
        else:
            dkernel = layers.conv3x3_kernel_gradient(active, dconvolved)
            dactive = layers.conv3x3_data_gradient(w.conv3, dconvolved)
            dw = zeros._replace(conv3=dkernel, norm3=dnorm)
        return jnp.where(x > 0, dactive, jnp.zeros_like(x)), dw

    return backward


def _free_forward(name: int) -> _ForwardBranch:
    def forward(w: CellWeights, x: Array) -> tuple[Array, Array, Moments]:
        y, moments = _operation(name, w, x, None)
        return y, jnp.zeros_like(x), moments

    return forward


def _free_backward(name: int) -> _BackwardBranch:
    def backward(w: CellWeights, x: Array, convolved: Array, moments: Moments, dy: Array) -> tuple[Array, CellWeights]:
        dx = {NONE: jnp.zeros_like, SKIP: lambda d: d, POOL: layers.average_pool3x3_gradient}[name](dy)
        return dx, jax.tree.map(jnp.zeros_like, w)

    return backward


_FORWARD = [(_conv_forward if name in (CONV1, CONV3) else _free_forward)(name) for name in range(len(OPERATIONS))]
_BACKWARD = [(_conv_backward if name in (CONV1, CONV3) else _free_backward)(name) for name in range(len(OPERATIONS))]


def _evaluated(weights: CellWeights, operations: Array, x: Array, moments: Moments) -> Array:
    def branch(name: int) -> Callable[[CellWeights, Array, Moments], Array]:
        return lambda w, x, m: _operation(name, w, x, m)[0]

    branches = [branch(name) for name in range(len(OPERATIONS))]
    nodes = [x, *[jnp.zeros_like(x)] * (NUM_NODES - 1)]
    for edge, (source, target) in enumerate(EDGES):
        nodes[target] += lax.switch(operations[edge], branches, _at(weights, edge), nodes[source], _at(moments, edge))
    return nodes[-1]


def _neutral(x: Array) -> Moments:
    """Moments of an edge without a convolution."""
    return Moments(jnp.zeros(x.shape[-1:], x.dtype), jnp.ones(x.shape[-1:], x.dtype))


def _flat(w: CellWeights) -> tuple[Array, ...]:
    return (w.conv1, *w.norm1, w.conv3, *w.norm3)


def _at(tree: _Tree, edge: int) -> _Tree:
    one: _Tree = jax.tree.map(lambda leaf: leaf[edge], tree)
    return one
