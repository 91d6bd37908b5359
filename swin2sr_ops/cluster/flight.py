"""Batches in flight on a cluster: how large they are, how many there are, what becomes of each."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from inspect import signature
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from swin2sr_ops.errors import ClusterError, Swin2SROpsError

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["LANES", "Feed", "Flight", "asked", "call_lanes", "gpu_workers", "lost", "tile_lanes", "workers_of"]

T = TypeVar("T")

#: Batches of tiles that one worker runs at a time: one computes while the other reads and writes. Where workers
#: declare GPUs, they take the worker's GPU together, as one.
LANES = 2
#: Seconds that a batch should take: long against the scheduler's millisecond, short against a wait at the end.
BATCH_SECONDS = 2.0
#: Seconds after which the cluster is asked again how many workers it has.
LOOK_AGAIN = 5.0
#: How often all workers may be restarted by somebody without one batch done in between.
RESTARTS = 5
#: Seconds between two looks whether a batch is done.
_TICK = 0.02
#: Seconds within which a scheduler must answer.
PATIENCE = 40.0


class Feed(Generic[T]):
    """Groups items into batches, of a size that follows from how long they take.

    Parameters
    ----------
    items : iterable
        Never listed: only a few batches are looked at ahead.
    largest : int
        Items per batch at most.
    """

    def __init__(self, items: Iterable[T], largest: int) -> None:
        self._items = iter(items)
        self._ahead: deque[T] = deque()
        self._again: list[list[T]] = []
        self._largest = largest
        self.seconds: float | None = None  # per item

    def take(self, lanes: int) -> list[T]:
        """The next batch, empty at the end; ``lanes`` batches run at a time."""
        if self._again:
            return self._again.pop()
        size = 1
        if self.seconds is not None:
            size = min(max(int(BATCH_SECONDS / max(self.seconds, 1e-9)), 1), self._largest)
        wanted = 2 * lanes * size
        self._ahead.extend(islice(self._items, max(wanted - len(self._ahead), 0)))
        if len(self._ahead) < wanted:  # the end is in sight: all lanes shall reach it together
            size = min(size, math.ceil(len(self._ahead) / (2 * lanes)))
        return [self._ahead.popleft() for _ in range(min(size, len(self._ahead)))]

    def give_back(self, batch: list[T]) -> None:
        """Hand out ``batch`` once more."""
        self._again.append(batch)

    def learn(self, seconds: float, count: int) -> None:
        """A batch of ``count`` items took so long."""
        now = seconds / count
        self.seconds = now if self.seconds is None else (self.seconds + now) / 2

    @property
    def depth(self) -> int:
        """Batches in flight per lane: the next one waits on the worker, unless it would wait for long there."""
        return 2 if self.seconds is not None and self.seconds < BATCH_SECONDS else 1


class Flight(Generic[T]):
    """Sends batches and takes their results, a limited number at a time.

    Parameters
    ----------
    client : distributed.Client
    feed : Feed
    lanes : callable
        How many batches the cluster works on at a time, given its workers.
    error : type
        What is raised when workers die of a batch.
    """

    def __init__(
        self, client: Client, feed: Feed[T], lanes: Callable[[dict[str, Any]], int], error: type[Swin2SROpsError]
    ) -> None:
        self._client = client
        self._error = error
        self._feed = feed
        self._count_lanes = lanes
        self._lanes, self._looked = 1, -math.inf
        self._flying: dict[Future, list[T]] = {}
        self._restarts = 0

    def run(self, send: Callable[[list[T]], Future], finish: Callable[[list[T], Any], float]) -> None:
        """Until nothing is left: ``finish`` gets each batch with its result and says how many seconds it took.

        After an error no batch stays on the cluster but those that run already.
        """
        from distributed import as_completed

        waiting = as_completed(loop=self._client.loop)
        try:
            while True:
                for future in self._send(send):
                    waiting.add(future)
                if not self._flying:
                    return
                while not waiting.has_ready() and self._client.status == "running":
                    with waiting.thread_condition:
                        waiting.thread_condition.wait(_TICK)
                    self._look()  # a scheduler that hangs, or whose machine is gone, says nothing by itself
                for future in waiting.next_batch():
                    self._land(future, finish)
        finally:
            if self._flying and self._client.status == "running":
                with suppress(OSError):
                    self._client.cancel(list(self._flying))
            self._flying.clear()

    def _send(self, send: Callable[[list[T]], Future]) -> Iterator[Future]:
        self._look()
        while len(self._flying) < self._feed.depth * self._lanes:
            batch = self._feed.take(self._lanes)
            if not batch:
                return
            with asked(self._client):
                future = send(batch)
            self._flying[future] = batch
            yield future

    def _look(self) -> None:
        """Ask now and then how many workers there are: a cluster may start some on demand."""
        if time.monotonic() - self._looked > LOOK_AGAIN:
            self._lanes = max(self._count_lanes(workers_of(self._client)), 1)
            self._looked = time.monotonic()

    def _land(self, future: Future, finish: Callable[[list[T], Any], float]) -> None:
        batch = self._flying.pop(future)
        restarted, result = self._result(future, batch)
        if restarted:
            self._restarts += 1
            if self._restarts > RESTARTS * 2 * self._lanes:  # one restart takes all batches in flight
                raise ClusterError(
                    "The workers of the cluster were restarted again and again before they finished a single batch of "
                    "tiles. Finished tiles are kept; the same command goes on."
                )
            self._feed.give_back(batch)
            return
        self._restarts = 0
        self._feed.learn(finish(batch, result), len(batch))

    def _result(self, future: Future, batch: list[T]) -> tuple[bool, Any]:
        """The result of a batch, or whether it must be sent again because somebody restarted the workers."""
        from distributed import KilledWorker
        from distributed.client import CancelledError

        try:
            return False, future.result()
        except KilledWorker as exc:
            raise self._error(
                f"{exc.allowed_failures + 1} workers died one after another while they worked on {_told(batch)}: most "
                "likely they had too little memory. Give a smaller --tile, fewer workers per machine, or workers with "
                "more memory. Finished tiles are kept; the same command goes on."
            ) from exc
        except CancelledError as exc:
            if "scheduler-restart" in str(exc) and self._client.status == "running":
                return True, None
            raise lost() from exc
        except OSError as exc:
            if self._client.status != "running":  # else it is the tile's own error
                raise lost() from exc
            raise


def workers_of(client: Client) -> dict[str, Any]:
    """What the scheduler knows of each worker, by address."""
    # Without being told, some versions of distributed name the first five only.
    everything = {"n_workers": -1} if "n_workers" in signature(client.scheduler_info).parameters else {}
    with asked(client):
        if client.scheduler is None:
            raise lost()
        # Not what scheduler_info() returns: the client renews that now and then by itself, and then without workers.
        answer = client.sync(client.scheduler.identity, callback_timeout=PATIENCE, **everything)
        workers: dict[str, Any] = dict(answer["workers"])
    return workers


@contextmanager
def asked(client: Client) -> Iterator[None]:
    """Around what talks to the scheduler: say in a sentence that it is gone."""
    from distributed.client import CancelledError, ClosedClientError
    from distributed.comm import CommClosedError

    if client.status != "running":
        raise lost()
    try:
        yield
    except TimeoutError as exc:
        with suppress(OSError, RuntimeError):
            client.close(timeout=1)  # else whatever is asked next waits, too
        raise lost() from exc
    except (CommClosedError, ConnectionError, CancelledError, ClosedClientError) as exc:
        raise lost() from exc
    except OSError as exc:
        if type(exc) is OSError:  # how distributed says that it cannot connect; others come from code on workers
            raise lost() from exc
        raise


def gpu_workers(workers: dict[str, Any]) -> dict[str, Any]:
    """Those that declare GPUs; where any does, tiles go to them alone."""
    return {address: worker for address, worker in workers.items() if worker.get("resources", {}).get("GPU")}


def tile_lanes(workers: dict[str, Any]) -> int:
    """Batches of tiles that these workers run at a time."""
    fit = gpu_workers(workers) or workers
    return sum(min(worker["nthreads"], LANES) for worker in fit.values())


def call_lanes(workers: dict[str, Any]) -> int:
    """Calls that these workers run at a time."""
    return sum(worker["nthreads"] for worker in workers.values())


def lost() -> ClusterError:
    """The sentence for a scheduler that is gone."""
    return ClusterError(
        "The connection to the scheduler of the cluster was lost. Finished tiles are kept; when the scheduler is there "
        "again, the same command goes on."
    )


def _told(batch: list[Any]) -> str:
    first = getattr(batch[0], "write", None)
    if first is None:
        return f"{batch[0]!r:.200}" + (f" and {len(batch) - 1} more" if len(batch) > 1 else "")
    place = ", ".join(f"{s.start}:{s.stop}" for s in first)
    return f"{len(batch)} tile{'s' * (len(batch) > 1)} at [{place}] of the output"
