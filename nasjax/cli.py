"""The command `nasjax`: argument parsing and printing, no logic.

Exit status: 0 done; 1 failed while running; 2 refused before any work; 130 interrupted; 143 terminated. One line on
stderr says what went wrong and what to do; `--debug` shows the traceback too. jax and everything on it are imported by
the commands that need them, so that `nasjax --help` costs no more than Python's own start.
"""

import dataclasses
import pathlib
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from nasjax import __version__, config_files, interrupts, options, uniqueness
from nasjax.options import HelpShown, UsageError
from nasjax.startup import one_blas_thread, prepare_jax, start_devices
from nasjax.terminal import complain, duration, number, printable, say, settle, tolerant

if TYPE_CHECKING:
    from nasjax.search import Result

__all__ = ["main", "prepare_jax"]

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; `arguments` are the command line's by default. Returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    tolerant()
    one_blas_thread()  # before a config imports SciPy
    status = _status(given, debug)
    if not settle() and status == DONE:
        complain("stdout has no room: what was said is not all there")
        return FAILED
    return status


def _status(arguments: list[str], debug: bool) -> int:
    """Runs a command; what it raises becomes a line and an exit status."""
    try:
        with interrupts.raised():  # a search watches for itself; this is for what stands before and after it
            return _dispatch(arguments)
    except HelpShown:
        return DONE
    except BrokenPipeError:  # `nasjax … | head`: who reads has enough
        return FAILED
    except BaseException as error:
        status, text = _account(error)
        if debug:
            traceback.print_exc()
        complain(text)
        return status


class _Command(NamedTuple):
    run: Callable[[list[str]], int]
    usage: str
    summary: str


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        _say_help()
        return DONE if arguments else REFUSED
    if arguments[0] == "--version":
        say(f"nasjax {__version__}")
        return DONE
    command = COMMANDS.get(arguments[0])
    if command is None:
        close = options.nearest(arguments[0], COMMANDS, 0.5)
        hint = f"did you mean {close}?" if close else f"one of {', '.join(COMMANDS)}"
        raise UsageError(f"unknown command {arguments[0]!r}; {hint}")
    return command.run(arguments[1:])


def _account(error: BaseException) -> tuple[int, str]:
    """The exit status and the line for an exception."""
    if isinstance(error, KeyboardInterrupt):
        status = int(getattr(error, "status", INTERRUPTED))
        return status, f"{error or 'interrupted'}; the same command goes on from what is saved"
    if isinstance(error, SystemExit):  # a library's own way to refuse arguments
        return (error.code if isinstance(error.code, int) else FAILED), "stopped"
    if _was_running(error.__traceback__):
        return FAILED, f"failed while running: {_described(error)}; --debug shows where, the same command goes on"
    if isinstance(error, ValueError | FileNotFoundError) or type(error).__name__ == "RunDirError":
        return REFUSED, str(error) or type(error).__name__
    return FAILED, f"{_described(error)}; --debug shows where"


_RUNNING = {
    ("nasjax.search", "step"),
    ("nasjax.sweep", "_compute"),
    ("nasjax.sweep", "_conclude"),
    ("nasjax.table_build", "_evaluated"),
}
"""Functions from which nothing is bad input any more."""


def _was_running(trace: TracebackType | None) -> bool:
    """Whether an error comes out of a batch: what an evaluator raises is no bad input, whatever its type."""
    while trace is not None:
        if (trace.tb_frame.f_globals.get("__name__"), trace.tb_frame.f_code.co_name) in _RUNNING:
            return True
        trace = trace.tb_next
    return False


def _described(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename is not None else "")
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _say_help() -> None:
    width = max(len(command.usage) for command in COMMANDS.values())
    say("usage: nasjax COMMAND …")
    say("")
    say("Neural architecture search with learned graph models, on JAX.")
    say("")
    for command in COMMANDS.values():
        say(f"  {command.usage:{width}}  {command.summary}")
    say("")
    say("nasjax COMMAND --help says more; --debug shows where an error came from; --version.")


# search


_CONFIG_SEED = "CONFIG-SEED"  # stands in the help for what it is replaced by


@dataclasses.dataclass(frozen=True)
class _RunOptions:
    """How a config is run.

    Attributes:
      run: name of the run directory in runs/.
      seed: of all randomness.
      unique: what a new query is: another "key", or on NAS-Bench-201 another "published" string; or as the config says.
    """

    run: str = _CONFIG_SEED
    seed: int = 0
    unique: uniqueness.Unique = "config"


def _search(arguments: list[str]) -> int:
    place = _config_place(arguments)
    if place is None:
        if arguments and not {"-h", "--help"} & set(arguments):
            raise UsageError("search: there is no CONFIG among the arguments; nasjax search --help lists them")
        _say_search_help()
        return DONE if arguments else REFUSED
    given, rest = arguments[place], arguments[:place] + arguments[place + 1 :]
    config = config_files.load(given, "search")
    program = f"nasjax search {printable(given)}"
    how, search = options.parse([_RunOptions(), config.value], rest, program, config.description)
    search = dataclasses.replace(search, space=uniqueness.applied(search.space, how.unique))

    from nasjax import rundir

    folder = rundir.run_folder(how.run if how.run != _CONFIG_SEED else f"{config.name}-{how.seed}")
    return _run(search, how.seed, folder)


def _run(search: Any, seed: int, folder: pathlib.Path) -> int:
    notes = prepare_jax()
    start_devices()

    from nasjax.progress import Reporter
    from nasjax.report.run import write_report
    from nasjax.search import run_search

    with Reporter() as reporter, warnings.catch_warnings():
        # A library's warning, or that a chunk of children was halved: one line like any other.
        warnings.showwarning = lambda message, *_, **__: reporter.note(str(message))
        for note in notes:
            reporter.note(note)
        result = run_search(search, seed, folder, on_batch=reporter.batch, on_note=reporter.note)
    report = folder / "report.html"
    if result.begun != "finished" or not report.exists():
        report = write_report(folder)
    _say_outcome(result, report, reporter.seconds)
    return DONE


def _config_place(arguments: list[str]) -> int | None:
    """Where CONFIG stands: first, or after options, if it looks like a config."""
    if arguments and not arguments[0].startswith("-"):
        return 0
    known = config_files.names()
    fits = [place for place, argument in enumerate(arguments) if argument in known or argument.endswith(".py")]
    return fits[0] if fits else None


def _say_search_help() -> None:
    say("usage: nasjax search CONFIG [--run NAME] [--seed S] [--budget.evaluations N] [--method.x …] …")
    say("")
    say("Runs a search, goes on with one that was stopped, or finds it finished. CONFIG is one of these, or the path")
    say("of your own file with config(); nasjax search CONFIG --help lists the config's options.")
    say("")
    names = [name for name in config_files.names() if config_files.is_for(name, "search")]
    width = max(map(len, names), default=0)
    for name in names:
        say(f"  {name:{width}}  {config_files.summary(name)}")


def _say_outcome(result: "Result", report: pathlib.Path, seconds: float) -> None:
    done = f"{result.evaluations} evaluations" + (f", {result.invalid} invalid" if result.invalid else "")
    began = {
        "fresh": f"fresh run, {done}, {duration(seconds)}",
        "resumed": f"resumed from {result.resumed_from} evaluations, now {done}, {duration(seconds)}",
        "finished": f"already finished, {done}; another --seed or --run starts a new one",
    }
    say(f"run                  {result.folder}: {began[result.begun]}")
    if result.best_spec is None:
        say("best architecture    none: no evaluation gave a usable reward")
    else:
        say(f"best architecture    {result.best_spec}")
        for name, value in _facts(result):
            say(f"{name:20} {value}")
    say(f"report               {report}")


_LABELS = {
    "val_acc": "validation accuracy",
    "test_acc": "test accuracy",
    "params": "parameters",
    "parameters": "parameters",
    "macs": "multiply-adds",
}


def _facts(result: "Result") -> list[tuple[str, str]]:
    """What is known of the best architecture: its reward, its accuracies, its size."""
    best = result.summary.get("best") or {}
    facts = [("reward", number(result.best_reward))]
    known = {**best, **(best.get("metrics") or {})}
    for name, label in _LABELS.items():
        value = known.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            facts.append((label, f"{value:,}"))
        elif isinstance(value, float):
            facts.append((label, f"{100 * value:.2f} %"))
    table = result.summary.get("table")
    if table is not None:  # its figures have the table's own unit
        facts += [(name, number(known[name])) for name in ("validation", "test") if known.get(name) is not None]
        facts.append(("table", printable(table["file"]) + (", modelled" if table["modelled"] else "")))
    return facts


# sweep


def _sweep(arguments: list[str]) -> int:
    from nasjax import sweep_command

    sweep_command.run(arguments)
    return DONE


# report


def _report(arguments: list[str]) -> int:
    as_markdown = "--markdown" in arguments
    about = "Writes report.html of a search, finished or not, or of a finished sweep, and says where."
    about += " --markdown prints all tables of a sweep instead, for GitHub."
    given = [argument for argument in arguments if argument != "--markdown"]
    (run,) = _positionals(given, "report", "RUN", about, " [--markdown]")

    from nasjax import rundir
    from nasjax.report import is_sweep

    folder = pathlib.Path(run) if "/" in run else rundir.run_folder(run)
    if not (folder / rundir.CONFIG).is_file():
        runs = [path.parent.name for path in folder.parent.glob(f"*/{rundir.CONFIG}")]
        close = options.nearest(folder.name, runs, 0.5)
        raise FileNotFoundError(f"no run directory {str(folder)!r}" + (f"; did you mean {close}?" if close else ""))
    if not is_sweep(folder):
        if as_markdown:
            raise UsageError(f"report: {folder} is a search's; --markdown is for sweeps")
        from nasjax.report import run as of_search

        say(str(of_search.write_report(folder)))
        return DONE
    from nasjax.report import sweep as of_sweep

    lines = of_sweep.read_markdown(folder).splitlines() if as_markdown else [str(of_sweep.write_report(folder))]
    for line in lines:
        say(line)
    return DONE


def _positionals(arguments: list[str], command: str, names: str, summary: str, options_too: str = "") -> list[str]:
    """Arguments of a command without options, or with those that `options_too` shows and that the caller took out."""
    if {"-h", "--help"} & set(arguments):
        say(f"usage: nasjax {command} {names}{options_too}".rstrip())
        say("")
        say(summary)
        raise HelpShown
    option = next((argument for argument in arguments if argument.startswith("-")), None)
    if option is not None:
        raise UsageError(f"unknown option {option}; usage: nasjax {command} {names}{options_too}".rstrip())
    if len(arguments) != len(names.split()):
        raise UsageError(f"{len(arguments)} arguments; usage: nasjax {command} {names}{options_too}".rstrip())
    return arguments


# data


def _data(arguments: list[str]) -> int:
    from nasjax import data_command

    data_command.run(arguments)
    return DONE


# table


def _table(arguments: list[str]) -> int:
    from nasjax import table_command

    table_command.run(arguments)
    return DONE


# doctor


def _doctor(arguments: list[str]) -> int:
    _positionals(
        arguments, "doctor", "", "Says which versions, devices, memory and data sets there are, and what runs here."
    )
    prepare_jax()

    from nasjax import doctor

    for line in doctor.lines():
        say(line)
    return DONE


COMMANDS = {
    "search": _Command(_search, "search CONFIG [--run NAME] [--seed S] …", "search for an architecture; resumes"),
    "sweep": _Command(_sweep, "sweep CONFIG [--seeds N] [--methods a,b] …", "compare methods over many seeds; resumes"),
    "report": _Command(_report, "report RUN [--markdown]", "write report.html of a search or a sweep"),
    "data": _Command(_data, "data prepare DATASET | data list", "make image data sets ready; say which there are"),
    "table": _Command(
        _table, "table inspect FILE | import … | build …", "say what a table of results holds; import or train one"
    ),
    "doctor": _Command(_doctor, "doctor", "versions, devices, memory, what runs here"),
}


if __name__ == "__main__":
    sys.exit(main())
