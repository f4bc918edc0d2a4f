"""Settings of other types than their annotations are refused by name."""

import dataclasses
import re
from typing import Any, Literal

import numpy as np
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
    grade: Literal[1, 2] = 1
    few: tuple[int, ...] | None = None
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    other: Any = None


class Hostile:
    def __repr__(self):
        return "a\nb\x1b[2J"


class Mute:
    def __repr__(self):
        raise RuntimeError


RIGHT = [{}, {"rate": 2}, {"most": 5}, {"places": (1, 2)}, {"pairs": ((1, "x"),)}, {"kind": "b"}, {"other": [1]}]
RIGHT += [{"kind": np.str_("b")}, {"rate": np.float64(2)}, {"several": (Inner(),)}, {"few": None}, {"few": (1,)}]
SEVERAL = "a tuple of whole numbers"
WRONG = [
    ("count", 1.5, "count is 1.5; a whole number"),
    ("count", "1", "count is '1'; a whole number"),
    ("count", True, "count is True; a whole number"),
    ("count", None, "count is None; a whole number"),
    ("rate", "0.5", "rate is '0.5'; a number"),
    ("rate", True, "rate is True; a number"),
    ("name", 1, "name is 1; a text"),
    ("name", b"x", "name is b'x'; a text"),
    ("sure", "no", "sure is 'no'; True or False"),
    ("sure", 0, "sure is 0; True or False"),
    ("kind", "c", "kind is 'c'; one of 'a', 'b'"),
    ("kind", 1, "kind is 1; one of 'a', 'b'"),
    ("grade", True, "grade is True; one of 1, 2"),
    ("most", 2.0, "most is 2.0; a whole number or None"),
    ("places", [1, 2], f"places is [1, 2]; {SEVERAL}"),
    ("places", (1, 1.0), "places[1] is 1.0; a whole number"),
    ("places", 1, f"places is 1; {SEVERAL}, as (1,),"),
    ("few", 3, f"few is 3; {SEVERAL} or None, as (3,),"),
    ("pairs", (1, "x"), "pairs[0] is 1; a tuple of 2"),
    ("pairs", ((1, 2),), "pairs[0][1] is 2; a text"),
    ("pairs", ((1, "x", 2),), "pairs[0] is (1, 'x', 2); a tuple of 2"),
    ("pairs", 3, "pairs is 3; a tuple"),
    ("inner", 3, "inner is 3; a Inner"),
    ("inner", Inner("x"), "inner.size is 'x'; a whole number"),
    ("several", (Inner(), Inner("x")), "several[1].size is 'x'; a whole number"),
    ("count", Hostile(), "count is a b [2J; a whole number"),
    ("count", Mute(), "count is a Mute; a whole number"),
    ("places", "x" * 100, f"places is '{'x' * 59}; {SEVERAL}"),
]


@pytest.mark.parametrize("changes", RIGHT)
def test_right_types_pass(changes):
    field_types.check(Outer(**changes), "Outer")


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_wrong_types_are_named(name, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(f'Outer.{message} is needed')}$"):
        field_types.check(Outer(**{name: value}), "Outer")


def test_a_class_is_no_settings():
    with pytest.raises(ValueError, match=r"^method is the class Cem; its settings are needed, as Cem\(\)$"):
        field_types.check(Cem, "method")


def test_annotations_that_nothing_is_known_of_are_not_looked_at():
    @dataclasses.dataclass
    class Local:
        missing: "Undefined" = 3  # noqa: F821
        count: int = 1

    field_types.check(Local(count="x"), "Local")


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
