"""Offer batches as a function: `restore_batch`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Unpack

from swin2sr_ops.batch.collect import collect
from swin2sr_ops.batch.report import BatchReport
from swin2sr_ops.batch.runner import run_batch
from swin2sr_ops.calls import path_of, with_article
from swin2sr_ops.cluster.executor import chosen_executor
from swin2sr_ops.errors import RequestError
from swin2sr_ops.events import Progress
from swin2sr_ops.hooks.dispatch import check_output_options
from swin2sr_ops.placement import Halo
from swin2sr_ops.request import BatchOptions, RestoreRequest
from swin2sr_ops.run.progress import observed
from swin2sr_ops.spec import ModelSpec

__all__ = ["restore_batch"]


def restore_batch(
    sources: str | PathLike[str] | Sequence[str | PathLike[str]],
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
    consistent: str | None = None,
    along: str | None = None,
    format: str | None = None,
    overwrite: bool = False,
    restart: bool = False,
    fail_fast: bool = False,
    progress: Progress | bool | None = None,
    workers: int | str | None = None,
    scheduler: str | None = None,
    **output: Unpack[BatchOptions],
) -> BatchReport:
    """Restore many images, or an archive of many; one bad image does not stop the others.

    The same call resumes a batch that was stopped, and leaves finished images unchanged.

    Parameters
    ----------
    sources : str, path, or sequence of them
        Files, folders, patterns such as ``"scans/**/*.tif"``, ``"@list.txt"``, Zarr images, plates
        and trees, URLs.
    dst : str or path
        A folder; for a single plate or tree also the path of the resulting Zarr.
    model, axes, scale, halo, tile, range, device, precision, nodata, level, series, array, mask, chunks, shards, \
ensemble, engine, consistent, along
        As in `swin2sr_ops.restore_image`, the same for all images.
    format : {"same", "zarr", "tiff", "cog", "png"}, optional
        Format of the outputs; by default that of the inputs.
    overwrite, restart, progress, workers, scheduler
        As in `swin2sr_ops.restore_image`.
    fail_fast : bool
        Start no image after one that failed.
    **output
        Options of the format, as in `swin2sr_ops.restore_image`; and ``allow_missing`` for archives: finish
        them without the images that cannot be restored.

    Returns
    -------
    BatchReport
        State of every image; ``ok`` says if all are finished.

    Raises
    ------
    RequestError, OutputError
        If the request as a whole is not valid.

    Examples
    --------
    >>> report = swin2sr_ops.restore_batch("scans/*.tif", "restored", model="tiny-x2-gray")  # doctest: +SKIP
    >>> print(report)  # doctest: +SKIP
    """
    if not isinstance(sources, (str, PathLike, Iterable)):
        raise RequestError(f"sources is {with_article(sources)}: give a path, or a list of them.")
    listed = [sources] if isinstance(sources, (str, PathLike)) else list(sources)
    request = RestoreRequest(
        model=model, scale=scale, halo=halo, tile=tile, range=range, device=device, precision=precision,
        nodata=nodata, mask=mask, chunks=chunks, shards=shards, ensemble=ensemble, engine=engine,
        consistent=consistent, along=along,
    ).validated()  # fmt: skip
    check_output_options(restore_batch, output, also=("allow_missing",))
    entries = collect(
        [path_of(s, "One of sources") for s in listed],
        path_of(dst, "dst"),
        format=format,
        axes=axes,
        level=level,
        series=series,
        array=array,
    )
    with observed(progress) as tell, chosen_executor(workers, scheduler, device) as executor:
        return run_batch(
            entries, request, executor=executor, progress=tell, overwrite=overwrite, restart=restart,
            fail_fast=fail_fast, output_options=dict(output),
        )  # fmt: skip
