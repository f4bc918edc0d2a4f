"""The command `nasjax data`: prepares image data sets, and says which there are."""

from nasjax import options
from nasjax.options import HelpShown, UsageError
from nasjax.terminal import say

USAGES = ("data prepare DATASET [--from FILE_OR_DIR] [--data-dir DIR]", "data list [--data-dir DIR]")


def run(arguments: list[str]) -> None:
    """Runs `nasjax data …`; `arguments` are what follows `data`.

    Raises:
      HelpShown: --help was asked for.
      UsageError: the command line cannot be followed.
      ValueError: an unknown data set, or a source that is damaged or of another one.
      FileNotFoundError: there is no source; the message says what to fetch.
      OSError: the set cannot be written.
    """
    commands = {"prepare": _prepare, "list": _list}
    if arguments and arguments[0] in commands:
        commands[arguments[0]](arguments[1:])
    elif {"-h", "--help"} & set(arguments):
        _say_help()
    elif not arguments:
        raise UsageError(f"data: no command; usage: nasjax {' | nasjax '.join(USAGES)}")
    else:
        close = options.nearest(arguments[0], commands, 0.5)
        hint = f"did you mean {close}?" if close else f"one of {', '.join(commands)}"
        raise UsageError(f"data: unknown command {arguments[0]!r}; {hint}")


def _prepare(arguments: list[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        _say_help()
    # Python has no field called `from`, so that tyro could not read this option
    source, rest = _taken(arguments, "--from")
    directory, rest = _taken(rest, "--data-dir")
    _refuse_options(rest, USAGES[0], ("--from", "--data-dir"))
    if len(rest) != 1:
        raise UsageError(f"{len(rest)} data sets; usage: nasjax {USAGES[0]}")

    from nasjax.train import prepare, prepared

    try:
        folder = prepare.prepare(rest[0], source, directory)
    except FileExistsError as error:  # repeating a command is no mistake
        if error.errno is not None:
            raise
        say(str(error))
        return
    found = prepared.facts(rest[0], directory)
    say(f"{rest[0]} is prepared: {prepared.counts(rest[0], found.sizes)}, in {folder}")


def _list(arguments: list[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        _say_help()
    directory, rest = _taken(arguments, "--data-dir")
    _refuse_options(rest, USAGES[1], ("--data-dir",))
    if rest:
        raise UsageError(f"{rest[0]!r} is one argument too many; usage: nasjax {USAGES[1]}")

    from nasjax.train import prepared

    for line in prepared.listing(directory):
        say(line)


def _taken(arguments: list[str], option: str) -> tuple[str | None, list[str]]:
    """Returns the value of `option`, written `--x value` or `--x=value`, and the arguments without it."""
    value, rest = None, []
    given = iter(arguments)
    for argument in given:
        name, equals, text = argument.partition("=")
        if name != option:
            rest.append(argument)
            continue
        if value is not None:
            raise UsageError(f"option {option} is given twice")
        value = text if equals else next(given, "")
        if not value or (not equals and value.startswith("--")):
            raise UsageError(f"option {option}: its value is missing")
    return value, rest


def _refuse_options(arguments: list[str], usage: str, known: tuple[str, ...]) -> None:
    option = next((argument for argument in arguments if argument.startswith("-")), None)
    if option is not None:
        close = options.nearest(option.partition("=")[0], known)
        raise UsageError(
            f"unknown option {option}; " + (f"did you mean {close}?" if close else f"usage: nasjax {usage}")
        )


def _say_help() -> None:
    for line in (
        *(f"{start} nasjax {usage}" for start, usage in zip(("usage:", "      "), USAGES, strict=True)),
        "",
        "prepare writes an image data set for `nasjax search`, and for every program that reads TensorFlow Datasets",
        "(array_record, no TensorFlow needed). DATASET: cifar10, fashion_mnist or tiny_imagenet32. A set that is there",
        "is left as it is. list says which are there, and how to make the others.",
        "",
        "  --from FILE_OR_DIR  original archive, its extracted folder, or an NPZ file with a part of the set;",
        "                      without it, the archive is looked for in DIR/downloads",
        "  --data-dir DIR      default: TFDS_DATA_DIR, else ~/tensorflow_datasets",
    ):
        say(line)
    raise HelpShown
