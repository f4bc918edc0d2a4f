"""Settings of other types than their annotations are refused by name."""

import dataclasses
from typing import Any, Literal

import pytest

from nasjax import field_types
from nasjax.configs.graphpnas_nb201_improved import IMPROVED
from nasjax.methods.cem import Cem


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int = 3


@dataclasses.dataclass(frozen=True)
class Outer:
    count: int = 1
    rate: float = 0.5
    name: str = ""
    sure: bool = False
    kind: Literal["a", "b"] = "a"
    most: int | None = None
    places: tuple[int, ...] = ()
    pairs: tuple[tuple[int, str], ...] = ()
    inner: Inner = Inner()
    other: Any = None


RIGHT = [{}, {"rate": 2}, {"most": 5}, {"places": (1, 2)}, {"pairs": ((1, "x"),)}, {"kind": "b"}, {"other": [1]}]
WRONG = {
    "count": (1.5, "1", True, None),
    "rate": ("0.5", True, None),
    "name": (1, None, b"x"),
    "sure": ("no", 0, None),
    "kind": ("c", 1),
    "most": (2.0, "2"),
    "places": ([1, 2], (1.0,), 1),
    "pairs": ((1, "x"), ((1, 2),), ((1, "x", 2),)),
    "inner": (3, None),
}


@pytest.mark.parametrize("changes", RIGHT)
def test_right_types_pass(changes):
    field_types.check(Outer(**changes), "Outer")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_types_are_named(name, value):
    with pytest.raises(ValueError, match=rf"^Outer\.{name} is .+ is needed$"):
        field_types.check(Outer(**{name: value}), "Outer")


def test_settings_inside_count():
    with pytest.raises(ValueError, match=r"^Outer\.inner\.size is 'x'; a whole number is needed$"):
        field_types.check(Outer(inner=Inner("x")), "Outer")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (Cem(explore=5.5), "explore"),
        (Cem(explore="5"), "explore"),
        (dataclasses.replace(IMPROVED, epochs=2.5), "epochs"),
    ],
)
def test_of_methods(settings, name):
    with pytest.raises(ValueError, match=rf"\.{name} is .+; a whole number is needed"):
        field_types.check(settings, "method")
