"""Restore every image of a batch like a single one; record failures and continue with the others."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swin2sr_ops.batch.collect import Entry, named
from swin2sr_ops.batch.report import BatchReport, ImageResult
from swin2sr_ops.errors import ClusterError, OutputError, Swin2SROpsError
from swin2sr_ops.events import Event, ImageEnd, ImageStart, PartEnd, PartStart, Progress
from swin2sr_ops.io.geo.address import file_of
from swin2sr_ops.io.output.destination import causes, disk_errors, is_disk_full
from swin2sr_ops.io.storage.paths import local_path
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.relay import Relay, unforeseen
from swin2sr_ops.run.run import run

__all__ = ["hits_all", "run_batch", "run_entry"]

_OF_ARCHIVES = ("allow_missing",)  # options that single images do not have


@dataclass(frozen=True)
class _Shared:
    """Settings shared by all images of a batch."""

    request: RestoreRequest
    progress: Relay
    executor: Any
    options: dict[str, Any]  # options of `run` that were given

    @classmethod
    def of(cls, request: RestoreRequest, progress: Progress | None, executor: Any, given: Mapping[str, Any]) -> _Shared:
        options = {key: value for key, value in given.items() if value is not None}
        return cls(request, Relay.of(progress), executor, options)


def run_entry(
    entry: Entry,
    request: RestoreRequest,
    *,
    executor: Any = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    restart: bool = False,
    output_options: Mapping[str, Any] | None = None,
) -> Any:
    """Restore one image or archive; return its `RunReport`, or the result of `run_collection`.

    Parameters and errors are those of `run_batch`, but an error is raised.
    """
    given = {"overwrite": overwrite or None, "restart": restart or None, **(output_options or {})}
    return _restore(entry, _Shared.of(request, progress, executor, given), _Origins.of([entry]))


def run_batch(
    entries: Sequence[Entry],
    request: RestoreRequest,
    *,
    executor: Any = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    restart: bool = False,
    fail_fast: bool = False,
    output_options: Mapping[str, Any] | None = None,
    report: BatchReport | None = None,
    after_each: Callable[[BatchReport], None] | None = None,
) -> BatchReport:
    """Restore all ``entries`` one after the other.

    Parameters
    ----------
    entries : sequence of Entry
        From `collect`.
    request : RestoreRequest
        The same for all images.
    executor : optional
        Runs the tiles; by default threads of this process.
    progress : callable, optional
        Receives the events of each image's run, an `ImageStart` before and an `ImageEnd` after them; for the
        images of an archive `PartStart` and `PartEnd` instead.
    overwrite, restart, output_options
        As in `swin2sr_ops.restore_image`.
    fail_fast : bool
        Start no image after one that failed.
    report : BatchReport, optional
        Filled in as images end, so that it is valid at any time; created by `BatchReport.of`.
    after_each : callable, optional
        Receives the report after each image.

    Returns
    -------
    BatchReport
        Also if the batch was stopped with Ctrl-C (``stopped`` is true), or by an error that would hit
        every further image, such as a full disk: the remaining images are "not started".
    """
    given = {"overwrite": overwrite or None, "restart": restart or None, **(output_options or {})}
    report = BatchReport.of(entries, request) if report is None else report
    batch = _Batch(entries, report, _Shared.of(request, progress, executor, given), fail_fast, after_each)
    batch.run()
    return report


@dataclass
class _Batch:
    entries: Sequence[Entry]
    report: BatchReport
    shared: _Shared
    fail_fast: bool
    after_each: Callable[[BatchReport], None] | None
    began: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        origins = _Origins.of(self.entries)
        try:
            for index, (entry, result) in enumerate(zip(self.entries, self.report.images, strict=True)):
                with self._telling(index, result):
                    goes_on = self._one(entry, result, origins)
                if not goes_on:
                    break
        except KeyboardInterrupt:
            self.report.stopped = True
        finally:
            self._sum_up()

    def _one(self, entry: Entry, result: ImageResult, origins: _Origins) -> bool:
        """Restore one image; return True if the next one may start."""
        began = time.monotonic()
        result.state = "stopped"  # unless a later line sets another state
        try:
            result.take(_restore(entry, self.shared, origins))
        except Swin2SROpsError as exc:
            result.state, result.reason = "failed", str(exc)
            return not (self.fail_fast or hits_all(exc))
        except Exception as exc:
            if exc is self.shared.progress.raised:
                raise
            result.state, result.reason = "failed", unforeseen(exc)
            logging.getLogger(__name__).debug("%s failed", entry.source, exc_info=True)
            return not (self.fail_fast or hits_all(exc))
        finally:
            result.seconds = time.monotonic() - began
        return result.state != "failed" or not self.fail_fast

    @contextmanager
    def _telling(self, index: int, result: ImageResult) -> Iterator[None]:
        tell = self.shared.progress
        total, source = len(self.entries), result.name
        tell(ImageStart(done=index, total=total, source=source, output=result.output))
        yield
        tell(
            ImageEnd(
                done=index + 1, total=total, source=source, output=result.output, state=result.state,
                reason=result.reason, pixels=result.pixels, seconds=result.seconds,
            )
        )  # fmt: skip
        self._sum_up()
        if self.after_each is not None:
            self.after_each(self.report)

    def _sum_up(self) -> None:
        self.report.seconds = time.monotonic() - self.began
        self.report.model = ", ".join(dict.fromkeys(i.model for i in self.report.images if i.model))


def _restore(entry: Entry, shared: _Shared, origins: _Origins) -> Any:
    asked = shared.request.for_image(**entry.options)
    if entry.collection:
        from swin2sr_ops.run.archive import run_collection

        output = named(entry, _scale_of(asked))
        _make_room(entry, output, origins)
        progress = _parts(shared.progress)
        return run_collection(
            entry.source, output, asked, progress=progress, executor=shared.executor, **shared.options
        )
    job = prepare(entry.source, asked, workers=shared.executor)
    output = named(entry, job.restorer.spec.scale)
    _make_room(entry, output, origins)
    options = {key: value for key, value in shared.options.items() if key not in _OF_ARCHIVES}
    return run(job, output, progress=shared.progress, executor=shared.executor, **options)


def _parts(progress: Progress | None) -> Progress | None:
    """Rename events: an archive is one image of the batch, so its images are parts."""
    if progress is None:
        return None
    kinds: dict[type[Event], type[Event]] = {ImageStart: PartStart, ImageEnd: PartEnd}

    def tell(event: Event) -> None:
        kind = kinds.get(type(event))
        progress(event if kind is None else kind(**vars(event)))

    return tell


def _scale_of(asked: RestoreRequest) -> int:
    """Return the scale of the models for the images of an archive, which is the same for all."""
    from swin2sr_ops.hooks.dispatch import resolve_model

    model = asked.model
    first = model.split(",")[0].strip() if isinstance(model, str) else model  # colours, other bands: one scale
    return resolve_model(first, scale=asked.scale).scale


@dataclass(frozen=True)
class _Origins:
    """Paths of the sources and their parent folders; no output may replace one."""

    paths: frozenset[str]
    above: frozenset[str]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> _Origins:
        found = (file_of(entry.source) or local_path(entry.source) for entry in entries)
        local = [path for path in found if path is not None]
        paths = frozenset(os.path.realpath(path) for path in local)
        return cls(paths, frozenset(str(above) for path in paths for above in Path(path).parents))


def _make_room(entry: Entry, output: str, origins: _Origins) -> None:
    """Refuse to replace another image of the batch; create the output's parent folders."""
    path = local_path(output)
    if path is None:
        return
    here = os.path.realpath(path)
    if here in origins.paths or here in origins.above or any(str(p) in origins.paths for p in Path(here).parents):
        raise OutputError(
            f"The output {output!r} lies in or above a source of this batch, which must not change."
            " Choose another place."
        )
    if entry.ending:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)


def hits_all(error: BaseException) -> bool:
    """Return True if ``error`` would hit every further image: a full disk, a lost cluster."""
    return is_disk_full(error) or any(isinstance(cause, ClusterError) for cause in causes(error))
