"""Settings are of the types that their dataclasses say: Python itself does not look, and what follows from a wrong one is odd."""

import dataclasses
import types
import typing
from typing import Any


def check(settings: Any, what: str) -> None:
    """Refuses settings of which a field, also of settings inside, has another type than its annotation.

    A whole number may stand for a float. Annotations of other kinds than numbers, texts, literals, tuples, unions and
    dataclasses are not looked at.

    Args:
      settings: a dataclass.
      what: stands before the field's name in the error.

    Raises:
      ValueError: naming the field, the value, and what is allowed.
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value, hint = getattr(settings, field.name), hints[field.name]
        if not _fits(value, hint):
            raise ValueError(f"{what}.{field.name} is {value!r:.60}; {_said(hint)} is needed")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            check(value, f"{what}.{field.name}")


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (int, float):
        return isinstance(value, (int,) if hint is int else (int, float)) and not isinstance(value, bool)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, choice) for choice in inner)
    if origin is tuple:
        of_any_length = len(inner) == 2 and inner[1] is Ellipsis
        each = [inner[0]] * len(value) if of_any_length and isinstance(value, tuple) else inner
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_fits, value, each))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return isinstance(value, hint)
    return True


def _said(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", type(None): "None"}
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_said, inner))
    if origin is tuple:
        return "a tuple"
    return names.get(hint) or f"a {getattr(hint, '__name__', 'value')}"
