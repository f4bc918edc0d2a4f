"""Configs by name and by path: what is found, and where a bad one is said to fail."""

import pathlib
import re
import sys

import pytest

from nasjax import config_files
from nasjax.search import Search

TOY = pathlib.Path(__file__).parent / "configs" / "toy_run.py"


@pytest.fixture(autouse=True)
def untouched(tmp_path, monkeypatch):
    """An empty working directory; what loading adds to the interpreter goes again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("nasjax_config_"):
            del sys.modules[name]


def written(text, name="mine.py"):
    pathlib.Path(name).write_text(text)
    return name


def test_a_config_by_path():
    config = config_files.load(str(TOY))
    assert config.name == "toy_run"
    assert config.description.startswith("Random search on toy cells")
    assert isinstance(config.value, Search)
    assert config.value.budget.evaluations == 18


def test_names_and_summaries_are_those_of_the_folder():
    files = (TOY.parent.parent.parent / "configs").glob("*.py")
    assert config_files.names() == sorted(path.stem for path in files if path.stem != "__init__")
    for name in config_files.names():
        summary = config_files.summary(name)
        assert summary.endswith(".")
        assert "nasjax search" not in summary


@pytest.mark.parametrize("name", config_files.names())
def test_every_config_that_comes_along_loads_under_its_name(name):
    config = config_files.load(name)
    assert config.name == name
    assert f"    nasjax {config.command} {name}" in config.description.partition("\n")[0]
    assert config_files.is_for(name, config.command)
    assert config.description.startswith(config_files.summary(name))


@pytest.mark.parametrize("name", config_files.names())
def test_every_config_says_what_to_expect(name):
    """How long it takes, and on which page its figures stand."""
    said = " ".join(config_files.load(name).description.split())
    _, _, expected = said.partition("Expected: ")
    assert re.search(r"\d[\d.]* (CPU-)?(seconds|minutes|hours)", expected), said
    page = re.search(r"Figures(?: \(.+?\))?: (docs/\w+\.md|README)", expected)
    assert page, said
    assert (TOY.parent.parent.parent / page[1].replace("README", "README.md")).exists()


def test_a_config_for_another_command_says_which():
    with pytest.raises(
        ValueError, match="config 'digits_table': nasjax table build digits_table runs it, nasjax search does not"
    ):
        config_files.load("digits_table", "search")
    assert config_files.load("nb201_controls", "sweep").command == "sweep"


def test_a_config_may_import_what_lies_beside_it_but_hides_nothing():
    folder = pathlib.Path("far")
    folder.mkdir()
    written("SEEDS = 7\n", "far/beside_it.py")
    written("raise ImportError('hides the standard library')\n", "far/fractions.py")
    sys.modules.pop("fractions", None)
    text = TOY.read_text().replace("import dataclasses\n", "import dataclasses, fractions, beside_it\n")
    config = config_files.load(written(text + "\nassert beside_it.SEEDS == 7 and fractions.Fraction\n", "far/mine.py"))
    assert isinstance(config.value, Search)
    sys.modules.pop("beside_it")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("graphpnas_nb201_digit", "unknown config 'graphpnas_nb201_digit'; did you mean graphpnas_nb201_digits?"),
        ("zzz", "unknown config 'zzz'; nasjax sweep --help lists them (a file of your own: path/to/file.py)"),
        ("", "unknown config ''; nasjax sweep --help lists them"),
        ("min", "unknown config 'min'; did you mean mine.py?"),
        ("__init__", "unknown config '__init__'"),
        ("mime.py", "config 'mime.py': there is no such file; did you mean mine.py?"),
        ("a/b/c.py", "config 'a/b/c.py': there is no such file"),
        ("./", "config '.': it is no file"),
        ("\0.py", "there is no such file"),
        ("x" * 5000 + ".py", "File name too long"),
        ("text/", "config 'text': it is no file"),
    ],
)
def test_what_is_not_there(given, message):
    written("")
    pathlib.Path("text").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as caught:
        config_files.load(given)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "config 'mine.py': it has no function config()"),
        ("config = 3", "config 'mine.py': it has no function config()"),
        ("def config():\n    return 3", "config 'mine.py': config() returned a int, not a nasjax.search.Search"),
        ("def config():\n    return {}['x']", "config 'mine.py', line 2: KeyError: 'x'"),
        ("\n\nimport nothing_of_that_name", "config 'mine.py', line 3: ModuleNotFoundError: No module"),
        ("x = 1\ndef config(:\n    pass", "config 'mine.py', line 2: SyntaxError"),
        ("raise SystemExit(0)", "config 'mine.py', line 1: SystemExit: 0"),
        ("def config(name): pass", "config 'mine.py', config(): TypeError: config() missing 1 required"),
        ("x = '\\ud800'\nraise ValueError(x)", "config 'mine.py', line 2: ValueError"),
    ],
)
def test_where_a_config_fails(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config_files.load(written(text))


def test_a_file_that_is_no_text():
    pathlib.Path("mine.py").write_bytes(b"\x89PNG\0\xff\xfe")
    with pytest.raises(ValueError, match=r"config 'mine\.py', "):
        config_files.load("mine.py")
