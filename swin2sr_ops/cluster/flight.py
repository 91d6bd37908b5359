"""Send batches to a cluster: choose their size and number, and handle their results and failures."""

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

#: Batches of tiles that one worker runs at a time: one computes while the other reads and writes. If workers
#: declare GPUs, both batches together reserve the worker's GPU.
LANES = 2
#: Target duration of a batch: long compared with the scheduler's millisecond, short for the wait at the end.
BATCH_SECONDS = 2.0
#: Seconds between two queries for the number of workers.
LOOK_AGAIN = 5.0
#: How often all workers may be restarted from outside without one batch finished in between.
RESTARTS = 5
#: Seconds between two looks whether a batch is done.
_TICK = 0.02
#: Seconds within which a scheduler must answer.
PATIENCE = 40.0


class Feed(Generic[T]):
    """Group items into batches; measured durations set the batch size.

    Parameters
    ----------
    items : iterable
        Never converted to a list: only a few batches are read ahead.
    largest : int
        Most items per batch.
    """

    def __init__(self, items: Iterable[T], largest: int) -> None:
        self._items = iter(items)
        self._ahead: deque[T] = deque()
        self._again: list[list[T]] = []
        self._largest = largest
        self.seconds: float | None = None  # per item

    def take(self, lanes: int) -> list[T]:
        """Return the next batch, empty at the end; ``lanes`` batches run at a time."""
        if self._again:
            return self._again.pop()
        size = 1
        if self.seconds is not None:
            size = min(max(int(BATCH_SECONDS / max(self.seconds, 1e-9)), 1), self._largest)
        wanted = 2 * lanes * size
        self._ahead.extend(islice(self._items, max(wanted - len(self._ahead), 0)))
        if len(self._ahead) < wanted:  # near the end: smaller batches let all lanes finish together
            size = min(size, math.ceil(len(self._ahead) / (2 * lanes)))
        return [self._ahead.popleft() for _ in range(min(size, len(self._ahead)))]

    def give_back(self, batch: list[T]) -> None:
        """Return ``batch`` to the feed, to be taken again."""
        self._again.append(batch)

    def learn(self, seconds: float, count: int) -> None:
        """Record that a batch of ``count`` items took ``seconds``."""
        now = seconds / count
        self.seconds = now if self.seconds is None else (self.seconds + now) / 2

    @property
    def depth(self) -> int:
        """Batches in flight per lane: a second one waits on the worker unless batches take long."""
        return 2 if self.seconds is not None and self.seconds < BATCH_SECONDS else 1


class Flight(Generic[T]):
    """Send batches and collect their results, a limited number at a time.

    Parameters
    ----------
    client : distributed.Client
    feed : Feed
    lanes : callable
        Computes the number of batches that the cluster runs at a time from its workers.
    error : type
        Type of the error to raise if a batch kills workers.
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

        After an error only those batches stay on the cluster that already run.
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
            if self._restarts > RESTARTS * 2 * self._lanes:  # one restart cancels all batches in flight
                raise ClusterError(
                    "The workers of the cluster were restarted repeatedly before they finished a single batch of "
                    "tiles. Finished tiles are kept; run the same command to resume."
                )
            self._feed.give_back(batch)
            return
        self._restarts = 0
        self._feed.learn(finish(batch, result), len(batch))

    def _result(self, future: Future, batch: list[T]) -> tuple[bool, Any]:
        """Return the result of a batch, or that it must be sent again because the workers were restarted."""
        from distributed import KilledWorker
        from distributed.client import CancelledError

        try:
            return False, future.result()
        except KilledWorker as exc:
            raise self._error(
                f"{exc.allowed_failures + 1} workers died in succession while they worked on {_told(batch)}: most "
                "likely they had too little memory. Give a smaller --tile, fewer workers per machine, or workers with "
                "more memory. Finished tiles are kept; run the same command to resume."
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
    """Return the scheduler's information on each worker, by address."""
    # By default some versions of distributed list the first five workers only.
    everything = {"n_workers": -1} if "n_workers" in signature(client.scheduler_info).parameters else {}
    with asked(client):
        if client.scheduler is None:
            raise lost()
        # Do not use scheduler_info(): the client refreshes it on its own, sometimes without workers.
        answer = client.sync(client.scheduler.identity, callback_timeout=PATIENCE, **everything)
        workers: dict[str, Any] = dict(answer["workers"])
    return workers


@contextmanager
def asked(client: Client) -> Iterator[None]:
    """Replace connection errors of a call to the scheduler by one sentence."""
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
        if type(exc) is OSError:  # distributed raises it if it cannot connect; subclasses come from code on workers
            raise lost() from exc
        raise


def gpu_workers(workers: dict[str, Any]) -> dict[str, Any]:
    """Select the workers that declare GPUs; if there are any, only they get tiles."""
    return {address: worker for address, worker in workers.items() if worker.get("resources", {}).get("GPU")}


def tile_lanes(workers: dict[str, Any]) -> int:
    """Count the batches of tiles that these workers run at a time."""
    fit = gpu_workers(workers) or workers
    return sum(min(worker["nthreads"], LANES) for worker in fit.values())


def call_lanes(workers: dict[str, Any]) -> int:
    """Count the calls that these workers run at a time."""
    return sum(worker["nthreads"] for worker in workers.values())


def lost() -> ClusterError:
    """Create the error for a lost connection to the scheduler."""
    return ClusterError(
        "The connection to the scheduler of the cluster was lost. Finished tiles are kept; once the scheduler runs "
        "again, run the same command to resume."
    )


def _told(batch: list[Any]) -> str:
    first = getattr(batch[0], "write", None)
    if first is None:
        return f"{batch[0]!r:.200}" + (f" and {len(batch) - 1} more" if len(batch) > 1 else "")
    place = ", ".join(f"{s.start}:{s.stop}" for s in first)
    return f"{len(batch)} tile{'s' * (len(batch) > 1)} at [{place}] of the output"
