"""What `--help` and `--version` print, the exit status, and that help is quick."""

import re
import subprocess
import sys

import pytest
from command_line import REFUSED, TOY

import nasjax
from nasjax import cli, config_files


def test_help_says_what_there_is(nasjax_main):
    status, out, err = nasjax_main("--help")
    assert (status, err) == (0, "")
    for command in cli.COMMANDS:
        assert re.search(rf"^  {command} ", out, re.MULTILINE)
    assert nasjax_main("-h") == (0, out, "")
    assert nasjax_main() == (REFUSED, out, "")


def test_help_leaves_jax_alone():
    """Less than a second, as what is imported says without a clock."""
    code = (
        "import sys; from nasjax.cli import main; status = main(['--help']);"
        "print(status, *({'jax', 'numpy', 'tyro', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr == "0\n"


def test_version(nasjax_main):
    assert nasjax_main("--version") == (0, f"nasjax {nasjax.__version__}\n", "")


def test_search_help_lists_the_configs(nasjax_main):
    status, out, err = nasjax_main("search", "--help")
    assert (status, err) == (0, "")
    for name in config_files.names():
        line = re.search(rf"^  {name} +{re.escape(config_files.summary(name))}$", out, re.MULTILINE)
        assert bool(line) == (config_files.load(name).command == "search")
    assert nasjax_main("search") == (REFUSED, out, "")


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([TOY, "--help"], ["--run", "--seed", "--budget.evaluations", "--method.batch", "--evaluator.nan-share"]),
        (["graphpnas_nb201_digits", "-h"], ["--method.elite", "--evaluator.recipe.epochs", "--space.op-names"]),
        (["--help", "graphpnas_nb201_digits_shuffled"], ["--method.method.elite"]),
    ],
)
def test_help_of_a_config_lists_its_options(nasjax_main, here, arguments, options):
    status, out, err = nasjax_main("search", *arguments)
    assert (status, err) == (0, "")
    for option in options:
        assert f"{option} " in out or f"{option}\n" in out
    assert not list(here.iterdir())


@pytest.mark.parametrize("command", ["report", "doctor", "data"])
def test_help_of_the_other_commands(nasjax_main, command):
    status, out, err = nasjax_main(command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: nasjax {command}")


def test_doctor_and_data(nasjax_main, monkeypatch):
    monkeypatch.setattr("nasjax.doctor.lines", lambda: ["python  3\x1b[2J", "jax     1"])
    assert nasjax_main("doctor") == (0, "python  3\\x1b[2J\njax     1\n", "")
    status, out, err = nasjax_main("data", "list")
    assert (status, err) == (0, "")
    assert "digits" in out
    assert "cifar10" in out
