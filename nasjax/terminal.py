"""What is written to a person: one line a message, whatever strings of others stand in it."""

import contextlib
import os
import sys
from typing import TextIO

_REPLACED = "\u00b7"  # for what no escape would help to read
_ASCII = str.maketrans(
    {"\u2026": "...", "\u2013": "-", "\u2212": "-", "\u00b1": "+/-", "\u2264": "<="}
)  # our own signs, where the stream's encoding lacks them


def printable(text: str, limit: int = 2000) -> str:
    """Returns `text` as one line without control characters.

    Names, specs and messages come from files and command lines: an escape sequence in them could rewrite the screen or
    the window's title, a right-to-left mark could make a name look like another one. Line breaks become spaces, all
    else that is not printable its escape.
    """
    line = " ".join(text.split("\n"))
    line = "".join(c if c.isprintable() else _escape(c) for c in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints one line; a stream that is closed or has no room says nothing, and nothing else fails for it."""
    stream = sys.stdout if stream is None else stream
    with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
        print(encodable(printable(text), stream), file=stream, flush=True)


def encodable(text: str, stream: TextIO) -> str:
    """Returns `text` with plainer signs where the stream cannot write ours."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return text.translate(_ASCII)
    return text


def complain(text: str, stream: TextIO | None = None) -> None:
    """Prints "nasjax: text", to stderr by default."""
    say(f"nasjax: {text}", sys.stderr if stream is None else stream)


def tolerant() -> None:
    """Lets stdout and stderr take anything.

    What their encoding lacks is escaped, as with `PYTHONIOENCODING=ascii`. Where one was closed by the caller
    (`nasjax … >&-`) it becomes the null device, and so do the descriptors 0 to 2: a file of the run that got one of
    those would be written to by whatever logs to stderr.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
                pass
            setattr(sys, name, os.fdopen(null, "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # absent where a caller replaced the stream
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def settle() -> bool:
    """Flushes stdout and stderr; returns whether both took it, or nobody reads them.

    One that did not (`nasjax … | head`, a full disk) is turned away to the null device: Python would complain about it
    once more at exit, and change the exit status.
    """
    fine = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            fine &= isinstance(error, BrokenPipeError | ValueError)  # who reads has enough, or has closed it
            with contextlib.suppress(
                OSError, ValueError
            ):  # ValueError: closed, or a caller's object without descriptor
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
    return fine


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
        return "\u2013"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4f}"
    return f"{value:.4g}"


def _escape(character: str) -> str:
    try:
        return character.encode("unicode_escape").decode("ascii")
    except UnicodeError:  # lone surrogates, as file names that are no UTF-8 have them
        return _REPLACED
