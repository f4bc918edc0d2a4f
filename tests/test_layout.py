"""The shape of the project: who imports whom, what is packaged, what an import costs."""

import ast
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = {"nasjax": ROOT / "nasjax", "nasjax.spaces": ROOT / "spaces", "nasjax.train": ROOT / "train"}
FOLDERS |= {"nasjax.configs": ROOT / "configs"}


def modules() -> dict[str, pathlib.Path]:
    """All modules by name, each once: the links inside nasjax/ are not followed."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            inner = path.relative_to(folder)
            linked = package == "nasjax" and inner.parts[0] in ("spaces", "train", "configs")
            if not linked and "__pycache__" not in inner.parts:
                parts = [p for p in inner.with_suffix("").parts if p != "__init__"]
                found[".".join([package, *parts])] = path
    return found


MODULES = modules()


def imports(path: pathlib.Path) -> set[str]:
    """Modules of ours that a file imports anywhere in it, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in names if name in MODULES and name != "nasjax"}


MODELS = ("nasjax.generator", "nasjax.recurrent")
# What a module may import, by prefix; the first rule that fits a module counts.
RULES = {
    "nasjax.base": (),
    "nasjax.stats": (),
    "nasjax.graph": ("nasjax.base",),
    "nasjax.gnn": ("nasjax.base", "nasjax.graph"),
    "nasjax.gnn_dense": ("nasjax.base", "nasjax.gnn"),
    "nasjax.gather": ("nasjax.base",),
    "nasjax.prefixes": ("nasjax.base", "nasjax.gather"),
    "nasjax.generator": (
        "nasjax.base",
        "nasjax.graph",
        "nasjax.gather",
        "nasjax.gnn",
        "nasjax.prefixes",
        "nasjax.generator",
    ),
    "nasjax.recurrent": ("nasjax.base",),
    "nasjax.history": ("nasjax.base", "nasjax.graph"),
    "nasjax.methods": ("nasjax.base", "nasjax.gather", "nasjax.graph", "nasjax.history", "nasjax.methods", *MODELS),
    "nasjax.spaces": ("nasjax.base", "nasjax.graph", "nasjax.spaces"),
    "nasjax.train": ("nasjax.base", "nasjax.graph", "nasjax.npy", "nasjax.spaces", "nasjax.train"),
    "nasjax.tables": (
        "nasjax.base",
        "nasjax.field_types",
        "nasjax.files",
        "nasjax.graph",
        "nasjax.npy",
        "nasjax.options",
        "nasjax.spaces",
        "nasjax.tables",
        "nasjax.terminal",
        "nasjax.train.untrusted",
    ),
    "nasjax.files": (),
    "nasjax.npy": (),
    "nasjax.checkpoint": ("nasjax.base", "nasjax.npy"),
    "nasjax.record": ("nasjax.base", "nasjax.checkpoint"),
    "nasjax.resolved": (),
    "nasjax.field_types": (),
    "nasjax.interrupts": (),
    "nasjax.machine": (),
    "nasjax.rundir": ("nasjax.base", "nasjax.files", "nasjax.checkpoint", "nasjax.record", "nasjax.resolved"),
    "nasjax.scan": ("nasjax.base",),
    "nasjax.search": (
        "nasjax.base",
        "nasjax.scan",
        "nasjax.rundir",
        "nasjax.record",
        "nasjax.resolved",
        "nasjax.field_types",
        "nasjax.interrupts",
        "nasjax.machine",
    ),
    "nasjax.seeds": ("nasjax.base", "nasjax.scan"),
    "nasjax.results": ("nasjax.base", "nasjax.scan"),
    "nasjax.uniqueness": ("nasjax.base",),
    "nasjax.summary": ("nasjax.base", "nasjax.stats", "nasjax.resolved", "nasjax.uniqueness"),
    "nasjax.sweep": (
        "nasjax.base",
        "nasjax.files",
        "nasjax.interrupts",
        "nasjax.machine",
        "nasjax.options",
        "nasjax.record",
        "nasjax.resolved",
        "nasjax.results",
        "nasjax.rundir",
        "nasjax.search",
        "nasjax.seeds",
        "nasjax.summary",
        "nasjax.field_types",
        "nasjax.sweep_settings",
    ),
    "nasjax.sweep_command": (
        "nasjax.config_files",
        "nasjax.options",
        "nasjax.report",
        "nasjax.rundir",
        "nasjax.startup",
        "nasjax.sweep",
        "nasjax.tables",
        "nasjax.terminal",
        "nasjax.uniqueness",
    ),
    "nasjax.table_build": (
        "nasjax.base",
        "nasjax.checkpoint",
        "nasjax.field_types",
        "nasjax.files",
        "nasjax.interrupts",
        "nasjax.machine",
        "nasjax.resolved",
        "nasjax.rundir",
        "nasjax.search",
        "nasjax.tables",
    ),
    "nasjax.report": (
        "nasjax.base",
        "nasjax.rundir",
        "nasjax.record",
        "nasjax.checkpoint",
        "nasjax.files",
        "nasjax.stats",
        "nasjax.results",
        "nasjax.summary",
        "nasjax.report",
    ),
}


def allowed(module: str) -> tuple[str, ...] | None:
    fits = [rule for rule in RULES if module == rule or module.startswith((rule + ".", rule + "_"))]
    return RULES[max(fits, key=len)] if fits else None


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_one_way(module):
    rule = allowed(module)
    if rule is not None:
        wrong = {i for i in imports(MODULES[module]) if not i.startswith(rule)} if rule else imports(MODULES[module])
        assert not wrong, f"{module} must not import {sorted(wrong)}"


def test_no_cycles():
    graph = {module: imports(path) - {module} for module, path in MODULES.items()}
    done: set[str] = set()
    while graph.keys() - done:
        free = {module for module in graph.keys() - done if graph[module] <= done}
        assert free, f"import cycle among {sorted(graph.keys() - done)}"
        done |= free


def test_every_package_is_listed_and_every_listed_one_exists():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert listed == {name for name, path in MODULES.items() if path.name == "__init__.py"}


@pytest.mark.parametrize("folder", ["spaces", "train", "configs"])
def test_a_module_never_exists_twice(folder):
    code = f"import {folder}"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"import nasjax.{folder}" in result.stderr.splitlines()[-1]
    assert (ROOT / "nasjax" / folder).resolve() == ROOT / folder


def test_import_touches_no_device_and_leaves_heavy_libraries_alone():
    code = (
        "import sys, nasjax, nasjax.base, nasjax.search; from jax._src import xla_bridge as x; "
        "assert not x._backends, 'a device was initialised'; "
        "print(*(m for m in ('sklearn','matplotlib','diffrax','orbax','tensorflow_datasets','torch') if m in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert not result.stdout.strip()


def test_wheel_holds_the_tree_and_runs_from_another_folder(tmp_path):
    source = tmp_path / "source"  # a copy: a left-over build/ would put modules into the wheel that are gone
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "runs", "__pycache__")
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    expected = {
        name.replace(".", "/") + ("/__init__.py" if p.name == "__init__.py" else ".py") for name, p in MODULES.items()
    }
    data = {f"nasjax/spaces/{path.name}" for path in (ROOT / "spaces").glob("*.npz")}
    data |= {f"nasjax/tables/data/{path.name}" for path in (ROOT / "nasjax" / "tables" / "data").glob("*.npz")}
    data |= {f"nasjax/train/networks/{path.name}" for path in (ROOT / "train" / "networks").glob("*.cc")}
    assert names == expected | data | {"nasjax/py.typed"}

    target = tmp_path / "installed"
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, cwd=tmp_path)
    run = [
        sys.executable,
        "-c",
        "import nasjax.cli, sys; print(nasjax.cli.__file__); sys.exit(nasjax.cli.main(['--help']))",
    ]
    environment = os.environ | {"PYTHONPATH": str(target)}
    result = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert str(target) in result.stdout.splitlines()[0]
    assert "search" in result.stdout
