"""SIGINT and SIGTERM as exceptions; a second signal leaves at once.

A write may be abandoned at any point (`files`), so the exception may be raised at any point too.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop. Not an `Exception`: `except Exception` in an evaluator must not swallow it.

    Attributes:
      signum: the signal's number.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status that tells of it: 130 or 143."""
        return 128 + self.signum


class Watch:
    """Which signal came, if any."""

    def __init__(self) -> None:
        self._signum = 0

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Raises; the handler of the main thread."""
        del frame
        self._signum = signum
        raise Interrupted(signum)

    def check(self) -> None:
        """Raises if a signal came whose exception was lost: Python drops those raised in a callback or a destructor."""
        if self._signum:
            raise Interrupted(self._signum)


@contextlib.contextmanager
def raised() -> Iterator[Watch]:
    """Within this context SIGINT and SIGTERM raise `Interrupted`, and the second of them ends the process.

    Python runs handlers between bytecodes, so a compiled program of minutes delays the first. A thread that reads the
    interpreter's wake-up pipe counts signals meanwhile, so that the second one works at any moment. Outside the main
    thread, where Python allows no handlers, nothing is changed.
    """
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    receive, send = os.pipe()
    os.set_blocking(send, False)
    thread = threading.Thread(target=_leave_on_second, args=(receive,), name="nasjax-signals", daemon=True)
    previous_pipe = signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    previous = {number: signal.signal(number, watch.handle) for number in _SIGNALS}
    thread.start()
    try:
        yield watch
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_pipe)
        os.close(send)  # ends the thread
        thread.join()
        os.close(receive)


def _leave_on_second(receive: int) -> None:
    seen = 0
    while numbers := os.read(receive, 16):
        for number in numbers:
            seen += number in _SIGNALS
            if seen == 2:
                os.write(2, b"nasjax: stopped at once; what is in the run directory is safe\n")
                os._exit(128 + number)  # as harmless as a kill
