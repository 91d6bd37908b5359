"""Fractal task: restore an image into a new one beside it."""

from __future__ import annotations

from typing import Any

from swin2sr_ops.fractal_tasks import check_host

check_host()

from pydantic import validate_call  # noqa: E402  (said first that it is missing)

from swin2sr_ops.fractal_tasks.parameters import (  # noqa: E402
    Along,
    Calibration,
    CarryLabels,
    CarryTables,
    Consistent,
    Device,
    Engine,
    Halo,
    Interval,
    Limit,
    Model,
    Nodata,
    Noise,
    Precision,
    Range,
    Scale,
    Tile,
)

__all__ = ["restore_image"]


@validate_call
def restore_image(
    *,
    zarr_url: str,
    model: Model = "auto",
    scale: Scale = None,
    suffix: str = "restored",
    range: Range = "auto",
    nodata: Nodata = None,
    halo: Halo = None,
    tile: Tile = None,
    device: Device = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    consistent: Consistent = None,
    along: Along = None,
    interval: Interval = None,
    calibration: Calibration = None,
    limit: Limit = None,
    noise: Noise = None,
    carry_labels: CarryLabels = False,
    carry_tables: CarryTables = True,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Restore an image: super-resolution, denoising or JPEG clean-up, whatever the model does.

    The new image lies beside the old one, which stays as it is; in a plate, the well lists both.
    After an interruption, the task resumes when it is run again with the same parameters.

    Parameters
    ----------
    zarr_url
        Path or URL of the OME-Zarr image. Fractal fills it in.
    suffix
        Ending of the new image's name: "0" becomes "0_restored".
    overwrite
        Replace an image that other parameters made under the new name.
    model, scale, range, nodata, halo, tile, device, precision, engine, consistent, along, interval, \
calibration, limit, noise, carry_labels, carry_tables
        See `swin2sr_ops.fractal_tasks.parameters`.
    """
    import swin2sr_ops_fractal.images

    return swin2sr_ops_fractal.images.restore_beside(
        zarr_url,
        suffix=suffix,
        model=model,
        scale=scale,
        range=range,
        nodata=nodata,
        halo=halo,
        tile=tile,
        device=device,
        precision=precision,
        engine=engine,
        consistent=consistent,
        along=along,
        interval=interval,
        calibration=calibration,
        limit=limit,
        noise=noise,
        labels=carry_labels,
        tables=carry_tables,
        overwrite=overwrite,
    )


if __name__ == "__main__":
    from fractal_task_tools.task_wrapper import run_fractal_task

    run_fractal_task(task_function=restore_image)
