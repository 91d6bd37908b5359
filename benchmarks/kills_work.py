"""The victims of `kills.py`: sources, a run that dies in a fork at a chosen moment, and a disk that loses power."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

STEPS = ("replace", "rename", "mkdir", "unlink", "rmdir")
RANGE = (0, 1000)


# --- sources --------------------------------------------------------------------------------------


def make_sources(folder: Path) -> None:
    """Write a plane, a scene, a plate and a tree of images."""
    import tifffile

    rng = np.random.default_rng(0)
    tifffile.imwrite(folder / "plane.tif", rng.integers(0, 999, (300, 280)).astype("u2"), tile=(64, 64))
    make_scene(folder / "scene.tif", rng)
    for name, paths in (("plate.zarr", ("A/1/0", "A/1/1", "B/2/0")), ("tree.zarr", ("a", "b/c", "b/d"))):
        make_archive(folder / name, paths, rng)


def make_scene(path: Path, rng: np.random.Generator) -> None:
    """Write a GeoTIFF of two bands."""
    import rasterio

    profile = {"driver": "GTiff", "width": 280, "height": 300, "count": 2, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", **profile, transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)) as dataset:
        dataset.write(rng.integers(0, 999, (2, 300, 280)).astype("u2"))


def make_archive(path: Path, images: tuple[str, ...], rng: np.random.Generator) -> None:
    """Write a Zarr of several images."""
    import zarr

    root = zarr.open_group(path, mode="w")
    if path.name == "plate.zarr":
        wells = [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}, {"path": "B/2", "rowIndex": 1, "columnIndex": 1}]
        names = {"rows": [{"name": "A"}, {"name": "B"}], "columns": [{"name": "1"}, {"name": "2"}]}
        root.attrs["ome"] = {"version": "0.5", "plate": {"name": "p", **names, "wells": wells}}
        for well, fields in (("A/1", "01"), ("B/2", "0")):
            root.create_group(well).attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": f} for f in fields]}}
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scale = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]}]
    for image in images:
        group = root.require_group(image)
        group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": scale}]}
        group.create_array("0", data=rng.integers(0, 999, (180, 150)).astype("u2"), chunks=(64, 64))


# --- a run that dies ------------------------------------------------------------------------------


@dataclass
class Death:
    """When a child dies: at a change of the file system in a phase, or seconds after it began; never if empty."""

    phase: str = ""
    step: int = 0
    before: bool = False
    seconds: float = 0.0


@dataclass
class Watcher:
    """Record a child's phases, changes of the file system, and the files that are synced."""

    death: Death
    log: Path
    phase: str = "planning"
    counts: Counter[str] = field(default_factory=Counter)
    times: Counter[str] = field(default_factory=Counter)
    since: float = field(default_factory=time.monotonic)

    def enter(self, phase: str) -> None:
        """Note that a phase begins; die in it after the given time."""
        if phase == self.phase:
            return
        now = time.monotonic()
        self.times[self.phase] += now - self.since  # type: ignore[assignment]
        self.phase, self.since = phase, now
        if self.death.phase == phase and self.death.seconds:
            threading.Timer(self.death.seconds, die).start()

    def counted(self) -> bool:
        """Count a change; return True if it is the one of this process's death."""
        self.counts[self.phase] += 1
        return self.death.phase == self.phase and self.death.step == self.counts[self.phase]

    def change(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function that changes the file system: count it, and die before or after it."""

        def changed(*args: Any, **kwargs: Any) -> Any:
            mine = self.counted()
            if mine and self.death.before:
                die()
            result = function(*args, **kwargs)
            if function.__name__ in ("replace", "rename") and ".partial" in str(args[0]):
                self.note("moved", str(args[0]), str(args[1]))
            if mine:
                die()
            return result

        return changed

    def note(self, *words: Any) -> None:
        """Append a line to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(words) + "\n")

    def synced(self, path: Path) -> None:
        """Note the files that a sync put onto the disk, by number and time: a rename keeps them."""
        for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
            if file.is_file():
                seen = file.stat()
                self.note("synced", seen.st_ino, seen.st_mtime_ns, seen.st_size)
            elif file.is_dir():
                self.note("folder", str(file), sorted(os.listdir(file)))

    def folder(self, path: Path) -> None:
        """Log the names in a folder."""
        self.note("folder", str(path), sorted(os.listdir(path)))


def die() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def entering(watcher: Watcher, owner: Any, name: str, phase: str) -> None:
    """Make calls of a method begin a phase."""
    function = getattr(owner, name)

    def entered(*args: Any, **kwargs: Any) -> Any:
        watcher.enter(phase)
        return function(*args, **kwargs)

    setattr(owner, name, entered)


def watch(watcher: Watcher, *, remote: bool) -> None:
    """Let this process note what it does, and die at its moment."""
    from swin2sr_ops.io.output import destination, staged_file, staging
    from swin2sr_ops.io.storage import files
    from swin2sr_ops.io.zarr import sink
    from swin2sr_ops.run import archive, pipeline

    if remote:
        watch_requests(watcher)
    else:
        for name in STEPS:
            setattr(os, name, watcher.change(getattr(os, name)))
    entering(watcher, pipeline.TileWork, "compute", "tiles")
    entering(watcher, staging.Staging, "fill", "pyramid")
    for owner in (sink.ZarrSink, staged_file.StagedFile):
        entering(watcher, owner, "finish", "encoding")
    entering(watcher, archive, "write_metadata", "encoding")
    entering(watcher, destination.Destination, "appear", "appearing")
    entering(watcher, destination.Destination, "tidy", "tidying")
    write = files.write_durably

    def durably(path: Path, data: bytes) -> None:
        write(path, data)
        watcher.synced(path)

    destination.sync_tree, destination.sync_folder = watcher.synced, watcher.folder
    files.sync_folder, files.write_durably = watcher.folder, durably


def watch_requests(watcher: Watcher) -> None:
    """Count requests to an object store; an image appears there when the document of its group is written."""
    import s3fs

    from swin2sr_ops.io.storage import files
    from swin2sr_ops.io.zarr.documents import GROUP_DOCUMENTS

    ask, write = s3fs.S3FileSystem._call_s3, files.RemoteFiles.write

    async def counting(*args: Any, **kwargs: Any) -> Any:
        mine = watcher.counted()
        if mine and watcher.death.before:
            die()
        result = await ask(*args, **kwargs)
        if mine:
            die()
        return result

    def writing(self: Any, key: str, data: bytes, *, durable: bool = False) -> None:
        if key in GROUP_DOCUMENTS:
            watcher.enter("appearing")
        write(self, key, data, durable=durable)

    s3fs.S3FileSystem._call_s3, files.RemoteFiles.write = counting, writing


def child(source: Path, out: Path | str, options: dict[str, Any], log: Path, death: Death) -> None:
    """Restore, and die at the given moment."""
    import torch

    from swin2sr_ops.api import restore_image
    from swin2sr_ops.run.archive import run_collection

    torch.set_num_threads(1)
    watcher = Watcher(death, log)
    watch(watcher, remote=isinstance(out, str))
    if death.phase == "planning" and death.seconds:
        threading.Timer(death.seconds, die).start()
    given = {"model": "nano-x2-gray", "range": RANGE, "engine": "torch", **options}
    if source.suffix == ".zarr":
        output = {key: given.pop(key) for key in ("ngff",) if key in given}
        run_collection(source, out, request_of(given), **output)
    else:
        restore_image(source, out, **given)
    watcher.enter("ended")
    found = [watcher.counts, watcher.times, list(sys.modules)]
    log.with_suffix(".end").write_text(json.dumps(found), encoding="utf-8")


def request_of(given: dict[str, Any]) -> Any:
    """Return the request of the given options."""
    from swin2sr_ops.request import RestoreRequest

    return RestoreRequest(**given).validated()


def forked(*args: Any) -> int:
    """Run `child` in a fork; return its status, negative for a signal."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child(*args)
            status = 0
        except BaseException as exc:  # noqa: BLE001  # a fork must not return into its parent's code
            print(f"{type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- power ----------------------------------------------------------------------------------------


def cut_power(folder: Path, log: Path, rng: random.Random) -> None:
    """Leave of ``folder`` the worst that a disk may hold after the run that wrote ``log``."""
    notes = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    safe = {tuple(note[1:]) for note in notes if note[0] == "synced"}
    names: dict[str, set[str]] = {}
    for kind, *rest in notes:
        if kind == "folder":
            names[rest[0]] = set(rest[1])
        elif kind == "moved" and rest[0] in names:  # a folder that was synced under its old name
            names[rest[1]] = names.pop(rest[0])
    undo_rename(notes, names, rng)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            seen = path.stat()
            if (seen.st_ino, seen.st_mtime_ns, seen.st_size) not in safe:
                tear(path, rng)


def undo_rename(notes: list[Any], names: dict[str, set[str]], rng: random.Random) -> None:
    """Undo the last rename to a final name, perhaps, if the folder that holds the name was not synced after it."""
    moves = [note for note in notes if note[0] == "moved" and ".partial" not in note[2]]
    if not moves:
        return
    old, new = Path(moves[-1][1]), Path(moves[-1][2])
    synced = new.name in names.get(str(new.parent), ())
    if os.path.lexists(new) and not synced and not os.path.lexists(old) and old.parent.is_dir() and rng.random() < 0.5:
        os.rename(new, old)


def tear(path: Path, rng: random.Random) -> None:
    """Keep of a file that was never synced what chance wants."""
    how = rng.choice(("whole", "empty", "half", "zeros", "gone"))
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how != "whole":
        path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "zeros": bytes(len(data))}[how])
