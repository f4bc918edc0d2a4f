"""Every page says only what runs: its Python blocks and its commands are executed.

A fence ```python is run, all blocks of a page in one namespace. A fence ```console holds commands after `$ `; they run in
an empty folder. ```console slow and ```python slow run with `-m slow` only. `make` targets are looked up, not run.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: pathlib.Path, language: str, slow: bool) -> list[str]:
    found = FENCE.findall(page.read_text())
    return [body for name, flags, body in found if name == language and ("slow" in flags) == slow]


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
    run_commands(page, slow=False, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_long_snippets_and_commands_run(page, tmp_path):
    run_python(page, slow=True, folder=tmp_path)
    run_commands(page, slow=True, folder=tmp_path)
