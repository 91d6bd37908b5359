"""The pipeline's threads: after any interrupt, no thread writes once the run has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops import ModelSpec, restore_image
from swin2sr_ops.run.pipeline import IO_THREADS, Here, TileWork, stream


class Slow:
    """Work that writes slowly and records if a write is in progress."""

    def __init__(self, lanes: int = 1) -> None:
        self.begun = self.ended = 0
        self.lanes = lanes

    def read(self, piece: int) -> int:
        return piece

    def compute(self, piece: int, block: int) -> int:
        return block

    def write(self, piece: int, result: int) -> None:
        self.begun += 1
        time.sleep(0.3)
        self.ended += 1


def interrupt_after_start(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Raise Ctrl-C between a thread's start and its registration in the pool."""
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


@pytest.mark.parametrize("thread", ["read_0", "read_1", "compute_0", "compute_1", "write_0", "write_1"])
def test_interrupted_while_threads_start(thread: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work: Any = Slow(lanes=2)
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


def test_a_real_image_in_lanes(gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in lanes on the CPU, as for a GPU: the same file."""
    image = np.random.default_rng(0).integers(0, 255, (70, 90), "u1")
    tifffile.imwrite(tmp_path / "a.tif", image)
    found = []
    for lanes in (1, 3):
        monkeypatch.setattr(TileWork, "lanes", lanes)
        restore_image(tmp_path / "a.tif", tmp_path / f"{lanes}.tif", model=gray_model, tile=16)
        found.append((tmp_path / f"{lanes}.tif").read_bytes())
    assert found[0] == found[1]


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


class Counted:
    """Work that counts the tiles in progress and the tiles in memory."""

    def __init__(self, lanes: int, together: int = 1, fails: int | None = None) -> None:
        self.lanes, self.fails = lanes, fails
        self.together = threading.Barrier(together, timeout=60)
        self.lock = threading.Lock()
        self.held = self.most_held = self.in_hand = self.most_in_hand = 0
        self.computed: list[int] = []
        self.written: list[int] = []

    def count(self, held: int, in_hand: int = 0) -> None:
        with self.lock:
            self.held, self.in_hand = self.held + held, self.in_hand + in_hand
            self.most_held, self.most_in_hand = max(self.most_held, self.held), max(self.most_in_hand, self.in_hand)

    def read(self, piece: int) -> int:
        self.count(1)
        return piece

    def compute(self, piece: int, block: int) -> int:
        self.count(0, 1)
        self.computed.append(piece)
        if piece < self.together.parties:
            self.together.wait()
        time.sleep(0.01 * (piece % 3))  # the next may be done before
        self.count(0, -1)
        if piece == self.fails:
            raise ValueError(piece)
        return -block

    def write(self, piece: int, result: int) -> None:
        assert result == -piece
        self.written.append(piece)
        self.count(-1)


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("pieces", [0, 1, 2, 3, 40])
def test_lanes(lanes: int, pieces: int) -> None:
    """Every tile is computed once, in order; lanes limit the tiles in progress and in memory."""
    work: Any = Counted(lanes, together=max(min(lanes, pieces), 1))
    done: list[Any] = []
    stream(work, iter(range(pieces)), done.append)  # type: ignore[arg-type]
    assert done == sorted(work.written) == list(range(pieces))
    assert work.most_in_hand == min(lanes, pieces)
    assert work.most_held <= 2 * IO_THREADS + 1 + lanes


@pytest.mark.parametrize("lanes", [1, 2])
def test_an_error_in_a_lane(lanes: int) -> None:
    """Tiles computed before it are written; no tile is started after it."""
    work: Any = Counted(lanes, fails=10)
    with pytest.raises(ValueError, match="10"):
        stream(work, iter(range(40)), lambda piece: None)  # type: ignore[arg-type]
    assert sorted(work.written) == list(range(10))
    assert max(work.computed) < 10 + lanes
