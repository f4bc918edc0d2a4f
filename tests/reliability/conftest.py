"""The toy run and the tiny sweep of `configs`, as processes and within this one, and what they come to when left alone."""

import os
import pathlib
import shutil
import subprocess
import sys
import types

import pytest
import tiny_sweep
import toy_run

from nasjax.search import run_search
from nasjax.sweep import run_sweep

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
SEED = 3


class StopHere(BaseException):
    """Ends a run between two batches, as a kill would; no `Exception`, so that nothing handles it."""


class ToyRun:
    """How tests start the toy run.

    Attributes:
      config: path of its config.
      command: what follows `nasjax`, without --run.
      module: the config's module in this process.
      results: files that depend on nothing but the config and the seed.
      reference: the run directory of a process that nobody disturbed.
    """

    config = CONFIGS / "toy_run.py"
    command = ("search", str(config), "--seed", str(SEED))
    module = toy_run
    results = ("history.npz", "result.json")

    def __init__(self, cache, reference):
        self.cache, self.reference = cache, reference

    def start(self, folder, *arguments, config=None, environment=None, fault=None, **options):
        """Starts `nasjax`, whose run directory is `folder`, as a process."""
        # A variable of the caller's would change which devices there are, or where programs are cached.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("NASJAX", "JAX", "XLA"))}
        own |= {"NASJAX_CACHE": str(self.cache), "NASJAX_TEST_FAULT": fault or ""} | (environment or {})
        folder.parent.mkdir(parents=True, exist_ok=True)
        assert folder.parent.name == "runs"
        words = [str(config) if config and word == str(self.config) else word for word in self.command]
        return subprocess.Popen(
            [sys.executable, "-m", "nasjax.cli", *words, "--run", folder.name, *arguments],
            cwd=folder.parent.parent,
            env={name: value for name, value in own.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, folder, *arguments, **options):
        """Does the same and waits; returns exit status, stdout, stderr."""
        process = self.start(folder, *arguments, **options)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        return process.returncode, out, err

    def search(self, folder, **options):
        """Runs it within this process; the notes go to a list unless the caller wants them."""
        return run_search(self.module.config(), SEED, folder, **({"on_note": list().append} | options))

    def stopped(self, folder, step):
        """Leaves in `folder` what a kill just after batch `step` would leave."""

        def stop(progress):
            if progress.step == step:
                raise StopHere

        with pytest.raises(StopHere):
            self.search(folder, on_batch=stop)
        return folder

    def expect_whole(self, folder):
        """Fails unless a run ended as the undisturbed one, bit for bit."""
        for name in self.results:
            assert (folder / name).read_bytes() == (self.reference / name).read_bytes(), f"{folder / name} differs"
        assert not list(folder.rglob("*.tmp"))


class ToySweep(ToyRun):
    """How tests start the tiny sweep; a chunk is its batch of evaluations."""

    config = CONFIGS / "tiny_sweep.py"
    command = ("sweep", str(config))
    module = tiny_sweep
    results = ("results.parquet", "summary.json")

    def search(self, folder, on_batch=None, on_note=None):
        """Runs it within this process."""

        def on_chunk(progress):
            if on_batch is not None:
                on_batch(types.SimpleNamespace(step=progress.chunk, evaluations=progress.chunk))

        found = run_sweep(
            self.module.config(), "tiny_sweep", folder, on_chunk=on_chunk, on_note=on_note or list().append
        )
        return types.SimpleNamespace(resumed_from=found.chunks - found.done)


def undisturbed(kind, tmp_path_factory):
    """The reference is a process of its own, and leaves compiled programs for the others."""
    cache = pathlib.Path(os.environ.get("NASJAX_TEST_CACHE") or tmp_path_factory.mktemp("cache")) / "cli"
    toy = kind(cache, tmp_path_factory.mktemp("reference") / "runs" / "run")
    status, _, err = toy.run(toy.reference)
    assert status == 0, err
    return toy


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """See `ToyRun`."""
    return undisturbed(ToyRun, tmp_path_factory)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """See `ToySweep`."""
    return undisturbed(ToySweep, tmp_path_factory)


@pytest.fixture(scope="session")
def half_done(toy, tmp_path_factory):
    """A run directory after 3 of 5 batches; to be copied."""
    return toy.stopped(tmp_path_factory.mktemp("half") / "run", 3)


@pytest.fixture
def half(half_done, tmp_path):
    """A copy of a run directory after 3 of 5 batches."""
    return pathlib.Path(shutil.copytree(half_done, tmp_path / "runs" / "run"))


@pytest.fixture
def content():
    """Returns the files of a folder with their bytes; LOCK is left out, which each start rewrites."""

    def read(folder):
        files = (path for path in folder.rglob("*") if path.is_file() and path.name != "LOCK")
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    return read


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "nasjax-test", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
