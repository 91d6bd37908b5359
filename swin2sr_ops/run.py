"""`restore_image`: from a source to a sink, tile by tile, in bounded memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import count, islice
from os import PathLike, fspath
from typing import Any

import psutil
from numpy.typing import NDArray

from swin2sr_ops.devices import choose_device, choose_dtype
from swin2sr_ops.errors import TileError
from swin2sr_ops.intensity import intensity_maps
from swin2sr_ops.io.base import ImageSink
from swin2sr_ops.job import Job, Piece, prepare
from swin2sr_ops.plan import Halo
from swin2sr_ops.plugins import create_sink, manager
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.values import IntensityMap

__all__ = ["RunReport", "restore_image", "run"]

Progress = Callable[[dict[str, Any]], None]


@dataclass
class RunReport:
    """What a run did; also written into the output as provenance.

    Attributes
    ----------
    source, output, model, weights_sha256 : str
    settings : dict
        Halo, tile, precision, device, intensity range as used.
    tiles : int
        Tiles times planes.
    pixels : int
        Output pixels, all planes and channels.
    seconds, pixels_per_second : float
        From the first read to the finished output.
    peak_bytes : int
        Largest resident memory of the process that was seen between tiles.
    """

    source: str
    output: str
    model: str
    weights_sha256: str
    settings: dict[str, Any] = field(default_factory=dict)
    tiles: int = 0
    pixels: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def pixels_per_second(self) -> float:
        """Output pixels per second."""
        return self.pixels / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"pixels_per_second": self.pixels_per_second}

    def __str__(self) -> str:
        return (
            f"{self.output}: {self.pixels / 1e6:.2f} megapixels in {self.seconds:.1f} s "
            f"({self.pixels_per_second / 1e6:.3f} Mpx/s), {self.tiles} tiles, model {self.model}, "
            f"peak memory {self.peak_bytes / 2**20:.0f} MiB"
        )


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
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunReport:
    """Restore an image file or archive into another, in bounded memory.

    Parameters
    ----------
    src : str or path
        TIFF, OME-TIFF, ImageJ TIFF, Zarr, OME-Zarr, PNG or JPEG; or ``sample:cells``.
    dst : str or path
        ``.ome.zarr`` or ``.zarr`` (OME-Zarr 0.5), ``.tif`` or ``.ome.tif`` (OME-TIFF), ``.png``.
    model, axes, scale, halo, tile, range, device, precision, nodata
        As in `swin2sr_ops.restore`; ``axes`` and ``nodata`` override what the file says.
    level, series, array : optional
        Resolution level of a pyramid; image of a TIFF with several; array of a Zarr group.
    overwrite : bool
        Replace ``dst`` if it exists; the old one stays until the new one is finished.
    progress : callable, optional
        Called with a dict per event: ``{"kind": "range" | "start" | "tile" | "end", "done": n, "total": n, ...}``;
        ``range`` is the look at the pixels that an intensity range may need.

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
    job = prepare(
        src, model=model, axes=axes, scale=scale, halo=halo, tile=tile, range=range, device=device,
        precision=precision, nodata=nodata, level=level, series=series, array=array,
    )  # fmt: skip
    return run(job, dst, overwrite=overwrite, progress=progress)


def run(job: Job, dst: str | PathLike[str], *, overwrite: bool = False, progress: Progress | None = None) -> RunReport:
    """Do what `prepare` resolved."""
    began = time.monotonic()
    sink = create_sink(dst, job.output, overwrite=overwrite, source=job.source.uri, chunks=job.chunk)
    report = _new_report(job, fspath(dst))
    tell = _teller(progress)
    try:
        maps = intensity_maps(job, tell)
        report.settings["intensity"] = [m.to_dict() for m in maps]
        _Pipeline(job, sink, maps, report, tell).run()
        report.seconds = time.monotonic() - began
        sink.finish(report.to_dict() | {"created": datetime.now(UTC).isoformat(timespec="seconds")})
    except BaseException as exc:
        # Also on Ctrl-C: a half-written output must not stay.
        try:
            sink.abort()
        except OSError as left:
            exc.add_note(f"What was written of {fspath(dst)!r} could not be removed: {left}")
        raise
    report.seconds = time.monotonic() - began
    tell({"kind": "end", "done": report.tiles, "total": report.tiles, "report": report.to_dict()})
    return report


def _new_report(job: Job, dst: str) -> RunReport:
    import torch

    from swin2sr_ops import __version__

    spec, restorer = job.restorer.spec, job.restorer
    settings = {
        "version": __version__,
        "torch": torch.__version__,
        "halo": job.plan.halo,
        "tile": list(job.plan.tile),
        "precision": str(choose_dtype(restorer.precision)).removeprefix("torch."),
        "device": str(choose_device(restorer.device)),
        "scale": spec.scale,
        "range": asdict(job.request),
        "nodata": job.nodata,
    }
    return RunReport(job.source.uri, dst, spec.name, spec.sha256, settings, 0, job.pixels)


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


@dataclass
class _Pipeline:
    """Reads ahead, computes, writes behind: decoding and encoding hide behind the network.

    One reader and one writer thread; at most two blocks wait on either side, so memory does not
    grow with the image.
    """

    job: Job
    sink: ImageSink
    maps: Sequence[IntensityMap]
    report: RunReport
    tell: Progress

    def run(self) -> None:
        total = self.job.count
        self.tell({"kind": "start", "done": 0, "total": total, "pixels": self.report.pixels})
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
            ahead: list[tuple[Piece, Future[NDArray[Any]]]] = []
            behind: list[Future[None]] = []
            pieces = self.job.pieces()
            try:
                for done in count(1):
                    wanted = islice(pieces, 2 - len(ahead))
                    ahead.extend((piece, reader.submit(self.job.source.read, piece.read)) for piece in wanted)
                    if not ahead:
                        break
                    piece, block = ahead.pop(0)
                    result = self._compute(piece, block.result())
                    behind.append(writer.submit(self.sink.__setitem__, piece.write, result))
                    if len(behind) > 1:
                        behind.pop(0).result()
                    self._count(piece, done, total)
                for write in behind:
                    write.result()
                if self.report.tiles != total:  # never finish what is not whole
                    raise TileError(f"Only {self.report.tiles} of {total} tiles were restored.")
            finally:
                # After an error nothing more is begun, and what is under way ends before the output is removed.
                for _, block in ahead:
                    block.cancel()
                for write in behind:
                    write.cancel()

    def _compute(self, piece: Piece, block: NDArray[Any]) -> NDArray[Any]:
        ends = self.maps[piece.channel if len(self.maps) > 1 else 0]
        source = self.job.source
        try:
            return self.job.restorer.restore_tile(block, self.job.order, piece.tile, [ends], self.job.nodata)
        except TileError as exc:
            raise TileError(f"{exc} (image {source.uri!r})") from exc

    def _count(self, piece: Piece, done: int, total: int) -> None:
        self.report.tiles = done
        self.report.peak_bytes = max(self.report.peak_bytes, psutil.Process().memory_info().rss)
        rows, columns = piece.tile.shape
        pixels = rows * columns * self.job.restorer.spec.scale**2 * self.job.order.colours
        self.tell({"kind": "tile", "done": done, "total": total, "tile": str(piece.tile), "pixels": pixels})
