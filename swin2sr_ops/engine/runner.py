"""Run a model on a device: load it once per process, compute tile by tile, and halve tiles if memory is short."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from swin2sr_ops.engine.devices import (
    Cpu,
    auto_precision,
    check_precision,
    choose_device,
    choose_dtype,
    is_out_of_memory,
    torch_device,
    torch_version,
)
from swin2sr_ops.engine.select import check_engine, choose_engine, computes_in_torch, why_engine
from swin2sr_ops.errors import TileError
from swin2sr_ops.geometry.plan import Tile
from swin2sr_ops.geometry.steps import cell_side
from swin2sr_ops.hooks.dispatch import build_network, network_of_plugin
from swin2sr_ops.placement import Placement
from swin2sr_ops.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from swin2sr_ops.engine.generic import CellEngine
    from swin2sr_ops.engine.native.engine import NativeEngine
    from swin2sr_ops.engine.row_cache import RowCache
    from swin2sr_ops.engine.tile_engine import TileEngine

__all__ = ["Network", "Placed", "exclusive_gpu", "without_history"]

_log = logging.getLogger(__name__)
_engines: dict[tuple[Any, ...], TileEngine | CellEngine | NativeEngine] = {}
_engines_lock = threading.Lock()
_device_locks: dict[str, threading.RLock] = {}


@dataclass(frozen=True)
class Placed:
    """Resolved placement of a network, for fingerprints and reports."""

    device: str  # such as "cuda:0"
    precision: str
    engine: str
    why: str  # reason for that engine
    torch: str = ""  # its version there, if it computes pixels

    @property
    def kind(self) -> str:
        """Kind of device."""
        return self.device.partition(":")[0]


class Network:
    """Run the tiles of a `Restorer`; it pickles as its settings.

    Parameters
    ----------
    spec : ModelSpec
        With the reach that ``halo`` leaves it.
    placement : Placement
        As requested. The values that ``"auto"`` resolved to are pickled too, so workers use them.
    """

    def __init__(self, spec: ModelSpec, placement: Placement) -> None:
        self.spec, self.placement = spec, placement
        self._precision = check_precision(placement.precision)
        check_engine(placement.engine, placement.precision, foreign=spec.reach is not None)
        self._chosen: dict[str, str] = {}  # engine per kind of device
        self._elsewhere: Placed | None = None
        self._too_large = sys.maxsize  # pixels read by the smallest tile that did not fit into memory
        self._row_cache: RowCache | None = None

    @property
    def precision(self) -> str:
        """Precision of the computation; ``"auto"`` keeps the value of its first resolution."""
        if self._precision == "auto":
            self._precision = auto_precision(self.placement.device, foreign=self.spec.reach is not None)
        return self._precision

    def place(self) -> tuple[torch.device | Cpu, str, str]:
        """Resolve device, precision and engine of this process."""
        device, precision = choose_device(self.placement.device), self.precision
        asked = self._chosen.get(device.type, self.placement.engine)
        engine = choose_engine(asked, device, precision, self.spec)
        self._chosen[device.type] = engine.split()[0]
        return device, precision, engine

    @property
    def on_arrays(self) -> bool:
        """Tell whether the engine works on NumPy arrays, without torch, or on torch tensors."""
        return not computes_in_torch(self.place()[2])

    def placed(self) -> Placed:
        """Describe device, precision and engine, with the reason; those of the workers if they compute."""
        if self._elsewhere is not None:
            return self._elsewhere
        device, precision, engine = self.place()
        why = why_engine(self.placement.engine, device, precision, self.spec)
        return Placed(str(device), precision, engine, why, torch_version() if computes_in_torch(engine) else "")

    def resolve_auto(self, placed: Placed) -> None:
        """Resolve "auto" settings as a worker did, since the workers compute."""
        self._elsewhere = placed
        self._precision = placed.precision
        self._chosen[placed.kind] = placed.engine.split()[0]

    @property
    def kind(self) -> str:
        """Kind of the computing device."""
        return choose_device(self.placement.device).type if self._elsewhere is None else self._elsewhere.kind

    @property
    def can_stream(self) -> bool:
        """True if `streaming` saves work: on a CPU. A GPU processes several tiles at once, and none may wait."""
        return self.placement.halo == "exact" and self.spec.reach is None and self.kind == "cpu"

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Cache rows while tiles come column by column, downwards, so that nothing is computed twice along Y."""
        from swin2sr_ops.engine.row_cache import RowCache

        self._row_cache = RowCache()
        try:
            yield
        finally:
            self._row_cache = None

    def engine(self) -> TileEngine | CellEngine | NativeEngine:
        """Return the loaded network, which this process shares per device."""
        device, precision, engine = self.place()
        key = self._key(device, precision, engine)
        with _engines_lock:
            if key not in _engines:
                _engines[key] = _loaded(self.spec, device, precision, engine.split()[0])
            return _engines[key]

    def release(self) -> None:
        """Free the network in this process; it is loaded again when needed."""
        device, precision, engine = self.place()
        with _engines_lock:
            _engines.pop(self._key(device, precision, engine), None)
        _empty_cache(device.type)

    def _key(self, device: torch.device | Cpu, precision: str, engine: str) -> tuple[Any, ...]:
        return without_history(self.spec), str(device), precision, engine

    def run(self, x: Any, tile: Tile) -> Any:
        """Compute the image of one tile.

        Parameters
        ----------
        x : Tensor or ndarray
            See `on_arrays`. ``(1 or C, rows, columns)`` of the network's region, in 0..1, on the device; one channel
            is repeated. ``C`` is `ModelSpec.inputs`: all planes of a model of several.
        tile : Tile

        Returns
        -------
        Tensor or ndarray
            As many channels, ``rows scale`` x ``columns scale`` pixels of the tile.

        Raises
        ------
        TileError
            If values are not finite, or memory is too small for the smallest tile.
        """
        one = len(x) < self.spec.inputs
        if isinstance(x, np.ndarray):
            with _device_lock("cpu"):
                y = self._run(np.broadcast_to(x, (self.spec.inputs, *x.shape[1:])), tile)
            finite = np.isfinite(y).all()
        else:
            with _device_lock(str(x.device)):
                y = self._run(x.expand(self.spec.inputs, -1, -1), tile)
            finite = y.isfinite().all()
        if not finite:
            remedy = "give an intensity range that contains the image's values, and mark extreme values as nodata"
            raise TileError(
                f"{self.spec.name} computed values that are not finite at {tile} in {self.precision} precision: "
                f"""{"use precision='float32'" if self.precision == "bfloat16" else remedy}."""
            )
        if not one:
            return y
        return y.mean(0, keepdims=True) if isinstance(y, np.ndarray) else y.mean(0, keepdim=True)

    def _run(self, x: Any, tile: Tile) -> Any:
        """Run the engine on one tile; if the tile does not fit into memory, run it on both halves.

        The engine does not retry a size that did not fit.
        """
        area = (tile.y.read[1] - tile.y.read[0]) * (tile.x.read[1] - tile.x.read[0])
        smallest = max(tile.shape) < (2 * self.spec.window if self.spec.reach is None else 2 * cell_side(self.spec))
        if area < self._too_large or smallest:
            try:
                row_cache: dict[str, Any] = {} if self._row_cache is None else {"row_cache": self._row_cache}
                found = self.engine().run(x, tile, **row_cache)
                return found["image"] if isinstance(found, dict) else found
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc):
                    raise TileError(f"{self.spec.name} failed at {tile}, block {tuple(x.shape)}: {exc}") from exc
                if smallest:
                    raise TileError(
                        f"Not even a tile of {tile.shape[0]} x {tile.shape[1]} px of {self.spec.name} fits the memory "
                        f"of device {self.placement.device!r} ({exc}). Free some, or use device='cpu'."
                    ) from exc
            # Continue outside the `except`: the error keeps the failed attempt's tensors alive.
            _log.warning("no memory for a tile of %d x %d px of %s: computing halves", *tile.shape, self.spec.name)
            self._too_large = area
            gc.collect()
            _empty_cache("cpu" if isinstance(x, np.ndarray) else x.device.type)
        return self._run_halves(x, tile)

    def _run_halves(self, x: Any, tile: Tile) -> Any:
        rows = tile.shape[0] >= tile.shape[1]
        longer = tile.y if rows else tile.x
        parts = []
        for span in longer.split(self.spec, self.placement.halo):
            lo, hi = (edge - longer.read[0] for edge in span.read)
            part = x[:, lo:hi] if rows else x[:, :, lo:hi]
            parts.append(self._run(part, Tile(span, tile.x) if rows else Tile(tile.y, span)))
        if isinstance(x, np.ndarray):
            return np.concatenate(parts, 1 if rows else 2)
        import torch

        return torch.cat(parts, 1 if rows else 2)


def _loaded(spec: ModelSpec, device: torch.device | Cpu, precision: str, engine: str) -> Any:
    """Load a network into its engine: weights as arrays into ours, unless a plugin builds the network."""
    if engine == "native":
        from swin2sr_ops.engine.native.engine import NativeEngine
        from swin2sr_ops.weights.loader import load_parameters

        theirs = network_of_plugin(spec)
        return NativeEngine(spec, load_parameters(spec) if theirs is None else _parameters_of(theirs, spec))
    from swin2sr_ops.engine.generic import engine_of

    net = build_network(spec).to(torch_device(device))
    return engine_of(net, spec, dtype=choose_dtype(precision), kernels=engine)


def _parameters_of(net: nn.Module, spec: ModelSpec) -> dict[str, NDArray[Any]]:
    """Return the weights of a network that a plugin has built, which must be one of this package's kinds."""
    from swin2sr_ops.weights.loader import check_parameters

    found = {name: value.detach().float().cpu().numpy() for name, value in net.state_dict().items()}
    check_parameters(found, spec, f"the network of a plugin ({type(net).__name__})")
    return found


def without_history(spec: ModelSpec) -> ModelSpec:
    """Copy the spec with everything that decides the result, without its long fields."""
    return replace(spec, provenance={}, quality={}, halo_error={}, advice="")


def _empty_cache(kind: str) -> None:
    if kind == "cuda":
        import torch

        torch.cuda.empty_cache()


def exclusive_gpu(device: torch.device | Cpu) -> AbstractContextManager[object]:
    """Hold the GPU exclusively; otherwise this tile's head would queue behind another tile's kernels."""
    return _device_lock(str(device)) if device.type == "cuda" else nullcontext()


def _device_lock(device: str) -> threading.RLock:
    """Return the device's lock: its kernels use all of it, and memory is planned for one tile."""
    with _engines_lock:
        return _device_locks.setdefault(device, threading.RLock())
