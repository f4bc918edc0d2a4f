"""What searches and builds say of themselves, and how they end."""

import json
import pathlib
import re
import shlex
import warnings

import pytest
from command_line import FAILED, REFUSED, SMALL, TOY, contents

from nasjax import rundir


def test_a_search_resumes_is_finished_and_is_not_another_one(nasjax_main, here):
    status, out, err = nasjax_main("search", *SMALL)
    assert status == 0
    first = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
    assert re.fullmatch(r"runs/toy: fresh run, 4 evaluations, [\d.]+ s", first["run"])
    result = json.loads((here / "runs/toy/result.json").read_text())
    assert first["best architecture"] == result["best"]["spec"]
    assert first["reward"] == f"{result['best']['reward']:.4f}"
    assert first["validation accuracy"] == f"{100 * result['best']['metrics']['val_acc']:.2f} %"
    assert first["multiply-adds"] == f"{result['best']['macs']:,}"
    assert first["report"] == "runs/toy/report.html"
    assert pathlib.Path(first["report"]).is_file()
    assert err.splitlines()[-1].startswith("4/4 evaluations  best ")

    before = contents(here / "runs/toy")
    status, out, err = nasjax_main("search", *SMALL)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == (
        "run                  runs/toy: already finished, 4 evaluations; another --seed or --run starts a new one"
    )
    assert contents(here / "runs/toy") == before

    other = ("--seed", "2", "--method.batch", "2", "--budget.evaluations", "6")
    status, out, err = nasjax_main("search", *SMALL, *other)
    assert (status, out, err.count("\n")) == (REFUSED, "", 1)
    assert "runs/toy is a run of another config" in err
    for difference in ("method.batch: 4, now 2", "budget.evaluations: 4, now 6", "seed: 0, now 2"):
        assert difference in err
    assert contents(here / "runs/toy") == before


def test_a_run_is_named_after_config_and_seed(nasjax_main, here):
    assert nasjax_main("search", TOY, "--budget.evaluations", "1", "--seed", "5")[0] == 0
    assert [path.name for path in (here / "runs").iterdir()] == ["toy_run-5"]
    status, _, err = nasjax_main("report", "toy_run-6")
    assert (status, err) == (REFUSED, "nasjax: no run directory 'runs/toy_run-6'; did you mean toy_run-5?\n")
    status, out, _ = nasjax_main("report", "toy_run-5")
    assert (status, out) == (0, "runs/toy_run-5/report.html\n")
    assert nasjax_main("report", str(here / "runs" / "toy_run-5"))[0] == 0


def test_a_sweep_shows_its_main_tables_and_says_how_to_see_all(nasjax_main):
    status, out, err = nasjax_main("sweep", TOY.replace("toy_run", "tiny_sweep"), "--run", "a sweep")
    assert status == 0, err
    shown, command = out.split("\ntables   differences with intervals, T2, ranks: nasjax ")
    (_, *main), command = shown.strip().split("\n\n"), shlex.split(command.splitlines()[0])
    assert command == ["report", "a sweep", "--markdown"]
    status, whole, _ = nasjax_main(*command)
    assert status == 0
    blocks = whole.strip().split("\n\n")
    assert [block for block in blocks if block in main] == main
    assert ["T2" in block for block in (*blocks[-2:], *main)] == [True] * 2 + [False] * len(main)


@pytest.mark.parametrize("error", ["ValueError('a bad\\nchild')", "FileNotFoundError(2, 'gone', 'x')", "MemoryError()"])
def test_a_failure_while_running_is_exit_1_whatever_it_is(nasjax_main, here, error):
    text = pathlib.Path(TOY).read_text()
    pathlib.Path("failing.py").write_text(
        text.replace("return evaluate(self", f"raise {error}\n        return evaluate(self")
    )
    status, out, err = nasjax_main("search", "failing.py")
    assert (status, out, err.count("\n")) == (FAILED, "", 1)
    assert err.startswith("nasjax: failed while running: ")
    said = {"V": "ValueError: a bad;", "F": "gone: x;", "M": "MemoryError;"}[error[0]]
    assert f"{said} --debug shows where, the same command goes on" in err
    assert (here / "runs" / "failing-0" / rundir.CONFIG).is_file()


def test_a_table_build_that_fails_goes_on(nasjax_main, here):
    """An evaluator's ValueError in the middle is no bad input."""
    mine = pathlib.Path("build.py")
    text = pathlib.Path(TOY).read_text().replace("def config(", "def search(") + (
        "\n\ndef config():\n    from nasjax.table_build import TableBuild\n    return TableBuild(Toy(), MadeUpRewards())\n"
    )
    mine.write_text(
        text.replace("return evaluate(self", "raise ValueError('a bad child')\n        return evaluate(self")
    )
    status, out, err = nasjax_main("table", "build", "build.py")
    assert (status, out) == (FAILED, "")
    assert err == (
        "nasjax: failed while running: ValueError: a bad child; --debug shows where, the same command goes on\n"
    )
    mine.write_text(text)
    assert nasjax_main("table", "build", "build.py")[0] == 0


def test_missing_data_are_refused_before_there_is_a_run(nasjax_main, here, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(here / "nothing"))
    status, out, err = nasjax_main("search", "graphpnas_nb201_cifar10_small")
    assert (status, out, err.count("\n")) == (REFUSED, "", 1)
    assert "nasjax data prepare cifar10" in err
    assert not list(here.iterdir())


def test_an_interrupted_search_says_how_to_go_on(nasjax_main, here):
    text = pathlib.Path(TOY).read_text()
    stop = "import os, signal\n        if STOP: os.kill(os.getpid(), signal.SIGTERM)\n        return evaluate(self"
    mine = pathlib.Path("mine.py")
    mine.write_text(text.replace("return evaluate(self", stop) + "\nSTOP = True\n")
    status, out, err = nasjax_main("search", "mine.py", "--budget.evaluations", "4")
    assert (status, out) == (143, "")
    assert err == "nasjax: stopped by SIGTERM; the same command goes on from what is saved\n"
    mine.write_text(mine.read_text().replace("STOP = True", "STOP = False"))
    assert nasjax_main("search", "mine.py", "--budget.evaluations", "4")[0] == 0


def test_no_reward_at_all_is_said(nasjax_main):
    status, out, err = nasjax_main("search", *SMALL, "--evaluator.nan-share", "1")
    assert status == 0
    assert "4 evaluations, 4 invalid" in out
    assert "best architecture    none: no evaluation gave a usable reward" in out
    assert "best \u2013, 4 invalid" in err


def test_a_warning_is_one_line(nasjax_main, monkeypatch):
    """Such as that a device ran out of memory: no file name, no source line, and the search goes on."""
    from nasjax import search

    run_search = search.run_search

    def warned(*arguments, **options):
        warnings.warn("out of memory with 8 children at once; going on with 4", stacklevel=2)
        return run_search(*arguments, **options)

    monkeypatch.setattr(search, "run_search", warned)
    status, _, err = nasjax_main("search", TOY, "--run", "warned")
    assert status == 0
    assert [line for line in err.splitlines() if "out of memory" in line] == [
        "nasjax: out of memory with 8 children at once; going on with 4"
    ]
