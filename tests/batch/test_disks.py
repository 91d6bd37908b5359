"""A disk becomes read-only while a batch runs: only the images that would be written there fail."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops.batch.api import restore_batch
from swin2sr_ops.spec import ModelSpec


def read_only(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Refuse every change below ``folder``, as the system does after an error of the disk."""

    def refusing(change: Callable[..., Any]) -> Callable[..., Any]:
        def refused(*args: Any, **kwargs: Any) -> Any:
            names = [str(arg) for arg in args[:2] if isinstance(arg, str | os.PathLike)]
            if kwargs.get("dir_fd") is not None or any(name.startswith(str(folder)) for name in names):
                raise OSError(errno.EROFS, "Read-only file system", *names[:1])
            return change(*args, **kwargs)

        return refused

    for name in ("mkdir", "unlink", "remove", "rmdir", "rename", "replace", "link"):
        patch.setattr(os, name, refusing(getattr(os, name)))
    opened, opened_low = io.open, os.open

    def low(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return (refusing(opened_low) if writes else opened_low)(path, flags, *args, **kwargs)

    def high(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return (refusing(opened) if set(mode) & set("wax+") else opened)(path, mode, *args, **kwargs)

    patch.setattr(os, "open", low)
    patch.setattr(io, "open", high)


@pytest.mark.parametrize("moment", ["start", "tile", "pyramid", "image end"])
@pytest.mark.parametrize("format", ["zarr", "tiff"])
def test_a_disk_becomes_read_only(
    format: str, moment: str, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (300, 300)).astype("u1")
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, pixels)
    sources, out = [tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "out"
    out.mkdir()
    given: dict[str, Any] = {"model": gray_model, "tile": 128, "chunks": 256, "format": format}
    with monkeypatch.context() as patch:

        def progress(event: Any) -> None:
            if event.kind == moment:
                read_only(patch, out)

        report = restore_batch(sources, out, progress=progress, **given)
    states = [image.state for image in report.images]
    assert states == (["done", "failed"] if moment == "image end" else ["failed", "failed"])
    assert all("Read-only file system" in image.reason for image in report.images if image.state == "failed")
    assert not any("error of swin2sr-ops" in image.reason for image in report.images)
    again = restore_batch(sources, out, **given)
    assert again.ok, str(again)
