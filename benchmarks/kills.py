"""Kill runs in every phase, cut the power of simulated disks, give the same command again, and compare bytes.

    python benchmarks/kills.py [--kills 20] [--cuts 10] [--formats zarr,cog,plate] [--minutes 15] [--log FILE]

A process loads everything once and forks a child for each run, so that a kill costs a fraction of a second. The
network is a stand-in that costs nothing (`archives_work.install`); what is tried is everything else. Phases are told
apart by the functions that begin them: planning, tiles, pyramid, encoding (the file, or metadata and the groups above
images), appearing, tidying. A kill comes before or after a change of the file system in its phase, or at any moment.

Formats that begin with "s3" are written to an S3 server (moto's, which ``swin2sr_ops[test]`` installs): there a kill
comes before or after a request, and "appearing" begins with the documents that make an image one.

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
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import archives_work
import kills_s3
from kills_work import Death, cut_power, forked, make_sources

from swin2sr_ops.hooks.dispatch import model_specs
from swin2sr_ops.hooks.manager import manager

PHASES = ("planning", "tiles", "pyramid", "encoding", "appearing", "tidying")
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
#: The same, but into a bucket of an S3 server.
FORMATS |= {f"s3 {name}": FORMATS[name] for name in ("zarr", "sharded", "zarr v2", "plate", "tree")}

# --- trials ---------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all names and bytes of a folder."""
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
        self.source, self.log = self.sources / source, self.folder / "log.txt"
        self.out: Any = self.folder / output

    def prepare(self) -> None:
        """One undisturbed run: its bytes, and what it does in each phase."""
        if self.run(Death()) != 0:
            raise SystemExit(f"{self.name}: the undisturbed run failed")
        self.wanted = self.digest()
        end = self.log.with_suffix(".end").read_text(encoding="utf-8")
        self.counts, self.times, modules = json.loads(end)
        for module in modules:  # once, for all forks; to run anything here would start threads, which no fork has
            with suppress(ImportError):
                import_module(module)
        self.phases = [phase for phase in PHASES if phase in self.times]

    def run(self, death: Death) -> int:
        """Run until the death; return the status."""
        self.log.unlink(missing_ok=True)
        return forked(self.source, self.out, self.options, self.log, death)

    def death(self, phase: str) -> Death:
        """Choose a moment in ``phase`` to die, by steps or by time."""
        steps, seconds = self.counts.get(phase, 0), self.times.get(phase, 0.0)
        if steps and self.rng.random() < 0.6:
            return Death(phase, self.rng.randint(1, steps), self.rng.random() < 0.5)
        return Death(phase, seconds=max(self.rng.uniform(0, seconds), 1e-6))

    def empty(self) -> None:
        """Remove the output and all that a run leaves."""
        for item in self.folder.iterdir():
            shutil.rmtree(item) if item.is_dir() else item.unlink()

    def digest(self) -> str:
        """Return the digest of the output."""
        return digest(self.out)

    def left(self) -> bool:
        """Return True if something lies beside the output."""
        return bool({item.name for item in self.folder.iterdir()} - {self.out.name, "log.txt", "log.end"})

    def kill(self, phase: str) -> None:
        """Kill a run in ``phase``, then most resumes of it in this phase or a later one, until one ends."""
        self.empty()
        phases, ended = self.phases[self.phases.index(phase) :], False
        while phases and not ended:
            status = self.run(self.death(phases[0]))
            self.kills[{-signal.SIGKILL: phases[0], 0: "ended first"}.get(status, "refused")] += 1
            ended = status != -signal.SIGKILL
            while phases and self.rng.random() < NEXT:
                del phases[0]
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
        elif self.digest() != self.wanted:
            counts["other bytes"] += 1
        elif self.left():
            counts["left something"] += 1


@dataclass
class StoreTrials(Trials):
    """The same in an object store, where a power cut is a kill."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.prefix = f"{self.name.replace(' ', '-')}.ome.zarr"
        self.out = f"s3://{kills_s3.BUCKET}/{self.prefix}"

    def digest(self) -> str:
        """Return the digest of the output."""
        return kills_s3.digest(self.prefix)

    def left(self) -> bool:
        """Return True if a run left anything beside the output."""
        return False  # all keys below the output's are compared, and nothing is written elsewhere

    def empty(self) -> None:
        """Remove the output and all that a run leaves."""
        kills_s3.empty()
        self.log.unlink(missing_ok=True)


def without_notes(out: Path) -> str:
    """The digest of an output that a cut kept from being tidied."""
    if not out.is_dir():
        return digest(out)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy"
        shutil.copytree(out, copy, ignore=shutil.ignore_patterns(".swin2sr_ops"))
        return digest(copy)


#: Chance that the next kill of a run comes in a later phase than the last.
NEXT = 0.6
BAD = ("torn under its name", "refused", "other bytes", "left something")


def table(trials: list[Trials]) -> str:
    """Return tables of kills and power cuts by format and phase."""
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
    """Run the trials and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills in each phase of each format (default: 20)")
    parser.add_argument("--cuts", type=int, default=3, help="power cuts in each phase of each format (default: 3)")
    parser.add_argument("--formats", default=",".join(FORMATS), help="some of " + ", ".join(FORMATS) + " (all)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="a file of trials, to which this command adds")
    options = parser.parse_args()
    archives_work.install()
    model_specs(), manager()  # caches that every fork would fill anew
    end = time.monotonic() + 60 * options.minutes
    names = options.formats.split(",")
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        if any(name.startswith("s3 ") for name in names):
            stack.enter_context(kills_s3.server())
        sources = Path(place, "sources")
        sources.mkdir()
        make_sources(sources)
        trials = []
        earlier = options.log.stat().st_size if options.log and options.log.exists() else 0
        for number, name in enumerate(names):
            folder = Path(place, f"out{number}")
            folder.mkdir()
            kind = StoreTrials if name.startswith("s3 ") else Trials
            trials.append(kind(name, sources, folder, random.Random(f"{options.seed} {number} {earlier}")))
        for one in trials:
            one.prepare()
        made = count_logged(options.log, trials) if options.log else Counter()
        wanted = [(one, "kill", phase, options.kills) for one in trials for phase in one.phases]
        wanted += [(one, "cut", phase, options.cuts) for one in trials for phase in (*one.phases, "after")
                   if not isinstance(one, StoreTrials)]  # fmt: skip
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
