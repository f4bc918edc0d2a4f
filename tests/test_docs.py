"""Every page says only what runs: its Python blocks and its commands are executed.

A fence ```python is run, all blocks of a page in one namespace; ```python NAME.py is a config in a file of that name, and
`config()` is called. A fence ```console holds commands after `$ `; they run in
an empty folder. ```console slow and ```python slow run with `-m slow` only. `make` targets are looked up, not run.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from nasjax import config_files

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: pathlib.Path, language: str, slow: bool) -> list[str]:
    found = FENCE.findall(page.read_text())
    return [body for name, flags, body in found if name == language and flags in ([" slow"] if slow else ["", " "])]


def configs(page: pathlib.Path) -> dict[str, str]:
    found = FENCE.findall(page.read_text())
    return {flags.strip(): body for name, flags, body in found if name == "python" and flags.endswith(".py")}


def commands(page: pathlib.Path, slow: bool) -> list[str]:
    return [line[2:] for body in blocks(page, "console", slow) for line in body.splitlines() if line.startswith("$ ")]


def run_python(page: pathlib.Path, slow: bool, folder: pathlib.Path) -> None:
    code = "\n".join(blocks(page, "python", slow))
    if code:
        result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{page.name}: {result.stderr}"


def run_commands(page: pathlib.Path, slow: bool, folder: pathlib.Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(page, slow):
        words = [word for word in shlex.split(command, comments=True) if "=" not in word]
        if words[0] == "make":
            assert set(words[1:]) <= targets, f"{page.name}: no such target: {command}"
            continue
        if words[0] in ("git", "cd", "pip"):
            continue  # how to get the project, which the test stands in already
        programs = {"nasjax": [sys.executable, "-m", "nasjax.cli"], "python": [sys.executable]}
        assert words[0] in programs, f"{page.name}: {command}: not a command of this project"
        arguments = shlex.split(command, comments=True)[1:]
        arguments = [str(ROOT / a) if (ROOT / a).is_file() else a for a in arguments]
        result = subprocess.run(
            [*programs[words[0]], *arguments], cwd=folder, capture_output=True, text=True, check=False, env=os.environ
        )
        assert result.returncode == 0, f"{page.name}: {command}: {result.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_and_commands_run(page, tmp_path):
    run_python(page, slow=False, folder=tmp_path)
    for name, body in configs(page).items():
        (tmp_path / name).write_text(body)
        assert config_files.load(str(tmp_path / name)).description
    run_commands(page, slow=False, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_long_snippets_and_commands_run(page, tmp_path):
    run_python(page, slow=True, folder=tmp_path)
    run_commands(page, slow=True, folder=tmp_path)


def test_pages_that_are_named_are_there():
    folders = ("nasjax", "configs", "spaces", "train", "benchmarks")  # rglob passes over links to folders
    code = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    sources = [*code, *PAGES, ROOT / "CHANGELOG.md"]
    named = {name for path in sources for name in re.findall(r"docs/\w+\.md", path.read_text())}
    assert len(named) > 10
    assert not {name for name in named if not (ROOT / name).exists()}


def test_every_fence_is_of_a_kind_that_is_run_or_shown():
    kinds = {(name, flags.strip()) for page in PAGES for name, flags, _ in FENCE.findall(page.read_text())}
    shown = {("text", ""), ("bash", ""), ("json", "")}
    run = {(name, flags) for name in ("python", "console") for flags in ("", "slow")}
    assert {kind for kind in kinds - shown - run if not (kind[0] == "python" and kind[1].endswith(".py"))} == set()
