"""Configs: Python files with a docstring and `config()`, from `nasjax.configs` or from a path of the user's own."""

import ast
import importlib
import importlib.util
import pathlib
import pkgutil
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import nasjax.configs
from nasjax.options import nearest


class Config(NamedTuple):
    """A config that was read.

    Attributes:
      name: its file's name without the ending; names runs.
      description: its docstring.
      value: what `config()` returned.
      command: what runs it, for example "search".
    """

    name: str
    description: str
    value: Any
    command: str


_KINDS = {
    "search": "nasjax.search.Search",
    "sweep": "nasjax.sweep_settings.Sweep",
    "table build": "nasjax.table_build.TableBuild",
}
"""What `config()` returns, by the command that runs it."""


def names() -> list[str]:
    """Returns the names of the configs that come with nasjax, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(nasjax.configs.__path__))


def summary(name: str) -> str:
    """Returns the first line of a config's docstring, without importing it."""
    return _first_line(name).partition("   ")[0].strip()  # the command stands to the right of it


def is_for(name: str, command: str) -> bool:
    """Whether the first line of a config's docstring says that `nasjax COMMAND NAME` runs it; imports nothing."""
    return f"nasjax {command} {name}" in _first_line(name)


def is_path(given: str) -> bool:
    """Whether CONFIG is meant as a file."""
    return given.endswith(".py") or "/" in given


def load(given: str, command: str | None = None) -> Config:
    """Returns the config called `given`, or read from that path; runs its code.

    Args:
      given: CONFIG as written on the command line.
      command: that must be able to run it; any where None.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: there is no such name, the file is no config, or one for another command; says where it fails.
    """
    module = _from_file(pathlib.Path(given)) if is_path(given) else _from_package(given, command)
    make = getattr(module, "config", None)
    name = pathlib.Path(given).stem
    if not callable(make):
        raise ValueError(f"config {given!r}: it has no function config()")
    value = _tried(given, make)
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(value).__mro__}
    found = next((name for name, kind in _KINDS.items() if kind in kinds), None)
    if found is None:
        wanted = _KINDS[command] if command else ", ".join(_KINDS.values())
        raise ValueError(f"config {given!r}: config() returned a {type(value).__name__}, not a {wanted}")
    if command not in (None, found):
        raise ValueError(f"config {given!r}: nasjax {found} {given} runs it, nasjax {command} does not")
    return Config(name, (module.__doc__ or "").strip(), value, found)


def _first_line(name: str) -> str:
    (folder,) = nasjax.configs.__path__
    source = (pathlib.Path(folder) / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _from_package(name: str, command: str | None) -> ModuleType:
    if name not in names():
        own = [str(path) for path in pathlib.Path().glob("*.py")]
        close = nearest(name, names() + own)
        hint = f"did you mean {close}?" if close else f"nasjax {command or 'sweep'} --help lists them"
        raise ValueError(f"unknown config {name[:200]!r}; {hint} (a file of your own: path/to/file.py)")
    return importlib.import_module(f"nasjax.configs.{name}")


def _from_file(path: pathlib.Path) -> ModuleType:
    try:
        is_file, exists = path.is_file(), path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise ValueError(f"config {str(path)[:200]!r}: {error.strerror}") from error
    if not is_file:
        what = "it is no file" if exists else "there is no such file"
        siblings = [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        close = nearest(str(path), siblings)
        raise FileNotFoundError(f"config {str(path)!r}: {what}" + (f"; did you mean {close}?" if close else ""))
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.append(folder)  # for a config's own modules beside it; last, so that they hide nobody else's
    name = f"nasjax_config_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"config {str(path)!r}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module by name
    loader = spec.loader
    _tried(str(path), lambda: loader.exec_module(module))
    return module


def _tried(given: str, code: Callable[[], Any]) -> Any:
    """Runs a user's code; what it raises becomes one line that names the place."""
    try:
        return code()
    except (Exception, SystemExit) as error:
        if isinstance(error, SyntaxError):
            place = f"line {error.lineno}"
        else:
            frames = traceback.extract_tb(error.__traceback__)
            inside = [frame for frame in frames if pathlib.Path(frame.filename).stem == pathlib.Path(given).stem]
            place = f"line {inside[-1].lineno}" if inside else "config()"
        raise ValueError(f"config {given!r}, {place}: {type(error).__name__}: {error}") from error
