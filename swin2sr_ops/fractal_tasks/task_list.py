"""List the tasks. After a change, run ``fractal-manifest create`` with this module's path (docs/fractal.md)."""

from __future__ import annotations

from swin2sr_ops.fractal_tasks import check_host

check_host()

from fractal_task_tools.task_models import CompoundTask, ParallelTask  # noqa: E402  (said first that it is missing)

__all__ = ["AUTHORS", "DOCS_LINK", "TASK_LIST"]

AUTHORS = "swin2sr_ops developers"
#: Shown by a server beside the tasks.
DOCS_LINK = "https://swin2sr-ops.example.org/fractal/"

_TOLD = {"category": "Image Processing", "tags": ["Super-resolution", "Denoising", "Deep learning"]}
# A restored image is not offered again: after two enlargements it would have 16 times the pixels.
_TYPES = {"input_types": {"restored": False}, "output_types": {"restored": True}}
_NEEDS = {"cpus_per_task": 4, "mem": 16000, "needs_gpu": True}

TASK_LIST = [
    ParallelTask(
        name="Restore Image",
        executable="fractal_tasks/restore_image.py",
        meta=_NEEDS,
        **_TYPES,
        **_TOLD,
    ),
    CompoundTask(
        name="Restore Into New Plate",
        executable_init="fractal_tasks/init_restore_plate.py",
        meta_init={"cpus_per_task": 1, "mem": 2000},
        executable="fractal_tasks/restore_plate.py",
        meta=_NEEDS,
        **_TYPES,
        **_TOLD,
    ),
]
