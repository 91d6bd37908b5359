"""A model as an ONNX graph of one fixed tile, with what a program must know to tile an image around it.

A tile of the whole image is exact in any runtime if it starts on the window grid, if its halo is cropped, and if an
edge of the image is an edge of the tile. The last holds when the last tile of a row or column ends where the padded
image ends; so the graph needs no masks of borders as inputs.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from os import PathLike
from typing import TYPE_CHECKING, Any

from swin2sr_ops.errors import ModelError, RequestError
from swin2sr_ops.export.files import target_of, write_file
from swin2sr_ops.geometry.span import receptive_halo
from swin2sr_ops.hooks.dispatch import build_network, resolve_model
from swin2sr_ops.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["OPSET", "ExportReport", "Graph", "export_onnx", "make_graph"]

#: The set of operators: old enough for ONNX Runtime, OpenVINO and Windows ML.
OPSET = 18
_LARGEST_DIFFERENCE = 1e-3  # of full range: anything beyond is no rounding
_NEEDED = ("onnx", "onnxscript")


@dataclass(frozen=True)
class ExportReport:
    """Report on an export.

    Attributes
    ----------
    model, path : str
    tile, halo, window : int
        In input pixels: sides of the graph's input, what to crop at each inner side, where tiles may start.
    scale, channels, opset : int
        The channels are those of the input: a plane and its neighbours for a model of several planes.
    difference : float or None
        Largest difference from torch on a random tile, in fractions of full range; None without ONNX Runtime.
    """

    model: str
    path: str
    tile: int
    halo: int
    window: int
    scale: int
    channels: int
    opset: int = OPSET
    difference: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def __str__(self) -> str:
        checked = (
            "not compared: ONNX Runtime is not installed"
            if self.difference is None
            else f"differs from torch by at most {self.difference:.1e} of full range"
        )
        return (
            f"{self.path}: {self.model}, input (1, {self.channels}, {self.tile}, {self.tile}) in 0..1, x{self.scale}, "
            f"halo {self.halo}, tiles start at multiples of {self.window}; {checked}"
        )


def export_onnx(
    model: str | PathLike[str] | ModelSpec,
    path: str | PathLike[str],
    *,
    tile: int = 256,
    overwrite: bool = False,
    **hints: Any,
) -> ExportReport:
    """Write a model as an ONNX graph from ``image`` to ``restored``, float32 in 0..1, and compare it with torch.

    Parameters
    ----------
    model : str, path or ModelSpec
        As in `swin2sr_ops.restore`; Swin2SR or SwinIR.
    path : str or path
        Ends in ``.onnx``.
    tile : int
        Side of the graph's input in pixels: a multiple of the window, more than two halos.
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
    target = target_of(path, ".onnx", model, overwrite=overwrite, needed=_NEEDED, extra="export")
    graph = make_graph(resolve_model(model, **hints), tile)
    write_file(target, lambda part: part.write_bytes(graph.content))
    spec = graph.spec
    return ExportReport(
        spec.name, str(target), tile, graph.halo, spec.window, spec.scale, spec.inputs, difference=graph.difference
    )  # fmt: skip


@dataclass(frozen=True)
class Graph:
    """A graph of one tile, compared with torch.

    Attributes
    ----------
    spec : ModelSpec
    content : bytes
        The ONNX file.
    tile, halo : int
        In input pixels.
    difference : float or None
        As in `ExportReport`.
    net : nn.Module
        The network in torch.
    """

    spec: ModelSpec
    content: bytes
    tile: int
    halo: int
    difference: float | None
    net: nn.Module


def make_graph(spec: ModelSpec, tile: int) -> Graph:
    """Make the graph of ``spec`` for tiles of ``tile`` pixels, and compare it with torch on a random tile.

    Raises
    ------
    RequestError, ModelError
        If the tile or the network does not fit, or the graph computes something else.
    """
    halo = _check(spec, tile)
    import torch

    net = build_network(spec)
    sample = torch.rand(1, spec.inputs, tile, tile, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(sample)  # before the export, which leaves no real tensors in caches that are empty
        content = _graph(net, sample, spec, tile, halo)
    difference = _difference(content, sample, expected)
    if difference is not None and difference > _LARGEST_DIFFERENCE:
        raise ModelError(f"The ONNX graph of {spec.name} differs from torch by {difference:.2g}: it was not written.")
    return Graph(spec, content, tile, halo, difference, net)


def _check(spec: ModelSpec, tile: int) -> int:
    """Return the halo after checking that ``tile`` has a middle."""
    if spec.reach is not None:
        raise ModelError(f"{spec.name} is not a Swin2SR or SwinIR network: only these can be exported.")
    halo = receptive_halo(spec)
    least = 2 * halo + spec.window
    if tile % spec.window or tile < least:
        raise RequestError(
            f"tile={tile} does not fit {spec.name}: give a multiple of its window of {spec.window} px, "
            f"at least {least}."
        )
    return halo


def _graph(net: nn.Module, sample: Tensor, spec: ModelSpec, tile: int, halo: int) -> bytes:
    """Return the graph as bytes, with what a program must know among its metadata."""
    import onnx
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its own parts
        program = torch.onnx.export(
            net, (sample,), dynamo=True, opset_version=OPSET, input_names=["image"], output_names=["restored"],
            verbose=False,
        )  # fmt: skip
    assert program is not None
    found = program.model_proto
    facts = {
        "model": spec.name, "licence": spec.licence, "weights_sha256": spec.sha256, "task": spec.task, "tile": tile,
        "halo": halo, "window": spec.window, "scale": spec.scale, "range": "0..1",
    }  # fmt: skip
    if spec.planes > 1:  # channels of the input: a plane, then its neighbours from near to far, the lower one first
        facts |= {"planes": spec.planes, "along": spec.along}
    onnx.helper.set_model_props(found, {f"swin2sr_ops.{name}": str(value) for name, value in facts.items()})
    onnx.checker.check_model(found)
    content: bytes = found.SerializeToString()
    return content


def _difference(content: bytes, sample: Tensor, expected: Tensor) -> float | None:
    """Compare what ONNX Runtime computes with torch; None where it is not installed."""
    if find_spec("onnxruntime") is None:
        return None
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (restored,) = session.run(None, {"image": sample.numpy()})
    return float(np.abs(restored - expected.numpy()).max())
