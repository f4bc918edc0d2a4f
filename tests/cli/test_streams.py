"""Terminals, pipes, encodings, streams that are closed."""

import os
import pty
import re
import select
import subprocess
import sys

import pytest
from command_line import FAILED, SMALL, TOY, spawned

from nasjax import rundir


def test_a_real_terminal():
    """The whole command on a terminal of its own: a live line, then the outcome, and the cursor is back."""
    master, slave = pty.openpty()
    run = [sys.executable, "-m", "nasjax.cli", "search", *SMALL]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "90"}
    with subprocess.Popen(run, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        written = b""
        while True:
            select.select([master], [], [], 300)
            try:
                data = os.read(master, 1 << 16)
            except OSError:  # how Linux says that the other side is closed
                break
            if not data:
                break
            written += data
    os.close(master)
    assert process.returncode == 0, written
    text = written.decode()
    assert text.index("4/4") < text.index("runs/toy: fresh run")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "━" in plain
    assert "evaluations  best" not in plain  # that line is for files


def test_pipes_and_a_poor_locale(here):
    """The outcome alone goes to stdout, plain; no locale is too poor for it."""
    environment = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    found = spawned("search", *SMALL, "--evaluator.nan-share", "1", environment=environment, capture_output=True)
    assert found.returncode == 0, found.stderr
    out, err = found.stdout.decode("ascii"), found.stderr.decode("ascii")
    assert out.startswith("run                  runs/toy: fresh run, 4 evaluations, 4 invalid")
    assert "4/4 evaluations  best -, 4 invalid" in err
    assert "\x1b" not in out + err


@pytest.mark.parametrize("arguments", [["--help"], ["search", TOY, "--help"]])
def test_a_reader_that_has_enough(arguments):
    """`nasjax … | head -0`: no traceback, and nothing that Python adds at exit."""
    read, write = os.pipe()
    os.close(read)
    found = spawned(*arguments, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert found.stderr == b""
    assert found.returncode in (0, FAILED)


def test_output_without_room_is_no_success():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        found = spawned("table", "inspect", "digits", stdout=full, stderr=subprocess.PIPE)
    assert found.stderr == b"nasjax: stdout has no room: what was said is not all there\n"
    assert found.returncode == FAILED


def test_streams_that_are_closed_cost_no_run(here):
    """`nasjax … >&- 2>&- <&-`."""
    run = f"exec {sys.executable} -m nasjax.cli search {TOY} --budget.evaluations 4 --run toy >&- 2>&- <&-"
    assert subprocess.run(["sh", "-c", run], check=False).returncode == 0
    assert rundir.read_result(here / "runs" / "toy")["evaluations"] == 4
