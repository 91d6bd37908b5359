"""The guide's plugin is built into a wheel, installed and used, and the guide shows exactly its files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from swin2sr_ops.testing import SinkContract, SourceContract

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = DOCS / "examples" / "plugin"
THEIRS = {"example-model", "example-format", "example-host"}


def test_the_guide_shows_the_files() -> None:
    text = (DOCS / "plugins.md").read_text()
    shown = re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(shown) == 4
    for name, code in shown:
        assert code == (EXAMPLE / name).read_text(), f"docs/plugins.md shows another {name}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel."""
    place = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, place / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "./source"]
    subprocess.run(wheel, cwd=place, check=True)
    (built,) = (place / "dist").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", place / "site", built], check=True)
    return place / "site"


Run = Callable[..., str]


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """The command line, with the plugin installed."""

    def told(*words: str, **variables: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(installed), **variables}
        command = [sys.executable, "-c", "import sys; from swin2sr_ops.cli import main; sys.exit(main())", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return told


def test_it_is_listed(run: Run) -> None:
    found = {plugin["name"]: plugin for plugin in json.loads(run("plugins", "--json"))}
    assert found.keys() >= THEIRS
    for name in THEIRS:
        assert (found[name]["status"], found[name]["version"]) == ("loaded", "1.0")
    assert "unsharp-x1-gray" in run("models")


def test_it_can_be_blocked(run: Run) -> None:
    assert "unsharp-x1-gray" not in run("models", SWIN2SR_OPS_BLOCK="example-model")
    assert "unsharp-x1-gray" in run("models", SWIN2SR_OPS_PLUGINS="example-model")


def test_model_and_format(run: Run, tmp_path: Path) -> None:
    """A model that is not ours, from and to a format that is not ours, in tiles: the whole image's pixels."""
    image = np.random.default_rng(0).integers(0, 4000, (2, 90, 70)).astype("u2")
    np.save(tmp_path / "in.npy", image)
    run("restore", "in.npy", "out.npy", "--model", "unsharp-x1-gray", "--tile", "32", "--range", "0,4000")
    wide = np.pad(image.astype("f8"), ((0, 0), (1, 1), (1, 1)), "edge")
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    blur = sum(weights[i, j] * wide[:, i : i + 90, j : j + 70] for i in range(3) for j in range(3))
    result = np.load(tmp_path / "out.npy")
    assert result.dtype == image.dtype
    assert np.abs(result - np.clip(2 * image - blur, 0, 65535)).max() < 0.51  # rounding, and float32


@pytest.mark.skipif(find_spec("IPython") is None, reason="IPython is not installed")
def test_host(run: Run) -> None:
    found = {host["name"]: host for host in json.loads(run("hosts", "--json"))}
    assert found["ipython"]["state"] == "working"


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return pytest.importorskip("swin2sr_ops_example.format")


class TestSource(SourceContract):
    @pytest.fixture
    def pixels(self) -> Any:
        return np.random.default_rng(0).integers(0, 99, (2, 3, 40, 50)).astype("f4")

    @pytest.fixture
    def source(self, formats: Any, tmp_path: Path, pixels: Any) -> Any:
        np.save(tmp_path / "image.npy", pixels)
        return formats.NpySource(str(tmp_path / "image.npy"))

    def test_damaged(self, formats: Any, tmp_path: Path) -> None:
        (tmp_path / "bad.npy").write_bytes(b"no array")
        with pytest.raises(formats.FormatError, match=r"not a \.npy file"):
            formats.NpySource(str(tmp_path / "bad.npy"))


class TestSink(SinkContract):
    keeps_place = False

    @pytest.fixture
    def create(self, formats: Any, tmp_path: Path) -> Callable[..., Any]:
        return lambda info, run=None, **options: formats.NpySink(str(tmp_path / "image.npy"), info, **options)

    def reopen(self, uri: str) -> Any:
        from swin2sr_ops_example.format import NpySource  # type: ignore[import-not-found]

        return NpySource(uri, "CYX")

    def in_written_order(self, source: Any) -> Any:
        image = source.read(tuple(slice(0, n) for n in source.info.shape))
        assert_array_equal(image.shape, self.shape)
        return image
