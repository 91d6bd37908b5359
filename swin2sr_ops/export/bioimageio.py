"""A model as a bioimage.io package: the ONNX graph of one tile with the description that consumers tile by.

The package declares what the graph's metadata say: a fixed tile, the halo to crop, the scale of the output's axes.
Tile and halo are multiples of the window, so a consumer that cuts blocks of one tile with this halo starts each of them
on the window grid, if the sides of the image are multiples of the window, too. Then its pixels equal one pass over the
image, except near the image's edges (halo and window), where consumers pad in ways of their own.
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import ModelError
from swin2sr_ops.export.files import target_of, write_file
from swin2sr_ops.export.onnx import OPSET, ExportReport, Graph, make_graph
from swin2sr_ops.hooks.dispatch import open_source, resolve_model
from swin2sr_ops.spec import ModelSpec

if TYPE_CHECKING:
    from bioimageio.spec.model.v0_5 import InputTensorDescr, ModelDescr, OutputTensorDescr

__all__ = ["export_bioimageio"]

_NEEDED = ("onnx", "onnxscript", "onnxruntime", "bioimageio.spec", "bioimageio.core")
_EPS = 1e-6  # of bioimage.io's scale_range
_COVER = 512  # px, both halves
_PAPERS = {
    "swin2sr": (
        "Conde et al., Swin2SR: SwinV2 Transformer for Compressed Image Super-Resolution and Restoration, 2022",
        "10.48550/arXiv.2209.11345",
    ),
    "swinir": (
        "Liang et al., SwinIR: Image Restoration Using Swin Transformer, 2021",
        "10.1109/ICCVW54120.2021.00210",
    ),
}


def export_bioimageio(
    model: str | PathLike[str] | ModelSpec,
    path: str | PathLike[str],
    *,
    tile: int = 256,
    overwrite: bool = False,
    **hints: Any,
) -> ExportReport:
    """Write a model as a bioimage.io package (specification 0.5) and let bioimageio.core run its test tensors.

    The input is any image; the package scales its smallest value to 0 and its largest to 1, as ``range="auto"`` does
    for all types but 8 bits. The output is in these units.

    Parameters
    ----------
    model : str, path or ModelSpec
        As in `swin2sr_ops.restore`; Swin2SR or SwinIR.
    path : str or path
        Ends in ``.zip``.
    tile : int
        Side of the input in pixels: a multiple of the window, more than two halos.
    overwrite : bool
        Replace ``path`` if it exists.
    **hints
        Facts that a checkpoint lacks: ``value_range``, ``window``.

    Returns
    -------
    ExportReport

    Raises
    ------
    RequestError, ModelError, OutputError
        A sentence says what does not fit.
    """
    target = target_of(path, ".zip", model, overwrite=overwrite, needed=_NEEDED, extra="bioimageio")
    spec = resolve_model(model, **hints)
    if spec.planes > 1:
        raise ModelError(
            f"{spec.name!r} takes {spec.planes} neighbouring planes as channels, which programs that read bioimage.io"
            " packages do not gather: export it as ONNX (`export onnx`), or export a model of single planes."
        )
    graph = make_graph(spec, tile)
    halo = -(-graph.halo // spec.window) * spec.window  # blocks then start on the window grid
    if tile <= 2 * halo:
        raise ModelError(f"tile={tile} has no middle between two halos of {halo} px: give at least {2 * halo + 8}.")
    with tempfile.TemporaryDirectory() as folder:
        try:
            descr = _describe(graph, halo, Path(folder))
        except ValueError as exc:  # pydantic's; ours are not ValueErrors
            raise ModelError(f"bioimageio.spec rejects the description of {spec.name}: {exc}") from exc
        write_file(target, lambda part: _save(descr, part))
    return ExportReport(
        spec.name, str(target), tile, halo, spec.window, spec.scale, spec.channels, difference=graph.difference
    )  # fmt: skip


def _save(descr: ModelDescr, part: Path) -> None:
    """Write the package, then run its test tensors as a consumer would."""
    from bioimageio.core import test_model
    from bioimageio.spec import save_bioimageio_package

    save_bioimageio_package(descr, output_path=part)
    summary = test_model(part)
    if summary.status != "passed":
        problems = "; ".join(error.msg for detail in summary.details for error in detail.errors)
        raise ModelError(f"bioimageio.core rejects the package of {descr.name}: {problems or summary.status}.")


def _describe(graph: Graph, halo: int, folder: Path) -> ModelDescr:
    """Build the description; its files lie in ``folder``."""
    from bioimageio.spec import ValidationContext
    from bioimageio.spec.model import v0_5

    import swin2sr_ops

    spec = graph.spec
    given = _sample(spec.channels, graph.tile)
    restored = _restored(graph, given)
    np.save(folder / "test_input.npy", given)
    np.save(folder / "test_output.npy", restored)
    (folder / "cover.png").write_bytes(_cover(given, restored, spec.scale))
    (folder / "weights.onnx").write_bytes(graph.content)
    (folder / "README.md").write_text(_documentation(spec, graph.tile, halo), encoding="utf-8")
    paper, doi = _PAPERS[spec.architecture]
    facts = {"model": spec.name, "weights_sha256": spec.sha256, "window": spec.window, "halo": halo}
    with ValidationContext(root=folder, log_warnings=False, progressbar=False):
        return v0_5.ModelDescr.model_validate({
            "format_version": v0_5.ModelDescr.implemented_format_version,
            "type": "model",
            "name": f"{spec.name.replace('-', ' ')} swin2sr_ops",
            "description": f"{spec.advice or 'Restores images.'} {spec.task}, x{spec.scale}."[:1024],
            "version": swin2sr_ops.__version__,
            "authors": [{"name": "swin2sr_ops developers"}],
            "cite": [{"text": paper, "doi": doi}],
            "license": _licence(spec),
            "tags": ["super-resolution" if spec.scale > 1 else "restoration", spec.architecture, "2d", "transformer"],
            "documentation": {"source": "README.md"},
            "covers": [{"source": "cover.png"}],
            "inputs": [_input(spec, graph.tile)],
            "outputs": [_output(spec, halo)],
            "weights": {"onnx": {"source": "weights.onnx", "opset_version": OPSET}},
            "config": {"swin2sr_ops": facts},
        })  # fmt: skip


def _licence(spec: ModelSpec) -> str | None:
    """Return the licence if it has an SPDX name; a package may lack one."""
    from typing import get_args

    from bioimageio.spec.model.v0_5 import LicenseId

    known = get_args(getattr(LicenseId, "root_model", LicenseId).model_fields["root"].annotation)
    return spec.licence if spec.licence in known else None


def _channels(spec: ModelSpec) -> dict[str, Any]:
    names = ["intensity"] if spec.channels == 1 else ["red", "green", "blue"]
    return {"type": "channel", "channel_names": names}


def _input(spec: ModelSpec, tile: int) -> InputTensorDescr:
    from bioimageio.spec.model.v0_5 import InputTensorDescr

    space = [{"type": "space", "id": axis, "size": tile, "concatenable": True} for axis in "yx"]
    return InputTensorDescr.model_validate({
        "id": "image",
        "description": "The image, of any range.",
        "axes": [{"type": "batch", "size": 1}, _channels(spec), *space],
        "data": {"type": "float32"},
        "test_tensor": {"source": "test_input.npy"},
        "preprocessing": [{"id": "scale_range", "kwargs": {"axes": ["channel", "y", "x"], "eps": _EPS}}],
    })  # fmt: skip


def _output(spec: ModelSpec, halo: int) -> OutputTensorDescr:
    """Describe the output: ``scale`` times finer pixels, and a halo in output pixels."""
    from bioimageio.spec.model.v0_5 import OutputTensorDescr

    space = [
        {
            "type": "space", "id": axis, "scale": 1 / spec.scale, "halo": halo * spec.scale,
            "size": {"tensor_id": "image", "axis_id": axis},
        }
        for axis in "yx"
    ]  # fmt: skip
    return OutputTensorDescr.model_validate({
        "id": "restored",
        "description": "The restored image; 0 and 1 are the input's extremes.",
        "axes": [{"type": "batch"}, _channels(spec), *space],
        "data": {"type": "float32"},
        "test_tensor": {"source": "test_output.npy"},
    })  # fmt: skip


def _sample(channels: int, side: int) -> NDArray[np.float32]:
    """Return the middle of a sample of the package, mirrored where it is smaller, ``(1, channels, side, side)``."""
    source = open_source("sample:cells" if channels == 1 else "sample:photo")
    image = source.read(tuple(slice(0, n) for n in source.info.shape))
    planes = image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)[:3]
    missing = [max(side - n, 0) for n in planes.shape[1:]]
    planes = np.pad(planes, ((0, 0), (0, missing[0]), (0, missing[1])), "symmetric")
    top, left = ((n - side) // 2 for n in planes.shape[1:])
    return np.ascontiguousarray(planes[None, :, top : top + side, left : left + side], "f4")


def _restored(graph: Graph, given: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute what the package must return for ``given``, in torch."""
    import torch

    low, high = given.min(), given.max()
    with torch.no_grad():
        found: NDArray[np.float32] = graph.net(torch.from_numpy((given - low) / (high - low + _EPS))).numpy()
    return found


def _cover(given: NDArray[np.float32], restored: NDArray[np.float32], scale: int) -> bytes:
    """Return a PNG twice as wide as high: the middle of the input, its pixels enlarged, and of the result."""
    from PIL import Image

    side = min(given.shape[-1], _COVER // 2 // scale)
    halves = []
    for image, factor in ((given, 1), (restored, scale)):
        first = (image.shape[-1] - side * factor) // 2
        part = image[0, :, first : first + side * factor, first : first + side * factor]
        low, high = np.percentile(image, [0.1, 99.9])
        grey = ((part - low) / max(high - low, 1e-6)).clip(0, 1) * 255
        pixels = np.broadcast_to(np.moveaxis(grey.round().astype("u1"), 0, -1), (*grey.shape[1:], 3))
        halves.append(
            Image.fromarray(np.ascontiguousarray(pixels)).resize((_COVER // 2,) * 2, Image.Resampling.NEAREST)
        )
    cover, stream = Image.new("RGB", (_COVER, _COVER // 2)), BytesIO()
    for number, half in enumerate(halves):
        cover.paste(half, (number * _COVER // 2, 0))
    cover.save(stream, "PNG")
    return stream.getvalue()


def _documentation(spec: ModelSpec, tile: int, halo: int) -> str:
    measured = "\n".join(f"- {name}: {value}" for name, value in spec.quality.items()) or "- no figures are known"
    return f"""# {spec.name}

{spec.advice}

The network takes tiles of {tile} x {tile} pixels and returns tiles {spec.scale} times as large. Crop {halo} pixels of
the input's grid ({halo * spec.scale} of the output's) at each inner side, and start tiles at multiples of
{spec.window} pixels: then the tiles equal one pass over the whole image. Programs that move the last tile inwards do
so if the sides of the image are multiples of {spec.window}: pad or crop it first. Within {halo + spec.window} pixels of
the image's own edges the result depends on how the program pads the image.

Values: the package maps the image's smallest value to 0 and its largest to 1; the result is in these units.

Weights: {spec.licence or "licence unknown"}, SHA-256 {spec.sha256 or "unknown"}.

## Validation

{measured}

Compare the result with a measurement of the same sample before you measure in it: a network may invent detail.
"""
