"""The public `restore_image`: prepare a request, choose where it runs, run it."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Unpack

from swin2sr_ops.cluster.executor import chosen_executor
from swin2sr_ops.events import Progress
from swin2sr_ops.hooks.dispatch import check_output_options
from swin2sr_ops.placement import Halo
from swin2sr_ops.progress import observed
from swin2sr_ops.request import OutputOptions, RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.report import RunReport
from swin2sr_ops.run.run import run
from swin2sr_ops.spec import ModelSpec

__all__ = ["restore_image"]


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
    consistent: str | None = None,
    overwrite: bool = False,
    restart: bool = False,
    progress: Progress | bool | None = None,
    workers: int | str | None = None,
    scheduler: str | None = None,
    **output: Unpack[OutputOptions],
) -> RunReport:
    """Restore an image file or archive into another, in bounded memory.

    A killed run can be resumed: the same call continues where it was, and ends with the same bytes.

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
    consistent : str, optional
        ``"mean"``: the mean of the new pixels of a pixel is that pixel; see `swin2sr_ops.restore`.
    overwrite : bool
        Replace ``dst`` if it exists; the old one stays until the new one is finished.
    restart : bool
        Begin again, whatever a run has left there.
    progress : bool or callable, optional
        True: bars on standard error, or below the cell of a notebook. A callable gets each event
        (`swin2sr_ops.events`). Every event has ``kind``, ``done`` and ``total``; kinds are ``range`` (reading pixels
        for the intensity range), ``start``, ``tile``, ``pyramid`` and ``end``.
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
    request = RestoreRequest(
        model=model, axes=axes, scale=scale, halo=halo, tile=tile, range=range, device=device,
        precision=precision, nodata=nodata, level=level, series=series, array=array, mask=mask,
        chunks=chunks, shards=shards, ensemble=ensemble, engine=engine, consistent=consistent,
    ).validated()  # fmt: skip
    check_output_options(output)
    with observed(progress) as tell, chosen_executor(workers, scheduler, device) as executor:
        job = prepare(src, request, workers=executor)
        return run(job, dst, overwrite=overwrite, restart=restart, progress=tell, executor=executor, **output)
