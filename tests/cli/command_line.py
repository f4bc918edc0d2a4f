"""What the tests of the command line share."""

import os
import pathlib
import subprocess
import sys

TOY = str(pathlib.Path(__file__).parent.parent / "configs" / "toy_run.py")
SMALL = (TOY, "--budget.evaluations", "4", "--run", "toy")
REFUSED, FAILED = 2, 1


def spawned(*arguments, environment=None, **options):
    """Runs a command in a process of its own, buffering as Python does; 2 to 4 seconds each where jax is imported."""
    run = [sys.executable, "-m", "nasjax.cli", *arguments]
    variables = os.environ | {"PYTHONUNBUFFERED": ""} | (environment or {})
    return subprocess.run(run, env=variables, check=False, timeout=300, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
