"""What a person sees while a search runs: a live line on a terminal, one plain line a batch elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from nasjax.terminal import complain, duration, number, say

if TYPE_CHECKING:
    import rich.progress

    from nasjax.search import Progress


class Reporter:
    """Shows the batches of one search; a context manager, so that a terminal is left in order.

    Nothing here can fail a search: a stream that breaks is no longer written to.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """`stream`: where to write; stderr by default, so that stdout holds the outcome alone."""
        self._stream = sys.stderr if stream is None else stream
        self._start = time.monotonic()
        self._live: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> "Reporter":
        """Starts the clock, and the live line where there is a terminal."""
        self._start = time.monotonic()
        if _is_terminal(self._stream):
            self._live = _live_line(self._stream)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the live line."""
        del kind, error, trace
        if self._live is not None:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def waiting(self, what: str) -> None:
        """Says what takes long before the first batch."""
        if self._live is None:
            say(what, self._stream)
        else:
            self._task = self._live.add_task("search", total=None, detail=what)

    def batch(self, progress: "Progress") -> None:
        """Shows one batch; the `on_batch` of `run_search`."""
        if self._live is None:
            say(line(progress, self.seconds), self._stream)
            return
        if self._task is None:
            self._task = self._live.add_task("search", total=progress.budget, detail="")
        self._live.update(
            self._task, total=progress.budget, completed=progress.evaluations, detail=_best(progress), refresh=True
        )

    def note(self, text: str) -> None:
        """Shows one line above the live one; the `on_note` of `run_search`."""
        if self._live is None:
            complain(text)
            return
        from rich.text import Text

        from nasjax.terminal import printable

        self._live.console.print(Text(f"nasjax: {printable(text)}"), soft_wrap=True)


def line(progress: "Progress", seconds: float) -> str:
    """Returns the plain line of a batch: evaluations done of the budget, best so far, seconds of the whole and of it."""
    width = len(str(progress.budget))
    spent = progress.seconds["ask"] + progress.seconds["evaluate"] + progress.seconds["tell"]
    compiled = progress.seconds.get("compile", 0.0)
    compiling = f", {compiled:.1f} of them compiling" if compiled >= 0.1 else ""
    return (
        f"{progress.evaluations:{width}d}/{progress.budget} evaluations  {_best(progress)}"
        f"  {duration(seconds)} (batch {spent:.1f} s{compiling})"
    )


def _best(progress: "Progress") -> str:
    invalid = f", {progress.invalid} invalid" if progress.invalid else ""
    return f"best {number(progress.best_reward)}{invalid}"


def _is_terminal(stream: TextIO) -> bool:
    import os

    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except ValueError:  # closed
        return False


def _live_line(stream: TextIO) -> "rich.progress.Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left", style="dim"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(file=stream, markup=False, emoji=False, highlight=False))
