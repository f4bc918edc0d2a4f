"""Configs as plain values: what is recorded, hashed and compared."""

import collections
import dataclasses
import enum
import json
import pathlib

import pytest

from nasjax import resolved
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.methods.reinforce_rnn import ReinforceRnn


class Mode(enum.Enum):
    FAST = 1


Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    ops: tuple[str, ...] = ("a", "b")


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    mode: Mode = Mode.FAST
    folder: pathlib.Path = pathlib.Path("data")
    pair: Pair | None = None
    limit: float = float("inf")
    more: object = None


def test_plain_values():
    assert resolved.plain(Outer(pair=Pair(1, None))) == {
        "type": "Outer",
        "inner": {"type": "Inner", "rate": 0.1, "ops": ["a", "b"]},
        "mode": "FAST",
        "folder": "data",
        "pair": {"left": 1, "right": None},
        "limit": "inf",
        "more": None,
    }


def test_a_younger_field_is_left_out_while_it_has_its_default():
    """What was recorded before there was such a field stays the same config."""

    @dataclasses.dataclass(frozen=True)
    class Old:
        size: int = 4

    @dataclasses.dataclass(frozen=True)
    class Younger:
        size: int = 4
        shape: str = dataclasses.field(default="round", metadata={"omit_default": True})

    Younger.__qualname__ = Old.__qualname__
    assert resolved.digest(resolved.plain(Younger())) == resolved.digest(resolved.plain(Old()))
    changed = resolved.plain(Younger(shape="flat"))
    assert changed["shape"] == "flat"
    assert resolved.differences(resolved.plain(Younger()), changed) == ['shape: absent, now "flat"']


@dataclasses.dataclass(frozen=True)
class Preset:
    kind: str = "slow"
    rate: float | None = None

    def resolved(self):
        return dataclasses.replace(self, rate=self.rate or {"slow": 0.1, "fast": 0.5}[self.kind])


def test_defaults_that_follow_from_others_are_recorded():
    """So a run is told from one that was begun when they were others."""
    assert resolved.plain((Preset(), Preset("fast"), Preset("fast", 0.2))) == [
        {"type": "Preset", "kind": "slow", "rate": 0.1},
        {"type": "Preset", "kind": "fast", "rate": 0.5},
        {"type": "Preset", "kind": "fast", "rate": 0.2},
    ]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (ReinforceRnn(), {"learning_rate": 1e-3, "entropy": None}),
        (ReinforceRnn("reinforce"), {"learning_rate": 3.5e-3, "entropy": 1e-4, "skip_weight": None}),
        (GraphPNAS(fidelity="improved"), {"learning_rate": 1e-3, "objective": "nll", "screen": "gp"}),
        (GraphPNAS(full_batch=True), {"learning_rate": 3e-3, "objective": "code", "screen": "none"}),
    ],
)
def test_methods_record_the_settings_they_run_with(settings, wanted):
    assert wanted.items() <= resolved.plain(settings).items()


def test_survives_json_and_order_does_not_matter():
    value = resolved.plain(Outer())
    assert resolved.digest(json.loads(json.dumps(value))) == resolved.digest(value)
    assert resolved.digest({"a": 1, "b": 2}) == resolved.digest({"b": 2, "a": 1})
    assert len({resolved.digest({"a": value}) for value in (1, 1.0, True, "1", None, [1])}) == 6


def test_what_cannot_be_recorded_is_named():
    with pytest.raises(ValueError, match=r"config\.more\.x\.1: a function cannot be recorded"):
        resolved.plain(Outer(more={"x": (1, lambda: 0)}))


def test_differences_are_dotted():
    old = resolved.plain(Outer())
    new = resolved.plain(Outer(inner=Inner(rate=0.2, ops=("a", "c")), more=Inner(), limit=1.0))
    assert resolved.differences(old, new) == [
        "inner.rate: 0.1, now 0.2",
        'inner.ops.1: "b", now "c"',
        'limit: "inf", now 1.0',
        "more: null, now Inner",
    ]
    assert resolved.differences({"a": 1, "b": 1}, {"a": 1.0, "c": 1}) == [
        "a: 1, now 1.0",
        "b: 1, now absent",
        "c: absent, now 1",
    ]
    assert resolved.differences(old, json.loads(json.dumps(old))) == []
