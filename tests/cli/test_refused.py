"""Mistakes on the command line: one line, status 2, nothing written, and never a traceback."""

import pathlib

import hypothesis
import hypothesis.strategies as st
import jax
import pytest
from command_line import FAILED, REFUSED, SMALL, TOY

from nasjax import cli

SWEEP = TOY.replace("_run", "_sweep")

NEAREST = [
    (["serch"], "unknown command 'serch'; did you mean search?"),
    (["xyz"], "unknown command 'xyz'; one of search, sweep, report, data, table, doctor"),
    (["--verbose"], "unknown command '--verbose'; one of "),
    (["search", "graphpnas_nb201_digit"], "did you mean graphpnas_nb201_digits?"),
    (["search", TOY.replace("run", "rum")], f"there is no such file; did you mean {TOY}?"),
    (["search", "--seed", "3"], "there is no CONFIG among the arguments"),
    (["search", TOY, "--bugdet.evaluations", "3"], "unknown option --bugdet.evaluations; did you mean --budget."),
    (["search", "--evaluations", "3", TOY], "unknown option --evaluations; did you mean --budget.evaluations?"),
    (["search", TOY, "--space.prior", "unifrom"], "'unifrom' is not one of uniform, no_none; did you mean uniform?"),
    (["data", "lits"], "did you mean list?"),
    (["data", "prepare", "cifar11", "--from", "x"], "did you mean cifar10?"),
]
VALUES = [
    (["--budget.evaluations", "-3"], "budget.evaluations -3: at least 1"),
    (["--budget.evaluations", "0"], "budget.evaluations 0: at least 1"),
    (["--budget.evaluations", "abc"], "option --budget.evaluations: 'abc' is no whole number"),
    (["--budget.evaluations"], "option --budget.evaluations: its value is missing"),
    (["--seed", "1.5"], "option --seed: '1.5' is no whole number"),
    (["--seed", "-1"], "seed -1: 0 to 4294967295 are allowed"),
    (["--seed", "4294967296"], "seed 4294967296: 0 to 4294967295 are allowed"),
    (["--method.batch", "0"], "random_search: a batch of 0; at least 1 is needed"),
    (["--space.op-names", "none", "conv"], "unknown operation 'conv'"),
    (["more"], "'more' is one argument too many"),
    (["--run", "../outside"], "run name '../outside': one folder's name"),
    (["--run", "/etc"], "run name '/etc': one folder's name"),
    (["--run", ".."], "run name '..': one folder's name"),
    (["--run", ""], "run name '': 0 bytes"),
    (["--run", "ü" * 101], "202 bytes; 1 to 200 are allowed"),
    (["--run", "\x1b]0;title\x07"], r"run name '\x1b]0;title\x07': one folder's name"),
    (["--run", "gpj\u202efdp"], r"run name 'gpj\u202efdp'"),
    (["--run", "\udcff"], r"run name '\udcff'"),
    (["--run=-x"], "run name '-x'"),
]
OTHERS = [
    (["report"], "usage: nasjax report RUN"),
    (["report", "a", "b"], "2 arguments; usage: nasjax report RUN"),
    (["report", "--all", "x"], "unknown option --all; usage: nasjax report RUN"),
    (["report", "nothing"], "no run directory 'runs/nothing'"),
    (["report", "some/where"], "no run directory 'some/where'"),
    (["report", "\0"], r"run name '\x00'"),
    (["sweep", SWEEP, "--methods", " ,"], "option --methods: ' ,' names none"),
    (["sweep", SWEEP, "--methods", "two"], "unknown method 'two'"),
    (["sweep", SWEEP, "--seeds", "99999999999999999999"], "a whole number, 1 to 2,147,483,647"),
    (["doctor", "now"], "usage: nasjax doctor"),
    (["search", "a\x1b[2J.py"], r"config 'a\x1b[2J.py': there is no such file"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), [*NEAREST, *((["search", TOY, *given], said) for given, said in VALUES), *OTHERS]
)
def test_one_line_exit_2_and_nothing_written(nasjax_main, here, arguments, message):
    status, out, err = nasjax_main(*arguments)
    assert (status, out) == (REFUSED, "")
    assert err.startswith("nasjax: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert message in err
    assert not list(here.iterdir())
    assert not list(here.parent.glob("outside"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config = None", "it has no function config()"),
        ("def config():\n    return 3", "config() returned a int"),
        ("def config():\n    raise KeyError('a')", "line 2: KeyError: 'a'"),
        ("def config(:", "line 1: SyntaxError"),
        ("import sys\nsys.exit(0)", "line 2: SystemExit"),
    ],
)
def test_configs_that_are_none(nasjax_main, here, text, message):
    pathlib.Path("mine.py").write_text(text)
    status, out, err = nasjax_main("search", "mine.py")
    assert (status, out) == (REFUSED, "")
    assert err.startswith("nasjax: config 'mine.py'")
    assert err.count("\n") == 1
    assert message in err
    assert not (here / "runs").exists()


def test_debug_shows_the_traceback_before_the_line(nasjax_main):
    status, _, err = nasjax_main("search", "--debug", TOY, "--method.batch", "0")
    assert status == REFUSED
    assert err.startswith("Traceback (most recent call last):")
    assert err.splitlines()[-1] == "nasjax: random_search: a batch of 0; at least 1 is needed"


def test_devices_that_do_not_start(nasjax_main, here, monkeypatch):
    def fail():
        raise RuntimeError("Unable to initialize backend 'gpux'")

    monkeypatch.setattr(jax, "devices", fail)
    status, _, err = nasjax_main("search", *SMALL)
    assert (status, err.count("\n")) == (REFUSED, 1)
    assert "jax starts no device" in err
    assert not list(here.iterdir())


WORDS = st.one_of(
    st.sampled_from(["search", "report", "doctor", "data", "prepare", "list", "-h", "--version", "--debug", "--", TOY]),
    st.sampled_from(["--seed", "--run", "--budget.evaluations", "-3", "x.py", "cifar10", "--from", "../x", "none"]),
    st.text(max_size=6),
    st.text("-./=abe1", max_size=8),
)


@hypothesis.settings(max_examples=120, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.lists(WORDS, max_size=5))
def test_whatever_is_typed_there_is_no_traceback(capsys, monkeypatch, arguments):
    """What would do work is replaced: a search, the machine's lines, the data sets."""
    monkeypatch.setattr(cli, "_run", lambda search, seed, folder: 0)
    monkeypatch.setattr("nasjax.doctor.lines", lambda: ["fine"])
    monkeypatch.setattr("nasjax.report.run.write_report", lambda folder: folder)
    capsys.readouterr()
    status = cli.main(arguments)
    out, err = capsys.readouterr()
    assert status in ((0, REFUSED) if "--debug" not in arguments else (0, FAILED, REFUSED))
    if "--debug" not in arguments:
        assert "Traceback" not in err
        assert err.count("\n") <= 1
        assert err == "" or status != 0
        assert status == 0 or err or out
