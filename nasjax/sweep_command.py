"""The command `nasjax sweep`: many methods, tasks and seeds of a config, and their report."""

import dataclasses
import pathlib
import shlex
import time
from typing import TYPE_CHECKING

from nasjax import config_files, options, terminal, uniqueness
from nasjax.options import HelpShown, UsageError
from nasjax.startup import prepare_jax, start_devices

if TYPE_CHECKING:
    from nasjax.sweep import Sweep, SweepProgress, SweepResult, TaskSettings

USAGE = "sweep CONFIG [--seeds N] [--methods a,b] [--table FILE] [--signals a,b] [--run NAME] …"

_AS_CONFIG = "CONFIG"  # stands in the help for what it is replaced by


@dataclasses.dataclass(frozen=True)
class _Budget:
    """When each search ends.

    Attributes:
      evaluations: number of unique queries.
    """

    evaluations: int


@dataclasses.dataclass(frozen=True)
class _Options:
    """How a sweep is run.

    Attributes:
      run: name of the run directory in runs/.
      seeds: searches of each method on each task.
      methods: names of the methods to run, with commas; all where empty.
      budget: of each search.
      table: file in place of those of the config's tasks, for example one with official figures.
      signals: what searches are told, with commas, in place of the config's.
      width: seeds side by side in a device's program; 0 = 64, on CPUs 1 for methods that train a model.
      unique: what a new query is: another "key", or on NAS-Bench-201 another "published" string; or as the config says.
    """

    run: str
    seeds: int
    methods: str
    budget: _Budget
    table: str = ""
    signals: str = ""
    width: int = 0
    unique: uniqueness.Unique = "config"


def run(arguments: list[str]) -> None:
    """Runs `nasjax sweep …`; `arguments` are what follows `sweep`.

    Raises:
      HelpShown: --help was asked for.
      UsageError: the command line cannot be followed.
      ValueError: an unknown config or method, a setting out of range, or a space without published classes.
      FileNotFoundError: there is no such table.
      rundir.RunDirError: the run directory does not fit.
      OSError: a file could not be written.
    """
    from nasjax.sweep_settings import check

    if not arguments or arguments[0].startswith("-"):
        _say_help()
        if arguments and {"-h", "--help"} & set(arguments):
            raise HelpShown
        raise UsageError(f"sweep: CONFIG stands first; usage: nasjax {USAGE}")
    config = config_files.load(arguments[0], "sweep")
    sweep: Sweep = config.value
    check(sweep)
    default = _Options(_AS_CONFIG, sweep.seeds, "", _Budget(sweep.budget.evaluations), width=sweep.width)
    program = f"nasjax sweep {terminal.printable(arguments[0])}"
    about = f"{config.description}\n\nMethods: {', '.join(entry.name for entry in sweep.methods)}."
    (how,) = options.parse([default], arguments[1:], program, about)

    from nasjax import rundir

    folder = rundir.run_folder(config.name if how.run == _AS_CONFIG else how.run)
    budget = dataclasses.replace(sweep.budget, evaluations=how.budget.evaluations)
    space = uniqueness.applied(sweep.space, how.unique)
    tasks = _tasks(sweep, how.table, _names("signals", how.signals))
    sweep = dataclasses.replace(sweep, space=space, seeds=how.seeds, budget=budget, tasks=tasks, width=how.width)
    methods = _names("methods", how.methods)
    _run(sweep, config.name, folder, methods)


def _names(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if text and not names:
        raise UsageError(f"option --{option}: {text!r} names none")
    return names


def _tasks(sweep: "Sweep", file: str, signals: list[str]) -> "tuple[TaskSettings, ...]":
    """The config's tasks; where other figures are asked for, each of its data sets once with each signal.

    Several data sets on a file that tells no tasks apart would be the same figures under several names: they are one task
    then, with the name that the file gives it.
    """
    from nasjax.tables import Table
    from nasjax.tables.opening import load

    if not file and not signals:
        return sweep.tasks
    tables = [task for task in sweep.tasks if isinstance(task, Table)]
    for other in sweep.tasks:
        if not isinstance(other, Table):
            raise UsageError(
                f"options --table and --signals: {type(other).__name__}, a task of the config, is no table"
            )
    one = bool(file) and len({task.task for task in tables}) > 1 and not load(file)[0].tasks
    found: dict[TaskSettings, None] = {}
    for task in tables:
        if file:  # what is reported and what it costs were columns of the other file
            task = dataclasses.replace(task, task="" if one else task.task, file=file, test="", cost="")
        for signal in signals or [task.signal]:
            found[dataclasses.replace(task, signal=signal)] = None
    return tuple(found)


def _run(sweep: "Sweep", name: str, folder: pathlib.Path, methods: list[str]) -> None:
    notes = prepare_jax()
    start_devices()

    from nasjax.report.sweep import write_report
    from nasjax.sweep import run_sweep

    for note in notes:
        terminal.complain(note)
    reporter = _Reporter()
    result = run_sweep(sweep, name, folder, methods=methods, on_chunk=reporter.chunk, on_note=terminal.complain)
    report = write_report(folder)
    _say_outcome(result, report)


class _Reporter:
    """One line a chunk on stderr: what was done, how long it took, how long the rest may take."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def chunk(self, progress: "SweepProgress") -> None:
        """Shows a chunk; the `on_chunk` of `run_sweep`."""
        spent = time.monotonic() - self._start
        left = (
            spent / progress.chunk * (progress.chunks - progress.chunk)
        )  # chunks of other methods may cost other times
        compiled = progress.seconds["compile"]
        compiling = f", {compiled:.1f} of them compiling" if compiled >= 0.1 else ""
        terminal.complain(
            f"{progress.chunk:{len(str(progress.chunks))}d}/{progress.chunks} {progress.method} on {progress.task}"
            f" {progress.signal}, seeds {progress.start} to {progress.stop - 1}:"
            f" {progress.seconds['run']:.1f} s{compiling}; {terminal.duration(left)} left"
        )


def _say_outcome(result: "SweepResult", report: pathlib.Path) -> None:
    from nasjax.report.sweep import brief

    done = f"{result.done} chunks computed now" if result.done else "nothing was missing"
    terminal.say(f"sweep    {result.folder}: {result.chunks} chunks, {done}")
    terminal.say("")
    for line in brief(result.summary).splitlines():
        terminal.say(line)
    terminal.say("")
    name = shlex.quote(result.folder.name)
    terminal.say(f"tables   differences with intervals, T2, ranks: nasjax report {name} --markdown")
    terminal.say(f"report   {report}")


def _say_help() -> None:
    terminal.say(f"usage: nasjax {USAGE}")
    terminal.say("")
    terminal.say("Runs a config's methods on its tasks for many seeds, or goes on with what is there, and writes")
    terminal.say("results.parquet, summary.json and report.html. More seeds and other methods go on in the same run.")
    terminal.say("CONFIG is one of these, or the path of your own file with config().")
    terminal.say("")
    names = [name for name in config_files.names() if config_files.is_for(name, "sweep")]
    width = max(map(len, names), default=0)
    for name in names:
        terminal.say(f"  {name:{width}}  {config_files.summary(name)}")
