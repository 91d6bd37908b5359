"""Work for a cluster without an image or a network: each piece writes a file with the name of its worker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from swin2sr_ops.engine.runner import Placed
from swin2sr_ops.errors import OutputError, RequestError


@dataclass(frozen=True)
class FakeRestorer:
    """Notes each load of its network, and each release."""

    folder: Path
    error: str = ""

    @property
    def network(self) -> FakeRestorer:
        return self

    def placed(self) -> Placed:
        return Placed("cpu", "float32", "native 2", "the fastest on cpu")

    def engine(self) -> None:
        if self.error:
            raise RequestError(self.error)
        note(self.folder / "engines" / str(os.getpid()))

    def release(self) -> None:
        note(self.folder / "released" / str(os.getpid()))


@dataclass(frozen=True)
class FakeWork:
    """Pieces are numbers."""

    folder: Path
    seconds: float = 0.0
    hold: bool = False  # every piece waits until there is a file "go"
    kill: int = -1  # the piece that kills its worker
    bad: int = -1  # the piece that fails
    error: str = ""

    @property
    def restorers(self) -> tuple[FakeRestorer, ...]:
        return (FakeRestorer(self.folder, self.error),)

    def finished(self, piece: int) -> bool:
        return (self.folder / str(piece)).exists()

    def written(self) -> set[int]:
        return {int(path.name) for path in self.folder.iterdir() if path.name.isdigit()}

    def writers(self) -> set[int]:
        return {int((self.folder / str(piece)).read_text().split()[0]) for piece in self.written()}


def note(path: Path) -> None:
    """Append a line to a file."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(".\n")


def fake_stream(work: FakeWork, pieces: Iterable[int], done: Callable[[int], None]) -> None:
    for piece in pieces:
        note(work.folder / "begun" / str(piece))
        time.sleep(work.seconds)
        while work.hold and not (work.folder / "go").exists():
            time.sleep(0.005)
        if piece == work.kill:
            os.kill(os.getpid(), 9)
        if piece == work.bad:
            raise OutputError(f"There is no room for piece {piece}.")
        draft = work.folder / f"{piece}.{os.getpid()}"
        draft.write_text(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}")
        draft.rename(work.folder / str(piece))
        done(piece)


def no_stream(work: FakeWork, pieces: Iterable[int], done: Callable[[int], None]) -> None:
    for piece in pieces:
        done(piece)
