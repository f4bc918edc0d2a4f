"""What is written to a person: one line a message, whatever strings of others stand in it."""

import contextlib
import sys
from typing import TextIO

_REPLACED = "\u00b7"  # for what no escape would help to read


def printable(text: str, limit: int = 2000) -> str:
    """Returns `text` as one line without control characters.

    Names, specs and messages come from files and command lines: an escape sequence in them could rewrite the screen or
    the window's title, a right-to-left mark could make a name look like another one. Line breaks become spaces, all else
    that is not printable its escape.
    """
    line = " ".join(text.split("\n"))
    line = "".join(c if c.isprintable() else _escape(c) for c in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints one line; a stream that is closed or has no room says nothing, and nothing else fails for it."""
    stream = sys.stdout if stream is None else stream
    with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
        print(printable(text), file=stream, flush=True)


def complain(text: str) -> None:
    """Prints "nasjax: text" to stderr."""
    say(f"nasjax: {text}", sys.stderr)


def tolerant() -> None:
    """Lets stdout and stderr escape what their encoding lacks, as in `LANG=C` or `PYTHONIOENCODING=ascii`."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # absent where a caller replaced the stream
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def duration(seconds: float) -> str:
    """Returns for example "3.2 s", "41 s", "4 min 07 s", "2 h 05 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def number(value: float | None) -> str:
    """Returns four decimals, or more digits where those would hide the value; a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4f}"
    return f"{value:.4g}"


def _escape(character: str) -> str:
    try:
        return character.encode("unicode_escape").decode("ascii")
    except UnicodeError:  # lone surrogates, as file names that are no UTF-8 have them
        return _REPLACED
