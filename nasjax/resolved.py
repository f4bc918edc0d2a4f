"""A config as plain values: what `config.json` holds, its hash, and where two of them differ."""

import dataclasses
import enum
import hashlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any

Plain = dict[str, Any] | list[Any] | str | int | float | bool | None
"""What JSON can hold."""


def plain(value: object, name: str = "config") -> Plain:
    """Returns `value`, a tree of dataclasses, tuples, mappings and scalars, as nested plain values.

    A dataclass becomes its fields and its class name under "type". One whose fields are filled in by a method `resolved()` is
    recorded filled in: a default that changes makes another config. Modules are left out, so that a class may move. A field
    with "omit_default" in its metadata is left out while it has its default: it is younger than configs that have been
    recorded, and they must not become other ones.

    Raises:
      ValueError: a field holds something that cannot be recorded; its dotted name is given.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fill = getattr(value, "resolved", None)
        value = fill() if callable(fill) else value
        written = [f for f in dataclasses.fields(value) if not _is_omitted(f, getattr(value, f.name))]
        fields = {f.name: plain(getattr(value, f.name), f"{name}.{f.name}") for f in written}
        return {"type": type(value).__qualname__, **fields}
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)  # JSON has no NaN
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {key: plain(item, f"{name}.{key}") for key, item in zip(value._fields, value, strict=True)}
    if isinstance(value, tuple | list):
        return [plain(item, f"{name}.{number}") for number, item in enumerate(value)]
    raise ValueError(
        f"{name}: a {type(value).__qualname__} cannot be recorded; use numbers, strings, tuples, dataclasses"
    )


def _is_omitted(field: dataclasses.Field[Any], value: object) -> bool:
    return "omit_default" in field.metadata and value == field.default


def digest(value: Plain) -> str:
    """Returns the sha256 of plain values, in hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Plain, new: Plain, name: str = "") -> list[str]:
    """Returns one text a differing field, "dotted.name: old, now new"; enters dictionaries and equally long lists."""
    if isinstance(old, dict) and isinstance(new, dict) and old.get("type") == new.get("type"):
        pairs = [(key, old.get(key, _ABSENT), new.get(key, _ABSENT)) for key in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(number), left, right) for number, (left, right) in enumerate(zip(old, new, strict=True))]
    else:
        return [] if _same(old, new) else [f"{name}: {_short(old)}, now {_short(new)}"]
    return [text for key, left, right in pairs for text in differences(left, right, f"{name}.{key}" if name else key)]


_ABSENT: Any = object()


def _same(old: Plain, new: Plain) -> bool:
    """1, 1.0 and True are different settings."""
    return type(old) is type(new) and old == new


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    if isinstance(value, dict) and "type" in value:
        return str(value["type"])[:100]
    return json.dumps(value)[:100]
