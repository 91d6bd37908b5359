"""Select the engine that computes the Swin blocks of a network."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from swin2sr_ops.engine.devices import Cpu, choose_dtype, gpu_is_possible, torch_device
from swin2sr_ops.errors import RequestError

if TYPE_CHECKING:
    import torch

    from swin2sr_ops.spec import ModelSpec

__all__ = ["ENGINES", "check_engine", "choose_engine", "computes_in_torch", "needs_torch", "why_engine"]

#: ``auto`` and ``torch`` run everywhere, the others on one kind of device.
ENGINES = ("auto", "torch", "native", "openvino", "triton")

_PRECISIONS = {"native": ("float32",), "openvino": ("float32",), "triton": ("float32", "bfloat16")}
_DEVICES = {"native": "cpu", "openvino": "cpu", "triton": "cuda"}


def check_engine(engine: str, precision: str = "auto", *, foreign: bool = False) -> str:
    """Reject an unknown or unsuitable engine with one sentence; this loads neither torch nor the engine."""
    if engine not in ENGINES:
        raise RequestError(f"engine={engine!r} is not one of {', '.join(ENGINES)}.")
    if engine in ("auto", "torch"):
        return engine
    if foreign:
        raise RequestError(
            f"engine={engine!r} has kernels for the blocks of Swin2SR and SwinIR, and this model is another network: "
            "leave engine at 'auto'."
        )
    if precision not in ("auto", *_PRECISIONS[engine]):
        computes = " or ".join(_PRECISIONS[engine])
        raise RequestError(f"engine={engine!r} computes in {computes}, not {precision}: leave one of them at 'auto'.")
    _version(engine)
    return engine


def choose_engine(engine: str, device: torch.device | Cpu, precision: object, spec: ModelSpec) -> str:
    """Return ``torch``, or another engine's name with its version, for computation and reports."""
    if engine == "auto":
        engine, _ = _fastest(device, precision, spec)
    if engine == "torch":
        return engine
    if device.type != _DEVICES[engine]:
        kind = _DEVICES[engine]
        raise RequestError(
            f"engine={engine!r} runs on {'the CPU' if kind == 'cpu' else 'a CUDA GPU'}, not on {device}: "
            f"give device={kind!r}, or another engine."
        )
    if engine == "triton" and (reason := _too_wide(spec)) is not None:
        raise RequestError(reason)
    return f"{engine} {_version(engine)}"


def computes_in_torch(engine: str) -> bool:
    """Return True if this engine's pixels depend on torch, as all do but our kernels; `choose_engine` names it."""
    return engine.partition(" ")[0] != "native"


def needs_torch() -> bool:
    """Return True if torch computes on this machine by default, or is needed to look for a GPU; never imports it.

    Kernels that were never built are built.
    """
    return gpu_is_possible() or bool(_no_native())


def why_engine(engine: str, device: torch.device | Cpu, precision: object, spec: ModelSpec) -> str:
    """Return why `choose_engine` chooses an engine, for a report."""
    return _fastest(device, precision, spec)[1] if engine == "auto" else "requested"


def _fastest(device: torch.device | Cpu, precision: object, spec: ModelSpec) -> tuple[str, str]:
    """Resolve ``auto``, with the reason: this package's kernels if they run, else torch; never another package's.

    Other installed packages must not change a result. Triton comes with torch for CUDA, and the report names the C
    compiler.
    """
    if spec.reach is not None:
        return "torch", "a network of a plugin"
    engine = {"cpu": "native", "cuda": "triton"}.get(device.type)
    if engine is None:
        return "torch", f"the package's own kernels do not run on {device.type}"
    word = _word(precision)
    if word not in _PRECISIONS[engine]:
        return "torch", f"the package's own kernels do not compute in {word}"
    reason = _no_triton(torch_device(device), word, spec) if engine == "triton" else _no_native()
    return ("torch", reason) if reason else (engine, f"the fastest on {device.type}")


def _word(precision: object) -> str:
    """Return ``"float32"`` for that, or for torch's own word for it."""
    return str(precision).removeprefix("torch.")


def _no_triton(device: torch.device, precision: str, spec: ModelSpec) -> str:
    from swin2sr_ops.engine.selftest import triton_obstacle

    if not _is_installed("triton"):
        return "Triton is not installed"
    return _too_wide(spec) or triton_obstacle(spec, device, choose_dtype(precision))


def _no_native() -> str:
    from swin2sr_ops.engine.selftest import native_obstacle

    return native_obstacle()


def _too_wide(spec: ModelSpec) -> str | None:
    from swin2sr_ops.engine.triton.steps import WIDEST

    if spec.dim <= WIDEST:
        return None
    return f"engine='triton' supports at most {WIDEST} feature channels, {spec.name!r} has {spec.dim}: give 'torch'."


def _version(engine: str) -> str:
    if engine == "native":
        from swin2sr_ops.engine.native.build import REVISION, origin

        origin()  # the kernels give the same bits with any compiler
        return str(REVISION)
    if _is_installed(engine):
        return version(engine)
    if engine == "triton":
        raise RequestError("engine='triton' needs Triton, which comes with torch for CUDA: it is not installed here.")
    raise RequestError("engine='openvino' needs OpenVINO, which is not installed: pip install 'swin2sr-ops[openvino]'.")


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
