"""Unfinished outputs: killed, torn, locked, and resumed."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.output.journal import OWN_FOLDER
from swin2sr_ops.io.zarr.sink import ZarrSink, create_sink

KEY = RunKey("abc", {"model": "a", "halo": "exact"})
SHAPE = (2, 70, 90)
INFO = ImageInfo(shape=SHAPE, axes="CYX", dtype=np.dtype("u2"), chunks=(1, 32, 32))
PIXELS = np.random.default_rng(0).integers(1, 999, SHAPE).astype("u2")


def at(where: object, key: RunKey | None = KEY, **options: object) -> ZarrSink:
    sink = create_sink(str(where), INFO, chunks=(32, 32), run=key, **options)  # type: ignore[arg-type]
    assert sink is not None
    return sink


def tiles(shape: tuple[int, ...] = SHAPE, step: int = 32) -> list[tuple[slice, ...]]:
    return [
        (slice(c, c + 1), slice(y, min(y + step, shape[1])), slice(x, min(x + step, shape[2])))
        for c in range(shape[0])
        for y in range(0, shape[1], step)
        for x in range(0, shape[2], step)
    ]


def write(sink: ZarrSink, regions: list[tuple[slice, ...]]) -> None:
    for region in regions:
        pickle.loads(pickle.dumps(sink))[region] = PIXELS[region]


@pytest.fixture(params=["local", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "out.zarr")
    return f"memory://{tmp_path.name}/out.zarr"


def bytes_of(where: str) -> dict[str, bytes]:
    from swin2sr_ops.io.storage.files import files_at

    files = files_at(where)
    return {key: files.read(key) or b"" for key in files.listing()}


def test_a_resumed_run_ends_with_the_same_bytes(where: str) -> None:
    whole = at(where + "_undisturbed.zarr")
    write(whole, tiles())
    whole.finish({"model": "a"})
    sink = at(where)
    write(sink, tiles()[:7])
    sink.staging.claim.note(intensity=[1.5])
    sink.staging.release()  # killed here: nothing else is done
    sink = at(where)
    assert sink.staging.resumed
    assert sink.staging.claim.notes == {"intensity": [1.5]}
    done = [sink.has(region) for region in tiles()]
    assert done == [True] * 7 + [False] * (len(done) - 7)
    assert sink.has((slice(0, 1), slice(0, 64), slice(0, 64)))  # other tiles than then, whole chunks
    assert not sink.has((slice(0, 2), slice(0, 32), slice(0, 32)))
    write(sink, tiles()[7:])
    sink.finish({"model": "a"})
    assert bytes_of(where) == bytes_of(where + "_undisturbed.zarr")


@pytest.mark.parametrize("how", ["cut", "zeros", "gone", "marker", "empty marker"])
def test_torn_chunks_are_found(where: str, how: str) -> None:
    from swin2sr_ops.io.storage.files import files_at

    sink = at(where)
    write(sink, tiles())
    sink.staging.release()
    files, key = files_at(sink.staging.files.where), "0/c/0/1/1"
    marker = next(k for k in files.listing(OWN_FOLDER) if k.endswith("0-1_32-64_32-64"))
    data = files.read(key)
    assert data is not None
    if how == "gone":
        files.remove(key)
    elif "marker" in how:
        files.write(marker, b"" if how == "empty marker" else (files.read(marker) or b"")[:9])
    else:
        files.write(key, data[:-5] if how == "cut" else data[:50] + bytes(len(data) - 50))
    sink = at(where)
    torn = [region for region in tiles() if not sink.has(region)]
    assert torn == [(slice(0, 1), slice(32, 64), slice(32, 64))]
    sink.abort()


def test_empty_chunks_are_known(where: str) -> None:
    """A chunk of only the fill value is not stored, but counts as finished."""
    sink = at(where)
    sink[tiles()[0]] = np.zeros((1, 32, 32), "u2")
    sink.staging.release()
    sink = at(where)
    assert sink.has(tiles()[0])
    assert not sink.has(tiles()[1])
    sink.abort()


def test_other_settings_are_refused_by_name(where: str) -> None:
    sink = at(where)
    write(sink, tiles()[:3])
    sink.staging.release()
    with pytest.raises(OutputError, match=r'halo was "exact", now 16.*--restart'):
        at(where, RunKey("other", {"model": "a", "halo": 16}))
    sink = at(where, RunKey("other", {"model": "a", "halo": 16}, restart=True))
    assert not any(sink.has(region) for region in tiles())
    sink.abort()
    assert bytes_of(where) == {}


def test_a_second_run_is_refused(where: str) -> None:
    sink = at(where)
    for key in (KEY, None, RunKey("abc", restart=True)):
        with pytest.raises(OutputError, match="Another run is writing"):
            at(where, key)
    write(sink, tiles())
    sink.finish({})
    assert OWN_FOLDER not in str(list(bytes_of(where)))


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    where = tmp_path / "out.zarr"
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from tests.io.output.test_staging import at\nimport time\n"
        "sink = at(sys.argv[1]); print('has it', flush=True); time.sleep(60)"
    )
    root = str(Path(__file__).parents[3])
    with subprocess.Popen([sys.executable, "-c", code, str(where), root], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"has it\n"
            with pytest.raises(OutputError, match="Another run is writing"):
                at(where)
        finally:
            other.kill()
    sink = at(where)
    assert sink.staging.resumed
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_lease_is_taken_over(tmp_path: Path) -> None:
    """In an object store the lock is an object; it is taken over from a dead process, or after a minute of silence."""
    from swin2sr_ops.io.output.lock import VOID
    from swin2sr_ops.io.storage.files import files_at

    where = f"memory://{tmp_path.name}/out.zarr"
    key = f"{OWN_FOLDER}/lock"
    sink = at(where)
    sign = json.loads(files_at(where).read(key) or b"")
    sink.staging.release()
    files = files_at(where)
    assert files.read(key) is None
    for changes, free in (
        ({"host": "elsewhere"}, False),
        ({"host": "elsewhere", "seen": sign["seen"] - VOID - 1}, True),
        ({"started": 5.0}, True),  # the process with this number is another one
    ):
        files.write(key, json.dumps(sign | {"run": "theirs"} | changes).encode())
        if free:
            at(where).staging.release()
        else:
            with pytest.raises(OutputError, match=r"last heartbeat \d+ s ago"):
                at(where)
        files.remove(key)


def test_foreign_folders_are_not_emptied(where: str) -> None:
    from swin2sr_ops.io.storage.files import files_at

    beside = files_at(where if "://" in where else where + ".partial")
    beside.write("thesis.txt", b"not ours")
    with pytest.raises(OutputError, match="no run of this program"):
        at(where)
    assert beside.read("thesis.txt") == b"not ours"


def test_killed_between_any_two_steps(tmp_path: Path) -> None:
    """Leftovers of a kill before the record, or after the output has appeared, do not block the next run."""
    where = tmp_path / "out.zarr"
    (tmp_path / "out.zarr.partial").mkdir()
    (tmp_path / "out.zarr.partial.lock").touch()
    sink = at(where)
    write(sink, tiles())
    (sink.staging.destination.partial / "0" / "c" / "0" / "0" / "0.1234.partial").write_bytes(b"zarr's own, torn")
    sink.staging.release()
    sink = at(where)
    assert all(sink.has(region) for region in tiles())
    sink.finish({})
    assert not [key for key in bytes_of(str(where)) if key.endswith(".partial") or OWN_FOLDER in key]


def test_the_pyramid_is_resumed(tmp_path: Path) -> None:
    info = ImageInfo(shape=(1100, 1200), axes="YX", dtype=np.dtype("u1"), chunks=(512, 512))
    sink = create_sink(str(tmp_path / "o.zarr"), info, run=KEY)
    assert sink is not None
    pixels = np.random.default_rng(0).integers(0, 255, info.shape).astype("u1")
    sink[slice(None), slice(None)] = pixels
    first, *rest = sink.staging.to_fill(1)
    sink.staging.fill(1, first)
    sink.staging.release()
    sink = create_sink(str(tmp_path / "o.zarr"), info, run=KEY)
    assert sink is not None
    assert list(sink.staging.to_fill(1)) == rest
    sink.finish({})
    import zarr

    group = zarr.open_group(tmp_path / "o.zarr", mode="r")
    assert [group[str(k)].shape for k in range(3)] == [(1100, 1200), (550, 600), (275, 300)]
    assert abs(group["1"][:].astype(float).mean() - pixels.mean()) < 1
