"""Fractal task, the part per image: restore an image into its place in a new plate."""

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

__all__ = ["restore_plate"]


@validate_call
def restore_plate(
    *,
    zarr_url: str,
    init_args: dict[str, str],
    model: Model = "auto",
    scale: Scale = None,
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
    """Restore an image into the new plate: super-resolution, denoising or JPEG clean-up.

    After an interruption, the task resumes when it is run again with the same parameters.

    Parameters
    ----------
    zarr_url
        Place of the new image. Fractal fills it in.
    init_args
        Where the image comes from. Fractal fills it in.
    overwrite
        Replace an image that other parameters made in the new place.
    model, scale, range, nodata, halo, tile, device, precision, engine, consistent, along, interval, \
calibration, limit, noise, carry_labels, carry_tables
        See `swin2sr_ops.fractal_tasks.parameters`.
    """
    import swin2sr_ops_fractal.plates

    return swin2sr_ops_fractal.plates.restore_field(
        zarr_url,
        init_args["origin_url"],
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

    run_fractal_task(task_function=restore_plate)
