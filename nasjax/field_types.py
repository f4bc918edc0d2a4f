"""Settings are of the types that their dataclasses say: Python itself does not look, and what follows from a wrong one is odd."""

import dataclasses
import types
import typing
from typing import Any

_SHOWN = 60  # characters of a value
_KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", type(None): "None"}
_SEVERAL = {int: "whole numbers", float: "numbers", str: "texts"}


def check(settings: Any, what: str) -> None:
    """Refuses settings of which a field, also of settings inside, has another type than its annotation.

    A whole number may stand for a float. Annotations of other kinds than numbers, texts, literals, tuples, unions and
    dataclasses, and those that name what their module does not have, are not looked at.

    Args:
      settings: a dataclass.
      what: stands before the field's name in the error.

    Raises:
      ValueError: naming the field, the value, and what is allowed.
    """
    if isinstance(settings, type):
        raise ValueError(f"{what} is the class {settings.__name__}; its settings are needed, as {settings.__name__}()")
    try:
        hints = typing.get_type_hints(type(settings))
    except (NameError, SyntaxError, TypeError):
        hints = {}
    for field in dataclasses.fields(settings):
        if hasattr(settings, field.name):
            _check(getattr(settings, field.name), hints.get(field.name, Any), f"{what}.{field.name}")


def _check(value: Any, hint: Any, what: str) -> None:
    elements = _elements(value, hint)
    if elements is None and not _fits(value, hint):
        raise ValueError(f"{what} is {_shown(value)}; {_said(hint)}{_alone(value, hint)} is needed")
    for number, (element, inner) in enumerate(elements or ()):
        _check(element, inner, f"{what}[{number}]")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        check(value, what)


def _elements(value: Any, hint: Any) -> list[tuple[Any, Any]] | None:
    """A tuple's values, each with its annotation; None where the annotation is another or the length does not fit."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is not tuple or not isinstance(value, tuple):
        return None
    each = [inner[0]] * len(value) if _is_of_any_length(inner) else inner
    return list(zip(value, each, strict=True)) if len(each) == len(value) else None


def _is_of_any_length(inner: tuple[Any, ...]) -> bool:
    return len(inner) == 2 and inner[1] is Ellipsis


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (int, float):
        return isinstance(value, (int,) if hint is int else (int, float)) and not isinstance(value, bool)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    if origin is typing.Literal:
        return any(_is_choice(value, choice) for choice in inner)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, choice) for choice in inner)
    if origin is tuple:
        elements = _elements(value, hint)
        return elements is not None and all(_fits(*element) for element in elements)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return isinstance(value, hint)
    return True


def _is_choice(value: Any, choice: Any) -> bool:
    """Subclasses may stand for their type, as NumPy's texts; but True is no 1."""
    same = isinstance(value, type(choice)) and isinstance(value, bool) == isinstance(choice, bool)
    return same and bool(value == choice)


def _shown(value: Any) -> str:
    """The start of the value as one line."""
    try:
        text = repr(value)
    except Exception:  # a class of the user's own, or a number of too many digits
        return f"a {type(value).__name__}"
    return "".join(c if c.isprintable() else " " for c in text[:_SHOWN])


def _alone(value: Any, hint: Any) -> str:
    """What a person meant who wrote one of a tuple's values and no tuple."""
    for choice in (hint, *typing.get_args(hint)):
        inner = typing.get_args(choice)
        if typing.get_origin(choice) is tuple and _is_of_any_length(inner) and inner[0] in _SEVERAL:
            shown = _shown(value)
            return f", as ({shown},)," if _fits(value, inner[0]) and len(shown) < _SHOWN else ""
    return ""


def _said(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_said, inner))
    if origin is tuple and _is_of_any_length(inner):
        return f"a tuple of {_SEVERAL[inner[0]]}" if inner[0] in _SEVERAL else "a tuple"
    if origin is tuple:
        return f"a tuple of {len(inner)}"
    return _KINDS.get(hint) or f"a {getattr(hint, '__name__', 'value')}"
