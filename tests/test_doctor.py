"""`nasjax doctor`: what is said of this machine is so, and whatever is broken is one line."""

import importlib.metadata
import os
import pathlib
import re
import tomllib

import jax
import pytest

from nasjax import doctor, startup
from nasjax.train import executors, prepared

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The lines of this machine, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        lines = doctor.lines()
    return lines, dict(re.fullmatch(r"(\S+(?: \S+)*?)  +(\S.*)", line).groups() for line in lines)


def test_lines_are_aligned_and_names_differ(found):
    lines, by_name = found
    assert len(by_name) == len(lines)
    width = max(map(len, by_name))
    assert [line[: width + 2] for line in lines] == [f"{name:{width}}  " for name in by_name]


def test_versions_are_those_that_are_installed(found):
    _, by_name = found
    for name in ("jax", "jaxlib", "numpy", "flax", "optax", "jraph", "tensorflow-datasets"):
        assert by_name[name] == importlib.metadata.version(name)
    assert by_name["nasjax"] == importlib.metadata.version("nasjax")


def test_every_dependency_is_looked_at():
    """The list stands in the code too, since a tree that is not installed has no metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w-]+", text)[0] for text in project["dependencies"]}
    assert set(doctor.REQUIRED) == declared | {"jaxlib"}
    assert set(doctor.OPTIONAL) == {re.match(r"[\w-]+", text)[0] for text in project["optional-dependencies"]["bench"]}


def test_a_missing_library_is_said(monkeypatch):
    def version(name):
        if name in ("chex", "torch"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    said = dict(doctor._versions())
    assert said["chex"].startswith("missing, though nasjax needs it")
    assert said["torch"].startswith("not installed; optional: ")


def test_devices_and_cores(found):
    _, by_name = found
    device = jax.devices()[0]
    assert by_name["devices"] == f"{jax.device_count()} of platform {device.platform}, kind {device.device_kind}"
    assert by_name["cores"].startswith(f"{startup.num_cores()} for this process")


def test_memory_is_that_of_the_machine(found):
    _, by_name = found
    total, available = doctor.host_memory()
    assert 0 < (available or 1) <= total <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert by_name["host memory"].startswith(f"{total / 2**30:.1f} GiB")


@pytest.mark.parametrize(("limit", "total"), [("1048576\n", 1 << 20), ("max\n", None), ("9" * 25, None)])
def test_a_containers_limit_counts(monkeypatch, tmp_path, limit, total):
    monkeypatch.setattr(doctor, "_CGROUPS", ())
    machine, _ = doctor.host_memory()
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(doctor, "_CGROUPS", (str(tmp_path / "memory.max"), str(tmp_path / "none")))
    found, available = doctor.host_memory()
    assert found == (total or machine)
    assert available is None or available <= found


def test_executors_run_here_and_one_is_chosen(found):
    _, by_name = found
    said = {name.removeprefix("executor "): text for name, text in by_name.items() if name.startswith("executor ")}
    assert set(said) == set(executors.EXECUTORS) - {"auto"}
    assert all(text.startswith("runs") for text in said.values()), said
    assert [name for name, text in said.items() if "chosen by itself" in text] == [executors.choose()]


def test_an_executor_that_does_not_run_says_why(monkeypatch):
    def fail(*arguments, **options):
        raise NotImplementedError("no such thing\nhere")

    def nothing(self, archs, keys):
        return (jax.numpy.full(2, jax.numpy.nan),)

    monkeypatch.setattr(jax, "pmap", fail)
    executors._program.cache_clear()
    monkeypatch.setattr(executors, "EXECUTORS", ("auto", "pmap"))
    assert dict(doctor._executors()) == {"executor pmap": "does not run: NotImplementedError: no such thing"}
    monkeypatch.setattr(executors.Population, "train", nothing)
    ((_, text),) = doctor._executors()
    assert text == "does not run: ArithmeticError: the scores of its children are no numbers"


def test_data_sets(found, monkeypatch):
    _, by_name = found
    assert {name for name in by_name if name.startswith("data set ")} == {
        f"data set {name}" for name in ["digits", *prepared.DATASETS]
    }
    assert by_name["data set digits"].startswith("there: 1,797 images")
    assert "nasjax data prepare cifar10" in by_name["data set cifar10"]


def test_caches(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        for folder, text in [
            (str(tmp_path / "own"), f"{tmp_path}/own, usable"),
            ("gs://bucket/cache", "gs://bucket/cache, not tried"),
            ("/dev/null/x", "not usable, so programs are compiled anew each time: /dev/null/x: Not a directory"),
        ]:
            jax.config.update("jax_compilation_cache_dir", folder)
            ((name, said),) = doctor._compile_cache()
            assert name == "compile cache"
            assert said.startswith(text)
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.setenv("NASJAX_CACHE", str(tmp_path))
        assert [text for _, text in doctor._compile_cache()] == [f"{tmp_path}/xla, usable"]
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_what_is_broken_is_one_line_and_the_rest_is_said(monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no backend\nand a long story")

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setattr(prepared, "listing", lambda: (_ for _ in ()).throw(PermissionError(13, "denied", "/x")))
    lines = doctor.lines()
    said = {line.split("  ")[0]: line for line in lines}
    assert "could not be found out: jax starts no device" in said["devices"]
    assert "no backend" in said["devices"]
    assert not any("long story" in line for line in lines)
    assert "could not be found out: [Errno 13] denied" in said["data sets"]
    assert said["numpy"]
