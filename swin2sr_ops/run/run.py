"""`restore_image`: from a source to a sink, tile by tile, in bounded memory; killed and gone on with at will."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from typing import Any

import psutil

from swin2sr_ops.errors import FormatError, OutputError, RequestError, Swin2SROpsError, TileError, without_secrets
from swin2sr_ops.geometry.orientations import check_ensemble
from swin2sr_ops.geometry.plan import Halo
from swin2sr_ops.hooks.dispatch import create_sink, manager
from swin2sr_ops.io.base import ImageSink, Region, local_path
from swin2sr_ops.io.output.claim import RunKey, tidy_finished
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.masks import EnlargedMask, has_mask
from swin2sr_ops.run.fingerprint import identity, run_key
from swin2sr_ops.run.job import Job, Piece, prepare
from swin2sr_ops.run.pipeline import Executor, Here, TileWork
from swin2sr_ops.run.ranges import intensity_maps
from swin2sr_ops.run.report import RunReport, new_report, provenance_of
from swin2sr_ops.spec import ModelSpec

__all__ = ["RunReport", "restore_image", "run"]

Progress = Callable[[dict[str, Any]], None]
_PROCESS = psutil.Process()


def restore_image(
    src: str | PathLike[str],
    dst: str | PathLike[str],
    *,
    model: str | PathLike[str] | ModelSpec = "auto",
    axes: str | None = None,
    scale: int | None = None,
    halo: Halo = "exact",
    tile: int | tuple[int, int] | None = None,
    range: str | Sequence[float] = "auto",
    device: str = "auto",
    precision: str = "auto",
    nodata: float | None = None,
    level: int | None = None,
    series: int | None = None,
    array: str | None = None,
    mask: str | PathLike[str] | None = None,
    chunks: int | tuple[int, int] | None = None,
    shards: int | tuple[int, int] | None = None,
    ensemble: int = 1,
    engine: str = "auto",
    overwrite: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    workers: int | str | None = None,
    scheduler: str | None = None,
    **output: Any,
) -> RunReport:
    """Restore an image file or archive into another, in bounded memory.

    Killed at any moment and called again in the same way, it goes on where it was, and ends with
    the same bytes.

    Parameters
    ----------
    src : str or path
        TIFF, OME-TIFF, ImageJ TIFF, GeoTIFF, Zarr, OME-Zarr, PNG or JPEG; or ``sample:cells``.
    dst : str or path
        ``.ome.zarr`` or ``.zarr`` (OME-Zarr 0.5; also a URL such as ``s3://...``), ``.tif`` or
        ``.ome.tif`` (OME-TIFF, or COG where the source is georeferenced), ``.png``.
    model, axes, scale, halo, tile, range, device, precision, nodata
        As in `swin2sr_ops.restore`; ``axes`` and ``nodata`` override what the file says. For a
        raster with red, green and blue bands and others, ``model`` may name two, with a comma.
    level, series, array : optional
        Resolution level of a pyramid; image of a TIFF with several; array of a Zarr group.
    mask : str or path, optional
        An image whose non-zero pixels say where ``src`` has pixels, of its size or smaller by whole factors.
    chunks, shards : int or pair, optional
        Of an OME-Zarr output, along Y and X: 512 and none unless given.
    ensemble : int
        8: flips and rotations are restored too, and averaged; see `swin2sr_ops.restore`.
    engine : str
        ``"auto"``: the fastest of this package's on this machine, as the report says; see `swin2sr_ops.restore`.
    overwrite : bool
        Replace ``dst`` if it exists; the old one stays until the new one is finished.
    restart : bool
        Begin again, whatever a run has left there.
    progress : callable, optional
        Called with a dict per event: ``{"kind": "range" | "start" | "tile" | "pyramid" | "end", "done": n,
        "total": n, ...}``; ``range`` is the look at the pixels that an intensity range may need.
    workers : int or "gpus", optional
        Processes of a local Dask cluster, or one per visible GPU; unless given, this process.
    scheduler : str, optional
        Address of a running Dask cluster.
    **output
        Options of the format. For OME-Zarr: ``ngff`` ("0.5" or "0.4"), ``pyramid`` (bool), ``context`` (bool:
        flags beside the image that say where nodata was near), ``spread`` (bool: the standard deviation
        of the ensemble's results, as an image ``spread`` inside), ``labels`` ("leave", or "carry": the
        source's labels, enlarged by nearest neighbour).

    Returns
    -------
    RunReport

    Raises
    ------
    Swin2SROpsError
        One of its kinds, with a sentence; nothing that looks finished is left behind.

    Examples
    --------
    >>> import swin2sr_ops
    >>> report = swin2sr_ops.restore_image("sample:cells", "cells_x2.ome.zarr")  # doctest: +SKIP
    """
    request: dict[str, Any] = dict(
        model=model, axes=axes, scale=scale, halo=halo, tile=tile, range=range, device=device,
        precision=precision, nodata=nodata, level=level, series=series, array=array, mask=mask,
        chunks=chunks, shards=shards, ensemble=ensemble, engine=engine,
    )  # fmt: skip
    options: dict[str, Any] = {"overwrite": overwrite, "restart": restart, "progress": progress, **output}
    if workers is None and scheduler is None:
        return run(prepare(src, **request), dst, **options)
    from swin2sr_ops.cluster.executor import open_cluster

    with open_cluster(workers=workers, scheduler=scheduler, device=device) as executor:
        return run(prepare(src, workers=executor, **request), dst, executor=executor, **options)


def run(
    job: Job,
    dst: str | PathLike[str],
    *,
    overwrite: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
    **output: Any,
) -> RunReport:
    """Do what `prepare` resolved."""
    began = time.monotonic()
    check_ensemble(job.restorer.ensemble, bool(output.get("spread")))
    if executor is not None:  # also of a job that was prepared without them
        executor.settle([part.restorer for part in job.parts if part.restorer is not None])
    key = run_key(job, output, restart=restart)
    report = new_report(job, fspath(dst), key)
    tell = _teller(progress)
    if not restart and _already(fspath(dst), key):
        report.state, report.tiles = "already", job.count
        report.resumed = report.tiles
        tell({"kind": "end", "done": report.tiles, "total": report.tiles, "report": report.to_dict()})
        return report
    output |= _labels(job, output.pop("labels", "leave"))
    _check_behind(job, fspath(dst))
    sink = create_sink(
        dst,
        job.output,
        overwrite=overwrite,
        source=job.source.uri,
        run=key,
        chunks=job.chunk,
        shards=job.shard,
        **output,
    )
    if executor is not None and not sink.parallel:
        sink.abort()
        raise RequestError(f"{fspath(dst)!r} can be written by one process only: leave out workers and scheduler.")
    if hasattr(sink, "valid") and (job.mask is not None or has_mask(job.source)):
        sink.valid = EnlargedMask(job.source, job.mask, job.order, job.plan.spec.scale)
    with _kept_unless_empty(sink, report.output), _closed(job):
        _Run(job, sink, report, tell, executor or Here()).go(bool(output.get("context")), bool(output.get("spread")))
    report.seconds = time.monotonic() - began
    tell({"kind": "end", "done": report.tiles, "total": report.tiles, "report": report.to_dict()})
    return report


def _check_behind(job: Job, dst: str) -> None:
    """Refuse to replace a file that the input is made of, as a VRT is: inputs are never written."""
    path = local_path(dst)
    behind = getattr(job.source, "files", None)
    if path is None or behind is None or not path.exists():
        return
    if os.path.realpath(path) in {os.path.realpath(name) for name in behind()}:
        raise OutputError(
            f"The input {job.source.uri!r} is made of {dst!r}, which must stay as it is. Choose another place."
        )


@contextmanager
def _closed(job: Job) -> Iterator[None]:
    """Let go of files and what was decoded of them; whoever reads again opens them again."""
    try:
        yield
    finally:
        for source in (job.source, job.mask):
            close = getattr(source, "close", None)
            if close is not None:
                close()


def _labels(job: Job, wanted: str) -> dict[str, Any]:
    """The sink's option for labels that are carried."""
    if wanted == "leave":
        return {}
    if wanted != "carry":
        raise RequestError(f"labels={wanted!r} is not understood: give 'leave' or 'carry'.")
    path = getattr(job.source, "path", None)
    if path is None:
        raise RequestError(f"labels='carry' was given, but {job.source.uri!r} is no OME-Zarr image: it has no labels.")
    return {"labels": (job.source.uri, path.rpartition("/")[0], job.plan.spec.scale)}


def _already(dst: str, key: RunKey) -> bool:
    """Whether a run with this key has finished ``dst`` before; what it left of its own goes."""
    try:
        found = read_provenance(dst)
    except FormatError:
        return False  # something else is there; the sink says what may happen to it
    if found is None or found.get("fingerprint") != key.fingerprint:
        return False
    tidy_finished(dst, key)
    return True


@contextmanager
def _kept_unless_empty(sink: ImageSink, output: str) -> Iterator[None]:
    """After an error, keep what was restored for the next run; remove an output in which nothing is."""
    staging = getattr(sink, "staging", None)
    try:
        yield
    except BaseException as exc:
        # Also on Ctrl-C.
        if staging is None or not (staging.resumed or _holds_pixels(staging)):
            _remove(sink, output, exc)
            raise
        lost = staging.claim.lost()
        staging.release()
        if lost and "(--restart)" not in str(exc) and isinstance(exc, Swin2SROpsError):
            raise OutputError(
                f"{exc} Somebody else has removed or emptied {staging.files.where!r} meanwhile: begin again with"
                " restart (--restart)."
            ) from exc
        if isinstance(exc, Swin2SROpsError) and not lost and "same command" not in str(exc):
            told = "What was restored is kept: the same command goes on where it was."
            raise type(exc)(f"{exc} {told}") from exc
        raise


def _holds_pixels(staging: Any) -> bool:
    try:
        return bool(staging.holds_pixels())
    except OutputError:
        return True  # a storage that does not say: nothing is removed there


def _remove(sink: ImageSink, output: str, exc: BaseException) -> None:
    try:
        sink.abort()
    except (OSError, OutputError) as left:
        exc.add_note(f"What was written of {output!r} could not be removed: {left}")


def _teller(progress: Progress | None) -> Progress:
    """Tell the caller and every observer; an observer's failure is not the run's."""
    observers = manager().hook.swin2sr_ops_progress

    def tell(event: dict[str, Any]) -> None:
        if progress is not None:
            progress(event)
        for observer in observers.get_hookimpls():
            try:
                observer.function(*(event for _ in observer.argnames))  # an observer may leave the argument out
            # Somebody else's code, called for information only.
            except Exception:
                logging.getLogger(__name__).exception("observer %s failed", observer.plugin_name)

    return tell


def _pair(error: Sequence[float] | None) -> tuple[float, float] | None:
    return None if error is None else (error[0], error[1])


@dataclass
class _Run:
    """One image on its way: intensity, tiles, pyramid, metadata; each of them skips what is there."""

    job: Job
    sink: ImageSink
    report: RunReport
    tell: Progress
    executor: Executor

    def go(self, context: bool, spread: bool) -> None:
        before = identity(self.job)
        maps = self._maps()
        self.report.settings["intensity"] = [m.to_dict() for m in maps]
        self._tiles(maps, context, spread)
        self._check_place()
        self._pyramid()
        if identity(self.job) != before:
            staging = getattr(self.sink, "staging", None)
            if staging is not None:
                staging.claim.spoil()
            raise OutputError(
                f"The input {self.job.source.uri!r} changed while it was restored: the output would be of two images."
                " Begin again with restart (--restart)."
            )
        self._check_place()
        self.sink.finish(provenance_of(self.report))

    def _check_place(self) -> None:
        """Never finish an output from which somebody has removed what is done."""
        staging = getattr(self.sink, "staging", None)
        if staging is not None:
            staging.claim.check()

    def _maps(self) -> tuple[IntensityMap, ...]:
        """Decided once: an earlier run's stay."""
        staging = getattr(self.sink, "staging", None)
        noted = staging.claim.notes.get("intensity") if staging is not None else None
        if noted:
            return tuple(IntensityMap(m["lo"], m["hi"], _pair(m.get("error"))) for m in noted)
        maps = intensity_maps(self.job, self.tell, each=self.executor.each, mask=self.job.mask)
        if staging is not None:
            staging.claim.note(intensity=[m.to_dict() for m in maps])
        return maps

    def _tiles(self, maps: tuple[IntensityMap, ...], context: bool, spread: bool) -> None:
        job, total = self.job, self.job.count
        work = TileWork(job.source, job.order, job.parts, maps, job.nodata, self.sink, job.mask, context, spread)
        self.report.resumed = self._count_resumed(work)
        self.report.tiles = self.report.resumed
        start = {"done": self.report.resumed, "total": total, "pixels": self.report.pixels}
        self.tell({"kind": "start", **start, "image": without_secrets(job.source.uri)})
        todo = (piece for piece in job.pieces() if not work.resumed(piece))
        before = self._skipped()
        self.executor.tiles(work, todo, self._count)
        if self.report.tiles != total:  # never finish what is not whole
            raise TileError(f"Only {self.report.tiles} of {total} tiles were restored.")
        self.report.skipped = self._skipped() - before

    def _skipped(self) -> int:
        return sum(part.restorer.skipped for part in self.job.parts if part.restorer is not None)

    def _count_resumed(self, work: TileWork) -> int:
        staging = getattr(self.sink, "staging", None)
        if staging is None or not staging.resumed:
            return 0
        return sum(work.resumed(piece) for piece in self.job.pieces())

    def _count(self, piece: Piece) -> None:
        self.report.tiles += 1
        self.report.peak_bytes = max(self.report.peak_bytes, _PROCESS.memory_info().rss)
        rows, columns = piece.tile.shape
        planes = self.job.order.colours if piece.bands is None else len(piece.bands)
        pixels = rows * columns * self.job.plan.spec.scale**2 * planes
        counts = {"done": self.report.tiles, "total": self.job.count}
        self.tell({"kind": "tile", **counts, "tile": str(piece.tile), "pixels": pixels})

    def _pyramid(self) -> None:
        staging: Any = getattr(self.sink, "staging", None)
        levels = len(staging.layout.shapes) if staging is not None else 1
        for level in range(1, levels):
            regions = list(staging.to_fill(level))
            done = 0

            def count(region: Region, _: object) -> None:
                nonlocal done
                staging.filled(level, region)  # noqa: B023
                done += 1
                self.tell({"kind": "pyramid", "level": level, "done": done, "total": len(regions)})  # noqa: B023

            self.executor.each(partial(staging.fill, level), regions, count)
