"""Run tiles and calls on the processes of a Dask cluster: on this machine, one per GPU, or on an existing cluster.

No graph is built: the client submits batches of tiles as futures, a limited number at a time, so its memory
does not grow with the image. Workers read, compute and write by themselves; only the positions of tiles go
out, and only durations come back.
"""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from swin2sr_ops.cluster.flight import LANES, Feed, Flight, asked, call_lanes, gpu_workers, tile_lanes, workers_of
from swin2sr_ops.cluster.start import check_cluster_options, check_torch, join_cluster, start_cluster
from swin2sr_ops.errors import ClusterError, TileError

if TYPE_CHECKING:
    from distributed import Client, Future

    from swin2sr_ops.engine.restorer import Restorer
    from swin2sr_ops.engine.runner import Placed
    from swin2sr_ops.run.job import Piece
    from swin2sr_ops.run.pipeline import TileWork

__all__ = ["ClusterExecutor", "chosen_executor", "open_cluster"]

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Most tiles per batch, and most items per batch of `ClusterExecutor.each`, whose results come back.
LARGEST_BATCH, LARGEST_CALL = 64, 16
#: How often Dask retries a failed batch before its error ends the run.
RETRIES = 2


def open_cluster(
    workers: int | str | None = None,
    scheduler: str | PathLike[str] | None = None,
    device: str = "auto",
    *,
    threads_per_worker: int | None = None,
    timeout: float = 30.0,
    wait: float = 120.0,
) -> ClusterExecutor:
    """Start processes on this machine, or join a Dask cluster; ``with`` or `ClusterExecutor.close` closes it.

    Parameters
    ----------
    workers : int or "gpus", optional
        Number of processes to start here, or "gpus" for one per GPU that CUDA shows.
    scheduler : str or path, optional
        ``"tcp://host:8786"`` or a scheduler file of an existing cluster. The cluster is never shut down,
        and its other work continues.
    device : str
        Requested device of the restorers; a device that does not fit the workers is an error.
    threads_per_worker : int, optional
        Dask threads of each process started here: 2 by default, so that one batch of tiles computes while the
        other reads and writes. The number does not limit the cores that a network uses.
    timeout, wait : float
        Seconds to wait for the scheduler's answer, and for its first worker.

    Raises
    ------
    RequestError
        If the arguments contradict each other.
    ClusterError
        If processes cannot be started, the scheduler does not answer, there is no worker, or workers
        lack this package or have another version of it.

    Examples
    --------
    >>> with open_cluster(workers=4) as executor:  # doctest: +SKIP
    ...     run(job, "result.ome.zarr", executor=executor)
    """
    check_cluster_options(workers, scheduler, device)
    with ExitStack() as stack:
        if workers is not None:
            client, count = start_cluster(stack, workers, threads_per_worker, timeout)
            return ClusterExecutor(client, stack.pop_all(), threads=_share_of_cores(count))
        assert scheduler is not None
        client = join_cluster(stack, scheduler, timeout, wait)
        return ClusterExecutor(client, stack.pop_all())


@contextmanager
def chosen_executor(
    workers: int | str | None = None, scheduler: str | PathLike[str] | None = None, device: str = "auto"
) -> Iterator[ClusterExecutor | None]:
    """Open the cluster that a request names, as `open_cluster` does; yield None if this process computes."""
    if workers is None and scheduler is None:
        yield None
        return
    with open_cluster(workers, scheduler, device) as executor:
        yield executor


class ClusterExecutor:
    """Run tiles and calls on the workers of a Dask cluster; see `open_cluster`.

    Parameters
    ----------
    client : distributed.Client
    resources : ExitStack
        Closed together with the executor.
    threads : int, optional
        Cores that one worker's network may use; by default the number of the worker's Dask threads.
    """

    def __init__(self, client: Client, resources: ExitStack, *, threads: int | None = None) -> None:
        self.client = client
        self.stream: Callable[[TileWork, Iterable[Piece], Callable[[Piece], None]], None] = restore_here
        self._resources = resources
        self._threads = threads
        self._restorers: dict[bytes, Any] = {}  # the workers hold their networks
        self._placed: dict[bytes, tuple[Placed, int]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> ClusterExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ClusterExecutor of {self.client!r}>"

    @property
    def worker_memory(self) -> int | None:
        """Smallest memory limit of a worker in bytes, which tiles must fit; None if no worker has a limit."""
        limits = [worker.get("memory_limit") for worker in workers_of(self.client).values()]
        return min((limit for limit in limits if limit), default=None)

    def computing(self) -> dict[str, Any]:
        """Return the scheduler's information on the workers that get tiles, by address."""
        workers = workers_of(self.client)
        return gpu_workers(workers) or workers

    def resolve_auto(self, restorers: Sequence[Restorer]) -> int | None:
        """Resolve the "auto" settings of ``restorers`` on one of the workers instead of here.

        Returns
        -------
        int or None
            Bytes that tiles may take: the free memory of that worker's GPU. Without a GPU, the smallest memory limit
            of any worker; None if there is none.

        Raises
        ------
        ClusterError
            If torch computes, and the workers have different versions of it.
        """
        from swin2sr_ops.cluster.worker import place

        bare = [restorer.bare() for restorer in restorers]
        keys = [pickle.dumps(one) for one in bare]
        unknown = {key: one for key, one in zip(keys, bare, strict=True) if key not in self._placed}
        if unknown:
            self._placed.update(zip(unknown, self.ask(place, list(unknown.values())), strict=True))
            if any(self._placed[key][0].torch for key in unknown):
                check_torch(self.client, self.computing())
        for restorer, key in zip(restorers, keys, strict=True):
            restorer.network.resolve_auto(self._placed[key][0])
        on_gpu = [free for placed, free in map(self._placed.__getitem__, keys) if placed.kind != "cpu"]
        return min(on_gpu) if on_gpu else self.worker_memory

    def ask(self, function: Callable[[_T], _R], item: _T) -> _R:
        """Call ``function`` with ``item`` on one computing worker, with the cores of its network; return the result.

        Raises
        ------
        Swin2SROpsError
            The function's own error, with the worker's address; `ClusterError` if the scheduler is gone.
        """
        import cloudpickle

        from swin2sr_ops.cluster.worker import answer

        call = cloudpickle.dumps((function, item))
        found: dict[str, _R] = {}

        def ask_one() -> None:
            one = next(iter(self.computing()), None)
            if one is None:
                raise ClusterError("The cluster has no worker now. Start one, then run the same command to resume.")
            found.update(self.client.run(answer, call, self._threads, workers=[one]))

        with asked(self.client):
            self._insist(ask_one)
        (result,) = found.values()
        return result

    def close(self) -> None:
        """Free the networks on the workers and leave the cluster; end the processes that were started for it."""
        from swin2sr_ops.cluster.worker import release

        with self._resources:
            if self._restorers and self.client.status == "running":
                held = pickle.dumps(list(self._restorers.values()))
                self._restorers.clear()
                with suppress(ClusterError), asked(self.client):
                    self.client.run(release, held, on_error="ignore")

    def tiles(self, work: TileWork, pieces: Iterable[Piece], done: Callable[[Piece], None]) -> None:
        """Restore and write ``pieces`` on the workers; call ``done`` here for each, in any order.

        Raises
        ------
        Swin2SROpsError
            The error of a tile as raised on its worker; `TileError` if a tile kills workers;
            `ClusterError` if the scheduler is gone. Finished tiles are kept.
        """
        from swin2sr_ops.cluster.worker import restore_tiles

        name = f"swin2sr-ops-{uuid4().hex}"
        needs = {"GPU": 1 / LANES} if gpu_workers(workers_of(self.client)) else None

        def send(batch: list[Piece]) -> Future:
            return self.client.submit(
                restore_tiles, name, pickle.dumps(batch), key=_key("restore"), retries=RETRIES, resources=needs
            )

        def finish(batch: list[Piece], seconds: float) -> float:
            for piece in batch:
                done(piece)
            return seconds

        try:
            self._hand_out(name, work)
            Flight(self.client, Feed(pieces, LARGEST_BATCH), tile_lanes, TileError).run(send, finish)
        finally:
            self._take_back(name)

    def each(self, function: Callable[[_T], _R], items: Iterable[_T], done: Callable[[_T, _R], None]) -> None:
        """Call ``function`` for every item on the workers; call ``done`` here with each result, in any order.

        If a worker is lost, its items are called again.
        """
        import cloudpickle

        from swin2sr_ops.cluster.worker import call_each

        def send(batch: list[_T]) -> Future:
            call = cloudpickle.dumps((function, batch))
            return self.client.submit(call_each, call, key=_key(_word(function)), retries=RETRIES)

        def finish(batch: list[_T], answer: tuple[float, list[_R]]) -> float:
            seconds, results = answer
            for item, result in zip(batch, results, strict=True):
                done(item, result)
            return seconds

        Flight(self.client, Feed(items, LARGEST_CALL), call_lanes, ClusterError).run(send, finish)

    def _hand_out(self, name: str, work: TileWork) -> None:
        """Send the work to every worker, and let the workers load its networks."""
        from swin2sr_ops import __version__
        from swin2sr_ops.cluster.worker import RunPlugin, warm

        with self._lock:
            for restorer in work.restorers:
                self._restorers.setdefault(pickle.dumps(restorer), restorer)
        plugin = RunPlugin(name, work, self.stream, __version__, self._threads)
        with asked(self.client):
            self._insist(lambda: self.client.register_plugin(plugin))
            gpu = gpu_workers(workers_of(self.client))
            self._insist(lambda: self.client.run(warm, name, workers=list(gpu) or None))

    def _insist(self, call: Callable[[], Any]) -> None:
        """Retry a call to all workers if one of them is lost during the call; the scheduler may still be alive."""
        for rest in (2, 1, 0):
            try:
                call()
                return
            except OSError:
                if not rest or self.client.status != "running":
                    raise

    def _take_back(self, name: str) -> None:
        """Remove the work from every worker; wait briefly for tiles that are being computed."""
        if self.client.status == "running":
            with suppress(ClusterError, ValueError), asked(self.client):  # ValueError: it was never registered
                self.client.unregister_worker_plugin(name)


def restore_here(work: TileWork, pieces: Iterable[Piece], done: Callable[[Piece], None]) -> None:
    """Restore tiles in this process, as every worker does by default."""
    from swin2sr_ops.run.pipeline import stream

    stream(work, pieces, done)


def _share_of_cores(workers: int) -> int:
    from dask.system import CPU_COUNT

    return max(int(CPU_COUNT) // workers, 1)


def _key(word: str) -> str:
    """Name a task: dashboards show what stands before the number."""
    return f"swin2sr-{word}-{uuid4().hex}"


def _word(function: Any) -> str:
    """Return a word about a function: its name, or that of its class, in letters."""
    name = getattr(function, "__name__", type(function).__name__)
    return re.sub("[^a-z]+", "", name.lower()) or "call"
