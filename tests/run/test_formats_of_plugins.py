"""A run asks a format about the request before it touches the destination."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks.manager import manager
from swin2sr_ops.hookspecs import hookimpl
from swin2sr_ops.io.base import ImageInfo, Region
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.pipeline import Here
from swin2sr_ops.run.run import run
from swin2sr_ops.spec import ModelSpec


class OneFile:
    """A format for one process, without metadata."""

    def __init__(self, uri: str, info: ImageInfo) -> None:
        self.uri, self.info, self.write_unit = uri, info, (1, 1)
        self.pixels = np.zeros(info.shape, info.dtype)
        Path(uri).touch()

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        self.pixels[region] = block

    def finish(self, provenance: dict[str, Any]) -> None:
        np.save(self.uri, self.pixels)

    def abort(self) -> None:
        Path(self.uri).unlink(missing_ok=True)


class Plugin:
    @hookimpl
    def swin2sr_ops_create_sink(self, uri: str, info: ImageInfo, options: dict[str, Any]) -> OneFile | None:
        if not uri.endswith(".npy"):
            return None
        if options.get("parallel"):
            raise RequestError(f"{uri!r} can be written by one process only: leave out workers and scheduler.")
        return OneFile(uri, info)


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    found = Plugin()
    manager().register(found, "one file")
    yield
    manager().unregister(found)


def test_several_processes_are_refused_before_anything_is_there(gray_model: ModelSpec, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.arange(400, dtype="u1").reshape(20, 20))
    request = RestoreRequest(model=gray_model)
    with pytest.raises(RequestError, match="one process only"):
        run(prepare(tmp_path / "a.tif", request), tmp_path / "b.npy", executor=Here())
    assert not (tmp_path / "b.npy").exists()
    run(prepare(tmp_path / "a.tif", request), tmp_path / "b.npy")
    assert np.load(tmp_path / "b.npy").shape == (40, 40)


@pytest.mark.parametrize("side", ["context", "spread"])
def test_values_that_the_format_cannot_store(side: str, gray_model: ModelSpec, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.arange(400, dtype="u1").reshape(20, 20))
    job = prepare(tmp_path / "a.tif", RestoreRequest(model=gray_model, ensemble=8))
    with pytest.raises(RequestError, match=f"cannot store {side}"):
        run(job, tmp_path / "b.npy", **{side: True})
    assert not (tmp_path / "b.npy").exists()
