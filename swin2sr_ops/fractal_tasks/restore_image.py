"""Fractal task: restore an image into a new one beside it."""

from __future__ import annotations

from typing import Any, Literal

from swin2sr_ops.fractal_tasks import check_host

check_host()

from pydantic import validate_call  # noqa: E402  (said first that it is missing)

__all__ = ["restore_image"]


@validate_call
def restore_image(
    *,
    zarr_url: str,
    model: str = "auto",
    scale: int | None = None,
    suffix: str = "restored",
    range: str = "auto",
    nodata: float | None = None,
    halo: int | None = None,
    tile: int | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "float32", "float64", "bfloat16"] = "auto",
    engine: Literal["auto", "torch", "native", "openvino", "triton"] = "auto",
    carry_labels: bool = False,
    carry_tables: bool = True,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Restore an image: super-resolution, denoising or JPEG clean-up, whatever the model does.

    The new image lies beside the old one, which stays as it is; in a plate, the well lists both.
    A task that was killed resumes when it is run again with the same parameters.

    Parameters
    ----------
    zarr_url
        Path or URL of the OME-Zarr image. Fractal fills it in.
    model
        Name of a model (see `swin2sr-ops models`), path of a checkpoint, or "auto": the shipped
        model that fits the image's channels.
    scale
        Enlargement along Y and X that the model must have; leave it empty for the model's own.
    suffix
        What the new image's name ends with: "0" becomes "0_restored".
    range
        Stored values that the network sees as 0 and 1: "auto", "dtype", two numbers such as
        "0,4095", or percentiles such as "p1,p99.8". Values outside are kept.
    nodata
        Stored value that means "no pixel here".
    halo
        Pixels seen around a tile, a multiple of the model's window: faster, with a small error.
        Leave it empty for a result that does not depend on tiles.
    tile
        Pixels along Y and X that are restored together; leave it empty for what fits the memory.
    device
        Where to compute; "auto" takes a GPU if there is one.
    precision
        Numbers to compute with; "auto" is bfloat16 on CUDA GPUs made for it, else float32.
    engine
        Who computes: "auto" is native on a CPU with a C compiler, triton on a CUDA GPU, else torch; or "openvino"
        where it is installed.
    carry_labels
        Whether the image's labels come along, enlarged by nearest neighbour.
    carry_tables
        Whether tables of regions (ROI tables) come along, which are in physical units.
    overwrite
        Whether an image that other parameters made under the new name is replaced.
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
        labels=carry_labels,
        tables=carry_tables,
        overwrite=overwrite,
    )


if __name__ == "__main__":
    from fractal_task_tools.task_wrapper import run_fractal_task

    run_fractal_task(task_function=restore_image)
