"""Define the public `restore_image`: prepare a request, choose where it runs, and run it."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Unpack

from swin2sr_ops.calls import path_of
from swin2sr_ops.cluster.executor import chosen_executor
from swin2sr_ops.events import Progress
from swin2sr_ops.hooks.dispatch import check_output_options
from swin2sr_ops.placement import Halo
from swin2sr_ops.request import OutputOptions, RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.progress import observed
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
    along: str | None = None,
    overwrite: bool = False,
    restart: bool = False,
    progress: Progress | bool | None = None,
    workers: int | str | None = None,
    scheduler: str | None = None,
    **output: Unpack[OutputOptions],
) -> RunReport:
    """Restore one image into a file or Zarr, in bounded memory.

    For a plate, or any Zarr of many images, call `swin2sr_ops.restore_batch`. After an interruption, the same call
    resumes the run and produces the same bytes.

    Parameters
    ----------
    src : str or path
        TIFF, OME-TIFF, ImageJ TIFF, GeoTIFF, Zarr, OME-Zarr, PNG or JPEG; or ``sample:cells``.
    dst : str or path
        ``.ome.zarr`` or ``.zarr`` (OME-Zarr 0.5; also a URL such as ``s3://...``), ``.tif`` or
        ``.ome.tif`` (OME-TIFF, or COG if the source is georeferenced), ``.png``.
    model, axes, scale, halo, tile, range, device, precision, nodata
        As in `swin2sr_ops.restore`; ``axes`` and ``nodata`` override the file's metadata. For a raster
        with red, green, blue and further bands, ``model`` may name two models, separated by a comma.
    level, series, array : optional
        Resolution level of a pyramid; image of a TIFF with several images; array of a Zarr group.
    mask : str or path, optional
        Image whose non-zero pixels mark the valid pixels of ``src``; of its size, or smaller by integer factors.
    chunks, shards : int or pair, optional
        Sizes along Y and X for an OME-Zarr output; by default chunks of 512 and no shards.
    ensemble : int
        8: also restore flips and rotations, and average them; see `swin2sr_ops.restore`.
    engine : str
        ``"auto"``: the fastest engine of this package on this machine, stated in the report; see
            `swin2sr_ops.restore`.
    consistent : str, optional
        ``"mean"``: the mean of the new pixels of a pixel is that pixel; ``"psf=SIGMA"``, ``"kernel=W/W/W"``: blurred so
        they give it; see `swin2sr_ops.restore`.
    along : str, optional
        Axis of neighbouring planes for a model that takes several, ``"Z"`` or ``"T"``; see `swin2sr_ops.restore`.
    overwrite : bool
        Replace ``dst`` if it exists; the old output stays until the new one is finished.
    restart : bool
        Begin again, whatever a run has left there.
    progress : bool or callable, optional
        True: bars on standard error, or below the cell of a notebook. A callable gets each event
        (`swin2sr_ops.events`). Every event has ``kind``, ``done`` and ``total``; kinds are ``range`` (reading pixels
        for the intensity range), ``start``, ``tile``, ``pyramid`` and ``end``.
    workers : int or "gpus", optional
        Number of processes of a local Dask cluster, or one per visible GPU; by default this process computes.
    scheduler : str, optional
        Address of a running Dask cluster.
    **output
        Options of the format. For OME-Zarr: ``ngff`` ("0.5" or "0.4"), ``pyramid`` (bool), ``context`` (bool:
        an array of flags that mark the pixels near nodata), ``spread`` (bool: the standard deviation of the
        ensemble's results, as an array ``spread``), ``interval`` and ``calibration`` (a coverage such as 90, and a
        file of ``evaluate --calibrate``: half widths of intervals, as an array ``interval``), ``limit`` and
        ``noise`` (stored units: a label image ``not_trusted`` flags the pixels whose half width is above ``limit``, 1,
        and those whose mean over an input pixel is off from it by more than ``noise``, 2), ``labels`` ("leave", or
        "carry": the source's labels, enlarged by nearest neighbour). For GeoTIFF: ``creation``, options as those of
        GDAL's COG driver: ``{"COMPRESS": "DEFLATE" | "LZW" | "ZSTD", "LEVEL": 9, "BLOCKSIZE": 512}``.

    Returns
    -------
    RunReport

    Raises
    ------
    Swin2SROpsError
        If the request cannot be carried out, with a message; nothing that looks finished remains.

    Examples
    --------
    >>> import swin2sr_ops
    >>> report = swin2sr_ops.restore_image("sample:cells", "cells_x2.ome.zarr")  # doctest: +SKIP
    """
    request = RestoreRequest(
        model=model, axes=axes, scale=scale, halo=halo, tile=tile, range=range, device=device,
        precision=precision, nodata=nodata, level=level, series=series, array=array, mask=mask,
        chunks=chunks, shards=shards, ensemble=ensemble, engine=engine, consistent=consistent,
        along=along,
    ).validated()  # fmt: skip
    check_output_options(restore_image, output)
    src, dst = path_of(src, "src", "For an array, call swin2sr_ops.restore."), path_of(dst, "dst")
    with observed(progress) as tell, chosen_executor(workers, scheduler, device) as executor:
        job = prepare(src, request, workers=executor)
        return run(job, dst, overwrite=overwrite, restart=restart, progress=tell, executor=executor, **output)
