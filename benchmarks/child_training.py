"""Training child networks: this engine beside PyTorch, one child after another, on one thread of a CPU.

    python benchmarks/child_training.py [--settings small,mid,large] [--rounds 5] [--steps 5] [--no-torch]

All train the same NAS-Bench-201 networks (random cells, the same for all) with SGD-Nesterov, weight decay, label
smoothing and batch norm in training mode on one fixed batch; ours as one program with `lax.map` over the children and
`lax.scan` over steps, once with XLA's layers and, where there is a compiler, once with the C++ layers. Engines take
turns within a round. Prints one Markdown table: CPU milliseconds per training step of one child (median, smallest and
largest round), the ratio to PyTorch's channels_last, compile time apart (CPU seconds of JAX; the C++ layers are
compiled once for all programs and not counted), and what a step costs with the compilation spread over `SEARCH_STEPS`
child-steps. PyTorch is optional: `pip install -e ".[bench]"`.
"""

import argparse
import functools
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("XLA_FLAGS", FLAGS)  # read when jax starts
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nasjax.spaces.nasbench201 import EDGES, OPERATIONS
from nasjax.train.networks.nasbench201 import Skeleton

SEARCH_STEPS = 120 * 300  # child-steps of a small search: 120 children, 300 steps each
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, SMOOTHING = 0.05, 0.9, 5e-4, 0.1


class Setting(NamedTuple):
    """Children, images in a batch, their side, width of the first stage, cells a stage."""

    children: int
    batch: int
    side: int
    channels: int
    cells: int = 1


SETTINGS = {"small": Setting(16, 64, 8, 8), "mid": Setting(16, 32, 16, 16), "large": Setting(8, 64, 32, 16)}


def cells_of(setting: Setting) -> np.ndarray:
    """Returns int[K, 6] operations, uniform over all cells; seed 0."""
    return np.random.default_rng(0).integers(0, len(OPERATIONS), (setting.children, len(EDGES)))


def batch_of(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    images = rng.standard_normal((setting.batch, setting.side, setting.side, 3)).astype(np.float32)
    return images, rng.integers(0, 10, setting.batch).astype(np.int32)


def training(setting: Setting, steps: int) -> Callable[..., Any]:
    """Returns `train(weights[K], operations int32[K, 6], images, labels) -> losses float32[K, steps]`."""
    skeleton = Skeleton(setting.channels, setting.cells, setting.side)

    def loss(weights: Any, operations: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits, _ = skeleton.apply_operations(weights, operations, images)
        target = optax.smooth_labels(jax.nn.one_hot(labels, 10), SMOOTHING)
        return optax.softmax_cross_entropy(logits, target).mean()

    def train(weights: Any, operations: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
        def child(given: tuple[Any, jax.Array]) -> jax.Array:
            start, cell = given

            def step(state: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], jax.Array]:
                weights, velocity = state
                value, gradient = jax.value_and_grad(loss)(weights, cell, images, labels)
                gradient = jax.tree.map(lambda g, w: g + WEIGHT_DECAY * w, gradient, weights)
                velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
                change = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
                return (jax.tree.map(lambda w, d: w - LEARNING_RATE * d, weights, change), velocity), value

            return jax.lax.scan(step, (start, jax.tree.map(jnp.zeros_like, start)), None, steps)[1]

        return jax.lax.map(child, (weights, operations))

    return jax.jit(train)


class Ours:
    """This engine: all children in one program."""

    def __init__(self, setting: Setting, steps: int, native: bool) -> None:
        """Compiles; `compile_seconds` is CPU time. `native` = with the C++ layers, compiled before."""
        os.environ["NASJAX_NATIVE"] = str(int(native))  # read when the program is traced
        skeleton = Skeleton(setting.channels, setting.cells, setting.side)
        keys = jax.random.split(jax.random.key(0), setting.children)
        weights = jax.jit(jax.vmap(skeleton.init))(keys)
        operations = jnp.asarray(cells_of(setting), jnp.int32)
        arguments = (weights, operations, *map(jnp.asarray, batch_of(setting)))
        jax.block_until_ready(arguments)
        start = time.process_time()
        lowered = training(setting, steps).lower(*arguments)
        self.program = lowered.compile()
        self.compile_seconds = time.process_time() - start
        if native != ("nasjax_edge_forward" in lowered.as_text()):
            raise RuntimeError(f"the program is not the one asked for (C++ layers: {native})")
        self.arguments = arguments
        self.child_steps = setting.children * steps
        self.losses = np.asarray(self.program(*arguments))
        if not np.isfinite(self.losses).all():
            raise RuntimeError("a child diverged: the timing would mean nothing")

    def milliseconds(self) -> float:
        """Returns the CPU time of a child-step."""
        start = time.process_time()
        jax.block_until_ready(self.program(*self.arguments))
        return 1e3 * (time.process_time() - start) / self.child_steps


class Torch:
    """PyTorch, eager, one child after another."""

    compile_seconds = 0.0

    def __init__(self, setting: Setting, steps: int, channels_last: bool) -> None:
        """Builds all children; the first two steps of each warm up."""
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.torch, self.steps = torch, steps
        layout = torch.channels_last if channels_last else torch.contiguous_format
        images, labels = batch_of(setting)
        self.images = torch.from_numpy(images.transpose(0, 3, 1, 2)).contiguous(memory_format=layout)
        self.labels = torch.from_numpy(labels).long()
        self.children = []
        for cell in cells_of(setting):
            net = torch_network(cell, setting).to(memory_format=layout).train()
            optimiser = torch.optim.SGD(
                net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
            )
            self.children.append((net, optimiser))
        self.child_steps = setting.children * steps
        self._train(2)

    def _train(self, steps: int) -> None:
        cross_entropy = self.torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        for net, optimiser in self.children:
            for _ in range(steps):
                optimiser.zero_grad(set_to_none=True)
                cross_entropy(net(self.images), self.labels).backward()
                optimiser.step()

    def milliseconds(self) -> float:
        """Returns the CPU time of a child-step."""
        start = time.process_time()
        self._train(self.steps)
        return 1e3 * (time.process_time() - start) / self.child_steps


def torch_network(cell: np.ndarray, setting: Setting) -> Any:
    """Returns the same network as a `torch.nn.Module`."""
    from torch import nn

    def conv_norm(c: int, o: int, size: int, stride: int = 1) -> Any:
        conv = nn.Conv2d(c, o, size, stride, size // 2, bias=False)
        return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(o))

    def operation(label: int, c: int) -> Any:
        pool = functools.partial(nn.AvgPool2d, 3, 1, 1, count_include_pad=False)
        makers = [None, nn.Identity, lambda: conv_norm(c, c, 1), lambda: conv_norm(c, c, 3), pool]
        return makers[label]() if label else None

    class Summed(nn.Module):
        """Sums of edges into nodes; the last node is the output."""

        def __init__(self, c: int) -> None:
            super().__init__()
            self.edges = nn.ModuleList([operation(int(label), c) or nn.Module() for label in cell])

        def forward(self, x: Any) -> Any:
            nodes = [x, None, None, None]
            for (source, target), label, edge in zip(EDGES, cell, self.edges, strict=True):
                if label and nodes[source] is not None:
                    y = edge(nodes[source])
                    nodes[target] = y if nodes[target] is None else nodes[target] + y
                elif target == source + 1 and nodes[target] is None:
                    nodes[target] = x.new_zeros(x.shape)
            return nodes[3]

    class Residual(nn.Module):
        """Halves the side, doubles the width."""

        def __init__(self, c: int) -> None:
            super().__init__()
            self.long = nn.Sequential(conv_norm(c, 2 * c, 3, 2), conv_norm(2 * c, 2 * c, 3))
            self.short = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c, 2 * c, 1, bias=False))

        def forward(self, x: Any) -> Any:
            return self.long(x) + self.short(x)

    c = setting.channels
    parts: list[Any] = [nn.Conv2d(3, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)]
    for stage in range(3):
        parts += [Residual(c << stage - 1)] if stage else []
        parts += [Summed(c << stage) for _ in range(setting.cells)]
    return nn.Sequential(
        *parts, nn.BatchNorm2d(4 * c), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * c, 10)
    )


def check_parameter_counts() -> None:
    """Refuses to time a network that is not the published one (C = 16, N = 5: no operation, six 3x3 convolutions)."""
    published = Setting(1, 1, 32, 16, 5)
    for label, expected in ((0, 73_306), (3, 1_531_546)):
        found = sum(p.numel() for p in torch_network(np.full(6, label), published).parameters())
        if found != expected:
            raise RuntimeError(f"the network in PyTorch has {found} parameters instead of {expected}")


def timed(setting: Setting, steps: int, rounds: int, with_torch: bool) -> dict[str, tuple[list[float], float]]:
    """Returns for each engine its milliseconds a child-step in each round and its CPU seconds of compilation."""
    engines: dict[str, Ours | Torch] = {"XLA": Ours(setting, steps, False)}
    if shutil.which("g++"):
        engines["XLA and C++ layers"] = Ours(setting, steps, True)
    if with_torch:
        engines["PyTorch NCHW"] = Torch(setting, steps, channels_last=False)
        engines["PyTorch channels_last"] = Torch(setting, steps, channels_last=True)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for k in range(rounds):
        names = list(engines)
        for name in names[k % len(names) :] + names[: k % len(names)]:  # no engine always follows the same one
            times[name].append(engines[name].milliseconds())
    return {name: (times[name], engine.compile_seconds) for name, engine in engines.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--no-torch", action="store_true")
    arguments = parser.parse_args()
    if not arguments.no_torch:
        check_parameter_counts()

    print(
        f"{platform.machine()}, jax {jax.__version__}; CPU milliseconds per child-step of {arguments.rounds} rounds\n"
    )
    print("| setting | engine | median (range) | to channels_last | compile, CPU-s | with compile |")
    print("|---|---|---|---|---|---|")
    for name in arguments.settings.split(","):
        results = timed(SETTINGS[name], arguments.steps, arguments.rounds, not arguments.no_torch)
        reference = statistics.median(results.get("PyTorch channels_last", ([float("nan")], 0))[0])
        for engine, (times, compiling) in results.items():
            middle = statistics.median(times)
            total = middle + 1e3 * compiling / SEARCH_STEPS
            spread = f"{middle:.1f} ({min(times):.1f} to {max(times):.1f})"
            print(
                f"| {name} | {engine} | {spread} | {middle / reference:.2f} | {compiling:.1f} | {total:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
