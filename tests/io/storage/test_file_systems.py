"""Names in addresses are literal: ``*``, ``?``, ``[`` and ``::`` in one name no other output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.audit import audit
from swin2sr_ops.batch.sources import find
from swin2sr_ops.errors import FormatError, OutputError, Swin2SROpsError
from swin2sr_ops.io.storage.file_systems import file_system
from swin2sr_ops.io.storage.files import files_at
from swin2sr_ops.io.zarr.source import open_source as open_zarr
from tests.conftest import write_model
from tests.s3_server import BUCKET, CREDENTIALS, client, forget_connections, moto

#: Names that fsspec would read as a pattern or a chain, and a neighbour that the pattern matches.
NAMES = [("scan[1].ome.zarr", "scan1.ome.zarr"), ("scan?.ome.zarr", "scan2.ome.zarr"), ("s*.ome.zarr", "s3.ome.zarr")]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with moto() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)
        forget_connections()
        client(url).create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}"
    forget_connections()


@pytest.fixture(params=["memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    top = "memory://literal" if request.param == "memory" else request.getfixturevalue("bucket")
    return f"{top}/{tmp_path.name.replace('[', '').replace(']', '')}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(path, dim=4, depths=(1,), heads=(1,))
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image whose upper half is nodata: zarr-python removes these chunks instead of writing them."""
    pixels = np.random.default_rng(0).integers(1, 999, (40, 40)).astype("u2")
    tifffile.imwrite(tmp_path / "whole.tif", pixels)
    pixels[:20] = 0
    tifffile.imwrite(tmp_path / "half.tif", pixels)
    return tmp_path / "whole.tif"


@pytest.mark.parametrize(("name", "other"), NAMES)
def test_a_name_like_a_pattern_removes_no_other_output(
    folder: str, image: Path, model: Path, name: str, other: str
) -> None:
    kept = files_at(f"{folder}/{other}")
    swin2sr_ops.restore_image(image, f"{folder}/{other}", model=model, chunks=32, tile=16)
    kept.write(".swin2sr_ops/done/0", b"the journal of another run")
    before = {key: kept.read(key) for key in kept.listing()}
    assert len(before) > 6
    cut: dict[str, Any] = {"model": model, "chunks": 32, "tile": 16}
    swin2sr_ops.restore_image(image.with_name("half.tif"), f"{folder}/{name}", nodata=0, **cut)
    swin2sr_ops.restore_image(image, f"{folder}/{name}", range=(0, 5000), overwrite=True, restart=True, **cut)
    assert {key: kept.read(key) for key in kept.listing()} == before
    assert not [key for key in files_at(f"{folder}/{name}").listing() if key.startswith(".swin2sr_ops/")]
    assert audit(f"{folder}/{name}", source=str(image), model=str(model)).ok


def test_a_store_removes_only_its_own_keys(folder: str) -> None:
    ours, theirs = files_at(f"{folder}/a[b].zarr"), files_at(f"{folder}/ab.zarr")
    theirs.write("x/c/0", b"theirs")
    for key in ("x/c/0", "x/c/1", "y/c/0", "z"):
        ours.write(key, b"ours")
    group = zarr.open_group(ours.store(), mode="a")
    group.create_group("y", overwrite=True)  # zarr-python empties the folder
    assert sorted(ours.listing()) == ["x/c/0", "x/c/1", "y/zarr.json", "z", "zarr.json"]
    ours.clear("x")
    assert sorted(ours.listing()) == ["y/zarr.json", "z", "zarr.json"]
    zarr.open_group(ours.store(), mode="w")
    assert list(ours.listing()) == ["zarr.json"]
    ours.clear()
    ours.clear()
    assert (list(ours.listing()), list(theirs.listing())) == ([], ["x/c/0"])


def test_empty_folders_go_with_a_name_like_a_pattern(tmp_path: Path) -> None:
    files = files_at(f"local://{tmp_path}/a[b]")
    (tmp_path / "a[b]" / "deep" / "er").mkdir(parents=True)
    files.write("deep/er/key", b"data")
    files.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_double_colon_is_a_part_of_the_name(folder: str, image: Path, model: Path) -> None:
    out = f"{folder}/a::b.ome.zarr"
    swin2sr_ops.restore_image(image, out, model=model, tile=16)
    assert swin2sr_ops.open_source(out).info.shape == (80, 80)
    assert audit(out, source=str(image), model=str(model)).ok
    assert [found.uri for found in find([out])] == [out]
    assert swin2sr_ops.restore_image(image, out, model=model, tile=16).state == "already"
    assert not list(files_at(f"{folder}/a").listing())


def test_a_chain_stays_a_chain(tmp_path: Path) -> None:
    fs, path = file_system(f"simplecache::file://{tmp_path}/a.zarr")
    assert (type(fs).__name__, path) == ("SimpleCacheFileSystem", f"{tmp_path}/a.zarr")
    import zipfile

    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.txt", b"text")
    fs, path = file_system(f"zip://a.txt::{tmp_path}/b.zip")
    assert fs.cat_file(path) == b"text"


def test_a_pattern_names_an_image_of_that_very_name_first(folder: str, image: Path, model: Path) -> None:
    for name in ("s[1].zarr", "s1.zarr"):
        swin2sr_ops.restore_image(image, f"{folder}/{name}", model=model)
    assert [found.uri for found in find([f"{folder}/s[1].zarr"])] == [f"{folder}/s[1].zarr"]
    assert len(find([f"{folder}/s*.zarr"])) == 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense://a/o.zarr", "nonsense"),
        ("nonsense://a/b::o.zarr", "nonsense"),
        ("zip://a.zarr::nonsense://b", "nonsense"),
        ("simplecache::nonsense://b/o.zarr", "nonsense"),
        ("sftp://127.0.0.1:9/o.zarr", "cannot be"),
        ("abfs://container/o.zarr", "cannot be"),
        ("reference://o.zarr", "cannot be"),
        ("dir://o.zarr", "cannot be"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_sentence(url: str, reason: str, image: Path, model: Path) -> None:
    with pytest.raises(OutputError, match=reason) as caught:
        swin2sr_ops.restore_image(image, url, model=model)
    assert url in str(caught.value)
    with pytest.raises(FormatError, match=reason) as found:
        swin2sr_ops.open_source(url)
    assert url in str(found.value)


def test_options_that_the_file_system_does_not_know(bucket: str) -> None:
    with pytest.raises(Swin2SROpsError, match="no_such_option"):
        open_zarr(f"{bucket}/a.zarr", storage_options={"no_such_option": 1})


def test_an_endpoint_that_is_no_address(bucket: str, image: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    forget_connections()
    try:
        with pytest.raises(OutputError, match=r"s3://archive/o.zarr.*Invalid endpoint"):
            swin2sr_ops.restore_image(image, f"{bucket}/o.zarr", model=model)
        with pytest.raises(FormatError, match=r"s3://archive/i.zarr.*Invalid endpoint"):
            swin2sr_ops.open_source(f"{bucket}/i.zarr")
    finally:
        forget_connections()
