"""What the program of a sweep takes by the clock, on all cores that this process may use (or all accelerators).

    python benchmarks/sweep_clock.py [--rounds 5] [--seeds 1000] [--queries 500]

Evolution with exact deduplication on NAS-Bench-201 without `none`, CIFAR-10's validation accuracy after 12 epochs;
NASJAX_DATA names the folder with the table. Each core is a device that runs 64 seeds side by side, as in `nasjax sweep`. Prints
a Markdown table: seconds by the clock and CPU seconds of compiling (nothing is cached) and of all searches, median (smallest
to largest). The clock counts other programs too: run it on a machine that does nothing else. One core's CPU seconds,
beside other engines: `benchmarks/sweep.py`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from nasjax import seeds, startup
from nasjax.methods.regularized_evolution import RegularizedEvolution
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.tables import Table

SPACE = NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
TABLE = Table("nasbench201.npz", "cifar10", "val_acc@12")


def timed(work: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[tuple[float, float], Any]:
    """Returns seconds (by the clock, of CPUs) and what the work returns."""
    clock, cpu = time.perf_counter(), time.process_time()
    done = work(*arguments, **named)
    return (time.perf_counter() - clock, time.process_time() - cpu), done


def row(name: str, taken: list[tuple[float, float]]) -> str:
    columns = [
        f"{statistics.median(kind):.2f} ({min(kind):.2f} to {max(kind):.2f})" for kind in zip(*taken, strict=True)
    ]
    return " | ".join([f"| {name}", *columns]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1000, help="searches")
    parser.add_argument("--queries", type=int, default=500, help="of a search")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.seeds, arguments.queries) < 1:
        parser.error("--rounds, --seeds and --queries: at least 1")

    startup.prepare_jax()
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    try:
        evaluator = TABLE.build(SPACE)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{error}") from error
    devices = jax.local_devices()
    compiling, searching = [], []
    for _ in range(arguments.rounds):
        seeds.forget()
        seconds, program = timed(
            seeds.program, SPACE, RegularizedEvolution(), evaluator, arguments.queries, devices=devices
        )
        compiling.append(seconds)
        program(evaluator, [0])  # the first call allocates
        seconds, found = timed(program, evaluator, range(arguments.seeds))
        if (found.live.sum(axis=1) < arguments.queries).any():
            raise SystemExit(f"--queries {arguments.queries}: a search has asked all there is before")
        searching.append(seconds)

    machine = f"{len(devices)} devices ({devices[0].platform}), jax {jax.__version__}"
    print(f"| {machine} | seconds by the clock | CPU seconds |\n|---|---|---|")
    print(row("compiling", compiling))
    print(row(f"{arguments.seeds:,} evolutions of {arguments.queries} queries", searching))


if __name__ == "__main__":
    main()
