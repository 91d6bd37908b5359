"""What runs on the workers of a cluster: the plugin that holds a run's work, and batches of its tiles.

The work travels once to every worker, also to those that join later, and no weights with it: it
carries addresses and a model's spec, and each process loads the network once. Batches then carry
nothing but the tiles' places.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cloudpickle
from distributed import WorkerPlugin, get_worker
from distributed.core import Status

from swin2sr_ops.cluster.environment import environment
from swin2sr_ops.cluster.flight import LANES
from swin2sr_ops.engine.devices import choose_device, free_memory
from swin2sr_ops.errors import ClusterError, Swin2SROpsError

if TYPE_CHECKING:
    from distributed import Worker

    from swin2sr_ops.engine.restorer import Restorer
    from swin2sr_ops.engine.runner import Placed
    from swin2sr_ops.run.job import Piece
    from swin2sr_ops.run.pipeline import TileWork

__all__ = ["IgnoreInterrupts", "RunPlugin", "answer", "call_each", "place", "release", "restore_tiles", "warm"]

#: Seconds that a stopped run waits for the tiles that are being computed.
GRACE = 10.0

Stream = Callable[["TileWork", Iterable["Piece"], Callable[["Piece"], None]], None]


class HeldRun:
    """One run's work in this process, while its plugin is registered."""

    def __init__(self, payload: bytes, threads: int) -> None:
        self._payload = payload
        self._loading = threading.Lock()
        self._lanes = threading.BoundedSemaphore(LANES)
        self.threads = threads
        self.active = 0  # changed under `_loading`
        self.stopped = False

    @cached_property
    def _loaded(self) -> tuple[TileWork, Stream]:
        loaded: tuple[TileWork, Stream] = pickle.loads(self._payload)  # noqa: S301  (from our own client, as all of Dask)
        return loaded

    @property
    def work(self) -> TileWork:
        """The run's work; opened by the first who asks, not in the worker's event loop."""
        with self._loading:
            return self._loaded[0]

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a lane; a worker may have more threads than batches that make sense."""
        with self._lanes:
            with self._loading:
                self.active += 1
            try:
                yield
            finally:
                with self._loading:
                    self.active -= 1

    def restore(self, pieces: Sequence[Piece]) -> None:
        """Run the tiles that nobody has written yet."""
        work = self.work
        # Asking the storage costs a look per tile, and only a batch whose worker was lost has tiles written. They
        # are written in order: where the first is not, at most those that were being written beside it are.
        if work.finished(pieces[0]):
            pieces = [piece for piece in pieces if not work.finished(piece)]
        if pieces:
            self._loaded[1](work, self._until_stopped(pieces), _nothing)

    def _until_stopped(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if self.stopped:
                # An error, not an end: a worker that is taken away must not report its batch as done.
                raise ClusterError("The run was stopped; finished tiles are kept, and the same command goes on.")
            yield piece


_runs: dict[str, HeldRun] = {}  # of this process, by name


class RunPlugin(WorkerPlugin):  # type: ignore[misc]  # Dask is not typed for us
    """Holds one run's work on every worker.

    Parameters
    ----------
    name : str
        Unique per run.
    work, stream
        The work, and what restores tiles with it.
    package : str
        Version of this package that a worker must have.
    threads : int, optional
        CPU cores for the network of one worker; by default as many as the worker has Dask threads.
    """

    idempotent = True

    def __init__(self, name: str, work: TileWork, stream: Stream, package: str, threads: int | None) -> None:
        self.name = name
        self._payload = cloudpickle.dumps((work, stream))
        self._package = package
        self._threads = threads

    def setup(self, worker: Worker) -> None:
        """Keep the work; it is opened by the first batch, or by `warm`."""
        found = environment()["swin2sr_ops"]
        if found != self._package:
            raise ClusterError(
                f"Worker {worker.address} has swin2sr_ops {found}, the client {self._package}: tiles of one image must "
                "come from one version. Install the same on all."
            )
        _runs.setdefault(self.name, HeldRun(self._payload, self._threads or worker.state.nthreads))

    async def teardown(self, worker: Worker) -> None:
        """Begin no more tiles, and give those that are being computed a moment to end."""
        run = _runs.pop(self.name, None)
        if run is None:
            return
        run.stopped = True
        until = time.monotonic() + GRACE
        # A worker that is closing has somebody waiting who kills it otherwise.
        while run.active and worker.status is Status.running and time.monotonic() < until:
            await asyncio.sleep(0.02)


class IgnoreInterrupts(WorkerPlugin):  # type: ignore[misc]  # Dask is not typed for us
    """For processes that we start: Ctrl-C reaches the whole terminal, but the client decides what it means."""

    name = "swin2sr-ops-interrupts"

    def setup(self, worker: Worker) -> None:
        import signal

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def restore_tiles(name: str, batch: bytes) -> float:
    """Restore a batch of tiles; how many seconds it took."""
    run = _runs.get(name)
    if run is None:
        raise ClusterError(
            f"Worker {get_worker().address} does not have the work of this run: its preparation failed when it joined "
            "(its log says why). Finished tiles are kept; the same command goes on."
        )
    with run.turn():
        began = time.monotonic()
        _load_networks(run.work)
        with _cores(run.threads):
            run.restore(pickle.loads(batch))  # noqa: S301  (from our own client)
        return time.monotonic() - began


def call_each(call: bytes) -> tuple[float, list[Any]]:
    """Call a function for each item of a batch; the seconds it took, and the results."""
    began = time.monotonic()
    function, items = pickle.loads(call)  # noqa: S301  (from our own client)
    results = [function(item) for item in items]
    return time.monotonic() - began, results


async def warm(name: str, dask_worker: Any) -> None:
    """Load the run's networks before the first tile, beside the worker's event loop."""
    run = _runs.get(name)
    if run is None:  # joined a moment ago, or leaves
        return
    try:
        await asyncio.to_thread(lambda: _load_networks(run.work))
    except Swin2SROpsError as exc:
        raise type(exc)(f"{exc} (on worker {dask_worker.address})") from exc


async def answer(call: bytes, threads: int | None, dask_worker: Any) -> Any:
    """What a function says of an item here, beside the worker's event loop, where ``threads`` cores may be used."""

    def found() -> Any:
        function, item = pickle.loads(call)  # noqa: S301  (from our own client)
        with _cores(threads or dask_worker.state.nthreads):
            return function(item)

    try:
        return await asyncio.to_thread(found)
    except Swin2SROpsError as exc:
        raise type(exc)(f"{exc} (on worker {dask_worker.address})") from exc


def place(restorers: Sequence[Restorer]) -> list[tuple[Placed, int]]:
    """Where and how this process would compute for each of them, and the bytes that are free there."""
    return [(one.network.placed(), free_memory(choose_device(one.placement.device))) for one in restorers]


async def release(restorers: bytes) -> None:
    """Free the networks of these restorers."""
    for restorer in await asyncio.to_thread(pickle.loads, restorers):
        restorer.network.release()
    gc.collect()


def _load_networks(work: TileWork) -> None:
    for part in work.parts:
        if part.restorer is not None:
            part.restorer.network.engine()


@contextmanager
def _cores(threads: int) -> Iterator[None]:
    """Let the engine use ``threads`` cores: Dask starts its workers with one thread for numerical libraries.

    Set in the thread that computes, since torch keeps the number per thread; put back afterwards,
    because a worker may have other tasks.
    """
    torch = sys.modules.get("torch")
    if torch is None or torch.get_num_threads() >= threads:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _nothing(piece: Piece) -> None:
    """The client counts tiles when their batch is done."""
