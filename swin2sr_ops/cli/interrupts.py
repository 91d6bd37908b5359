"""Define the effect of Ctrl-C and SIGTERM on a run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from swin2sr_ops.cli.progress_json import json_line

__all__ = ["two_interrupts"]


@contextmanager
def two_interrupts(*, as_json: bool = False) -> Iterator[None]:
    """On the first Ctrl-C or SIGTERM raise `KeyboardInterrupt`, so that running tiles end; on the second end at once.

    Finished tiles are on the disk in both cases.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield
        return
    pressed = 0

    def tell(text: str) -> None:
        os.write(2, (json_line("note", text=text) if as_json else f"\nswin2sr-ops: {text}\n").encode())

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > 1:
            tell("stopped now; the same command resumes the run")
            os._exit(130)
        what = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        tell(f"stopping after the tiles in progress; {what} again stops now")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
