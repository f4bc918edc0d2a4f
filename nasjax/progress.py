"""What a person sees while a search runs: a live line on a terminal, one plain line a batch elsewhere."""

import contextlib
import os
import sys
import time
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from nasjax.terminal import complain, duration, encodable, number, printable, say

if TYPE_CHECKING:
    from nasjax.search import Progress


class Reporter:
    """Shows the batches of one search; a context manager, so that a terminal is left in order.

    Nothing here can fail a search: a stream that breaks is no longer written to.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """`stream`: where to write; stderr by default, so that stdout holds the outcome alone."""
        self._stream = sys.stderr if stream is None else stream
        self._start = time.monotonic()
        self._pace = Pace()
        self._live: _Live | None = None

    def __enter__(self) -> "Reporter":
        """Starts the clock, and the live line where there is a terminal."""
        self._start = time.monotonic()
        if _is_terminal(self._stream):
            self._live = _Live(self._stream, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the live line; the last batch stays on the screen."""
        del kind, error, trace
        if self._live is not None:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    @property
    def clock(self) -> str:
        """For example "1 min 12 s, 3 min 05 s left"."""
        return _times(self.seconds, self._pace.left(time.monotonic()))

    def batch(self, progress: "Progress") -> None:
        """Shows one batch; the `on_batch` of `run_search`."""
        now = time.monotonic()
        self._pace.add(progress, now)
        if self._live is None:
            say(line(progress, self.seconds, self._pace.left(now)), self._stream)
        else:
            self._live.show(progress)

    def note(self, text: str) -> None:
        """Shows one line, above the live one; the `on_note` of `run_search`."""
        if self._live is None:
            complain(text, self._stream)
        else:
            self._live.note(text)


class Pace:
    """Foretells how long the rest takes, from the batches of this process without their compiling.

    rich's own estimate forgets after 30 s what it saw, and a batch of real children takes as long.
    """

    def __init__(self) -> None:
        self._batch: float | None = None  # seconds a batch, recent ones counting more
        self._left: float | None = None
        self._since = 0.0

    def add(self, progress: "Progress", now: float) -> None:
        """Takes a batch that ended at `now`, in seconds of any clock."""
        running = max(0.0, _spent(progress) - progress.seconds.get("compile", 0.0))
        self._batch = running if self._batch is None else 0.7 * self._batch + 0.3 * running
        batches = progress.steps - progress.step
        self._left, self._since = (self._batch * batches if batches > 0 else None), now

    def left(self, now: float) -> float | None:
        """Returns the seconds left at `now`; None before the first batch and after the last one."""
        return None if self._left is None else max(0.0, self._left - (now - self._since))


def line(progress: "Progress", seconds: float, left: float | None = None) -> str:
    """Returns the plain line of a batch: evaluations of the budget, best so far, seconds of the whole and of it."""
    compiled = progress.seconds.get("compile", 0.0)
    compiling = f", {compiled:.1f} of them compiling" if compiled >= 0.1 else ""
    return (
        f"{_count(progress)} evaluations  {_best(progress)}"
        f"  {_times(seconds, left)} (batch {_spent(progress):.1f} s{compiling})"
    )


def _count(progress: "Progress") -> str:
    return f"{progress.evaluations:{len(str(progress.budget))}d}/{progress.budget}"


def _best(progress: "Progress") -> str:
    invalid = f", {progress.invalid} invalid" if progress.invalid else ""
    return f"best {number(progress.best_reward)}{invalid}"


def _times(seconds: float, left: float | None) -> str:
    return duration(seconds) + (f", {duration(left)} left" if left is not None else "")


def _spent(progress: "Progress") -> float:
    return progress.seconds["ask"] + progress.seconds["evaluate"] + progress.seconds["tell"]


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except ValueError:  # closed
        return False


class _Live:
    """The live line; while there is no batch yet it says that something is done."""

    def __init__(self, stream: TextIO, reporter: Reporter) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.table import Column
        from rich.text import Text

        class Clock(ProgressColumn):
            def render(self, task: Task) -> Text:
                del task
                return Text(reporter.clock, style="dim")

        self._stream = stream
        self._shown = False
        self._progress = Progress(
            TextColumn("{task.fields[count]}", markup=False),
            BarColumn(20, complete_style="cyan", finished_style="green", pulse_style="cyan"),
            TextColumn("{task.fields[detail]}", markup=False),
            Clock(Column(no_wrap=True)),
            console=Console(file=cast(IO[str], _Unbreakable(stream)), markup=False, emoji=False, highlight=False),
            refresh_per_second=4,
            redirect_stdout=_is_terminal(sys.stdout),  # what an evaluator prints into a file stays there
        )
        self._task = self._progress.add_task("search", total=None, count="search", detail="reading, compiling")
        self._progress.start()

    def show(self, progress: "Progress") -> None:
        self._shown = True
        detail = encodable(_best(progress), self._stream)
        self._progress.update(
            self._task, total=progress.budget, completed=progress.evaluations, count=_count(progress), detail=detail
        )
        self._progress.refresh()

    def note(self, text: str) -> None:
        from rich.text import Text

        text = encodable(f"nasjax: {printable(text)}", self._stream)
        self._progress.console.print(Text(text), soft_wrap=True)

    def stop(self) -> None:
        if not self._shown:  # a run that is finished already, or refused: there was nothing to show
            self._progress.update(self._task, visible=False)
        self._progress.stop()


class _Unbreakable:
    """A stream whose writing never fails, as a terminal's does once it is closed; rich would end the process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
