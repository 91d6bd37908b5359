"""Run a prepared job: intensity range, tiles, pyramid, metadata. A killed run can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from os import PathLike, fspath
from typing import Any, TypeVar

import psutil

from swin2sr_ops.errors import RequestError, Swin2SROpsError, TileError
from swin2sr_ops.events import Progress, PyramidProgress, RunEnd, RunStart, TileDone
from swin2sr_ops.hooks.dispatch import notifier
from swin2sr_ops.io.base import ImageSink, Region
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.output.staged_file import StagedFile
from swin2sr_ops.io.output.staging import ResumableSink, Staging
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.run.fingerprint import input_stamp, run_key
from swin2sr_ops.run.input_watch import InputWatch
from swin2sr_ops.run.job import Job, Piece
from swin2sr_ops.run.outputs import finished_before, opened_output
from swin2sr_ops.run.pipeline import Executor, Here, OnBlock, TileWork, Watch
from swin2sr_ops.run.ranges import noted_maps
from swin2sr_ops.run.report import RunReport, new_report, provenance_of
from swin2sr_ops.run.sides import Sides

__all__ = ["run"]
_PROCESS = psutil.Process()
_T = TypeVar("_T")
_R = TypeVar("_R")


def run(
    job: Job,
    dst: str | PathLike[str],
    *,
    overwrite: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    stop: Callable[[], bool] = bool,
    on_block: OnBlock | None = None,
    executor: Executor | None = None,
    **output: Any,
) -> RunReport:
    """Restore the image of a prepared job into ``dst``.

    Parameters
    ----------
    job : Job
        From `swin2sr_ops.run.job.prepare`.
    dst, overwrite, restart, progress, output
        As in `swin2sr_ops.restore_image`.
    stop : callable, optional
        Called before each tile by several threads. True ends the run with `swin2sr_ops.errors.Stopped`. Finished
        tiles are kept, and the next run with the same settings resumes.
    on_block : callable, optional
        ``on_block(region, block)`` receives each block of the output after it is written, in the thread that wrote
        it. It cannot be used with an executor, because blocks do not travel through a cluster's client.
    executor : Executor, optional
        Where tiles are computed; by default in this process.

    Returns
    -------
    RunReport

    Raises
    ------
    Stopped
        If ``stop`` returned True.
    Swin2SROpsError
        For other errors, with a message; nothing that looks finished remains.
    """
    if executor is not None and on_block is not None:
        raise RequestError("on_block cannot be used with an executor: it receives only this process's blocks.")
    began, watch = time.monotonic(), Watch(stop, on_block)
    if executor is not None:  # a job may have been prepared without the executor
        executor.resolve_auto(job.restorers)
    sides = Sides.asked(job, output)
    key = run_key(job, output, restart=restart)
    report = new_report(job, fspath(dst), key, sides)
    tell = notifier(progress)
    finished = None if restart else finished_before(fspath(dst), key)
    if finished is not None:
        report.state, report.tiles, report.fingerprint = "already", job.count, finished
        report.resumed = report.tiles
    else:
        key = replace(key, stamp=input_stamp(job))
        options = output | {"overwrite": overwrite, "run": key}
        with opened_output(job, fspath(dst), sides, options, parallel=executor is not None) as sink:
            if isinstance(sink, StagedFile):
                report.fingerprint = key.file_fingerprint
            _Run(job, sink, sides, key, report, tell, executor or Here(watch), watch).go()
        report.seconds = time.monotonic() - began
    tell(RunEnd(done=report.tiles, total=report.tiles, report=report.to_dict()))
    return report


@dataclass
class _Run:
    """Run the stages: intensity, tiles, pyramid, metadata. Each skips what an earlier run has done."""

    job: Job
    sink: ImageSink
    sides: Sides
    key: RunKey
    report: RunReport
    tell: Progress
    executor: Executor
    watch: Watch

    @property
    def staging(self) -> Staging | None:
        """Return the arrays in which the output grows; None for a format that cannot be resumed."""
        return self.sink.staging if isinstance(self.sink, ResumableSink) else None

    @cached_property
    def input(self) -> InputWatch:
        """Return the watch on the input, which must stay the same image."""
        return InputWatch(self.job, self.staging, self._each, self.key)

    def go(self) -> None:
        """Run all stages, and finish the output."""
        try:
            self.input.check_resumed()
            maps = self._maps()
            self.report.settings["intensity"] = [m.to_dict() for m in maps]
            if self.staging is not None:
                self.report.settings["levels"] = len(self.staging.layout.shapes)
            self._tiles(maps)
            self._check_place()
            self._pyramid()
        except BaseException as exc:
            changed = False
            with suppress(Swin2SROpsError, OSError):  # the error that ended the run is the one to report
                changed = self.input.changed()
            if changed and isinstance(exc, Swin2SROpsError):
                raise type(exc)(f"{exc} The input changed meanwhile: start anew with restart (--restart).") from exc
            raise
        self.input.check()
        self._check_place()
        self.sink.finish(provenance_of(self.report))

    def _check_place(self) -> None:
        """Refuse to finish an output from which finished tiles were removed meanwhile."""
        if self.staging is not None:
            self.staging.claim.check()

    def _maps(self) -> tuple[IntensityMap, ...]:
        """Compute the intensity maps, or return those of the resumed run."""
        kept = None if self.staging is None else self.staging.claim
        return noted_maps(self.job, self.input, kept, self.tell, self._each)

    def _tiles(self, maps: tuple[IntensityMap, ...]) -> None:
        job, total = self.job, self.job.count
        work = TileWork(job, maps, self.sink, self.sides)
        self.report.resumed = self._count_resumed(work)
        self.report.tiles = self.report.resumed
        self.tell(RunStart(done=self.report.resumed, total=total, image=job.image, pixels=self.report.pixels))
        todo = (piece for piece in job.pieces() if not work.resumed(piece))
        before = self._skipped()
        self.executor.tiles(work, self.watch.until_stopped(todo), self._count)
        if self.report.tiles != total:  # never finish an incomplete output
            raise TileError(f"Only {self.report.tiles} of {total} tiles were restored.")
        self.report.skipped = self._skipped() - before

    def _skipped(self) -> int:
        return sum(restorer.skipped for restorer in self.job.restorers)

    def _count_resumed(self, work: TileWork) -> int:
        if self.staging is None or not self.staging.resumed:
            return 0
        return sum(work.resumed(piece) for piece in self.job.pieces())

    def _each(self, function: Callable[[_T], _R], items: Iterable[_T], done: Callable[[_T, _R], None]) -> None:
        """Let the executor call ``function`` for each item, until the caller stops the run."""

        def until_stopped(item: _T, result: _R) -> None:
            self.watch.check()
            done(item, result)

        self.executor.each(function, items, until_stopped)

    def _count(self, piece: Piece) -> None:
        self.watch.check()
        self.report.tiles += 1
        self.report.peak_bytes = max(self.report.peak_bytes, _PROCESS.memory_info().rss)
        rows, columns = piece.tile.shape
        planes = self.job.order.colours if piece.bands is None else len(piece.bands)
        pixels = rows * columns * self.job.plan.spec.scale**2 * planes
        self.tell(TileDone(done=self.report.tiles, total=self.job.count, tile=str(piece.tile), pixels=pixels))

    def _pyramid(self) -> None:
        staging = self.staging
        if staging is None:
            return
        for level in range(1, len(staging.layout.shapes)):
            regions = list(staging.to_fill(level))
            done = 0

            def count(region: Region, _: object) -> None:
                nonlocal done
                staging.filled(level, region)  # noqa: B023
                done += 1
                self.tell(PyramidProgress(done=done, total=len(regions), level=level))  # noqa: B023

            self._each(partial(staging.fill, level), regions, count)
