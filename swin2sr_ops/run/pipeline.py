"""Read, compute and write tiles at the same time, in bounded memory, in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import Barrier
from typing import Any, NamedTuple, Protocol, TypeVar

from numpy.typing import NDArray

from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import Stopped, TileError
from swin2sr_ops.io.base import ImageSink, Region, SidesSink
from swin2sr_ops.io.output.journal import made_of
from swin2sr_ops.io.output.staging import ResumableSink
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.nodata_flags import plane_flags
from swin2sr_ops.pixels.planes import own_pixels
from swin2sr_ops.run.job import Job, Part, Piece, Workers
from swin2sr_ops.run.origin import InputPixels, Origin
from swin2sr_ops.run.sides import Sides

__all__ = ["Executor", "Here", "TileWork", "Watch", "stream"]

_T = TypeVar("_T")
_R = TypeVar("_R")
#: A function that receives a region of the output and its pixels.
OnBlock = Callable[[Region, NDArray[Any]], None]
#: Number of threads that read, and of those that write; also how many tiles may wait on either side.
IO_THREADS = 2
#: Tiles in progress at once on a GPU.
GPU_LANES = 2


class Computed(NamedTuple):
    """A restored piece, the arrays written beside it (by the sink's names), and its input."""

    pixels: NDArray[Any]
    sides: dict[str, NDArray[Any]]
    origin: Origin


@dataclass(frozen=True)
class Watch:
    """Follow a run for its caller.

    Attributes
    ----------
    stop : callable
        Returns True to end the run with `swin2sr_ops.errors.Stopped`; called before each tile by several threads.
    on_block : callable, optional
        ``on_block(region, block)`` receives every block after it is written, in the thread that wrote it.
    """

    stop: Callable[[], bool] = bool
    on_block: OnBlock | None = None

    def check(self) -> None:
        """Raise `Stopped` if the caller asks for it."""
        if self.stop():
            raise Stopped("The run was stopped. Finished tiles are kept.")

    def until_stopped(self, items: Iterable[_T]) -> Iterator[_T]:
        """Pass on ``items``, and check before each."""
        for item in items:
            self.check()
            yield item


class Executor(Workers, AbstractContextManager["Executor"], Protocol):
    """Do the work of a run: in this process, or on the processes of a cluster."""

    def tiles(self, work: TileWork, pieces: Iterable[Piece], done: Callable[[Piece], None]) -> None:
        """Restore and write ``pieces``; call ``done`` in this process for each, in any order."""
        ...

    def each(self, function: Callable[[_T], _R], items: Iterable[_T], done: Callable[[_T, _R], None]) -> None:
        """Call ``function`` for every item; call ``done`` in this process with each result, in any order."""
        ...


@dataclass(frozen=True)
class TileWork:
    """Hold everything that restoring a piece of one image needs; it travels to workers.

    Attributes
    ----------
    job : Job
        The image, its models and its pieces.
    maps : tuple of IntensityMap
        One for the image, or one for each of `Job.map_of`.
    sink : ImageSink
    sides : Sides
        What is computed beside the pixels.
    """

    job: Job
    maps: tuple[IntensityMap, ...]
    sink: ImageSink
    sides: Sides = field(default_factory=Sides)

    @property
    def restorers(self) -> tuple[Restorer, ...]:
        """Return the restorers whose networks a process has to load."""
        return self.job.restorers

    @property
    def lanes(self) -> int:
        """Return how many tiles are in progress at once; on a GPU one computes while two are copied."""
        kinds = {restorer.network.kind for restorer in self.restorers}
        return GPU_LANES if "cuda" in kinds else 1

    @property
    def input(self) -> InputPixels:
        """Return the pixels of the source and its masks."""
        return InputPixels(self.job.source, self.job.mask, self.job.order)

    def read(self, piece: Piece) -> NDArray[Any]:
        """Read the pixels that ``piece`` depends on, all its bands."""
        return self.input.read(list(self._of_bands(piece, piece.read)))

    def compute(self, piece: Piece, block: NDArray[Any]) -> Computed:
        """Restore ``piece``; also return the arrays beside it."""
        job, part = self.job, self.job.parts[piece.part]
        order = job.order if piece.bands is None else job.order.together(len(piece.bands))
        regions = list(self._of_bands(piece, piece.read))
        valid = self.input.valid(regions)
        scale = part.plan.spec.scale
        if part.restorer is None:
            result = own_pixels(block, order, piece.tile, scale)
            sides = self.sides.of_opacity(result.shape)
        else:
            ends = self.maps[piece.map if len(self.maps) > 1 else 0]
            given = block, order, piece.tile, [ends], job.nodata, valid
            spread = None
            try:
                if self.sides.passes(part.restorer):
                    result, spread = part.restorer.restore_tile_with_spread(*given)
                else:
                    result = part.restorer.restore_tile(*given)
            except TileError as exc:
                raise TileError(f"{exc} (image {job.source.uri!r})") from exc
            pixels = own_pixels(block, order, piece.tile) if self.sides.names else block
            sides = self.sides.of_pixels(result, pixels, spread, ends, order)
        if self.sides.flags:
            sides = self.sides.with_flags(sides, plane_flags(block, order, piece.tile, part.plan, job.nodata, valid))
        return Computed(result, sides, Origin.of(regions, block, valid))

    def write(self, piece: Piece, result: Computed, on_block: OnBlock | None = None) -> None:
        """Write the result of `compute`; pass each written block to ``on_block``."""
        with made_of(result.origin.to_json()):
            for region, block, sides in self.blocks(piece, result):
                if isinstance(self.sink, SidesSink):
                    self.sink.write(region, block, **sides)
                else:
                    self.sink[region] = block
                if on_block is not None:
                    on_block(region, block)

    def blocks(self, piece: Piece, result: Computed) -> Iterator[tuple[Region, NDArray[Any], dict[str, NDArray[Any]]]]:
        """Cut the result of a piece into blocks of the output, which keeps the bands apart."""
        block, sides, _ = result
        for i, region in enumerate(self._of_bands(piece, piece.write)):
            if piece.bands is None:
                yield region, block, sides
                continue
            axis = self.job.order.axes.index("C")
            one = (slice(None),) * axis + (slice(i, i + 1),)
            yield region, block[one], {name: side[one] for name, side in sides.items()}

    def finished(self, piece: Piece) -> bool:
        """Return True if any process has written ``piece`` by now; this queries the storage."""
        regions, sink = self._of_bands(piece, piece.write), self.sink
        return isinstance(sink, ResumableSink) and all(sink.noted(region) for region in regions)

    def resumed(self, piece: Piece) -> bool:
        """Return True if an earlier run has written ``piece``."""
        regions, sink = self._of_bands(piece, piece.write), self.sink
        return isinstance(sink, ResumableSink) and all(sink.has(region) for region in regions)

    def _of_bands(self, piece: Piece, region: Region) -> Iterator[Region]:
        if piece.bands is None:
            yield region
            return
        axis = self.job.order.axes.index("C")
        for band in piece.bands:
            yield (*region[:axis], slice(band, band + 1), *region[axis + 1 :])


@dataclass
class Here:
    """Work in this process, on its device, watched by the run's caller."""

    watch: Watch = field(default_factory=Watch)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        """Release nothing: this executor holds no resources."""

    def resolve_auto(self, restorers: Sequence[Restorer]) -> None:
        """Leave restorers alone: they resolve "auto" in this process themselves."""

    def tiles(self, work: TileWork, pieces: Iterable[Piece], done: Callable[[Piece], None]) -> None:
        """Compute one tile at a time; read and write its neighbours meanwhile."""
        with _streaming(work.job.parts):
            stream(work, pieces, done, self.watch)

    def each(self, function: Callable[[_T], _R], items: Iterable[_T], done: Callable[[_T, _R], None]) -> None:
        """Call a few at a time; pass the results on in order."""
        rest = iter(items)
        with _threads(2 * IO_THREADS, "each") as pool:
            ahead: deque[tuple[_T, Future[_R]]] = deque()
            try:
                while True:
                    wanted = islice(rest, 4 * IO_THREADS - len(ahead))
                    ahead.extend((item, pool.submit(function, item)) for item in wanted)
                    if not ahead:
                        return
                    item, result = ahead.popleft()
                    done(item, result.result())
            finally:
                for _, result in ahead:
                    result.cancel()


def stream(work: TileWork, pieces: Iterable[Piece], done: Callable[[Piece], None], watch: Watch | None = None) -> None:
    """Restore ``pieces`` in order: read ahead, compute here, write behind.

    At most a few tiles wait on either side, so memory does not grow with the image. After an error, or if
    ``watch`` stops the run, no further tile begins, and tiles that are being written are finished.
    """
    watch = Watch() if watch is None else watch
    seen = () if watch.on_block is None else (watch.on_block,)
    rest, lanes = iter(pieces), work.lanes
    with (
        _threads(IO_THREADS, "read") as reader,
        _computing(lanes) as compute,
        _threads(IO_THREADS, "write") as writer,
    ):
        ahead: deque[tuple[Piece, Future[NDArray[Any]]]] = deque()
        in_hand: deque[tuple[Piece, Future[Computed]]] = deque()
        behind: deque[tuple[Piece, Future[None]]] = deque()
        try:
            while True:
                wanted: Sequence[Piece] = list(islice(rest, IO_THREADS + 1 - len(ahead)))
                ahead.extend((piece, reader.submit(work.read, piece)) for piece in wanted)
                if ahead:
                    piece, block = ahead.popleft()
                    watch.check()
                    in_hand.append((piece, compute(work.compute, piece, block.result())))
                elif not in_hand:
                    break
                if ahead and len(in_hand) < lanes:
                    continue
                piece, result = in_hand.popleft()
                behind.append((piece, writer.submit(work.write, piece, result.result(), *seen)))
                while len(behind) > IO_THREADS:
                    _finish(behind, done)
            while behind:
                _finish(behind, done)
        finally:
            # Writes in progress end when the pools close; the journal notes them, but ``done`` is not called.
            for _, block in ahead:
                block.cancel()
            for _, result in in_hand:
                result.cancel()


@contextmanager
def _streaming(parts: Iterable[Part]) -> Iterator[None]:
    """Let the networks of streamed plans keep the rows that the next tile of a column can use."""
    with ExitStack() as stack:
        for part in parts:
            if part.restorer is not None and part.plan.streamed:
                stack.enter_context(part.restorer.network.streaming())
        yield


@contextmanager
def _computing(lanes: int) -> Iterator[Callable[..., Future[Computed]]]:
    """Return a function that starts a computation: in a thread if several tiles are in progress, else at once."""
    if lanes > 1:
        with _threads(lanes, "compute") as pool:
            yield pool.submit
        return

    def now(function: Callable[..., Computed], *given: Any) -> Future[Computed]:
        result: Future[Computed] = Future()
        result.set_result(function(*given))
        return result

    yield now


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Create a pool whose threads run before there is work for them.

    If work starts a thread and Ctrl-C comes before the pool has noted it, the pool does not wait for that thread: its
    tile would be written after the lock on the output is released.
    """
    with ThreadPoolExecutor(count, name) as pool:
        together = Barrier(count)
        try:
            for waiting in [pool.submit(together.wait) for _ in range(count)]:
                waiting.result()
        finally:
            together.abort()
        yield pool


def _finish(behind: deque[tuple[Piece, Future[None]]], done: Callable[[Piece], None]) -> None:
    piece, write = behind.popleft()
    write.result()
    done(piece)
