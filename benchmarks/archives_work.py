"""The runs that `archives.py` measures: a network that does nothing, and the same work by plain libraries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.events import Event
from swin2sr_ops.request import RestoreRequest

CHUNK, SHARD, SCALE = 512, 2048, 2
MODEL = "tiny-x2-gray"


@dataclass
class Case:
    """One thing to do; the answer gets what it says of itself besides seconds."""

    source: str
    output: str
    side: int
    shard: int | None = SHARD
    cpus: int = 1
    count: int = 0  # of tiles, markers or processes
    workers: int = 0  # processes of a cluster; 0 is this process
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def unit(self) -> int:
        """Output pixels, along Y and X, that one writer owns."""
        return SHARD if self.shard is None else self.shard


# --- the archive, and what all have in common -----------------------------------------------------


def compressor() -> Any:
    """Return the compressor of this package's Zarr outputs."""
    from zarr.codecs import BloscCodec

    return BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=2)


def create(path: str, side: int, shard: int | None = None) -> Any:
    """Create a square array with the chunks of the benchmark."""
    import zarr

    options = {"chunks": (CHUNK, CHUNK), "shards": None if shard is None else (shard, shard)}
    return zarr.create_array(path, shape=(side, side), dtype="uint16", compressors=compressor(), **options)


def make_source(path: str, side: int) -> None:
    """The sample of cells again and again, in other places each time, with a camera's noise."""
    import tifffile

    from swin2sr_ops.io.samples import sample_path

    cells = tifffile.imread(sample_path("sample:cells"))
    rng = np.random.default_rng(0)
    pattern = np.tile(cells, [-(-2 * 1024 // n) for n in cells.shape]).astype(float)
    pattern = (pattern + rng.normal(0, 8, pattern.shape) + rng.normal(0, 0.5, pattern.shape) * np.sqrt(pattern)).round()
    array, stored = create(path, side), pattern.clip(0, 65535).astype("uint16")
    for rows, columns in squares(side, 1024):
        top, left = rng.integers(0, 1024, 2)
        array[rows, columns] = stored[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]


def squares(side: int, unit: int) -> Iterator[tuple[slice, slice]]:
    """Iterate over square regions of ``unit`` px."""
    steps = [slice(i, min(i + unit, side)) for i in range(0, side, unit)]
    return ((rows, columns) for rows in steps for columns in steps)


def enlarge(block: NDArray[Any]) -> NDArray[Any]:
    """Each pixel twice along Y and X: as cheap as it gets, for everybody."""
    rows, columns = block.shape
    wide = np.empty((rows, columns, SCALE), block.dtype)
    wide[:] = block[..., None]
    tall = np.empty((rows, SCALE, columns * SCALE), block.dtype)
    tall[:] = wide.reshape(rows, 1, -1)
    return tall.reshape(rows * SCALE, -1)


def install() -> None:
    """Let every network of this process cost nothing."""
    from swin2sr_ops.engine.restorer import Restorer
    from swin2sr_ops.pixels.planes import owned

    def restore_tile(self: Restorer, block: NDArray[Any], order: Any, tile: Any, *_: Any) -> NDArray[Any]:
        plane = owned(block.reshape(1, *block.shape[-2:]), tile)[0]
        return enlarge(plane).reshape(*block.shape[:-2], plane.shape[0] * SCALE, plane.shape[1] * SCALE)

    Restorer.restore_tile = restore_tile  # type: ignore[method-assign]
    Restorer.engine = lambda self: None  # type: ignore[method-assign,assign,return-value]


# --- plain peers ----------------------------------------------------------------------------------


def loop(case: Case) -> None:
    """zarr alone: one region after the other."""
    import zarr

    source, output = zarr.open_array(case.source, mode="r"), create(case.output, case.side * SCALE, case.shard)
    for rows, columns in squares(case.side, case.unit // SCALE):
        output[twice(rows), twice(columns)] = enlarge(source[rows, columns])


def dask(case: Case) -> None:
    """Copy as a Dask user would: from_zarr, map_blocks, store."""
    import dask.array as da

    source = da.from_zarr(case.source, chunks=(case.unit // SCALE,) * 2)
    chunks = tuple(tuple(n * SCALE for n in sizes) for sizes in source.chunks)
    large = source.map_blocks(enlarge, dtype=source.dtype, chunks=chunks)
    output = create(case.output, case.side * SCALE, case.shard)
    large.store(output, lock=False, scheduler="threads", num_workers=case.cpus)


def bare(case: Case) -> None:
    """Our reads and writes, haloes included, on as many threads, with zarr alone: no pipeline, no journal."""
    import zarr

    from swin2sr_ops.pixels.planes import owned

    source, output = zarr.open_array(case.source, mode="r"), create(case.output, case.side * SCALE, case.shard)

    def one(piece: Any) -> None:
        output[piece.write] = enlarge(owned(source[piece.read][None], piece.tile)[0])

    pieces = list(job_of(case).pieces())
    case.facts["tiles"] = len(pieces)
    with ThreadPoolExecutor(case.cpus) as pool:
        list(pool.map(one, pieces))


def twice(part: slice) -> slice:
    """Return the same part of the result."""
    return slice(part.start * SCALE, part.stop * SCALE)


# --- ours -----------------------------------------------------------------------------------------


def job_of(case: Case, **options: Any) -> Any:
    """Prepare a run of the case."""
    from swin2sr_ops.run.job import prepare

    cut = {"chunks": CHUNK, "shards": case.shard} if case.output.endswith(".zarr") else {}
    return prepare(
        case.source, RestoreRequest(model=MODEL, range=(0, 65535), tile=case.unit // SCALE, **cut, **options)
    )


def ours(case: Case, **options: Any) -> None:
    """Restore by this package."""
    from swin2sr_ops.run.run import run

    began, first = time.perf_counter(), []

    def note(event: Event) -> None:
        if event.kind == "start":
            first.append(time.perf_counter() - began)

    report = run(job_of(case), case.output, progress=note, **{"pyramid": False, **options})
    case.facts |= {"tiles": report.tiles, "before the first tile": first[0]}


def pyramid(case: Case) -> None:
    """Restore by this package, with a pyramid."""
    ours(case, pyramid=True)


def lazy(case: Case) -> None:
    """`swin2sr_ops.restore` of a Dask array, stored."""
    import dask.array as da

    import swin2sr_ops

    began = time.perf_counter()
    source = da.from_zarr(case.source)
    large = swin2sr_ops.restore(source, model=MODEL, axes="YX", range=(0, 65535), tile=case.unit // SCALE)
    case.facts["graph ms"] = 1e3 * (time.perf_counter() - began)
    output = create(case.output, case.side * SCALE, case.shard)
    large.store(output, lock=False, scheduler="threads", num_workers=case.cpus)


def resume(case: Case) -> None:
    """Nine tenths done, then stopped: how long the same run takes until it goes on."""
    from swin2sr_ops.run.run import run

    job = job_of(case)
    seconds: dict[str, float] = {}

    def stop(event: Event) -> None:
        if event.kind == "tile" and event.done >= 0.9 * event.total:
            raise KeyboardInterrupt

    def note(event: Event) -> None:
        seconds.setdefault(event.kind, time.perf_counter() - began)

    with suppress(KeyboardInterrupt):
        run(job, case.output, pyramid=False, progress=stop)
    partial = Path(f"{case.output}.partial")
    markers = list((partial / ".swin2sr_ops" / "done").rglob("*-*"))
    stored = sum(p.stat().st_size for p in partial.rglob("*") if p.is_file())
    began = time.perf_counter()
    report = run(job, case.output, pyramid=False, progress=note)
    case.facts |= {
        "markers": len(markers), "resumed": report.resumed, "tiles": report.tiles,
        "seconds until it goes on": seconds["start"], "verified MB": stored / 1e6,
        "verified MB/s": stored / 1e6 / seconds["start"],
    }  # fmt: skip


def journal(case: Case) -> None:
    """Only the notes: markers of shards of 16 chunks, written and looked for."""
    from swin2sr_ops.io.output.journal import Journal
    from swin2sr_ops.io.storage.files import LocalFiles

    notes = Journal(LocalFiles(Path(case.output)), {"0": (case.count, 1)}, {"0": (SHARD, SHARD)})
    regions = [(slice(i * SHARD, (i + 1) * SHARD), slice(0, SHARD)) for i in range(case.count)]
    began = time.perf_counter()
    for region in regions:
        notes.add("0", region, [("0/c/0/0", 2_000_000, 123456789)])
    case.facts["ms per marker"] = 1e3 * (time.perf_counter() - began) / case.count


def processes(case: Case) -> None:
    """The same on the processes of a Dask cluster."""
    from swin2sr_ops.cluster.executor import open_cluster

    began = time.perf_counter()
    with open_cluster(workers=case.workers) as executor:
        executor.client.run(install)
        small = replace(case, source=f"{case.source}.small.zarr", output=f"{case.output}.small.ome.zarr", side=256)
        ours(small, executor=executor)  # workers load what they need
        case.facts["starting"] = time.perf_counter() - began
        began = time.perf_counter()
        ours(case, executor=executor)
        case.facts["running"] = time.perf_counter() - began
    rmtree(small.output)


@dataclass(frozen=True)
class NoSource:
    """An image that is never read."""

    info: Any
    uri: str = "nothing"

    def read(self, region: Any) -> NDArray[Any]:
        """At once."""
        return np.empty(0)

    def identity(self) -> dict[str, Any]:
        """Return nothing: the source does not exist."""
        return {}


@dataclass
class NoSink:
    """Takes everything and keeps nothing."""

    def __setitem__(self, region: Any, block: Any) -> None:
        pass

    def finish(self, provenance: Any) -> None:
        """Write nothing."""
        pass

    def abort(self) -> None:
        """Remove nothing."""
        pass


def overhead(case: Case) -> None:
    """A run of ``count`` tiles of 1024 px that are neither read, nor computed, nor written: what is left is ours."""
    from swin2sr_ops.cluster.executor import open_cluster
    from swin2sr_ops.geometry.axes import AxisOrder
    from swin2sr_ops.run import outputs, run as running

    outputs.create_sink = lambda *_, **__: NoSink()  # type: ignore[assignment]
    install_nothing()
    job = job_of(case)

    def wide(count: int) -> Any:
        """As many tiles of an image that is one row of them."""
        info = replace(job.source.info, shape=(1024, 1024 * count), chunks=(CHUNK, CHUNK))
        part = replace(job.parts[0], plan=job.parts[0].restorer.plan(*info.shape, 1024))
        return replace(job, source=NoSource(info), order=AxisOrder.of(info.shape, info.axes), parts=(part,))

    with nullcontext() if case.workers == 0 else open_cluster(workers=case.workers) as executor:
        if executor is not None:
            executor.client.run(install_nothing)
        running.run(wide(case.workers + 1), case.output, executor=executor)  # loads what is loaded once
        began, busy = time.perf_counter(), time.process_time()
        running.run(wide(case.count), case.output, executor=executor)
        case.facts["ms per tile"] = 1e3 * (time.perf_counter() - began) / case.count
        case.facts["cpu ms per tile"] = 1e3 * (time.process_time() - busy) / case.count


def install_nothing() -> None:
    """Replace the network by nothing in this process."""
    from swin2sr_ops.engine.restorer import Restorer

    Restorer.restore_tile = lambda *_: None  # type: ignore[method-assign,assign,return-value]
    Restorer.engine = lambda _: None  # type: ignore[method-assign,assign,return-value]
