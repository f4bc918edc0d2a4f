"""Random search for four seeds in two chunks, rewards made up.    nasjax sweep tests/configs/tiny_sweep.py

For the tests of a sweep's run directory. Expected: 4 s.
"""

import dataclasses

import toy_sweep

from nasjax.sweep import Sweep


def config() -> Sweep:
    sweep = toy_sweep.config()
    return dataclasses.replace(sweep, methods=sweep.methods[:1], tasks=sweep.tasks[:1], seeds=4, chunk=2)
