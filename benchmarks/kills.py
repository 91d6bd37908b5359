"""Kill runs in every phase, cut the power of simulated disks, give the same command again, and compare bytes.

    python benchmarks/kills.py [--kills 20] [--cuts 10] [--formats zarr,cog,plate] [--minutes 15] [--log FILE]

A process loads everything once and forks a child for each run, so that a kill costs a fraction of a second. The
network is a stand-in that costs nothing (`archives_work.install`); what is tried is everything else. Phases are told
apart by the functions that begin them: planning, tiles, pyramid, encoding (the file, or metadata and the groups above
images), appearing, tidying. A kill comes before or after a change of the file system in its phase, or at any moment.

A simulated power cut is a kill after which the disk holds the worst that a file system may keep: of every file that was
not synced since it was written, nothing, a half, zeros, or all; of a file that is new since its folder was synced,
perhaps not even the name; and a rename whose folder was not synced may be undone.

``--minutes`` ends after so long, with what was done until then; the table says how many there were. ``--log`` appends
every trial to a file; the same command again counts the trials of that file and makes only those that are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import archives_work
import numpy as np

PHASES = ("planning", "tiles", "pyramid", "encoding", "appearing", "tidying")
STEPS = ("replace", "rename", "mkdir", "unlink", "rmdir")
#: Source, output and options of each format.
FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "zarr": ("plane.tif", "o.ome.zarr", {"tile": 64, "chunks": 128}),
    "sharded": ("plane.tif", "o.ome.zarr", {"tile": 64, "chunks": 64, "shards": 128}),
    "zarr v2": ("plane.tif", "o.ome.zarr", {"tile": 64, "chunks": 128, "ngff": "0.4"}),
    "ome-tiff": ("plane.tif", "o.ome.tif", {"tile": 64, "chunks": 128}),
    "cog": ("scene.tif", "o.tif", {"tile": 64, "chunks": 128}),
    "png": ("plane.tif", "o.png", {"tile": 64, "chunks": 128}),
    "plate": ("plate.zarr", "o.ome.zarr", {"tile": 64, "chunks": 128}),
    "tree": ("tree.zarr", "o.ome.zarr", {"tile": 64, "chunks": 128}),
}
RANGE = (0, 1000)


# --- sources --------------------------------------------------------------------------------------


def make_sources(folder: Path) -> None:
    import tifffile

    rng = np.random.default_rng(0)
    tifffile.imwrite(folder / "plane.tif", rng.integers(0, 999, (300, 280)).astype("u2"), tile=(64, 64))
    make_scene(folder / "scene.tif", rng)
    for name, paths in (("plate.zarr", ("A/1/0", "A/1/1", "B/2/0")), ("tree.zarr", ("a", "b/c", "b/d"))):
        make_archive(folder / name, paths, rng)


def make_scene(path: Path, rng: np.random.Generator) -> None:
    import rasterio

    profile = {"driver": "GTiff", "width": 280, "height": 300, "count": 2, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", **profile, transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)) as dataset:
        dataset.write(rng.integers(0, 999, (2, 300, 280)).astype("u2"))


def make_archive(path: Path, images: tuple[str, ...], rng: np.random.Generator) -> None:
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
    """What a child notes of itself: phases, changes of the file system, and what is on the disk for certain."""

    death: Death
    log: Path
    phase: str = "planning"
    counts: Counter[str] = field(default_factory=Counter)
    times: Counter[str] = field(default_factory=Counter)
    since: float = field(default_factory=time.monotonic)

    def enter(self, phase: str) -> None:
        if phase == self.phase:
            return
        now = time.monotonic()
        self.times[self.phase] += now - self.since  # type: ignore[assignment]
        self.phase, self.since = phase, now
        if self.death.phase == phase and self.death.seconds:
            threading.Timer(self.death.seconds, die).start()

    def change(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **kwargs: Any) -> Any:
            self.counts[self.phase] += 1
            mine = self.death.phase == self.phase and self.death.step == self.counts[self.phase]
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
        self.note("folder", str(path), sorted(os.listdir(path)))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def entering(watcher: Watcher, owner: Any, name: str, phase: str) -> None:
    function = getattr(owner, name)

    def entered(*args: Any, **kwargs: Any) -> Any:
        watcher.enter(phase)
        return function(*args, **kwargs)

    setattr(owner, name, entered)


def watch(watcher: Watcher) -> None:
    """Let this process note what it does, and die at its moment."""
    from swin2sr_ops.io.output import destination, staged_file, staging
    from swin2sr_ops.io.storage import files
    from swin2sr_ops.io.zarr import sink
    from swin2sr_ops.run import archive, pipeline

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


def child(source: Path, out: Path, options: dict[str, Any], log: Path, death: Death) -> None:
    import torch

    from swin2sr_ops.api import restore_image
    from swin2sr_ops.run.archive import run_collection

    torch.set_num_threads(1)
    watcher = Watcher(death, log)
    watch(watcher)
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
    from swin2sr_ops.request import RestoreRequest

    return RestoreRequest(**given).validated()


def forked(*args: Any) -> int:
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


# --- trials ---------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    """Of a file, or of all names and bytes of a folder."""
    found = hashlib.sha256()
    for item in sorted(path.rglob("*")) if path.is_dir() else [path]:
        found.update(str(item.relative_to(path)).encode())
        found.update(item.read_bytes() if item.is_file() else b"/")
    return found.hexdigest()


@dataclass
class Trials:
    """All trials of one format."""

    name: str
    sources: Path
    folder: Path
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        source, output, self.options = FORMATS[self.name]
        self.source, self.out, self.log = self.sources / source, self.folder / output, self.folder / "log.txt"

    def prepare(self) -> None:
        """One undisturbed run: its bytes, and what it does in each phase."""
        if self.run(Death()) != 0:
            raise SystemExit(f"{self.name}: the undisturbed run failed")
        self.wanted = digest(self.out)
        end = self.log.with_suffix(".end").read_text(encoding="utf-8")
        self.counts, self.times, modules = json.loads(end)
        for module in modules:  # once, for all forks; to run anything here would start threads, which no fork has
            with suppress(ImportError):
                import_module(module)
        self.phases = [phase for phase in PHASES if phase in self.times]

    def run(self, death: Death) -> int:
        self.log.unlink(missing_ok=True)
        return forked(self.source, self.out, self.options, self.log, death)

    def death(self, phase: str) -> Death:
        steps, seconds = self.counts.get(phase, 0), self.times.get(phase, 0.0)
        if steps and self.rng.random() < 0.6:
            return Death(phase, self.rng.randint(1, steps), self.rng.random() < 0.5)
        return Death(phase, seconds=max(self.rng.uniform(0, seconds), 1e-6))

    def empty(self) -> None:
        for item in self.folder.iterdir():
            shutil.rmtree(item) if item.is_dir() else item.unlink()

    def kill(self, phase: str) -> None:
        self.empty()
        status = self.run(self.death(phase))
        self.kills[phase if status == -signal.SIGKILL else "ended first"] += 1
        self._again(self.kills)

    def cut(self, phase: str) -> None:
        """Cut the power in a phase, or after the end."""
        self.empty()
        self.run(self.death(phase) if phase != "after" else Death())
        cut_power(self.folder, self.log, self.rng)
        self.cuts[phase] += 1
        if os.path.lexists(self.out) and without_notes(self.out) != self.wanted:
            self.cuts["torn under its name"] += 1
        self._again(self.cuts)

    def _again(self, counts: Counter[str]) -> None:
        if self.run(Death()) != 0:
            counts["refused"] += 1
        elif digest(self.out) != self.wanted:
            counts["other bytes"] += 1
        elif {item.name for item in self.folder.iterdir()} - {self.out.name, "log.txt", "log.end"}:
            counts["left something"] += 1


def without_notes(out: Path) -> str:
    """The digest of an output that a cut kept from being tidied."""
    if not out.is_dir():
        return digest(out)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy"
        shutil.copytree(out, copy, ignore=shutil.ignore_patterns(".swin2sr_ops"))
        return digest(copy)


BAD = ("torn under its name", "refused", "other bytes", "left something")


def table(trials: list[Trials]) -> str:
    columns = [*PHASES, "ended first", *BAD[1:]]
    lines = ["| kills | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {one.name} | " + " | ".join(str(one.kills[c]) for c in columns) + " |" for one in trials]
    total: Counter[str] = sum((one.kills for one in trials), Counter())
    lines += ["| all | " + " | ".join(str(total[c]) for c in columns) + " |", ""]
    columns = [*PHASES, "after", *BAD]
    lines += ["| power cuts | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {one.name} | " + " | ".join(str(one.cuts[c]) for c in columns) + " |" for one in trials]
    total = sum((one.cuts for one in trials), Counter())
    return "\n".join([*lines, "| all | " + " | ".join(str(total[c]) for c in columns) + " |"])


def make(one: Trials, what: str, phase: str, log: Path | None) -> None:
    """Make one trial, and append what became of it to the log."""
    before = {"kill": one.kills.copy(), "cut": one.cuts.copy()}
    getattr(one, what)(phase)
    after = {"kill": one.kills, "cut": one.cuts}
    if log is not None:
        counts = {kind: dict(after[kind] - before[kind]) for kind in after}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"format": one.name, "what": what, "phase": phase, "counts": counts}) + "\n")


def count_logged(log: Path, trials: list[Trials]) -> Counter[tuple[str, str, str]]:
    """Add the trials of earlier commands to the counts; return how many there were of each kind."""
    made: Counter[tuple[str, str, str]] = Counter()
    named = {one.name: one for one in trials}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        trial = json.loads(line)
        if trial["format"] in named:
            made[trial["format"], trial["what"], trial["phase"]] += 1
            named[trial["format"]].kills.update(trial["counts"]["kill"])
            named[trial["format"]].cuts.update(trial["counts"]["cut"])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills in each phase of each format (default: 20)")
    parser.add_argument("--cuts", type=int, default=3, help="power cuts in each phase of each format (default: 3)")
    parser.add_argument("--formats", default=",".join(FORMATS), help="some of " + ", ".join(FORMATS))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="a file of trials, to which this command adds")
    options = parser.parse_args()
    archives_work.install()
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as place:
        sources = Path(place, "sources")
        sources.mkdir()
        make_sources(sources)
        trials = []
        earlier = options.log.stat().st_size if options.log and options.log.exists() else 0
        for number, name in enumerate(options.formats.split(",")):
            folder = Path(place, f"out{number}")
            folder.mkdir()
            trials.append(Trials(name, sources, folder, random.Random(f"{options.seed} {number} {earlier}")))
        for one in trials:
            one.prepare()
        made = count_logged(options.log, trials) if options.log else Counter()
        wanted = [(one, "kill", phase, options.kills) for one in trials for phase in one.phases]
        wanted += [(one, "cut", phase, options.cuts) for one in trials for phase in (*one.phases, "after")]
        todo = [(one, what, phase) for one, what, phase, times in wanted
                for _ in range(times - made[one.name, what, phase])]  # fmt: skip
        random.Random(options.seed).shuffle(todo)  # so that a run that is ended early tried some of all
        for one, what, phase in todo:
            if time.monotonic() < end:
                make(one, what, phase, options.log)
    print(f"{date.today()}, seed {options.seed}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}.\n")
    print(table(trials))


if __name__ == "__main__":
    main()
