"""What is shown while a search runs, and what is written to a person at all."""

import io
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from nasjax import progress as shown
from nasjax import terminal
from nasjax.search import Progress

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def batch(step, steps=4, reward=0.5, invalid=0, compiling=0.0, evaluate=1.0):
    return Progress(
        step=step,
        steps=steps,
        evaluations=min(4 * step, 14),
        budget=14,
        reward=np.full(4 if step < 4 else 2, reward, np.float32),
        invalid=invalid,
        best_reward=reward,
        best_spec="|x~0|",
        info={},
        seconds={"ask": 0.25, "evaluate": evaluate, "tell": 0.25, "compile": compiling},
    )


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and may break after so many writes."""

    def __init__(self, encoding="utf-8", breaks_after=None):
        super().__init__()
        self._encoding, self._left = encoding, breaks_after

    encoding = property(lambda self: self._encoding)

    def isatty(self):
        return True

    def write(self, text):
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise OSError(5, "Input/output error")
        return super().write(text.encode(self._encoding, "backslashreplace").decode(self._encoding))


@pytest.fixture(autouse=True)
def known_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def test_plain_lines():
    stream = io.StringIO()
    with shown.Reporter(stream) as reporter:
        reporter.batch(batch(1, compiling=0.75, evaluate=2.0))
        reporter.note("one\nnote\x1b[2J")
        reporter.batch(batch(4, invalid=3, reward=float("nan")))
    first, note, last = stream.getvalue().splitlines()
    assert re.fullmatch(
        r" 4/14 evaluations  best 0\.5000  \d\.\d s, 5\.\d s left \(batch 2\.5 s, 0\.8 of them compiling\)", first
    )
    assert note == r"nasjax: one note\x1b[2J"
    assert re.fullmatch(r"14/14 evaluations  best \u2013, 3 invalid  \d\.\d s \(batch 1\.5 s\)", last)


def test_the_pace_leaves_compiling_out_and_counts_down():
    pace = shown.Pace()
    assert pace.left(0.0) is None
    pace.add(batch(1, compiling=3.0, evaluate=4.0), now=10.0)  # 1.5 s of its own, 3 batches to go
    assert pace.left(10.0) == 4.5
    assert pace.left(12.0) == 2.5
    assert pace.left(99.0) == 0.0
    pace.add(batch(3, evaluate=3.0), now=20.0)
    assert pace.left(20.0) == pytest.approx(0.7 * 1.5 + 0.3 * 3.5)
    pace.add(batch(4), now=30.0)
    assert pace.left(30.0) is None


def test_a_terminal_gets_one_live_line_and_notes_above_it():
    stream = Terminal()
    with shown.Reporter(stream) as reporter:
        reporter.batch(batch(1))
        reporter.note("a note\x1b[2J")
        reporter.batch(batch(4, reward=0.75, invalid=1))
    written = stream.getvalue()
    assert "\x1b[2J" not in written
    screen = ESCAPES.sub("", written).replace("\r", "\n").splitlines()
    assert any("reading, compiling" in line for line in screen)
    assert any(line.startswith("nasjax: a note") for line in screen)
    assert any(re.search(r"^ 4/14 .*━.* best 0\.5000 .* left", line) for line in screen)
    last = [line for line in screen if line.strip()][-1]
    assert re.search(r"^14/14 .*━.* best 0\.7500, 1 invalid \d\.\d s\s*$", last)
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is back


def test_without_a_batch_nothing_stays_on_the_terminal():
    stream = Terminal()
    with shown.Reporter(stream) as reporter:
        del reporter
    assert stream.getvalue().rpartition("\x1b[2K")[2].strip("\r\n").replace("\x1b[?25h", "").strip() == ""


def test_an_exception_passes_and_the_cursor_comes_back():
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), shown.Reporter(stream) as reporter:  # noqa: PT012 - two contexts
        reporter.batch(batch(1))
        raise KeyboardInterrupt
    assert stream.getvalue().rstrip().endswith("\x1b[?25h")


def test_an_ascii_terminal_gets_ascii():
    stream = Terminal("ascii")
    with shown.Reporter(stream) as reporter:
        reporter.batch(batch(1, reward=float("nan")))
        reporter.note("more …")
    written = ESCAPES.sub("", stream.getvalue())
    assert "best - " in written
    assert "nasjax: more ..." in written
    assert "\\u" not in written


@pytest.mark.parametrize("writes", range(0, 12, 2))
def test_a_terminal_that_goes_away_does_not_end_the_search(writes):
    stream = Terminal(breaks_after=writes)
    with shown.Reporter(stream) as reporter:
        for step in (1, 2, 3, 4):
            reporter.batch(batch(step))
            reporter.note("a note")
    assert stream._left < 0


@pytest.mark.parametrize("variable", ["dumb", None])
def test_a_dumb_terminal_gets_plain_lines(monkeypatch, variable):
    if variable is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", variable)
    stream = Terminal()
    with shown.Reporter(stream) as reporter:
        reporter.batch(batch(1))
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().startswith(" 4/14 evaluations")


def test_a_closed_stream_is_silence():
    stream = io.StringIO()
    stream.close()
    with shown.Reporter(stream) as reporter:
        reporter.batch(batch(1))
        reporter.note("x")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain \u2013 ü 例", "plain \u2013 ü 例"),
        ("two\nlines\r\n", "two lines\\r "),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("abc\u202ecba\u200b", "abc\\u202ecba\\u200b"),
        ("\udcff", "\\udcff"),
        ("x" * 3000, "x" * 1999 + "…"),
    ],
)
def test_printable(text, line):
    assert terminal.printable(text) == line
    assert terminal.printable(text).isprintable()


def test_durations_and_numbers():
    given = [0.0, 9.94, 9.96, 59.6, 61, 3599.6, 7260]
    assert [terminal.duration(value) for value in given] == [
        *("0.0 s", "9.9 s", "10 s", "1 min 00 s", "1 min 01 s"),
        *("1 h 00 min", "2 h 01 min"),
    ]
    values = [None, float("nan"), 0.0, -0.12345, 1e-5, 123456.0, float("-inf")]
    assert [terminal.number(value) for value in values] == [
        *("\u2013", "\u2013", "0.0000", "-0.1235", "1e-05", "1.235e+05", "-inf"),
    ]


def test_streams_that_the_caller_closed_become_the_null_device(tmp_path):
    """No file of a run may get the descriptors 1 and 2, which libraries write to."""
    code = """if True:
        import os, sys
        from nasjax import terminal
        assert sys.stdout is sys.stderr is None
        terminal.tolerant()
        terminal.say("nobody hears this")
        terminal.complain("nor that")
        os.write(2, b"nor what a library says")
        with open("file", "w") as file:
            file.write(f"{file.fileno() > 2} {terminal.settle()} {sys.stdout.fileno() > 2}")
    """
    run = ["sh", "-c", 'exec "$0" -c "$1" >&- 2>&- <&-', sys.executable, code]
    assert subprocess.run(run, cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == "True True True"


def test_a_full_disk_is_settled_once(monkeypatch):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    full = open("/dev/full", "w")  # noqa: SIM115 - closed below, by hand
    monkeypatch.setattr(sys, "stdout", full)
    terminal.say("does not fit")
    assert not terminal.settle()
    assert terminal.settle()
    full.close()  # raises if something is left to write
