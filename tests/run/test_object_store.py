"""Object stores and web servers: a real S3 server, kills, failing requests, and errors after the last retry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.errors import FormatError, OutputError, Swin2SROpsError
from swin2sr_ops.events import Event
from swin2sr_ops.io.storage import remote
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import run_collection
from tests.conftest import write_model
from tests.run.stopping import stopped
from tests.s3_server import (
    BUCKET,
    CREDENTIALS,
    Faults,
    at_random,
    client,
    files,
    forget_connections,
    moto,
    objects,
    proxy,
    upload,
    web,
)

CUT: dict[str, Any] = {"tile": 64, "chunks": 128}
KILLS = 5  # ``python -m tests.s3_kills`` makes as many as one likes


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server with a bucket; fsspec finds it by the environment alone, as it would MinIO."""
    with moto() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)
        forget_connections()
        client(url).create_bucket(Bucket=BUCKET)
        yield url
    forget_connections()


@pytest.fixture
def s3(server: str) -> Any:
    """Return a client for the bucket, which is emptied."""
    found = client(server)
    for key in _keys(found):
        found.delete_object(Bucket=BUCKET, Key=key)
    return found


def _keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


@pytest.fixture
def faults(s3: Any, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Send all requests through a proxy that may fail; retries are short."""
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with proxy(server) as (url, found):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        forget_connections()
        yield found
    forget_connections()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(path, dim=4, depths=(1,), heads=(1,))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image whose result has a pyramid: ten tiles, fifteen chunks."""
    path = tmp_path_factory.mktemp("source") / "source.tif"
    image = np.random.default_rng(0).integers(1, 999, (100, 280)).astype("u2")
    tifffile.imwrite(path, image, tile=(64, 64))
    return path


@pytest.fixture(scope="module")
def zarr_source(source: Path, model: Path) -> Path:
    """An OME-Zarr of several chunks, with metadata."""
    path, half = source.with_name("source.ome.zarr"), source.with_name("half.tif")
    tifffile.imwrite(half, tifffile.imread(source)[:50, :140])
    swin2sr_ops.restore_image(half, path, model=model, tile=32, chunks=64)
    document = json.loads((path / "zarr.json").read_text())
    del document["attributes"]["swin2sr_ops"]
    (path / "zarr.json").write_text(json.dumps(document))
    return path


def s3_url(name: str) -> str:
    return f"s3://{BUCKET}/{name}"


def read(url: str) -> np.ndarray:
    opened = swin2sr_ops.open_source(url)
    return opened.read(tuple(slice(0, n) for n in opened.info.shape))


def without_source(found: dict[str, bytes]) -> dict[str, bytes]:
    """Remove metadata that depend on where the image was read from."""
    document = json.loads(found["zarr.json"])
    for name in ("source", "source_identity", "fingerprint"):
        del document["attributes"]["swin2sr_ops"][name]
    return found | {"zarr.json": json.dumps(document).encode()}


# --- the same result as on a disk -----------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"chunks": 64, "shards": 128}, {"ngff": "0.4"}], ids=["0.5", "sharded", "0.4"])
def test_the_same_objects_as_files(s3: Any, source: Path, model: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Until the last event, the unfinished prefix does not look like an image."""
    cut, where = {**CUT, **options}, s3_url("out.ome.zarr")
    opened: list[str] = []

    def look(event: Event) -> None:
        try:
            zarr.open_group(where, mode="r")
        except FileNotFoundError:
            return
        opened.append(event.kind)

    report = swin2sr_ops.restore_image(source, where, model=model, progress=look, **cut)
    assert (report.state, report.resumed, opened) == ("done", 0, ["end"])
    swin2sr_ops.restore_image(source, tmp_path / "out.ome.zarr", model=model, **cut)
    found = objects(s3, "out.ome.zarr")
    assert found == files(tmp_path / "out.ome.zarr")
    assert swin2sr_ops.restore_image(source, where, model=model, **cut).state == "already"
    assert objects(s3, "out.ome.zarr") == found
    group = zarr.open_group(where, mode="r")
    assert [group[level].shape for level in "01"] == [(200, 560), (100, 280)]
    with pytest.raises(OutputError, match="exists already"):
        swin2sr_ops.restore_image(source, where, model=model, **cut, halo=8)


def test_validates_where_it_lies(server: str, s3: Any, source: Path, model: Path) -> None:
    yaozarrs = pytest.importorskip("yaozarrs")
    swin2sr_ops.restore_image(source, s3_url("out.ome.zarr"), model=model, **CUT)
    yaozarrs.validate_zarr_store(yaozarrs.open_group(s3_url("out.ome.zarr"), {"anon": False}))


@pytest.mark.parametrize("place", ["s3", "http", "memory"])
def test_from_a_server(
    place: str, request: pytest.FixtureRequest, zarr_source: Path, model: Path, tmp_path: Path
) -> None:
    """An image is found on a web server, which has no listings."""
    swin2sr_ops.restore_image(zarr_source, tmp_path / "local.ome.zarr", model=model)
    expected = without_source(files(tmp_path / "local.ome.zarr"))
    if place == "http":
        pytest.importorskip("aiohttp", reason="https:// needs aiohttp")
        with web(zarr_source.parent) as url:
            swin2sr_ops.restore_image(f"{url}/source.ome.zarr", tmp_path / "out.ome.zarr", model=model)
        assert without_source(files(tmp_path / "out.ome.zarr")) == expected
        return
    if place == "memory":
        import fsspec

        where = f"memory://{tmp_path.name}"
        fs = fsspec.filesystem("memory")
        for key, data in files(zarr_source).items():
            fs.pipe_file(f"/{tmp_path.name}/source.ome.zarr/{key}", data)
        swin2sr_ops.restore_image(f"{where}/source.ome.zarr", f"{where}/out.ome.zarr", model=model)
        found = {k: fs.cat_file(f"/{tmp_path.name}/out.ome.zarr/{k}") for k in files(tmp_path / "local.ome.zarr")}
        assert len(fs.find(f"/{tmp_path.name}/out.ome.zarr")) == len(found)
        assert without_source(found) == expected
        return
    s3 = request.getfixturevalue("s3")
    upload(s3, zarr_source, "source.ome.zarr")
    for out in (s3_url("out.ome.zarr"), tmp_path / "out.ome.zarr"):
        swin2sr_ops.restore_image(s3_url("source.ome.zarr"), out, model=model)
    assert without_source(objects(s3, "out.ome.zarr")) == expected
    assert without_source(files(tmp_path / "out.ome.zarr")) == expected


def test_a_plate(s3: Any, model: Path, tmp_path: Path) -> None:
    """Plate in, plate out; a killed run is resumed well by well."""
    make_plate(tmp_path / "plate.zarr")
    upload(s3, tmp_path / "plate.zarr", "plate.zarr")
    request = RestoreRequest(model=model, chunks=64)
    for where in (s3_url("out.ome.zarr"), tmp_path / "out.ome.zarr"):
        report = run_collection(s3_url("plate.zarr"), where, request)
        assert (report.state, report.kind, report.images) == ("done", "plate", 3)
    assert objects(s3, "out.ome.zarr") == files(tmp_path / "out.ome.zarr")
    assert run_collection(s3_url("plate.zarr"), s3_url("out.ome.zarr"), request).state == "already"
    for field in ("A/1/0", "A/1/1", "B/2/0"):
        np.testing.assert_array_equal(
            read(s3_url(f"out.ome.zarr/{field}")),
            swin2sr_ops.restore(zarr.open_array(tmp_path / "plate.zarr" / field / "0")[:], model=model).compute(),
        )


def make_plate(path: Path) -> None:
    plate = zarr.create_group(path, zarr_format=2)
    wells = [("A/1", ("0", "1")), ("B/2", ("0",))]
    plate.attrs["plate"] = {
        "version": "0.4",
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "wells": [{"path": p, "rowIndex": i, "columnIndex": i} for i, (p, _) in enumerate(wells)],
    }
    rng = np.random.default_rng(0)
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}]
    for well, fields in wells:
        group = plate.create_group(well)
        group.attrs["well"] = {"version": "0.4", "images": [{"path": f} for f in fields]}
        for name in fields:
            image = group.create_group(name)
            image.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
            pixels = rng.integers(1, 999, (40, 50)).astype("u2")
            image.create_array("0", data=pixels, chunks=(32, 32), chunk_key_encoding={"name": "v2", "separator": "/"})


# --- killed, torn, two at once --------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_and_resumed(s3: Any, source: Path, model: Path, tmp_path: Path) -> None:
    """No tile is computed again; a dead run's lease does not block, a living run's lease does."""
    command = [sys.executable, "-m", "tests.s3_kills", source, model, KILLS, 3, tmp_path]
    root = Path(__file__).parents[2]
    done = subprocess.run([str(part) for part in command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["tiles"] == 10
    assert told["killed"] >= KILLS - 2  # finished before the moment of the kill
    assert (told["different"], told["again"], told["opened"]) == ([], 0, []), done.stderr
    assert told["refused"].startswith(f"BusyError: Another run is writing 's3://{BUCKET}/killed.ome.zarr' (process")


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_torn_objects_are_found(s3: Any, source: Path, model: Path, tmp_path: Path, how: str) -> None:
    where = s3_url("out.ome.zarr")
    stopped(source, where, model=model, **CUT)
    left = objects(s3, "out.ome.zarr")
    markers = sum(key.startswith(".swin2sr_ops/done/0/") for key in left)
    chunk = next(key for key in left if key.startswith("0/c/"))
    if how == "gone":
        s3.delete_object(Bucket=BUCKET, Key=f"out.ome.zarr/{chunk}")
    else:
        s3.put_object(Bucket=BUCKET, Key=f"out.ome.zarr/{chunk}", Body=left[chunk][: len(left[chunk]) // 2])
    report = swin2sr_ops.restore_image(source, where, model=model, **CUT)
    assert report.resumed == markers - 1
    swin2sr_ops.restore_image(source, tmp_path / "out.ome.zarr", model=model, **CUT)
    assert objects(s3, "out.ome.zarr") == files(tmp_path / "out.ome.zarr")


def test_a_lost_answer_is_not_another_run(faults: Faults, s3: Any, source: Path, model: Path) -> None:
    """The lease was written, its answer got lost, and the next try finds a lease: our own."""
    lost: list[str] = []

    def lose(method: str, path: str) -> str | None:
        if method == "PUT" and path.endswith("/lock") and not lost:
            lost.append(path)
            return "lost"
        return None

    faults.choose = lose
    report = swin2sr_ops.restore_image(source, s3_url("out.ome.zarr"), model=model, **CUT)
    assert (report.state, len(lost)) == ("done", 1)
    assert not [key for key in _keys(s3) if ".swin2sr_ops" in key]


def test_a_server_without_conditions(faults: Faults, s3: Any, source: Path, model: Path) -> None:
    """Not every S3 knows If-None-Match: the lease works without."""
    asked: list[str] = []

    def refuse(method: str, path: str) -> str | None:
        if method == "PUT" and path.endswith("/lock") and not asked:
            asked.append(path)
            return "no condition"
        return None

    faults.choose = refuse
    assert swin2sr_ops.restore_image(source, s3_url("out.ome.zarr"), model=model, **CUT).state == "done"
    assert not [key for key in _keys(s3) if ".swin2sr_ops" in key]


# --- servers that fail sometimes, or for ever -----------------------------------------------------


def test_a_server_that_fails_sometimes(faults: Faults, s3: Any, zarr_source: Path, model: Path, tmp_path: Path) -> None:
    """One request in twelve fails in some way: the same bytes."""
    upload(s3, zarr_source, "source.ome.zarr")
    faults.choose = at_random(0.08, seed=5)
    swin2sr_ops.restore_image(s3_url("source.ome.zarr"), s3_url("out.ome.zarr"), model=model, **CUT)
    assert len(faults.made) >= 5
    swin2sr_ops.restore_image(zarr_source, tmp_path / "out.ome.zarr", model=model, **CUT)
    assert without_source(objects(s3, "out.ome.zarr")) == without_source(files(tmp_path / "out.ome.zarr"))


def test_a_slow_request_is_retried(
    faults: Faults, s3: Any, source: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 1)
    asked: list[str] = []

    def late(method: str, path: str) -> str | None:
        asked.append(path)
        return "late" if len(asked) in (5, 30) else None

    faults.choose = late
    assert swin2sr_ops.restore_image(source, s3_url("out.ome.zarr"), model=model, **CUT).state == "done"
    assert faults.made == ["late", "late"]


def test_a_web_server_that_fails_sometimes(
    zarr_source: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsspec does not retry requests to a web server; this package does."""
    pytest.importorskip("aiohttp", reason="https:// needs aiohttp")
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    with web(zarr_source.parent) as folder, proxy(folder) as (url, faults):
        faults.choose = at_random(0.08, seed=1, kinds=("503", "reset", "cut"))
        swin2sr_ops.restore_image(f"{url}/source.ome.zarr", tmp_path / "out.ome.zarr", model=model, **CUT)
        assert faults.made
        faults.choose = lambda method, path: "503"
        with pytest.raises(
            FormatError, match=r"source.ome.zarr' cannot be read: the storage does not answer as it should"
        ):
            swin2sr_ops.restore_image(f"{url}/source.ome.zarr", tmp_path / "other.ome.zarr", model=model)
    swin2sr_ops.restore_image(zarr_source, tmp_path / "local.ome.zarr", model=model, **CUT)
    assert without_source(files(tmp_path / "out.ome.zarr")) == without_source(files(tmp_path / "local.ome.zarr"))


@pytest.mark.parametrize("side", ["output", "input"])
def test_a_server_that_goes_down(
    side: str,
    faults: Faults,
    s3: Any,
    zarr_source: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names the address; finished tiles are kept, and the same command resumes the run."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    upload(s3, zarr_source, "source.ome.zarr")
    where, needle = s3_url("out.ome.zarr"), "/out.ome.zarr/" if side == "output" else "/source.ome.zarr/0/c/"
    down: list[bool] = []

    def fall(event: Event) -> None:
        if event.kind == "tile" and event.done == 2:
            down.append(True)

    faults.choose = lambda method, path: "500" if down and needle in path else None
    kind, name = (OutputError, "out.ome.zarr") if side == "output" else (FormatError, "source.ome.zarr")
    with pytest.raises(kind, match=f"{name}.*same command resumes the run") as caught:
        swin2sr_ops.restore_image(s3_url("source.ome.zarr"), where, model=model, progress=fall, **CUT)
    assert "internal error" in str(caught.value)
    faults.choose = None
    report = swin2sr_ops.restore_image(s3_url("source.ome.zarr"), where, model=model, **CUT)
    assert 2 <= report.resumed < report.tiles
    swin2sr_ops.restore_image(zarr_source, tmp_path / "local.ome.zarr", model=model, **CUT)
    assert without_source(objects(s3, "out.ome.zarr")) == without_source(files(tmp_path / "local.ome.zarr"))


def test_addresses_that_cannot_be_reached(
    faults: Faults, s3: Any, source: Path, zarr_source: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(s3, zarr_source, "source.ome.zarr")

    def restore(src: object, dst: str) -> str:
        with pytest.raises(Swin2SROpsError) as caught:
            swin2sr_ops.restore_image(src, dst, model=model, **CUT)  # type: ignore[arg-type]
        return str(caught.value)

    assert "no-such-bucket" in restore(source, "s3://no-such-bucket/out.ome.zarr")
    assert "bucket does not exist" in restore(source, "s3://no-such-bucket/out.ome.zarr")
    assert "There is no Zarr at 's3://archive/nothing.zarr'" in restore(s3_url("nothing.zarr"), s3_url("o.zarr"))
    assert "There is no Zarr at 's3://nowhere/a.zarr'" in restore("s3://nowhere/a.zarr", s3_url("o.zarr"))
    assert "nonsense" in restore(source, "nonsense://a/o.ome.zarr")
    for fault, told in (("denied", "Access Denied"), ("wrong key", "Access Key Id")):
        faults.choose = lambda method, path, fault=fault: fault  # type: ignore[misc]
        for said in (restore(source, s3_url("o.ome.zarr")), restore(s3_url("source.ome.zarr"), s3_url("o.zarr"))):
            assert "s3://archive/" in said
            if said.startswith("'s3://archive/source"):
                assert "cannot be read" in said
            else:
                assert "check your credentials" in said
                assert told in said or "Forbidden" in said
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    forget_connections()
    assert "credentials" in restore(source, s3_url("o.ome.zarr"))
    assert "credentials" in restore(s3_url("source.ome.zarr"), s3_url("o.ome.zarr"))
    assert not [key for key in _keys(s3) if not key.startswith("source.ome.zarr/")]


def test_no_server_listens(server: str, source: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_connections()
    with pytest.raises(OutputError, match=r"s3://archive/o.zarr.*Could not connect to the endpoint"):
        swin2sr_ops.restore_image(source, s3_url("o.zarr"), model=model)
    with pytest.raises(FormatError, match=r"s3://archive/i.zarr.*Could not connect to the endpoint"):
        swin2sr_ops.restore_image(s3_url("i.zarr"), s3_url("o.zarr"), model=model)
    forget_connections()
