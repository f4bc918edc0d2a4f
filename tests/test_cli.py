"""The command line: what each command prints where, its exit status, and that no mistake shows a traceback."""

import json
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import warnings

import hypothesis
import hypothesis.strategies as st
import jax
import pytest

import nasjax
from nasjax import cli, config_files, results, rundir
from nasjax.spaces.nasbench201 import NasBench201

TOY = str(pathlib.Path(__file__).parent / "configs" / "toy_run.py")
SMALL = (TOY, "--budget.evaluations", "4", "--run", "toy")
REFUSED, FAILED = 2, 1


@pytest.fixture(autouse=True)
def here(tmp_path, tmp_path_factory, monkeypatch):
    """An empty working directory; nothing of the user's is read or written."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("NASJAX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = jax.config.jax_compilation_cache_dir
    yield place
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def nasjax_main(capsys):
    """Runs a command in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        status = cli.main(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def spawned(*arguments, environment=None, **options):
    """Runs a command in a process of its own, buffering as Python does; 2 to 4 seconds each where jax is imported."""
    run = [sys.executable, "-m", "nasjax.cli", *arguments]
    variables = os.environ | {"PYTHONUNBUFFERED": ""} | (environment or {})
    return subprocess.run(run, env=variables, check=False, timeout=300, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# help


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


# what is refused


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


# searches


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


# what tells that a query is new


OWN_TABLE = '''
"""Random search on the 64 cells of two operations.    nasjax KIND mine.py"""

from nasjax.methods.random_search import RandomSearch
from nasjax.search import Budget, Search
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table

SPACE, TABLE = NasBench201(("skip_connect", "nor_conv_1x1")), Table("mine.csv", signal="a")


def config():
    if KIND == "sweep":
        return Sweep(SPACE, (Entry("random", RandomSearch(batch=8)),), (TABLE,), Budget(64), seeds=2)
    return Search(SPACE, RandomSearch(batch=8), TABLE, Budget(64))
'''


@pytest.fixture
def own_table(here):
    """Configs sweep.py and search.py on a table of their own; returns the cells' strings."""
    space = NasBench201(("skip_connect", "nor_conv_1x1"))
    cells = [jax.tree.map(lambda leaf, row=row: leaf[row], space.all()) for row in range(64)]
    specs = [space.to_spec(cell) for cell in cells]
    (here / "mine.csv").write_text("arch,a\n" + "".join(f"{spec},{row}\n" for row, spec in enumerate(specs)))
    for kind in ("sweep", "search"):
        (here / f"{kind}.py").write_text(OWN_TABLE.replace("KIND ", f'"{kind}" ').replace("KIND", kind))
    return specs


def test_sweeps_by_published_classes(nasjax_main, here, own_table):
    """A search of all there is ends after 39 queries by key, after 35 by published class: these two partitions differ."""
    for unique, number in (("config", 39), ("key", 39), ("published", 35)):
        status, _, err = nasjax_main("sweep", "sweep.py", "--unique", unique, "--run", unique)
        assert status == 0, err
        found = json.loads((here / "runs" / unique / "summary.json").read_text())
        assert found["config"]["unique"] == ("published" if unique == "published" else "key")
        assert found["results"][0]["unique_queries"] == number
        table, _ = results.unpack((here / "runs" / unique / "results.parquet").read_bytes())
        assert len(table) == 2 * number
        assert not any(table["repeat"].to_pylist())
        assert table["signal"].to_pylist() == [own_table.index(spec) for spec in table["architecture"].to_pylist()]
        for name in ("summary.json", "results.parquet") * (unique == "key"):
            assert (here / "runs/key" / name).read_bytes() == (here / "runs/config" / name).read_bytes()
    page = (here / "runs" / "published" / "report.html").read_text()
    assert "unique by published" in page
    status, _, err = nasjax_main("sweep", "sweep.py", "--unique", "published", "--run", "key")
    assert (status, err.count("\n")) == (REFUSED, 1)
    assert 'runs/key is a run of another config (config.space.classes: absent, now "published")' in err


def test_searches_by_published_classes(nasjax_main, here, own_table):
    """The same as the space's own option; --unique has the last word."""
    for name, options, number in (
        ("key", (), 39),
        ("published", ("--unique", "published"), 35),
        ("space", ("--space.classes", "published"), 35),
        ("back", ("--space.classes", "published", "--unique", "key"), 39),
    ):
        status, out, err = nasjax_main("search", "search.py", "--run", name, *options)
        assert status == 0, err
        assert f"runs/{name}: fresh run, {number} evaluations" in out
    for one, other in (("published", "space"), ("key", "back")):
        for file in ("history.npz", "config.json"):
            assert (here / "runs" / one / file).read_bytes() == (here / "runs" / other / file).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", TOY), "--unique published: the space toy has no published classes, as nasbench201 has"),
        (("sweep", TOY.replace("_run", "_sweep")), "--unique published: the space toy has no published classes"),
        (
            ("search", TOY, "--unique=publshed"),
            "'publshed' is not one of config, key, published; did you mean published?",
        ),
    ],
)
def test_spaces_without_published_classes(nasjax_main, here, arguments, message):
    unique = () if "=" in arguments[-1] else ("--unique", "published")
    status, out, err = nasjax_main(*arguments, *unique)
    assert (status, out, err.count("\n")) == (REFUSED, "", 1)
    assert message in err
    assert not list(here.iterdir())


def test_by_key_is_what_every_space_has(nasjax_main):
    assert nasjax_main("search", *SMALL, "--unique", "key")[0] == 0


def test_doctor_and_data(nasjax_main, monkeypatch):
    monkeypatch.setattr("nasjax.doctor.lines", lambda: ["python  3\x1b[2J", "jax     1"])
    assert nasjax_main("doctor") == (0, "python  3\\x1b[2J\njax     1\n", "")
    status, out, err = nasjax_main("data", "list")
    assert (status, err) == (0, "")
    assert "digits" in out
    assert "cifar10" in out


# terminals, pipes, encodings


def test_a_real_terminal():
    """The whole command on a terminal of its own: a live line, then the outcome, and the cursor is back."""
    master, slave = pty.openpty()
    run = [sys.executable, "-m", "nasjax.cli", "search", *SMALL]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "90"}
    with subprocess.Popen(run, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        written = b""
        while True:
            select.select([master], [], [], 300)
            try:
                data = os.read(master, 1 << 16)
            except OSError:  # how Linux says that the other side is closed
                break
            if not data:
                break
            written += data
    os.close(master)
    assert process.returncode == 0, written
    text = written.decode()
    assert text.index("4/4") < text.index("runs/toy: fresh run")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "━" in plain
    assert "evaluations  best" not in plain  # that line is for files


def test_pipes_and_a_poor_locale(here):
    """The outcome alone goes to stdout, plain; no locale is too poor for it."""
    environment = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    found = spawned("search", *SMALL, "--evaluator.nan-share", "1", environment=environment, capture_output=True)
    assert found.returncode == 0, found.stderr
    out, err = found.stdout.decode("ascii"), found.stderr.decode("ascii")
    assert out.startswith("run                  runs/toy: fresh run, 4 evaluations, 4 invalid")
    assert "4/4 evaluations  best -, 4 invalid" in err
    assert "\x1b" not in out + err


@pytest.mark.parametrize("arguments", [["--help"], ["search", TOY, "--help"]])
def test_a_reader_that_has_enough(arguments):
    """`nasjax … | head -0`: no traceback, and nothing that Python adds at exit."""
    read, write = os.pipe()
    os.close(read)
    found = spawned(*arguments, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert found.stderr == b""
    assert found.returncode in (0, FAILED)


def test_streams_that_are_closed_cost_no_run(here):
    """`nasjax … >&- 2>&- <&-`."""
    run = f"exec {sys.executable} -m nasjax.cli search {TOY} --budget.evaluations 4 --run toy >&- 2>&- <&-"
    assert subprocess.run(["sh", "-c", run], check=False).returncode == 0
    assert rundir.read_result(here / "runs" / "toy")["evaluations"] == 4


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
