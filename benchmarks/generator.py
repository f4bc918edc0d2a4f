"""What a refit step of GraphPNAS's generator costs, in its two forms, on one thread of a CPU.

    python benchmarks/generator.py [--rounds 5]

NAS-Bench-201 shapes, an elite of 15, minibatches of 2, Adam: the step of the paper's protocol, 560 of them a refit. Prints a
Markdown table: CPU milliseconds a step (median, smallest, largest of the rounds, forms taking turns), compile time apart,
and 128 samples.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import generator
from nasjax.base import Array, Key, PyTree, Rows
from nasjax.generator import GeneratorConfig
from nasjax.methods import refit
from nasjax.spaces.nasbench201 import NasBench201

EPOCHS = 20
ELITE = 15


class Form:
    """One form, compiled."""

    def __init__(self, form: str) -> None:
        config = GeneratorConfig(NasBench201().alphabet, form=form)
        settings = refit.Refit()
        labels = np.zeros((ELITE, 4, 4), np.int32)
        labels[:, *np.tril_indices(4, -1)] = np.random.default_rng(0).integers(0, 5, (ELITE, 6))
        rows = Rows(jnp.asarray(labels), jnp.zeros((ELITE, 4), jnp.int32), jnp.full(ELITE, 4, jnp.int32))
        weights = jnp.arange(1, ELITE + 1, dtype=jnp.float32) / ELITE

        def loss(params: PyTree, graphs: Rows, coefficients: Array, key: Key) -> Array:
            del key
            return generator.losses(params, config, graphs, coefficients).sum()

        def fit(key: Key) -> refit.Learner:
            start = refit.fresh(settings, generator.init(key, config))
            size = jnp.int32(ELITE)
            return refit.fit(settings, loss, start, key, rows, weights, size, epochs=jnp.int32(EPOCHS), bound=size)

        key = jax.random.key(0)
        start = time.process_time()
        self.fit = jax.jit(fit).lower(key).compile()
        self.compile_seconds = time.process_time() - start
        params = self.fit(key).params
        draw = jax.jit(lambda key: generator.sample_batch(params, config, key, 128)).lower(key).compile()
        jax.block_until_ready(draw(key))
        self.programs = {
            "step": (lambda: self.fit(key), EPOCHS * -(-ELITE // 2)),
            "128 samples": (lambda: draw(key), 1),
        }

    def milliseconds(self, what: str) -> float:
        program, steps = self.programs[what]
        start = time.process_time()
        jax.block_until_ready(program())
        return 1e3 * (time.process_time() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    forms = {name: Form(name) for name in ("jraph", "dense")}
    print("| form | what | CPU ms, median [range] | compile, CPU s |\n|---|---|---|---|")
    for what in ("step", "128 samples"):
        times = {name: [] for name in forms}
        for _ in range(rounds):
            for name, form in forms.items():
                times[name].append(form.milliseconds(what))
        for name, found in times.items():
            figures = f"{statistics.median(found):.2f} [{min(found):.2f}, {max(found):.2f}]"
            compiled = f"{forms[name].compile_seconds:.1f}" if what == "step" else ""
            print(f"| {name} | {what} | {figures} | {compiled} |")


if __name__ == "__main__":
    main()
