"""Print notes during a run: one line each, or JSON events if requested."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from swin2sr_ops.cli.progress_json import json_line
from swin2sr_ops.errors import without_secrets

__all__ = ["say", "warnings_as_notes"]


def say(text: str, *, as_json: bool = False) -> None:
    """Print ``text`` on standard error, above progress bars if there are any."""
    text = without_secrets(text)
    if as_json:
        sys.stderr.write(json_line("note", text=text))
        sys.stderr.flush()
    elif sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def warnings_as_notes(*, as_json: bool = False) -> Iterator[None]:
    """Print each warning, and each log record of this package, once, in one line without its place in the source."""
    shown: set[str] = set()

    def tell(text: str, kind: str = "warning") -> None:
        line = " ".join(text.split())
        if line not in shown:
            shown.add(line)
            say(f"swin2sr-ops: {kind}: {line}", as_json=as_json)

    def show(message: Warning | str, *_: object, **__: object) -> None:
        tell(str(message))

    logger, handler = logging.getLogger("swin2sr_ops"), _Notes(tell)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # meant for programmers, not for users of the command line
        warnings.showwarning = show
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(handler.level)
        try:
            yield
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)


class _Notes(logging.Handler):
    """Print a record's message and error, without the traceback."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        super().__init__(logging.INFO)
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage() if error is None else f"{record.getMessage()}: {error!r}"
        self.tell(text, "warning" if record.levelno >= logging.WARNING else "note")
