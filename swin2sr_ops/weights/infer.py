"""Infer the network of a state dict from its shapes and names, without guessing.

Two values can be missing. No checkpoint contains the value range (``img_range``), and a Swin2SR without
buffers does not contain its window. Both are inferred only if every number in the file agrees with a
released network; otherwise the user must give them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from swin2sr_ops.errors import CheckpointError, RequestError
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.catalogue import BUILTIN
from swin2sr_ops.weights.sniff import EXPECTED

__all__ = ["SHAPE_FIELDS", "infer_spec"]

#: Fields of `ModelSpec` that define a network's shape, except window and value range.
SHAPE_FIELDS = (
    *("architecture", "scale", "channels", "planes", "dim", "depths", "heads", "mlp_ratio", "qkv_bias", "patch_norm"),
    *("upsampler", "resi_connection", "num_feat"),
)

#: Fields about a model rather than its network: the user's values are taken unchecked.
_FREE_FIELDS = ("task", "licence", "along", "advice", "provenance", "quality", "halo_error")


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _is_range(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf


#: Hints that enter computations before they are compared with the file: validator, and what is possible.
_NUMBERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "planes": (
        lambda value: _is_whole(value, 1) and value % 2 == 1,
        "an odd whole number, for the plane itself and as many on either side",
    ),
    "window": (lambda value: _is_whole(value, 2), "a whole number of at least 2, such as 8, or 7 for JPEG models"),
    "value_range": (
        lambda value: value is None or _is_range(value),
        "a positive number, such as 1, or 255 for JPEG models",
    ),
}

_BLOCK = "layers.0.residual_group.blocks.0."

#: Parts of tensor names that identify other architectures.
_FOREIGN: tuple[tuple[str, str], ...] = (
    ("rdb1.conv1", "an ESRGAN"),
    ("RDB1.conv1", "an ESRGAN"),
    ("overlap_attn", "a HAT"),
    ("ffn_block", "a Restormer or DAT"),
    ("qkv_dwconv", "a Restormer"),
    ("adaptive_spatial", "a DAT"),
    ("transformer.resblocks", "a CLIP"),
    ("down_blocks", "a diffusion model"),
    ("layer4.", "a ResNet"),
)


def infer_spec(
    state: Mapping[str, Any],
    *,
    name: str,
    facts: Mapping[str, Any] | None = None,
    hints: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Describe the network that ``state`` belongs to.

    Parameters
    ----------
    state : mapping of str to Tensor or ndarray
        Parameters under the official names (`swin2sr_ops.weights.checkpoint`).
    name : str
        Name for the model.
    facts : mapping, optional
        Facts that the file states beside its parameters (`Checkpoint.facts`).
    hints : mapping, optional
        Fields of `ModelSpec` that the user gives. They have priority unless the file contradicts them.

    Returns
    -------
    ModelSpec
        With ``weights`` empty.

    Raises
    ------
    CheckpointError
        If it is another network or an unsupported kind of Swin network, if the user must give the window
        or the value range, or if a hint contradicts the file.

    Notes
    -----
    Without a hint or a fact, the value range is that of the released networks that agree in every
    number (255 with window 7, as in the JPEG models, else 1). The window of a Swin2SR without buffers is
    inferred in the same way, if all released networks that agree have the same window.
    """
    given = {**(facts or {}), **(hints or {})}
    _check_hints(hints or {})
    try:
        found = _shape(state, name, int(given.get("planes", 1)))
    except (LookupError, ValueError, ZeroDivisionError) as exc:  # a missing tensor, or one with too few axes
        raise CheckpointError(f"{name} looks like a Swin network, but a part is missing: {exc}.") from exc
    for key, value in found.items():
        if key in given and _plain(given[key]) != _plain(value):
            said = "was asked for" if hints and key in hints else "is in its config.json"
            raise CheckpointError(f"{name}: {key}={given[key]!r} {said}, but the weights have {key}={value!r}.")
    window = _window(state, name, facts or {}, hints or {})
    alike = [row for row in BUILTIN.values() if all(getattr(row, key) == found[key] for key in SHAPE_FIELDS)]
    if window:
        alike = [row for row in alike if row.window == window]
    window = window or _agreed(alike, "window", name, "8, or 7 for JPEG models")
    value_range = given.get("value_range")
    if value_range is None:
        value_range = _agreed(
            alike, "value_range", name, "1, or 255 for JPEG models: img_range in its training options"
        )
    free = {key: given[key] for key in _FREE_FIELDS if key in given}
    free.setdefault("task", _task(found["upsampler"], window))
    return ModelSpec(name=name, window=window, value_range=float(value_range), **found, **free)


def _check_hints(hints: Mapping[str, Any]) -> None:
    known = ("window", "value_range", *_FREE_FIELDS, *SHAPE_FIELDS)
    unknown = sorted(set(hints) - set(known))
    if unknown:
        raise RequestError(f"{', '.join(unknown)} is not a hint about a checkpoint: give {', '.join(known)}.")
    for key, (fits, needed) in _NUMBERS.items():
        if key in hints and not fits(hints[key]):
            raise RequestError(f"{key}={hints[key]!r} is not possible: give {needed}.")


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _agreed(rows: list[ModelSpec], key: str, name: str, examples: str) -> Any:
    """Return the value that all released networks of this shape have, if there are any and they agree."""
    values = {getattr(row, key) for row in rows}
    if len(values) == 1:
        return values.pop()
    if values:
        why = f"released networks of its shape have {' and '.join(map(str, sorted(values)))}"
    else:
        why = "no released network has its shape"
    raise CheckpointError(f"{name}: the file does not state its {key}, and {why}. Give {key}=... ({examples}).")


def _task(upsampler: str, window: int) -> str:
    """Return the task for which networks of this kind were released; a hint may override it."""
    tasks = {"nearest+conv": "real_sr", "pixelshuffledirect": "lightweight_sr", "pixelshuffle_aux": "compressed_sr"}
    if upsampler == "":
        return "jpeg" if window == 7 else "denoise"
    return tasks.get(upsampler, "classical_sr")


# --- from names and shapes -----------------------------------------------------------------------


def _shape(state: Mapping[str, Any], name: str, planes: int) -> dict[str, Any]:
    architecture = _architecture(state, name)
    _refuse_unbuilt(state, name, planes)
    dim, inputs = state["conv_first.weight"].shape[:2]
    if planes > 1 and inputs != planes:  # neighbours enter with single channels only
        raise CheckpointError(f"{name}: planes={planes} was asked for, but the weights take {inputs} channels in all.")
    channels = inputs // planes
    depths = _count_blocks(state)
    upsampler = _upsampler(state)
    before = state.get("conv_before_upsample.0.weight")
    return {
        "architecture": architecture,
        "dim": dim,
        "channels": channels,
        "planes": planes,
        "depths": depths,
        "heads": tuple(_heads(state, stage, architecture) for stage in range(len(depths))),
        "mlp_ratio": state[_BLOCK + "mlp.fc1.weight"].shape[0] / dim,
        "qkv_bias": _BLOCK + "attn.q_bias" in state or _BLOCK + "attn.qkv.bias" in state,
        "patch_norm": "patch_embed.norm.weight" in state,
        "upsampler": upsampler,
        "scale": _scale(state, upsampler, channels),
        "resi_connection": "3conv" if "conv_after_body.0.weight" in state else "1conv",
        "num_feat": 64 if before is None else before.shape[0],
    }


def _architecture(state: Mapping[str, Any], name: str) -> str:
    has_first = "conv_first.weight" in state or "conv_first.1.weight" in state
    if has_first and _BLOCK + "mlp.fc1.weight" in state:
        if _BLOCK + "attn.logit_scale" in state:
            return "swin2sr"
        if _BLOCK + "attn.relative_position_bias_table" in state:
            return "swinir"
    some = ", ".join(sorted(state)[:3]) or "nothing"
    kinds = [kind for piece, kind in _FOREIGN if any(piece in key for key in state)]
    what = f"is {kinds[0]}" if kinds else "is another network"
    raise CheckpointError(
        f"{name} {what}: it has {len(state)} tensors such as {some}; {EXPECTED}, with conv_first.weight and {_BLOCK}..."
    )


def _refuse_unbuilt(state: Mapping[str, Any], name: str, planes: int) -> None:
    """Reject variants of the family that are not supported; ``planes`` enter for one result."""
    reason = ""
    if "conv_first.weight" not in state:
        reason = "it rearranges its input first (pixel unshuffle, as in DiffBIR)"
    elif "absolute_pos_embed" in state:
        reason = "it has an absolute position embedding, which ties it to one image size"
    elif "patch_embed.proj.weight" in state and state["patch_embed.proj.weight"].shape[2] != 1:
        reason = f"its patches have {state['patch_embed.proj.weight'].shape[2]} pixels to a side instead of 1"
    elif "conv_last.weight" in state and state["conv_last.weight"].shape[0] != state["conv_first.weight"].shape[1]:
        taken, given = state["conv_first.weight"].shape[1], state["conv_last.weight"].shape[0]
        if given != 1 or taken != planes:
            reason = f"it turns {taken} channels into {given}"
            if given == 1 and taken % 2:
                reason += f" (if these are a plane and its neighbours, in this order, give planes={taken})"
    if reason:
        raise CheckpointError(f"{name} is a Swin network of a kind that is not supported: {reason}.")


def _count(state: Mapping[str, Any], prefix: str) -> int:
    """Count the entries of a module list: ``prefix`` + 0, 1, ... ."""
    numbers = {int(key[len(prefix) :].split(".", 1)[0]) for key in state if key.startswith(prefix)}
    return len(numbers)


def _count_blocks(state: Mapping[str, Any]) -> tuple[int, ...]:
    stages = _count(state, "layers.")
    return tuple(_count(state, f"layers.{stage}.residual_group.blocks.") for stage in range(stages))


def _heads(state: Mapping[str, Any], stage: int, architecture: str) -> int:
    attention = f"layers.{stage}.residual_group.blocks.0.attn."
    if architecture == "swin2sr":
        return int(state[attention + "logit_scale"].shape[0])
    return int(state[attention + "relative_position_bias_table"].shape[1])


def _upsampler(state: Mapping[str, Any]) -> str:
    # In this order: the richer heads contain the names of the plainer ones.
    for key, upsampler in (
        ("conv_bicubic.weight", "pixelshuffle_aux"),
        ("conv_after_body_hf.weight", "pixelshuffle_hf"),
        ("conv_up1.weight", "nearest+conv"),
        ("conv_before_upsample.0.weight", "pixelshuffle"),
        ("upsample.0.weight", "pixelshuffledirect"),
    ):
        if key in state:
            return upsampler
    return ""


def _scale(state: Mapping[str, Any], upsampler: str, channels: int) -> int:
    if upsampler == "":
        return 1
    if upsampler == "nearest+conv":
        return 1 << sum(key.startswith("conv_up") and key.endswith(".weight") for key in state)
    if upsampler == "pixelshuffledirect":
        return math.isqrt(state["upsample.0.weight"].shape[0] // channels)
    weights = [state[key] for key in state if key.startswith("upsample.") and key.endswith(".weight")]
    return math.prod(math.isqrt(weight.shape[0] // weight.shape[1]) for weight in weights)


def _window(state: Mapping[str, Any], name: str, facts: Mapping[str, Any], hints: Mapping[str, Any]) -> int:
    """Return the window by the parameters, the file or the user, in this order; 0 if unknown."""
    table = state.get(_BLOCK + "attn.relative_position_bias_table")  # ((2w - 1)^2, heads)
    known = (math.isqrt(table.shape[0]) + 1) // 2 if table is not None else facts.get("window", 0)
    asked = hints.get("window", known)
    if known and asked != known:
        raise CheckpointError(f"{name}: window={asked} was asked for, but the file says window={known}.")
    return int(asked)
