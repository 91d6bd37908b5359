"""The bioimage.io package: valid, with the halo, scale, axes and picture that its consumers need, and our pixels."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.export.bioimageio import export_bioimageio
from swin2sr_ops.geometry.span import receptive_halo
from swin2sr_ops.spec import ModelSpec


def _problem() -> str:
    for name in ("bioimageio.core", "onnx", "onnxscript", "onnxruntime"):
        if find_spec(name.partition(".")[0]) is None:
            return "the extra `bioimageio`"
    try:
        spec = version("bioimageio.spec")
        newest = tuple(map(int, version("pydantic").split(".")[:2]))
    except PackageNotFoundError:
        return "the extra `bioimageio`"
    return f"bioimageio.spec {spec} fails with pydantic 2.14" if newest >= (2, 14) and spec == "0.5.12.0" else ""


#: Of bioimageio.spec, which leaves files open.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
needs_bioimageio = pytest.mark.skipif(bool(_problem()), reason=_problem() or "usable")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of the smallest shipped model."""
    path = tmp_path_factory.mktemp("package") / "nano.zip"
    export_bioimageio("nano-x2-gray", path, tile=88)
    return path


@needs_bioimageio
def test_described(package: Path) -> None:
    """Halo, scale, axes and sizes; and bioimageio.core runs the test tensors."""
    from bioimageio.core import load_model_description, test_model

    summary = test_model(package)
    assert summary.status == "passed", summary
    description = load_model_description(package)
    halo = -(-receptive_halo(swin2sr_ops.hosting.resolve_model("nano-x2-gray")) // 8) * 8
    (given,), (restored,) = description.inputs, description.outputs
    assert [axis.type for axis in given.axes] == ["batch", "channel", "space", "space"]
    assert [axis.id for axis in restored.axes] == ["batch", "channel", "y", "x"]
    assert [axis.size for axis in given.axes[2:]] == [88, 88]
    for axis, reference in zip(restored.axes[2:], given.axes[2:], strict=True):
        assert (axis.halo, axis.scale) == (2 * halo, 0.5)
        assert axis.size.get_size(axis, reference) == 176
    assert description.config.model_dump()["swin2sr_ops"]["model"] == "nano-x2-gray"
    assert str(description.license) == "Apache-2.0"


@needs_bioimageio
def test_files(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        names = set(archive.namelist())
        cover = Image.open(BytesIO(archive.read("cover.png")))
        given, restored = (np.load(BytesIO(archive.read(f"test_{name}.npy"))) for name in ("input", "output"))
        text = archive.read("README.md").decode()
    assert {"rdf.yaml", "weights.onnx", "README.md"} <= names
    assert cover.size == (512, 256)
    assert np.asarray(cover).std() > 10  # a picture of something, in both halves
    assert np.abs(np.asarray(cover, float)[:, :256].mean() - np.asarray(cover, float)[:, 256:].mean()) < 5
    assert restored.shape == (1, 1, *(2 * n for n in given.shape[2:]))
    assert "## Validation" in text
    assert package.stat().st_size < 20e6


@needs_bioimageio
def test_blocks_equal_one_pass(package: Path) -> None:
    """A consumer that tiles as the description says gets our pixels, away from the image's edges."""
    from bioimageio.core import create_prediction_pipeline, load_model_description
    from bioimageio.core.digest_spec import create_sample_for_model

    description = load_model_description(package)
    image = np.random.default_rng(3).random((160, 200), dtype="f4") * 700 + 90
    sample = create_sample_for_model(description, inputs={"image": image[None, None]})
    with create_prediction_pipeline(description) as pipeline:
        found = pipeline.predict_sample_with_blocking(sample).members["restored"].data.to_numpy()[0, 0]
    low, high = float(image.min()), float(image.max())
    ours = (swin2sr_ops.restore(image, model="nano-x2-gray").compute() - low) / (high - low)
    edge = description.outputs[0].axes[2].halo + 2 * 8
    inner = (slice(edge, -edge), slice(edge, -edge))
    assert found.shape == ours.shape
    assert np.abs(found[inner] - ours[inner]).max() < 2e-5


@needs_bioimageio
def test_colours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three channels, from the command line."""
    path = tmp_path / "rgb.zip"
    words = ["export", "nano-x2-rgb", "--to", "bioimageio", "--output", str(path), "--tile", "88", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["channels"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["rgb.zip"]
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err


@needs_bioimageio
def test_a_licence_without_a_name(gray_model: ModelSpec, tmp_path: Path) -> None:
    """A checkpoint of one's own has no licence that SPDX knows; the package then has none."""
    from bioimageio.core import load_model_description

    spec = replace(gray_model, licence="ours")
    report = export_bioimageio(spec, tmp_path / "own.zip", tile=2 * receptive_halo(gray_model) + 24)
    assert load_model_description(report.path).license is None


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(swin2sr_ops.RequestError, match=r"does not end in \.zip"):
        export_bioimageio("nano-x2-gray", tmp_path / "m.onnx")


@needs_bioimageio
def test_tiles_without_a_middle(tmp_path: Path) -> None:
    with pytest.raises(swin2sr_ops.RequestError, match="multiple of its window"):
        export_bioimageio("nano-x2-gray", tmp_path / "m.zip", tile=40)
