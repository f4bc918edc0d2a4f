"""How the tests of this folder break things: kills, signals and failing calls, at every operation on a run directory.

`toy` is what is disturbed: `conftest.ToyRun` or `conftest.ToySweep`.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys

from nasjax import files, rundir
from nasjax.interrupts import Interrupted

CALLS = ("open", "write", "fsync", "replace", "ftruncate")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


class Failing:
    """`os`, whose n-th call of CALLS fails; a failing write has taken a part of the bytes, as on a full disk."""

    def __init__(self, number, error):
        self.left, self.error = number, error

    def __getattr__(self, name):
        function = getattr(os, name)
        if name not in CALLS:
            return function

        def call(*args, **kwargs):
            self.left -= 1
            if self.left != 0:
                return function(*args, **kwargs)
            if name == "write":
                os.write(args[0], bytes(args[1])[: len(args[1]) // 2])
            raise OSError(self.error, os.strerror(self.error))

        return call


def fail_one_by_one(toy, prepare, tmp_path, monkeypatch, error):
    """Fails each call in turn in a directory that `prepare` makes; returns how many calls a whole run takes.

    `error` is the one to raise, or a list to go round.
    """
    number = 0
    while True:
        number += 1
        folder = prepare(tmp_path / str(number))
        told = error[number % len(error)] if isinstance(error, list) else error
        failing, reported = Failing(number, told), [0]
        descriptors = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", failing)
            try:
                toy.search(folder, on_batch=lambda progress, reported=reported: reported.append(progress.evaluations))
            except (OSError, rundir.RunDirError) as failure:
                # What a person reads says which file and why.
                text = str(failure)
                assert os.strerror(told) in text, (number, text)
                assert str(folder) in text, (number, text)
            else:
                assert failing.left > 0, f"call {number} failed and nobody noticed"
                toy.expect_whole(folder)
                return number - 1
        assert len(os.listdir("/proc/self/fd")) == descriptors, f"call {number} leaks a descriptor"
        assert toy.search(folder).resumed_from >= reported[-1]
        toy.expect_whole(folder)
        shutil.rmtree(folder)


def snapshots(monkeypatch, folder, into):
    """Copies `folder` at every operation on it: what stands on the disk is what a kill at that point would leave."""
    points = []

    def point(operation, path):
        if folder.exists():
            name = f"{len(points):03d}-{path.name}-{operation}"
            shutil.copytree(folder, into / name)
            points.append((into / name, reported[0]))

    reported = [0]
    monkeypatch.setattr(files, "_point", point)

    def on_batch(progress):
        reported[0] = progress.evaluations

    return points, on_batch


def killed_then_resumed(toy, folder, fault):
    """Returns what the second process printed."""
    process = toy.start(folder, fault=fault)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, f"{fault}: never reached"
    status, out, err = toy.run(folder)
    assert status == 0, err
    toy.expect_whole(folder)
    assert (folder / "report.html").exists()
    return out


COUNT = """
import sys
from nasjax import cli, files

def point(operation, path):
    print("POINT", f"{path.name}:{operation}", flush=True)

files._point = point
sys.exit(cli.main(sys.argv[1:]))
"""


def named_points(toy, folder):
    """Returns every point that a process passes, the report's included, as (name, which time)."""
    command = [sys.executable, "-c", COUNT, *toy.command, "--run", "run"]
    environment = os.environ | {"NASJAX_CACHE": str(toy.cache)}
    out = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    seen, points = {}, []
    for line in out.splitlines():
        if line.startswith("POINT "):
            name = line.split()[1]
            seen[name] = seen.get(name, 0) + 1
            points.append((name, seen[name]))
    return points


def signal_one_by_one(toy, tmp_path, monkeypatch, stride):
    """Within this process, where the handler raises at the very operation; what was reported is not repeated.

    Returns how many operations there are.
    """
    number, hit = 1, True
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    while hit:
        folder, hit, left, reported = tmp_path / str(number), False, number, [0]

        def point(operation, path, signum=signal.SIGTERM if number % 2 else signal.SIGINT):
            nonlocal left, hit
            left -= 1
            if left == 0:
                hit = True
                os.kill(os.getpid(), signum)

        with monkeypatch.context() as patch:
            patch.setattr(files, "_point", point)
            try:
                toy.search(folder, on_batch=lambda progress, reported=reported: reported.append(progress.evaluations))
                stopped = None
            except Interrupted as stop:
                stopped = stop.status
        assert stopped == ((143 if number % 2 else 130) if hit else None), f"the signal at operation {number}"
        assert not list(folder.rglob("*.tmp"))
        assert toy.search(folder).resumed_from >= reported[-1]
        toy.expect_whole(folder)
        number += stride
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    return number - stride
