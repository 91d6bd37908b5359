"""Keep a run alive if standard output or error is closed, full or cannot encode a character."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["lasting_streams"]


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let every `print` succeed while a command runs; only a closed pipe on standard output is an error."""
    before = sys.stdout, sys.stderr
    _fill_descriptors()
    sys.stdout, sys.stderr = _Lasting(_opened(before[0]), breaks=True), _Lasting(_opened(before[1]))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _fill_descriptors() -> None:
    """Open the file descriptors 0 to 2 if they are free: else an output file gets one, and libraries print to it."""
    with suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)


def _opened(stream: Any) -> Any:
    return open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # open until the process ends


class _Lasting:
    """A text stream whose writes do not fail."""

    def __init__(self, stream: Any, *, breaks: bool = False) -> None:
        self._stream = stream
        self._breaks = breaks
        self.lost = ""  # why text that was printed is lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def write(self, text: str) -> int:
        """Write ``text``, with escapes for characters that the stream cannot encode."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as exc:
            self._give_up(exc)
        return len(text)

    def flush(self) -> None:
        """Write buffered text."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as exc:
            self._give_up(exc)

    def _give_up(self, error: Exception) -> None:
        """Redirect buffered text to the null device, so that the interpreter's final flush succeeds."""
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if self._breaks and isinstance(error, BrokenPipeError):
            raise error
        self.lost = self.lost or str(getattr(error, "strerror", None) or error)
