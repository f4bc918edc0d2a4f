"""What is settled before jax starts: cores, cache folders, flags of the user's own."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from nasjax import startup


@pytest.fixture(autouse=True)
def no_cache_named(monkeypatch):
    for name in ("NASJAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cache_setting():
    """Puts jax's cache folder back afterwards."""
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"NASJAX_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"NASJAX_CACHE": "~/b"}, "/home/of/mine/b"),
        ({"NASJAX_CACHE": "", "XDG_CACHE_HOME": "/x"}, "/x/nasjax"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/of/mine/.cache/nasjax"),
        ({}, "/home/of/mine/.cache/nasjax"),
    ],
)
def test_where_the_cache_lies(monkeypatch, variables, folder):
    monkeypatch.setenv("HOME", "/home/of/mine")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert startup.cache_folder() == pathlib.Path(folder)


def test_without_a_home_the_variable_is_named(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", no_home)
    with pytest.raises(OSError, match="no home directory; NASJAX_CACHE=FOLDER"):
        startup.cache_folder()


def test_the_cache_folder_is_made_for_its_user_alone_and_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("NASJAX_CACHE", str(tmp_path / "deep" / "er"))
    folder = startup.usable_cache()
    assert folder == tmp_path / "deep" / "er" / "xla"
    assert folder.stat().st_mode & 0o077 == 0
    assert not list(folder.iterdir())


@pytest.mark.parametrize("place", ["file/cache", "/proc/nasjax", "/dev/null/x"])
def test_a_cache_that_cannot_be_is_one_note_and_no_failure(tmp_path, monkeypatch, cache_setting, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NASJAX_CACHE", str(tmp_path / place))
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])
    jax.config.update("jax_compilation_cache_dir", None)
    (note,) = startup.prepare_jax()
    assert note.startswith("no compilation cache, so programs are compiled anew each time: ")
    assert place in note
    assert jax.config.jax_compilation_cache_dir is None


def test_the_users_own_cache_stays(monkeypatch, tmp_path, cache_setting):
    monkeypatch.setenv("NASJAX_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    assert startup.prepare_jax() == []
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"),
        ("--xla_dump_to=x", "--xla_dump_to=x --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"),
        (
            "--xla_cpu_multi_thread_eigen=true --intra_op_parallelism_threads=8",
            "--xla_cpu_multi_thread_eigen=true --intra_op_parallelism_threads=8",
        ),
    ],
)
def test_flags_are_added_and_never_changed(monkeypatch, tmp_path, cache_setting, own, expected):
    monkeypatch.setenv("NASJAX_CACHE", str(tmp_path))
    monkeypatch.setenv("XLA_FLAGS", own)
    for _ in range(2):  # a second search in one process adds nothing
        startup.prepare_jax()
        assert os.environ["XLA_FLAGS"] == expected


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 6}, raising=False)
    assert startup.num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert startup.num_cores() == os.cpu_count()


@pytest.mark.parametrize(
    ("variables", "devices"),
    [({}, "all"), ({"JAX_NUM_CPU_DEVICES": "3"}, 3), ({"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}, 4)],
)
def test_one_cpu_device_a_core_unless_the_user_says_otherwise(tmp_path, variables, devices):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    environment = kept | {"NASJAX_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"} | variables
    code = "from nasjax import startup as s; s.prepare_jax(); import jax; print(jax.device_count(), s.num_cores())"
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    count, cores = map(int, found.stdout.split())
    assert count == (cores if devices == "all" else devices)


def test_devices_that_do_not_start_are_refused_in_one_line(monkeypatch):
    def fail():
        raise RuntimeError("Unable to initialize backend 'gpux'\nand more")

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(ValueError, match=r"jax starts no device \(JAX_PLATFORMS=\S*\): Unable to .* 'gpux'$"):
        startup.start_devices()


def test_one_blas_thread_is_asked_for_before_a_config_imports_scipy(tmp_path):
    """OpenBLAS reads the number when it is loaded; the user's own stands."""
    config = tmp_path / "c.py"
    config.write_text("import os\nraise ValueError('threads: ' + os.environ.get('OPENBLAS_NUM_THREADS', 'many'))\n")
    for own, threads in (({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")):
        environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        command = [sys.executable, "-m", "nasjax.cli", "sweep", str(config)]
        done = subprocess.run(command, env=environment | own, capture_output=True, text=True, check=False)
        assert f"threads: {threads}" in done.stderr
