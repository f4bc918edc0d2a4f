"""The command `nasjax table build`: trains a whole space, chunk by chunk, and writes the table."""

import dataclasses
import pathlib
import re
from typing import TYPE_CHECKING

from nasjax import config_files, options, terminal
from nasjax.options import HelpShown, UsageError
from nasjax.startup import prepare_jax, start_devices

if TYPE_CHECKING:
    from nasjax.table_build import BuildProgress, TableBuild

USAGE = "table build CONFIG [--seeds N] [--run NAME] [--to FILE]"

_AS_CONFIG = "CONFIG"  # stand in the help for what they are replaced by
_IN_RUN = "runs/NAME/table.npz"


@dataclasses.dataclass(frozen=True)
class _Options:
    """How a table is built.

    Attributes:
      run: name of the run directory in runs/, which keeps what is done.
      seeds: trainings of each network.
      to: the table that is written in the end, .npz or .parquet; an older one is replaced.
    """

    run: str
    seeds: int
    to: str


def run(arguments: list[str]) -> None:
    """Runs `nasjax table build …`; `arguments` are what follows `build`.

    Raises:
      HelpShown: --help was asked for.
      UsageError: the command line cannot be followed.
      ValueError: an unknown config, a setting out of range.
      FileNotFoundError: data are missing.
      rundir.RunDirError: the run directory does not fit.
      OSError: a file could not be written.
    """
    if not arguments or arguments[0].startswith("-"):
        if not {"-h", "--help"} & set(arguments):
            raise UsageError(f"table build: CONFIG stands first; usage: nasjax {USAGE}")
        terminal.say(f"usage: nasjax {USAGE}")
        terminal.say("")
        terminal.say("Evaluates every network of a space, or goes on with what is there, and writes a table. CONFIG:")
        for name in config_files.names():
            if config_files.is_for(name, "table build"):
                terminal.say(f"  {name}  {config_files.summary(name)}")
        raise HelpShown
    config = config_files.load(arguments[0], "table build")
    build: TableBuild = config.value
    default = _Options(_AS_CONFIG, build.seeds, _IN_RUN)
    program = f"nasjax table build {terminal.printable(arguments[0])}"
    (how,) = options.parse([default], arguments[1:], program, config.description)

    from nasjax import rundir

    folder = rundir.run_folder(config.name if how.run == _AS_CONFIG else how.run)
    target = folder / "table.npz" if how.to == _IN_RUN else pathlib.Path(how.to)
    if target.suffix not in (".npz", ".parquet"):
        raise UsageError(f"option --to: {terminal.printable(how.to)} ends in neither .npz nor .parquet")
    if target.parent.resolve() == folder.resolve() and re.fullmatch(r"seed-\d+\.npz", target.name):
        raise UsageError(f"option --to: {terminal.printable(how.to)} is where the build keeps what it has computed")
    if target.parent != folder:
        from nasjax.tables.writing import check_folder

        check_folder(target)
    _run(dataclasses.replace(build, seeds=how.seeds), config.name, folder, target)


def _run(build: "TableBuild", name: str, folder: pathlib.Path, target: pathlib.Path) -> None:
    for note in prepare_jax():
        terminal.complain(note)
    start_devices()

    from nasjax import files, table_build
    from nasjax.tables import writing

    seeds = table_build.run_build(build, folder, on_chunk=_show, on_note=terminal.complain)
    table = table_build.table(build, seeds, name)
    files.write(target, writing.packed_npz(table) if target.suffix == ".npz" else writing.packed_parquet(table))
    invalid = sum(int((~seed.valid).sum()) for seed in seeds)
    terminal.say(f"{target}: {len(table):,} networks, {len(seeds)} seeds, {invalid} trainings without a usable result")


def _show(progress: "BuildProgress") -> None:
    """One line a chunk on stderr."""
    compiled = progress.seconds["compile"]
    compiling = f", {compiled:.1f} of them compiling" if compiled >= 0.1 else ""
    terminal.complain(
        f"seed {progress.seed} of {progress.seeds}: {progress.done:,} of {progress.networks:,} networks"
        f" ({progress.seconds['run']:.1f} s{compiling}; {terminal.duration(progress.left)} left)"
    )
