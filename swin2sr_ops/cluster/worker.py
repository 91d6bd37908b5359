"""Run on the workers of a cluster: the plugin that holds a run's work, and the functions that the client calls.

The work is sent once to every worker, including those that join later. It contains addresses and a
model's spec but no weights; each process loads the network once. Batches then contain only the tiles'
positions.
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
from swin2sr_ops.engine.devices import choose_device, free_memory, torch_version
from swin2sr_ops.engine.parallel import cores
from swin2sr_ops.errors import ClusterError, Swin2SROpsError

if TYPE_CHECKING:
    from distributed import Worker

    from swin2sr_ops.engine.restorer import Restorer
    from swin2sr_ops.engine.runner import Placed
    from swin2sr_ops.run.job import Piece
    from swin2sr_ops.run.pipeline import TileWork

__all__ = ["IgnoreInterrupts", "RunPlugin", "answer", "call_each", "place", "release", "restore_tiles", "warm"]

#: Seconds that a stopped run waits for tiles that are being computed.
GRACE = 10.0

Stream = Callable[["TileWork", Iterable["Piece"], Callable[["Piece"], None]], None]


class HeldRun:
    """Work of one run in this process, while its plugin is registered."""

    def __init__(self, payload: bytes, threads: int) -> None:
        self._payload = payload
        self._loading = threading.Lock()
        self._lanes = threading.BoundedSemaphore(LANES)
        self.threads = threads
        self.active = 0  # guarded by `_loading`
        self.stopped = False

    @cached_property
    def _loaded(self) -> tuple[TileWork, Stream]:
        loaded: tuple[TileWork, Stream] = pickle.loads(self._payload)  # noqa: S301  (from our own client, as all of Dask)
        return loaded

    @property
    def work(self) -> TileWork:
        """The run's work; the first caller unpickles it, outside the worker's event loop."""
        with self._loading:
            return self._loaded[0]

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a free lane; a worker may have more threads than useful batches."""
        with self._lanes:
            with self._loading:
                self.active += 1
            try:
                yield
            finally:
                with self._loading:
                    self.active -= 1

    def restore(self, pieces: Sequence[Piece]) -> None:
        """Restore the tiles that are not written yet."""
        work = self.work
        # Each query costs one access to the storage, and only a batch of a lost worker has written tiles. Tiles are
        # written in order: if the first is not written, at most those that were written in parallel to it are.
        if work.finished(pieces[0]):
            pieces = [piece for piece in pieces if not work.finished(piece)]
        if pieces:
            self._loaded[1](work, self._until_stopped(pieces), _nothing)

    def _until_stopped(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if self.stopped:
                # Raise instead of returning: a worker that is removed must not report its batch as done.
                raise ClusterError("The run was stopped; finished tiles are kept. Run the same command to resume.")
            yield piece


_runs: dict[str, HeldRun] = {}  # runs of this process by name


class RunPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed has no type information
    """Hold one run's work on every worker.

    Parameters
    ----------
    name : str
        Unique per run.
    work, stream
        The work, and the function that restores its tiles.
    package : str
        Version of this package that the worker must have.
    threads : int, optional
        CPU cores for the network of one worker; by default the number of the worker's Dask threads.
    """

    idempotent = True

    def __init__(self, name: str, work: TileWork, stream: Stream, package: str, threads: int | None) -> None:
        self.name = name
        self._payload = cloudpickle.dumps((work, stream))
        self._package = package
        self._threads = threads

    def setup(self, worker: Worker) -> None:
        """Store the work; the first batch, or `warm`, unpickles it."""
        found = environment()["swin2sr_ops"]
        if found != self._package:
            raise ClusterError(
                f"Worker {worker.address} has swin2sr_ops {found}, the client {self._package}: tiles of one image must "
                "come from one version. Install the same version on all."
            )
        _runs.setdefault(self.name, HeldRun(self._payload, self._threads or worker.state.nthreads))

    async def teardown(self, worker: Worker) -> None:
        """Start no more tiles, and wait briefly for those that are being computed."""
        run = _runs.pop(self.name, None)
        if run is None:
            return
        run.stopped = True
        until = time.monotonic() + GRACE
        # Do not wait while the worker is closing: its nanny kills a worker that closes too slowly.
        while run.active and worker.status is Status.running and time.monotonic() < until:
            await asyncio.sleep(0.02)


class IgnoreInterrupts(WorkerPlugin):  # type: ignore[misc]  # distributed has no type information
    """Ignore Ctrl-C in the processes started here: it reaches every process of the terminal; the client handles it."""

    name = "swin2sr-ops-interrupts"

    def setup(self, worker: Worker) -> None:
        import signal

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def restore_tiles(name: str, batch: bytes) -> float:
    """Restore a batch of tiles; return how many seconds it took."""
    run = _runs.get(name)
    if run is None:
        raise ClusterError(
            f"Worker {get_worker().address} does not have the work of this run: its preparation failed when it joined "
            "(its log says why). Finished tiles are kept; run the same command to resume."
        )
    with run.turn():
        began = time.monotonic()
        with _naming(get_worker().address):
            _load_networks(run.work)
        with _cores(run.threads):
            run.restore(pickle.loads(batch))  # noqa: S301  (from our own client)
        return time.monotonic() - began


def call_each(call: bytes) -> tuple[float, list[Any]]:
    """Call a function for each item of a batch; return the seconds it took, and the results."""
    began = time.monotonic()
    function, items = pickle.loads(call)  # noqa: S301  (from our own client)
    results = [function(item) for item in items]
    return time.monotonic() - began, results


async def warm(name: str, dask_worker: Any) -> None:
    """Load the run's networks before the first tile, in a thread beside the worker's event loop."""
    run = _runs.get(name)
    if run is None:  # the worker has just joined, or is leaving
        return
    with _naming(dask_worker.address):
        await asyncio.to_thread(lambda: _load_networks(run.work))


async def answer(call: bytes, threads: int | None, dask_worker: Any) -> Any:
    """Call a function with an item beside the worker's event loop, on ``threads`` cores; return the result."""

    def found() -> Any:
        function, item = pickle.loads(call)  # noqa: S301  (from our own client)
        with _cores(threads or dask_worker.state.nthreads):
            return function(item)

    with _naming(dask_worker.address):
        return await asyncio.to_thread(found)


def place(restorers: Sequence[Restorer]) -> list[tuple[Placed, int]]:
    """Resolve where and how this process would run each restorer, and its free memory there in bytes."""
    return [(one.network.placed(), free_memory(choose_device(one.placement.device))) for one in restorers]


async def release(restorers: bytes) -> None:
    """Free the networks of these restorers."""
    for restorer in await asyncio.to_thread(pickle.loads, restorers):
        restorer.network.release()
    gc.collect()


def _load_networks(work: TileWork) -> None:
    """Load the run's networks; refuse to compute with another version of torch than that of the worker asked first."""
    for restorer in work.restorers:
        first, own = restorer.network.placed().torch, torch_version()
        if first and own != first:
            raise ClusterError(
                f"This run computes with torch {first}, and a worker has {own or 'none'}: tiles of one image must come"
                " from one version. Install the same version on all, or give engine='native', which needs no torch."
            )
        restorer.network.engine()


@contextmanager
def _naming(address: str) -> Iterator[None]:
    """Add the worker's address to an error."""
    try:
        yield
    except Swin2SROpsError as exc:
        raise type(exc)(f"{exc} (on worker {address})") from exc


@contextmanager
def _cores(threads: int) -> Iterator[None]:
    """Let the engine use ``threads`` cores: Dask starts its workers with one thread for numerical libraries.

    The number is set in the computing thread, since torch stores it per thread. It is restored afterwards,
    because a worker may have other tasks.
    """
    torch = sys.modules.get("torch")
    with cores(threads):
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
    """Ignore a finished piece; the client counts the tiles of each finished batch."""
