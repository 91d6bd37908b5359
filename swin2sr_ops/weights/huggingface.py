"""Read Hugging Face's Swin2SR (``transformers``): its folders, and its names for the same tensors.

The weights are those of the official network; only the names differ, and q, k and v are separate. The files store
no buffers, so window and value range come from ``config.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from swin2sr_ops.errors import CheckpointError
from swin2sr_ops.weights.digest import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")  # a tensor or an array

__all__ = ["is_hugging_face", "official_names", "read_folder"]

#: Single weight files first, then the indexes of sharded ones.
_FILES = ("model.safetensors", "pytorch_model.bin")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")

#: Applied in this order to a name without its prefix ``swin2sr.``.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^first_convolution\.", "conv_first."),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.patch_embeddings\.layernorm\.", "patch_embed.norm."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"layers.\1.residual_group.blocks.\2."),
    (r"^encoder\.stages\.(\d+)\.patch_embed\.projection\.", r"layers.\1.patch_embed.proj."),
    (r"^encoder\.stages\.(\d+)\.conv\.", r"layers.\1.conv."),
    (r"\.attention\.self\.query\.bias$", ".attn.q_bias"),
    (r"\.attention\.self\.value\.bias$", ".attn.v_bias"),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    # Heads: transformers puts them, and the upsampling layers inside, under ``upsample.``.
    (r"^upsample\.upsample\.convolution(_0)?\.", "upsample.0."),
    (r"^upsample\.upsample\.convolution_1\.", "upsample.2."),
    (r"^upsample\.upsample\.convolution_2\.", "upsample.4."),
    (r"^upsample\.conv\.", "upsample.0."),
    (r"^upsample\.conv_before_upsample\.", "conv_before_upsample.0."),
    (r"^upsample\.(conv_\w+)\.", r"\1."),
    (r"^upsample\.final_convolution\.", "conv_last."),
    (r"^final_convolution\.", "conv_last."),
)

_QKV = re.compile(r"^(.*\.attn)\.(query|key|value)\.weight$")

#: Names in ``config.json`` and in `ModelSpec` for the same value; each stage has its own ``num_heads``.
_CONFIG: dict[str, str] = {
    "upscale": "scale",
    "num_channels": "channels",
    "embed_dim": "dim",
    "depths": "depths",
    "num_heads": "heads",
    "window_size": "window",
    "img_range": "value_range",
    "resi_connection": "resi_connection",
}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 16


def _are_whole(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) < 1 << 10 and all(map(_is_whole, value))


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9


#: Validators of the fields that are not whole numbers.
_KINDS: dict[str, Callable[[object], bool]] = {
    "depths": _are_whole,
    "heads": _are_whole,
    "value_range": _is_real,
    "resi_connection": lambda value: isinstance(value, str),
}


def is_hugging_face(tensors: Mapping[str, Any]) -> bool:
    """Return True if the names are those of ``transformers``."""
    return any(name.endswith("first_convolution.weight") for name in tensors)


def official_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the same tensors under the official names, with q, k and v joined."""
    renamed = {_rename(name): tensor for name, tensor in tensors.items()}
    parts: dict[str, dict[str, T]] = {}
    state = {}
    for name, tensor in renamed.items():
        match = _QKV.match(name)
        if match is None:
            state[name] = tensor
            continue
        mine = parts.setdefault(match[1], {})
        mine[match[2]] = tensor
        if len(mine) == 3:
            state[f"{match[1]}.qkv.weight"] = _joined([mine["query"], mine["key"], mine["value"]])
    return state


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)


def _rename(name: str) -> str:
    name = name.removeprefix("swin2sr.")
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def read_folder(
    folder: Path, read: Callable[[Path], dict[str, Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Read a folder; return its tensors, the facts of its ``config.json`` and the SHA-256.

    Parameters
    ----------
    folder : Path
        Holds ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``, as one file or in shards.
    read : callable
        Reads one weight file.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointError(f"{folder} is a folder without config.json; expected a Hugging Face Swin2SR folder.")
    files = _weight_files(folder)
    tensors: dict[str, Tensor] = {}
    for file in files:
        if not os.path.isfile(file):
            raise CheckpointError(f"{folder} lacks {file.name}, one of its weight files: fetch it again.")
        tensors.update(read(file))
    digests = [file_sha256(file) for file in files]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return tensors, _facts(config), digest


def _weight_files(folder: Path) -> list[Path]:
    for name in _FILES:
        if (folder / name).is_file():
            return [folder / name]
    for name in _INDEXES:
        if (folder / name).is_file():
            shards = _json(folder / name).get("weight_map", {})
            names: list[Any] = list(shards.values()) if isinstance(shards, dict) else []
            if not names or not all(isinstance(n, str) and n == Path(n).name and n.strip(".") for n in names):
                raise CheckpointError(
                    f"{folder / name} must have a weight_map from tensors to names of files beside it."
                )
            return [folder / shard for shard in sorted(set(names))]
    present = ", ".join(sorted(p.name for p in folder.iterdir())[:5])
    raise CheckpointError(f"{folder} has neither {' nor '.join(_FILES)} (it has {present}): fetch the weights too.")


def _facts(path: Path) -> dict[str, Any]:
    config = _json(path)
    kind = config.get("model_type", "swin2sr")
    if kind != "swin2sr":
        raise CheckpointError(f"{path} describes a {kind!r} model; expected 'swin2sr'.")
    facts = {field: config[key] for key, field in _CONFIG.items() if key in config}
    for key, name in _CONFIG.items():
        if name in facts and not _KINDS.get(name, _is_whole)(facts[name]):
            raise CheckpointError(f"{path} has {key}={str(facts[name])[:60]!r}, which no Swin2SR has: fetch it again.")
    if config.get("upsampler") == "":
        facts.pop("scale", None)  # without an upsampler the default of 2 has no meaning
    for name in ("depths", "heads"):
        if name in facts:
            facts[name] = tuple(facts[name])
    return facts


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc}.") from exc
    except (ValueError, RecursionError) as exc:
        raise CheckpointError(f"{path} is not valid JSON ({exc}): fetch it again.") from exc
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a {type(found).__name__}; expected a JSON object.")
    return found
