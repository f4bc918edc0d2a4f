"""An empty folder for each test, and a command in this process."""

import os
import sys

import jax
import pytest

from nasjax import cli


@pytest.fixture(autouse=True)
def here(tmp_path, tmp_path_factory, monkeypatch):
    """An empty working directory; nothing of the user's is read or written."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("NASJAX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = jax.config.jax_compilation_cache_dir
    yield place
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def nasjax_main(capsys):
    """Runs a command in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        status = cli.main(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return run
