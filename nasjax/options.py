"""Command line options from trees of frozen dataclasses, by tyro, with one line for each mistake.

The options follow the *values* in the tree, not the declared types: a config that holds a `GraphPNAS` has options for
its fields, also where the field is declared as any method. tyro reads types only, so a form of plain dataclasses with
the values' own types is made, filled by tyro, and written back.
"""

import contextlib
import dataclasses
import difflib
import inspect
import io
import re
import textwrap
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_PLAINER = (
    (r"^Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)$", r"option \1: \2 is no whole number"),
    (r"^Error parsing (\S+): could not convert string to float: (.*)$", r"option \1: \2 is no number"),
    (r"^Error parsing (\S+): Exceeds the limit .*$", r"option \1: too many digits"),
    (r"^Error parsing (\S+): no type .*\|INT could .*\[(.*)\]\.$", r"option \1: \2 is no whole number and not None"),
    (r"^Error parsing (\S+): no type .*\|FLOAT could .*\[(.*)\]\.$", r"option \1: \2 is no number and not None"),
    (r"^Missing value for argument '(\S+)'.*$", r"option \1: its value is missing"),
    (r"^Error parsing (\S+):", r"option \1:"),
)
_NO_CHOICE = r"^invalid choice (.*) for argument '(\S+)'. Expected one of \((.*)\)\.$"
_FRAME = "╭╮╰╯│─┌┐└┘+|"


class UsageError(ValueError):
    """A command line that cannot be followed."""


class HelpShown(Exception):  # noqa: N818 - no error
    """The help was asked for, and is printed."""


def parse(trees: Sequence[Any], arguments: Sequence[str], program: str, description: str) -> list[Any]:
    """Returns the dataclass instances `trees` with the options in `arguments` written into them.

    The fields of all trees stand side by side: `--seed` for a scalar field, `--budget.evaluations` for one further
    down.

    Args:
      trees: instances whose field names do not collide.
      arguments: what follows the command.
      program: how the command was called, for the help.
      description: the text above the options in the help.

    Raises:
      UsageError: an option is unknown, or its value does not fit.
      ValueError: a dataclass refuses a value.
      HelpShown: --help was among the arguments.
    """
    import tyro  # imported late: the bare `nasjax --help` does without

    default = _form(trees)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            filled, unknown = tyro.cli(
                type(default),
                prog=program,
                description=description,
                args=arguments,
                default=default,
                return_unknown_args=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise HelpShown from None
        raise UsageError(_first_paragraph(captured.getvalue())) from None
    if unknown:
        raise UsageError(_unknown(unknown, list(names(trees))))
    return [_rebuild(tree, filled) for tree in trees]


def names(trees: Iterable[Any], prefix: str = "--") -> typing.Iterator[str]:
    """Yields the options of the trees, as they are written."""
    for tree in trees:
        for field, value in _fields(tree):
            name = prefix + field.name.replace("_", "-")
            if _is_tree(value):
                yield from names([value], name + ".")
            else:
                yield name


def nearest(given: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """Returns the one of `known` that looks most like `given`, None if none does."""
    close = difflib.get_close_matches(given, list(known), 1, least)
    return close[0] if close else None


def _is_tree(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _fields(tree: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    return [(field, getattr(tree, field.name)) for field in dataclasses.fields(tree) if field.init]


def _form(trees: Sequence[Any]) -> Any:
    """An instance of a dataclass with the trees' fields, each of the type of its value where that is a tree itself."""
    values: dict[str, Any] = {}
    types: dict[str, Any] = {}
    for tree in trees:
        hints = typing.get_type_hints(type(tree), include_extras=True)
        for field, value in _fields(tree):
            values[field.name] = _form([value]) if _is_tree(value) else value
            types[field.name] = type(values[field.name]) if _is_tree(value) else hints[field.name]
    form = dataclasses.make_dataclass(type(trees[0]).__name__, list(types.items()))
    form.__doc__ = _attributes(trees, types)
    return form(**values)


def _attributes(trees: Sequence[Any], names: Iterable[str]) -> str:
    """One "Attributes" section with what the trees' classes, and those they inherit fields from, say of `names`."""
    texts: dict[str, str] = {}
    for cls in [cls for tree in trees for cls in type(tree).__mro__]:
        doc = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        section = re.search(r"^Attributes:\n(.*?)(?=^\S|\Z)", doc, re.DOTALL | re.MULTILINE)
        for entry in re.split(r"\n(?=\w+:)", textwrap.dedent(section[1])) if section else ():
            name, _, text = entry.strip().partition(":")
            texts.setdefault(name, " ".join(text.split()))
    lines = [f"  {name}: {texts[name]}" for name in names if name in texts]
    return "\n".join(["Settings.", "", "Attributes:", *lines])


def _rebuild(tree: Any, filled: Any) -> Any:
    """The tree with the values of its filled form; only what changed is made anew."""
    changes = {}
    for field, value in _fields(tree):
        given = getattr(filled, field.name)
        new = _rebuild(value, given) if _is_tree(value) else given
        if new is not value:
            changes[field.name] = new
    return dataclasses.replace(tree, **changes) if changes else tree


def _unknown(tokens: Sequence[str], known: Sequence[str]) -> str:
    option = next((token for token in tokens if token.startswith("-")), None)
    if option is None:
        return f"{tokens[0]!r} is one argument too many; options are written --name value (--help lists them)"
    option = option.split("=")[0]
    plain = option.replace("_", "-")
    same = [name for name in known if name.rpartition(".")[2] == plain.lstrip("-")]
    below = [name for name in known if name.startswith(f"--{plain.lstrip('-')}.")]
    likely = same or below[:3] or [name for name in [nearest(plain, known)] if name]
    return f"unknown option {option}" + (f"; did you mean {' or '.join(likely)}?" if likely else "; --help lists them")


def _first_paragraph(text: str) -> str:
    """What tyro says in the first part of its box, in our words.

    The box is drawn with plain dashes where stdout's encoding has no better ones.
    """
    lines: list[str] = []
    for line in _ANSI.sub("", text).splitlines()[1:]:
        content = line.strip(_FRAME + " ")
        if set(content) <= {"-"}:
            if lines:
                break
        else:
            lines.append(content)
    said = " ".join(lines) or text.strip() or "the options do not fit; --help lists them"
    for pattern, words in _PLAINER:
        said = re.sub(pattern, words, said)
    return re.sub(_NO_CHOICE, _choices, said)


def _choices(match: re.Match[str]) -> str:
    given, option, listed = match[1].strip("'\""), match[2], re.findall(r"'([^']*)'", match[3])
    close = nearest(given, listed)
    return f"option {option}: {given!r} is not one of {', '.join(listed)}" + (
        f"; did you mean {close}?" if close else ""
    )
