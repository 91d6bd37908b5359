"""Measure the cost of archives besides the network: a network that does nothing, against plain Dask and zarr.

    python benchmarks/archives.py [--size 4096] [--repeats 3] [--json figures.json] > figures.md

A Zarr archive of cells with camera noise (uint16, Blosc-Zstandard, chunks of 512 px) is enlarged by 2, each
pixel twice along Y and X, into Zarr v3 with chunks of 512 px in shards of 2048 px. The peers do the same with
the same codec and the same cuts. Each has a process of its own, pinned to ``--cpus`` cores; rounds go through
all of them in turn, so that what else the machine does meets all alike. Figures are medians of the rounds, and
ratios medians of the ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

import archives_work as work
import psutil

SECTIONS = ("copies", "growth", "overhead", "resume", "processes", "tiff")
COPIES = {
    "loop": "zarr, one thread",
    "dask": "dask",
    "bare": "our regions, zarr only",
    "ours": "restore, no pyramid",
    "pyramid": "restore with pyramid",
    "lazy": "`restore()` of a Dask array",
}
PEERS = ("loop", "dask", "plain_tiff", "plain_cog", "geotiff")  # nothing of ours is loaded there
Figures = dict[str, Any]


class Child:
    """A process that executes commands one after the other."""

    def __init__(self, cpus: int, name: str) -> None:
        here = Path(work.__file__).parent
        # Processes of a Dask cluster import the stand-ins as well.
        paths = os.pathsep.join(p for p in (str(here), os.environ.get("PYTHONPATH")) if p)
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(here / "archives_child.py"), str(cpus), *([] if name in PEERS else ["free"])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment,
        )  # fmt: skip

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if kind is not None:
            self._process.kill()
        self._process.wait()

    def do(self, name: str, **case: Any) -> Figures:
        """Run one function of `archives_work` and return its figures."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"work": name, **case}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{name} failed: see above.")
        answer: Figures = json.loads(line)
        return answer


@dataclass
class Bench:
    """All measurements of one run."""

    folder: Path
    size: int
    repeats: int
    cpus: int
    grow: float
    figures: Figures = field(default_factory=dict)

    def source(self, side: int) -> str:
        """Return the path of a source of ``side`` px, created once, with a small one beside it."""
        path = self.folder / f"{side}.zarr"
        for place, n in ((path, side), (Path(f"{path}.small.zarr"), min(side, 256))):
            if not place.exists():
                work.make_source(str(place), n)
        return str(path)

    def case(self, side: int, suffix: str = ".ome.zarr", **more: Any) -> Figures:
        """Return the settings of one measurement."""
        return {"source": self.source(side), "output": str(self.folder / f"out{suffix}"), "side": side, **more}

    def alone(self, name: str, **case: Any) -> Figures:
        """Measure one case in a process of its own."""
        with Child(self.cpus, name) as child:
            return child.do(name, **case)

    def rounds(self, names: Iterable[str], base: str, case: Figures) -> dict[str, Figures]:
        """Medians of all, and their ratios to ``base``; each round does all of them in turn."""
        found: dict[str, list[Figures]] = {name: [] for name in names}
        with ExitStack() as stack:
            children = {name: stack.enter_context(Child(self.cpus, name)) for name in found}
            for _ in range(self.repeats):
                for name, child in children.items():
                    found[name].append(child.do(name, **case))
        answer = {}
        for name, seen in found.items():
            answer[name] = {key: median(one[key] for one in seen) for key in seen[0]}
            answer[name]["peak"] = max(one["peak"] for one in seen)
            answer[name]["above"] = seen[0]["above"]  # later rounds find memory that the first has left
            for key in ("wall", "cpu"):
                pairs = zip(seen, found[base], strict=True)
                answer[name][f"{key} ratio"] = median(ours[key] / plain[key] for ours, plain in pairs)
        return answer

    # --- sections ---------------------------------------------------------------------------------

    def copies(self) -> None:
        """Against the peers, in shards."""
        self.figures["copies"] = self.rounds(COPIES, "dask", self.case(self.size))

    def growth(self) -> None:
        """Memory of a small archive, and of one that is ``grow`` times larger."""
        side = max(round(self.size * self.grow**0.5), self.size)
        sides = {"1": self.size, f"{self.grow:g}": side}
        self.figures["growth"] = {
            f"{name}, {times} times": self.alone(name, **self.case(n)) | {"side": n}
            for name in ("pyramid", "dask")
            for times, n in sides.items()
        }

    def overhead(self) -> None:
        """Tiles without pixels, here and on two processes; markers alone."""
        tiny = self.size <= 512
        case = self.case(min(self.size, 256), count=50 if tiny else 4000)
        found = {"in this process": self.alone("overhead", **case), "journal": self.alone("journal", **case)}
        if not tiny:
            found["two processes"] = self.alone("overhead", **case, workers=2)
        self.figures["overhead"] = found

    def resume(self) -> None:
        """Measure the first step of a resumed run: verification of the journal."""
        self.figures["resume"] = {
            f"{(cut // work.CHUNK) ** 2} chunks each": self.alone("resume", **self.case(self.size, shard=cut))
            for cut in (work.SHARD // 2, work.CHUNK)
        }

    def processes(self) -> None:
        """On a Dask cluster of this machine."""
        case = self.case(self.size, shard=work.SHARD // 2)
        self.figures["processes"] = {str(n): self.alone("processes", **case, workers=n) for n in (1, 2, 4)}

    def tiff(self) -> None:
        """The other formats, which grow in staging arrays first."""
        case = self.case(self.size // 2, ".ome.tif")
        self.figures["tiff"] = self.rounds(("plain_tiff", "tiff"), "plain_tiff", case)
        if find_spec("rasterio") is not None:
            case = self.case(self.size // 2, ".tif")
            self.alone("geotiff", **case)
            self.figures["tiff"] |= self.rounds(("plain_cog", "cog"), "plain_cog", case)


# --- what people read -----------------------------------------------------------------------------


def table(head: str, rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def mib(count: float) -> str:
    """Format bytes as MiB."""
    return f"{count / 2**20:.0f}"


def copies_table(found: dict[str, Figures], pixels: float) -> str:
    """Return the table of copies: time, throughput and memory of each method."""
    rows = [
        (
            COPIES[name], f"{f['wall']:.2f}", f"{f['cpu']:.2f}", f"{pixels / f['wall'] / 1e6:.0f}",
            f"{f['wall ratio']:.2f}", f"{f['cpu ratio']:.2f}", mib(f["peak"]), mib(f["above"]),
        )
        for name, f in found.items()
    ]  # fmt: skip
    head = "| | wall s | CPU s | output Mpx/s | wall / dask | CPU / dask | peak MiB | of that for the work |"
    ours, bare = found["ours"], found["bare"]
    extra = 1e3 * (ours["cpu"] - bare["cpu"]) / ours["tiles"]
    graph = found["lazy"]["graph ms"] / ours["tiles"]
    return (
        f"{table(head, rows)}\n\n{ours['tiles']:.0f} tiles of 1024 px. Pipeline, checksums, journal and metadata:"
        f" {extra:.1f} ms CPU per tile more than the same reads and writes without them. Before the first tile:"
        f" {ours['before the first tile']:.2f} s. The Dask graph of `restore()`: {graph:.2f} ms per tile."
    )


def growth_table(found: dict[str, Figures], _: float) -> str:
    """Return the table of memory by size of the source."""
    rows = [(name, f"{f['side']} px", f"{f['wall']:.1f}", mib(f["peak"]), mib(f["above"])) for name, f in found.items()]
    return table("| | source | wall s | peak MiB | of that for the work |", rows)


def overhead_table(found: dict[str, Figures], _: float) -> str:
    """Return the table of time per tile without pixels."""
    runs = [(k, f"{f['ms per tile']:.3f}", f"{f['cpu ms per tile']:.3f}") for k, f in found.items() if k != "journal"]
    marker = found["journal"]["ms per marker"]
    return table("| tiles without pixels | ms per tile | CPU ms per tile, without workers |", runs) + (
        f"\n\nA marker of the journal takes {marker:.3f} ms."
    )


def resume_table(found: dict[str, Figures], _: float) -> str:
    """Return the table of resumed runs."""
    head = "| nine tenths done; markers of | tiles | taken over | markers | MB verified | s until it goes on | MB/s |"
    keys = ("tiles", "resumed", "markers")
    rows = [
        (
            name, *(f[key] for key in keys), f"{f['verified MB']:.0f}", f"{f['seconds until it goes on']:.2f}",
            f"{f['verified MB/s']:.0f}",
        )
        for name, f in found.items()
    ]  # fmt: skip
    return table(head, rows)


def processes_table(found: dict[str, Figures], _: float) -> str:
    """Return the table of runs on several processes."""
    rows = [
        (n, f"{f['tiles']:.0f}", f"{f['starting']:.1f}", f"{f['running']:.2f}", f"{f['cpu']:.1f}", mib(f["peak"]))
        for n, f in found.items()
    ]
    return table(
        "| processes | tiles of 512 px | s to start and load | s to run | CPU s, start included | client's peak MiB |",
        rows,
    )


def tiff_table(found: dict[str, Figures], _: float) -> str:
    """Return the table of TIFF and COG."""
    names = {
        "plain_tiff": "tifffile, one pass, no pyramid", "tiff": "restore to OME-TIFF, no pyramid",
        "plain_cog": "rasterio, then GDAL's COG driver", "cog": "restore to COG",
    }  # fmt: skip
    rows = [
        (
            names[k],
            f"{f['wall']:.2f}",
            f"{f['cpu']:.2f}",
            f"{f['wall ratio']:.2f}",
            f"{f['cpu ratio']:.2f}",
            mib(f["peak"]),
        )
        for k, f in found.items()
    ]
    return table("| | wall s | CPU s | wall ratio | CPU ratio | peak MiB |", rows)


TABLES = {
    "copies": ("Against plain zarr and Dask", copies_table),
    "growth": ("Memory while the archive grows", growth_table),
    "overhead": ("Without pixels", overhead_table),
    "resume": ("Going on", resume_table),
    "processes": ("Processes of a Dask cluster", processes_table),
    "tiff": ("OME-TIFF and COG", tiff_table),
}


def summary(figures: Figures) -> str:
    """All figures in Markdown."""
    machine, asked = figures["machine"], figures["asked"]
    pixels = (asked["size"] * work.SCALE) ** 2
    load = " to ".join(f"{n:.1f}" for n in machine["load"])
    parts = [
        f"{machine['date']}, {machine['processor']}, {asked['cpus']} of {machine['cores']} cores, load average {load},"
        f" files in {machine['file system']}; {machine['versions']}. Source {asked['size']} x {asked['size']} px,"
        f" medians of {asked['repeats']}."
    ]
    parts += [
        f"## {title}\n\n{draw(figures[name], pixels)}" for name, (title, draw) in TABLES.items() if name in figures
    ]
    return "\n\n".join(parts)


def machine_of(folder: Path) -> Figures:
    """Describe the machine, its libraries and the disk of ``folder``."""
    names = ("zarr", "numcodecs", "dask", "distributed", "tifffile", "numpy")
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    kinds = {p.mountpoint: p.fstype for p in psutil.disk_partitions(all=True)}
    mount = next(str(p) for p in (folder.resolve(), *folder.resolve().parents) if str(p) in kinds)
    return {
        "date": date.today().isoformat(),
        "processor": model,
        "cores": os.cpu_count(),
        "file system": kinds[mount],
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
        "load": [os.getloadavg()[0]],
    }


def main() -> None:
    """Run the measurements and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="rows and columns of the source")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=min(os.cpu_count() or 1, 2), help="cores of each process")
    parser.add_argument("--grow", type=float, default=10, help="how many times the larger archive has as many pixels")
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(SECTIONS), help=", ".join(SECTIONS))
    parser.add_argument("--folder", help="where the archives lie meanwhile")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="archives-", dir=options.folder) as folder:
        figures: Figures = {"machine": machine_of(Path(folder))}
        figures["asked"] = {name: getattr(options, name) for name in ("size", "repeats", "cpus", "grow")}
        bench = Bench(Path(folder), options.size, options.repeats, options.cpus, options.grow, figures)
        for name in SECTIONS:
            if name in options.only:
                print(f"{name} ...", file=sys.stderr, flush=True)
                getattr(bench, name)()
        figures["machine"]["load"].append(os.getloadavg()[0])
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(summary(figures))


if __name__ == "__main__":
    main()
