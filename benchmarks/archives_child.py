"""A process of `archives.py`: it executes lines of JSON, and reports time and memory."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import archives_tiff
import archives_work as works
from archives_work import Case

#: Done once with a small archive before: loading libraries is not a cost of an archive.
WARMED = ("loop", "dask", "bare", "ours", "pyramid", "lazy", "tiff", "plain_tiff", "cog", "plain_cog")


def peak_bytes() -> int:
    """Largest resident memory since `reset_peak`."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak() -> int:
    """Begin anew, where the system lets us; what is resident now."""
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak_bytes()


def cpu_seconds() -> float:
    """Return the CPU time of this process and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def measured(work: Callable[[Case], None], case: Case) -> dict[str, Any]:
    """Wall and CPU seconds, peak memory, and what the work says of itself."""
    before, busy, began = reset_peak(), cpu_seconds(), time.perf_counter()
    work(case)
    wall, busy = time.perf_counter() - began, cpu_seconds() - busy
    return {"wall": wall, "cpu": busy, "peak": peak_bytes(), "above": peak_bytes() - before, **case.facts}


def serve(cpus: int) -> None:
    """Do what comes in by lines; say what it took."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])
    if len(sys.argv) > 2:
        works.install()
    seen = set()
    for line in sys.stdin:
        asked = json.loads(line)
        name = asked.pop("work")
        work, case = getattr(works, name, None) or getattr(archives_tiff, name), Case(**asked, cpus=cpus)
        if name in WARMED and name not in seen:
            small = replace(case, source=f"{case.source}.small.zarr", side=min(case.side, 256), facts={})
            work(small)
            remove(small.output)
        seen.add(name)
        answer = measured(work, case)
        remove(case.output)
        print(json.dumps(answer), flush=True)


def remove(path: str) -> None:
    """Remove a file or a folder, if it exists."""
    shutil.rmtree(path, ignore_errors=True)
    if Path(path).is_file():
        Path(path).unlink()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
