"""Kill restorations at any moment, give the same command again, and compare bytes. Run by ``test_kills.py``.

A process loads everything once and forks a child per run, so that a kill costs a fraction of a second instead of the
time to load torch. A child is killed at a moment (a share of an undisturbed run's time) or at a step: before or after
the n-th change that it makes to the file system, from the first folder to the last removal.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

STEPS = ("replace", "rename", "mkdir", "unlink", "rmdir")
OPTIONS: dict[str, dict[str, object]] = {
    "out.ome.zarr": {"tile": 64, "chunks": 128},
    "sharded.ome.zarr": {"tile": 64, "chunks": 64, "shards": 128},
    "old.ome.zarr": {"tile": 64, "chunks": 128, "ngff": "0.4"},
    "out.ome.tif": {"tile": 64, "chunks": 128},
    "out.png": {"tile": 64, "chunks": 128},
    "cog.tif": {"tile": 64, "chunks": 128},
}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all names and bytes of a folder."""
    found = hashlib.sha256()
    for item in sorted(path.rglob("*")) if path.is_dir() else [path]:
        found.update(str(item.relative_to(path)).encode())
        found.update(item.read_bytes() if item.is_file() else b"/")
    return found.hexdigest()


def kill_at_step(step: int, before: bool) -> None:
    """Kill this process at its ``step``-th change of the file system; 0 only counts them."""
    count = 0

    def counting(change: Callable[..., object]) -> Callable[..., object]:
        def changed(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count == step and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = change(*args, **kwargs)
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return changed

    for name in STEPS:
        setattr(os, name, counting(getattr(os, name)))
    globals()["steps_made"] = lambda: count


def child(source: Path, out: Path, model: str, log: Path, step: int, before: bool) -> None:
    """Restore; log every tile that the network computes."""
    import torch

    from swin2sr_ops.api import restore_image
    from swin2sr_ops.run import pipeline

    torch.set_num_threads(1)
    compute = pipeline.TileWork.compute

    def logged(work: pipeline.TileWork, piece: pipeline.Piece, block: object) -> object:
        with log.open("a") as file:
            file.write(json.dumps([[p.start, p.stop] for p in piece.write]) + "\n")
        return compute(work, piece, block)  # type: ignore[arg-type]

    pipeline.TileWork.compute = logged  # type: ignore[method-assign,assignment]
    kill_at_step(step, before)
    report = restore_image(source, out, model=model, **OPTIONS[out.name])  # type: ignore[arg-type]
    log.with_suffix(".end").write_text(json.dumps({"state": report.state, "steps": globals()["steps_made"]()}))


def forked(*args: object, seconds: float | None = None) -> int:
    """Run `child` in a fork, killed after ``seconds``; returns its status, negative for a signal."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child(*args)  # type: ignore[arg-type]
            status = 0
        except BaseException as exc:  # noqa: BLE001  # a fork must not return into its parent's code
            print(f"{type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
        os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def finished(out: Path) -> set[str]:
    """Return the regions of the full-size level with intact markers."""
    found = set()
    for place in (out.with_name(out.name + ".partial"), out):
        for marker in (place / ".swin2sr_ops" / "done" / "0").glob("*"):
            if marker.suffix == ".partial":  # one that the kill kept from being put in place
                continue
            found.add(json.dumps([[int(n) for n in part.split("-")] for part in marker.name.split("_")]))
    return found


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def main(source: Path, name: str, model: str, kills: int, seed: int, folder: Path) -> dict[str, object]:
    """Kill ``kills`` times; after each, the same command ends with an undisturbed run's bytes."""
    rng = random.Random(seed)
    out, log = folder / name, folder / "log.txt"
    began = time.monotonic()
    assert forked(source, out, model, log, 0, True) == 0
    taken = time.monotonic() - began
    steps, tiles = json.loads(log.with_suffix(".end").read_text())["steps"], len(lines(log))
    wanted = digest(out)
    told = {"steps": steps, "tiles": tiles, "killed": 0, "ended first": 0, "again": 0, "different": [], "left": []}
    for number in range(kills):
        for item in folder.iterdir():
            shutil.rmtree(item) if item.is_dir() else item.unlink()
        step = rng.randint(1, steps) if number % 2 else 0
        seconds = None if step else rng.uniform(0, taken)
        status = forked(source, out, model, log, step, rng.random() < 0.5, seconds=seconds)
        told["killed" if status == -signal.SIGKILL else "ended first"] += 1  # type: ignore[operator]
        done, earlier = finished(out), len(lines(log))
        if forked(source, out, model, log, 0, True) != 0:
            told["different"].append([number, step, seconds, "failed"])  # type: ignore[attr-defined]
            continue
        told["again"] += len(done & set(lines(log)[earlier:]))  # type: ignore[operator]
        if digest(out) != wanted:
            told["different"].append([number, step, seconds, "bytes"])  # type: ignore[attr-defined]
        left = {item.name for item in folder.iterdir()} - {name, log.name, log.with_suffix(".end").name}
        told["left"] += sorted(left)  # type: ignore[operator]
    return told


if __name__ == "__main__":
    from importlib import import_module

    for heavy in ("imagecodecs", "tifffile", "torch", "zarr", "swin2sr_ops.api", "swin2sr_ops.weights.loader"):
        import_module(heavy)  # once, for all forks
    where, output, weights, times, start, place = sys.argv[1:]
    print(json.dumps(main(Path(where), output, weights, int(times), int(start), Path(place))))
