"""The command `nasjax table`: says what a table holds, and turns published forms into one file."""

import pathlib
from collections.abc import Callable

from nasjax import build_command, options
from nasjax.options import HelpShown, UsageError
from nasjax.terminal import complain, say

USAGES = ("table inspect FILE", "table import FORM SRC DST", build_command.USAGE)

PLAIN = "table"
"""The form of a CSV, Parquet or NPZ table, which `import` writes anew; hashes become strings."""


def run(arguments: list[str]) -> None:
    """Runs `nasjax table …`; `arguments` are what follows `table`.

    Raises:
      HelpShown: --help was asked for.
      UsageError: the command line cannot be followed.
      ValueError: an unknown form, or a table that is damaged or wrong; its row is named.
      FileNotFoundError: there is no such file.
      OSError: the table cannot be written.
    """
    commands: dict[str, Callable[[list[str]], None]] = {
        "inspect": _inspect,
        "import": _import,
        "build": build_command.run,
    }
    if arguments[:1] == ["build"]:  # has options of its own
        return build_command.run(arguments[1:])
    if {"-h", "--help"} & set(arguments):
        _say_help()
        raise HelpShown
    if not arguments:
        raise UsageError(f"table: no command; usage: nasjax {' | nasjax '.join(USAGES)}")
    if arguments[0] not in commands:
        close = options.nearest(arguments[0], commands, 0.5)
        hint = f"did you mean {close}?" if close else f"one of {', '.join(commands)}"
        raise UsageError(f"table: unknown command {arguments[0]!r}; {hint}")
    option = next((argument for argument in arguments[1:] if argument.startswith("-")), None)
    if option is not None:
        raise UsageError(f"unknown option {option}; nasjax table --help says more")
    commands[arguments[0]](arguments[1:])


def _inspect(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UsageError(f"{len(arguments)} files; usage: nasjax {USAGES[0]}")
    _prepare()

    from nasjax.tables import inspecting, opening

    table, digest = opening.load(arguments[0])
    for title, text in list(inspecting.lines(table, digest)):  # nothing is said of a table that is wrong
        say(f"{title:13} {text}")


def _import(arguments: list[str]) -> None:
    from nasjax.tables.forms import FORMS

    if len(arguments) != 3:
        raise UsageError(f"{len(arguments)} arguments; usage: nasjax {USAGES[1]}")
    form, source, target = arguments
    known = [*FORMS, PLAIN]
    if form not in known:
        close = options.nearest(form, known, 0.5)
        raise UsageError(
            f"unknown form {form!r}; " + (f"did you mean {close}? " if close else "") + f"one of {', '.join(known)}"
        )
    _prepare()

    from nasjax.tables import importing

    table = importing.imported(form, source, pathlib.Path(target), complain)
    say(f"{target}: {len(table):,} architectures of {table.facts.space or 'a space that the file does not name'}")
    if table.facts.modelled:
        say(f"modelled, so measured by nobody: {', '.join(table.facts.modelled)}")


def _prepare() -> None:
    from nasjax.startup import prepare_jax, start_devices

    prepare_jax()
    start_devices()


def _say_help() -> None:
    from nasjax.tables.forms import FORMS

    forms = {name: form.about for name, form in FORMS.items()}
    forms[PLAIN] = "a CSV, Parquet or NPZ table, written anew"
    for line in (
        *(f"{'' if place else 'usage:':6} nasjax {usage}" for place, usage in enumerate(USAGES)),
        "",
        "inspect reads a whole table (CSV, Parquet, NPZ; a column arch and columns of figures), checks every row, and says",
        "what a search could be told from it. build evaluates a whole space; nasjax table build --help says more. import",
        "writes one file, Parquet or NPZ by DST's name, from SRC of FORM:",
        "",
        *(f"  {name:22} {about}" for name, about in forms.items()),
    ):
        say(line)
