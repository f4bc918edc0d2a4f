"""Searches side by side in one program on an accelerator: what they take and find, and whether their bits stay.

    python benchmarks/accelerator.py [--methods improved,gp_bo,evolution,paper] [--widths 1,64,1024] [--rounds 3]
        [--task cifar100] [--anew] [--save FOLDER]

NAS-Bench-201 without `none`, 100 queries (evolution 500), told the validation accuracy after 200 epochs; NASJAX_DATA names the
folder with the table. Each width is one program that runs so many seeds at once, on one device. Prints a Markdown table: seconds
by the clock of compiling and of all searches (median of the rounds, each with other seeds); then of the first round's searches
the regret after 50 and all queries and the share at the optimum after 50; whether the searches are the same when the same
program runs the same seeds again, and, with --anew, when it is compiled anew; at the end a digest of all that was asked, to
compare with another device's. --save keeps that as METHOD-WIDTH.npy. Runs on a CPU too, with smaller widths.
"""

import argparse
import hashlib
import math
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from nasjax import seeds, startup
from nasjax.configs.graphpnas_nb201_improved import IMPROVED, OPERATIONS
from nasjax.methods.gp_bo import GpBo
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.methods.regularized_evolution import RegularizedEvolution
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.tables import Table

SPACE = NasBench201(op_names=OPERATIONS)
METHODS = {
    "improved": (IMPROVED, 100),
    "paper": (GraphPNAS(batch=1, form="dense", explore_iters=15, elite=10, epochs=60), 100),
    "gp_bo": (GpBo(), 100),
    "evolution": (RegularizedEvolution(population=20, sample=5), 500),
}
EARLY = 50
HEAD = "method | side by side | compiling, s | searching, s | s a search | regret after 50 | after all | at the optimum after 50"


def clock(about: str, work: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    done = work(*arguments, **named)
    taken = time.perf_counter() - start
    print(f"{about}: {taken:.2f} s", file=sys.stderr, flush=True)
    return taken, done


def same(left: Any, right: Any) -> str:
    """How many searches asked the same architectures in the same order."""
    equal = (left.keys == right.keys).all(axis=(1, 2))
    return "yes" if equal.all() else f"{equal.sum():,} of {len(equal):,}"


def mean(values: Any) -> str:
    return f"{values.mean():.4f} ± {values.std() / math.sqrt(len(values)):.4f}"


def row(name: str, width: int, evaluator: Any, arguments: argparse.Namespace) -> str:
    """Compiles, searches, and returns a line of the table."""
    import jax

    settings, budget = METHODS[name]
    given = SPACE, settings, evaluator, budget
    where = {"devices": jax.local_devices()[:1], "width": width}
    about = f"{name}, {width} side by side"
    seeds.forget()
    compiling, program = clock(f"{about}: compiling", seeds.program, *given, **where)
    first = clock(f"{about}: first", program, evaluator, range(width))[1]  # the first call allocates
    rounds = [range(number * width, (number + 1) * width) for number in range(arguments.rounds)]
    taken, found = zip(*(clock(about, program, evaluator, wanted) for wanted in rounds), strict=True)
    repeated, anew = same(first, found[0]), ""
    if arguments.anew:
        seeds.forget()
        program = clock(f"{about}: compiling", seeds.program, *given, **where)[1]
        anew = same(first, program(evaluator, range(width)))
    if arguments.save is not None:
        arguments.save.mkdir(parents=True, exist_ok=True)
        np.save(arguments.save / f"{name}-{width}.npy", first.keys)
    best = evaluator.best(SPACE)["validation"]
    early, late = (best - first.reward[:, :queries].max(axis=1) for queries in (EARLY, budget))
    middle = statistics.median(taken)
    cells = [name, f"{width:,}", f"{compiling:.1f}", f"{middle:.2f} ({min(taken):.2f} to {max(taken):.2f})"]
    cells += [f"{middle / width:.4f}", mean(early), mean(late), f"{(early <= 1e-4).mean():.1%}", repeated, anew]
    return f"| {' | '.join([*cells, hashlib.sha256(first.keys.tobytes()).hexdigest()[:8]])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="improved,gp_bo,evolution,paper")
    parser.add_argument("--widths", default="1,64,1024", help="seeds side by side, a program each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", default="cifar100", help="cifar10, cifar100 or ImageNet16-120")
    parser.add_argument("--anew", action="store_true", help="compile a second time and compare")
    parser.add_argument(
        "--save", type=pathlib.Path, help="folder for the keys of what was asked, uint32[seeds, queries, 2]"
    )
    arguments = parser.parse_args()
    names, widths = arguments.methods.split(","), [int(width) for width in arguments.widths.split(",")]
    if not set(names) <= set(METHODS) or min(*widths, arguments.rounds) < 1:
        parser.error(f"--methods: some of {', '.join(METHODS)}; --widths and --rounds: at least 1")

    startup.prepare_jax()
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    try:
        evaluator = Table("nasbench201.npz", arguments.task, "val_acc@200").build(SPACE)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{error}") from error
    device = jax.local_devices()[0]
    print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}, {arguments.task}\n")
    print(f"| {HEAD} | same again | compiled anew | asked |\n|{'---|' * 11}", flush=True)
    for name in names:
        for width in widths:
            print(row(name, width, evaluator, arguments), flush=True)


if __name__ == "__main__":
    main()
