"""Fractal task, the part before: write a new plate without images."""

from __future__ import annotations

from typing import Any

from swin2sr_ops.fractal_tasks import check_host

check_host()

from pydantic import validate_call  # noqa: E402  (said first that it is missing)

__all__ = ["init_restore_plate"]


@validate_call
def init_restore_plate(
    *,
    zarr_urls: list[str],
    zarr_dir: str,
    suffix: str = "restored",
) -> dict[str, Any]:
    """Write a new plate beside the old one, which stays as it is; its images are restored one by one.

    For models that enlarge: a plate whose images have pixels of one size is what viewers and other
    tasks expect.

    Parameters
    ----------
    zarr_urls
        Paths or URLs of images of plates. Fractal fills it in.
    zarr_dir
        Folder of the new plates. Fractal fills it in.
    suffix
        Ending of the new plate's name: "plate.zarr" becomes "plate_restored.zarr".
    """
    import swin2sr_ops_fractal.plates

    return swin2sr_ops_fractal.plates.begin_plates(zarr_urls, zarr_dir, suffix)


if __name__ == "__main__":
    from fractal_task_tools.task_wrapper import run_fractal_task

    run_fractal_task(task_function=init_restore_plate)
