"""The pipeline's threads: whatever is interrupted, nothing is written after a run has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from swin2sr_ops.pipeline import Here, stream


class Slow:
    """Work whose writing takes a while, and that knows whether it is under way."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    def read(self, piece: int) -> int:
        return piece

    def compute(self, piece: int, block: int) -> int:
        return block

    def write(self, piece: int, result: int) -> None:
        self.begun += 1
        time.sleep(0.3)
        self.ended += 1


def interrupt_after_start(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Ctrl-C in the moment between a thread's start and its pool's noting it."""
    start: Callable[[threading.Thread], None] = threading.Thread.start
    seen: list[str] = []

    def interrupted(self: threading.Thread) -> None:
        start(self)
        if self.name == name:
            seen.append(name)
            time.sleep(0.05)  # time for the thread to take what it was started for
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    return seen


@pytest.mark.parametrize("thread", ["read_0", "read_1", "write_0", "write_1"])
def test_interrupted_while_threads_start(thread: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work: Any = Slow()
    seen = interrupt_after_start(monkeypatch, thread)
    with pytest.raises(KeyboardInterrupt):
        stream(work, iter(range(8)), lambda piece: None)  # type: ignore[arg-type]
    assert seen == [thread]
    assert work.begun == work.ended


def test_each_interrupted_while_threads_start(monkeypatch: pytest.MonkeyPatch) -> None:
    work = SimpleNamespace(begun=0, ended=0)

    def slow(_: int) -> None:
        work.begun += 1
        time.sleep(0.3)
        work.ended += 1

    interrupt_after_start(monkeypatch, "each_0")
    with pytest.raises(KeyboardInterrupt):
        Here().each(slow, range(8), lambda item, result: None)
    assert work.begun == work.ended


def test_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    work: Any = Slow()
    before = set(threading.enumerate())
    done: list[Any] = []
    stream(work, iter(range(5)), done.append)  # type: ignore[arg-type]
    assert done == [0, 1, 2, 3, 4]
    interrupt_after_start(monkeypatch, "write_1")
    with pytest.raises(KeyboardInterrupt):
        stream(work, iter(range(5)), done.append)  # type: ignore[arg-type]
    time.sleep(0.2)
    assert set(threading.enumerate()) == before
