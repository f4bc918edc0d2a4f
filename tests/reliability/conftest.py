"""The toy run of `configs/toy_run.py`, as a process and within this one, and what it comes to when left alone."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import toy_run

from nasjax.search import run_search

CONFIG = pathlib.Path(__file__).parent.parent / "configs" / "toy_run.py"
SEED = 3


class StopHere(BaseException):
    """Ends a run between two batches, as a kill would; no `Exception`, so that nothing handles it."""


class ToyRun:
    """How tests start the toy run.

    Attributes:
      config: path of its config.
      module: the config's module in this process.
      reference: the run directory of a process that nobody disturbed.
    """

    config = CONFIG
    seed = SEED

    def __init__(self, cache, reference):
        self.cache, self.reference, self.module = cache, reference, toy_run

    def start(self, folder, *arguments, config=CONFIG, environment=None, fault=None, **options):
        """Starts `nasjax search`, whose run directory is `folder`, as a process."""
        # A variable of the caller's would change which devices there are, or where programs are cached.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("NASJAX", "JAX", "XLA"))}
        own |= {"NASJAX_CACHE": str(self.cache), "NASJAX_TEST_FAULT": fault or ""} | (environment or {})
        folder.parent.mkdir(parents=True, exist_ok=True)
        assert folder.parent.name == "runs"
        command = [sys.executable, "-m", "nasjax.cli", "search", str(config), "--run", folder.name, "--seed", str(SEED)]
        return subprocess.Popen(
            [*command, *arguments],
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
        for name in ("history.npz", "result.json"):
            assert (folder / name).read_bytes() == (self.reference / name).read_bytes(), f"{folder / name} differs"
        assert not list(folder.glob("*.tmp"))


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """See `ToyRun`; the undisturbed run is a process of its own, and leaves compiled programs for the others."""
    cache = pathlib.Path(os.environ.get("NASJAX_TEST_CACHE") or tmp_path_factory.mktemp("cache")) / "cli"
    toy = ToyRun(cache, tmp_path_factory.mktemp("reference") / "runs" / "run")
    status, _, err = toy.run(toy.reference)
    assert status == 0, err
    return toy


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
