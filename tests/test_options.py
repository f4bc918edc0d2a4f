"""Options from dataclasses: what is written where, and one line for each mistake."""

import contextlib
import dataclasses
import io
from typing import Any, Literal

import hypothesis
import hypothesis.strategies as st
import pytest

from nasjax import options
from nasjax.options import HelpShown, UsageError


@dataclasses.dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
      batch: architectures a step.
      learning_rate: of the optimiser; None = 1e-3,
        whatever the rest says.
      rule: how.
      warm: whether it keeps its parameters.
    """

    batch: int = 8
    learning_rate: float | None = None
    rule: Literal["rank", "log"] = "rank"
    warm: bool = False

    def __post_init__(self):
        if self.batch < 1:
            raise ValueError(f"method: a batch of {self.batch}; at least 1")


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """Around another method."""

    inner: Any = Method(batch=2)


@dataclasses.dataclass(frozen=True)
class Config:
    """A config.

    Attributes:
      method: declared as anything; its value says what it is.
      names: of operations.
    """

    method: Any = Wrapped()
    names: tuple[str, ...] = ("a", "b")


@dataclasses.dataclass(frozen=True)
class Run:
    """How it is run.

    Attributes:
      seed: of all randomness.
    """

    seed: int = 0


def parse(*arguments):
    return options.parse([Run(), Config()], arguments, "nasjax search x", "A description.")


def test_without_options_the_trees_themselves_come_back():
    run, config = Run(4), Config()
    parsed = options.parse([run, config], [], "x", "")
    assert parsed[0] is run
    assert parsed[1] is config


def test_options_go_to_their_fields_at_any_depth():
    run, config = parse(
        *("--seed", "3", "--names", "c", "d", "e", "--method.inner.batch", "5"),
        *("--method.inner.learning-rate", "0.5", "--method.inner.rule=log", "--method.inner.warm"),
    )
    assert run == Run(3)
    assert config == Config(Wrapped(Method(5, 0.5, "log", True)), ("c", "d", "e"))
    assert parse("--method.inner.learning_rate", "None")[1].method.inner.learning_rate is None


def test_the_values_decide_which_options_there_are():
    known = list(options.names([Run(), Config()]))
    assert known == [
        "--seed",
        "--method.inner.batch",
        "--method.inner.learning-rate",
        "--method.inner.rule",
        "--method.inner.warm",
        "--names",
    ]
    assert list(options.names([Config(method=Run())])) == ["--method.seed", "--names"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--seed 1.5", "option --seed: '1.5' is no whole number"),
        ("--seed abc", "option --seed: 'abc' is no whole number"),
        ("--seed", "option --seed: its value is missing"),
        ("--seed --names a", "option --seed: its value is missing"),
        (f"--seed {'9' * 5000}", "option --seed: too many digits"),
        ("--method.inner.learning-rate x", "option --method.inner.learning-rate: 'x' is no number and not None"),
        (
            "--method.inner.rule lgo",
            "option --method.inner.rule: 'lgo' is not one of rank, log; did you mean log?",
        ),
        ("--method.inner.rule xyz", "option --method.inner.rule: 'xyz' is not one of rank, log"),
        ("--sede 3", "unknown option --sede; did you mean --seed?"),
        ("--sede=3", "unknown option --sede; did you mean --seed?"),
        ("--batch 3", "unknown option --batch; did you mean --method.inner.batch?"),
        ("--learning_rate 3", "unknown option --learning_rate; did you mean --method.inner.learning-rate?"),
        (
            "--method 3",
            "unknown option --method; did you mean --method.inner.batch or --method.inner.learning-rate"
            " or --method.inner.rule?",
        ),
        ("--zzz 3", "unknown option --zzz; --help lists them"),
        ("seed=3", "'seed=3' is one argument too many; options are written --name value (--help lists them)"),
    ],
)
def test_one_line_for_each_mistake(monkeypatch, arguments, message, encoding):
    """Whatever signs the box around tyro's message is drawn with."""
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    with pytest.raises(UsageError) as caught:
        parse(*arguments.split(" "))
    assert str(caught.value) == message


def test_a_dataclass_refuses_a_value_in_its_own_words():
    with pytest.raises(ValueError, match="method: a batch of 0; at least 1"):
        parse("--method.inner.batch", "0")


def test_help_lists_options_defaults_and_what_the_docstrings_say(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(HelpShown):
        parse("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "usage: nasjax search x" in shown
    assert "A description." in shown
    for option in options.names([Run(), Config()]):
        assert option in shown
    assert "architectures a step. (default: 2)" in shown
    assert "of the optimiser; None = 1e-3, whatever the rest says. (default: None)" in shown
    assert "{rank,log}" in shown


@dataclasses.dataclass(frozen=True)
class Child(Run):
    """Inherits a field with its description.

    Attributes:
      name: its own.
    """

    name: str = ""


def test_inherited_fields_are_described_in_the_help(capsys):
    with pytest.raises(HelpShown):
        options.parse([Child()], ["--help"], "x", "")
    assert "of all randomness." in capsys.readouterr().out


def test_nearest():
    assert options.nearest("serch", ["report", "search"]) == "search"
    assert options.nearest("xyz", ["report", "search"]) is None


KNOWN = [*options.names([Run(), Config()]), "--method.inner.no-warm", "--help", "-h", "--", "-", "=", "None", "1", "-1"]
WORDS = st.one_of(
    st.sampled_from(KNOWN),
    st.text(max_size=8),
    st.tuples(st.sampled_from(KNOWN), st.text(max_size=4)).map("=".join),
    st.text("-.abem013", max_size=10),
)


@hypothesis.settings(max_examples=150)
@hypothesis.given(st.lists(WORDS, max_size=5))
def test_whatever_is_typed_is_parsed_or_refused_in_one_line(arguments):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run, config = parse(*arguments)
    except HelpShown:
        assert {"--help", "-h"} & set(arguments) or any(word.startswith("--help") for word in arguments)
    except ValueError as error:  # UsageError is one
        said = str(error)
        assert said.strip()
        assert "helptext" not in said
    else:
        assert isinstance(run.seed, int)
        assert config.method.inner.rule in ("rank", "log")
