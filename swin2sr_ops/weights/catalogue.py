"""List all models by name: those shipped with the package and those released by the authors.

This module opens no network connection and imports no array library: a released model is a table row, a
shipped model is the header of its ``.safetensors`` file.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import CheckpointError, ModelError
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.qualities import QUALITIES

__all__ = [
    "BUILTIN",
    "HEADER_KEY",
    "MODELS_FOLDER",
    "all_models",
    "find",
    "header_of",
    "read_header",
    "shipped",
    "spec_of_header",
]

#: Key of the safetensors header under which this package stores the `ModelSpec` as JSON.
HEADER_KEY = "swin2sr_ops"

_MAX_HEADER = 100_000_000  # limit set by the safetensors format

#: Folder of the shipped models; ``package:<file>`` in `ModelSpec.weights` refers to it.
MODELS_FOLDER = Path(__file__).parents[1] / "data" / "models"

_SWIN2SR = "https://github.com/mv-lab/swin2sr/releases/download/v0.0.1/"
_SWINIR = "https://github.com/JingyunLiang/SwinIR/releases/download/v0.0/"

# --- the networks: each table row is one of these at some scale and number of channels ---

_SWIN2SR_M = ModelSpec(name="", licence="Apache-2.0")
_SWIN2SR_S = replace(
    _SWIN2SR_M, task="lightweight_sr", dim=60, depths=(6,) * 4, heads=(6,) * 4, upsampler="pixelshuffledirect"
)
_SWIN2SR_AUX = replace(_SWIN2SR_M, task="compressed_sr", scale=4, upsampler="pixelshuffle_aux")
_SWIN2SR_REAL = replace(_SWIN2SR_M, task="real_sr", scale=4, upsampler="nearest+conv")
# JPEG codes blocks of 8 x 8: a window of 7 keeps the network's grid from coinciding with theirs.
_SWIN2SR_JPEG = replace(_SWIN2SR_M, task="jpeg", scale=1, upsampler="", window=7, value_range=255.0)
_SWINIR_M = replace(_SWIN2SR_M, architecture="swinir")
_SWINIR_S = replace(_SWIN2SR_S, architecture="swinir")
_SWINIR_REAL = replace(_SWIN2SR_REAL, architecture="swinir")
_SWINIR_LARGE = replace(_SWINIR_REAL, dim=240, depths=(6,) * 9, heads=(8,) * 9, resi_connection="3conv")
_SWINIR_DENOISE = replace(_SWINIR_M, task="denoise", scale=1, upsampler="")
_SWINIR_JPEG = replace(_SWIN2SR_JPEG, architecture="swinir")

# --- when to use which ---

_CLEAN = "Enlarges clean images that were reduced bicubically; it enlarges noise and compression artefacts too."
_LIGHT = "Like the classical models with a twelfth of the parameters: first choice for very large images."
_COMPRESSED = "Enlarges images that were reduced and then strongly compressed with JPEG."
_PSNR = "Enlarges photographs of unknown degradation: soft, invents little."
_GAN = "Enlarges photographs of unknown degradation: sharp, but invents texture; do not measure in its results."
_NOISE = "Removes Gaussian noise of standard deviation {} (of 255); noise of another strength needs another model."
_BLOCKS = "Removes JPEG compression artefacts of about quality {}."
_ANY_BLOCKS = "Removes JPEG compression artefacts of any quality from gray images."

# --- the table: name, network, scale, channels, file, advice ---

_Row = tuple[str, ModelSpec, int, int, str, str]
_RELEASED: tuple[_Row, ...] = (
    ("swin2sr-classical-x2", _SWIN2SR_M, 2, 3, "Swin2SR_ClassicalSR_X2_64", _CLEAN),
    ("swin2sr-classical-x4", _SWIN2SR_M, 4, 3, "Swin2SR_ClassicalSR_X4_64", _CLEAN),
    ("swin2sr-lightweight-x2", _SWIN2SR_S, 2, 3, "Swin2SR_Lightweight_X2_64", _LIGHT),
    ("swin2sr-compressed-x4", _SWIN2SR_AUX, 4, 3, "Swin2SR_CompressedSR_X4_48", _COMPRESSED),
    ("swin2sr-real-x4", _SWIN2SR_REAL, 4, 3, "Swin2SR_RealworldSR_X4_64_BSRGAN_PSNR", _PSNR),
    ("swin2sr-jpeg", _SWIN2SR_JPEG, 1, 1, "Swin2SR_Jpeg_dynamic", _ANY_BLOCKS),
    ("swinir-classical-div2k-x2", _SWINIR_M, 2, 3, "001_classicalSR_DIV2K_s48w8_SwinIR-M_x2", _CLEAN),
    ("swinir-classical-div2k-x3", _SWINIR_M, 3, 3, "001_classicalSR_DIV2K_s48w8_SwinIR-M_x3", _CLEAN),
    ("swinir-classical-div2k-x4", _SWINIR_M, 4, 3, "001_classicalSR_DIV2K_s48w8_SwinIR-M_x4", _CLEAN),
    ("swinir-classical-div2k-x8", _SWINIR_M, 8, 3, "001_classicalSR_DIV2K_s48w8_SwinIR-M_x8", _CLEAN),
    ("swinir-classical-df2k-x2", _SWINIR_M, 2, 3, "001_classicalSR_DF2K_s64w8_SwinIR-M_x2", _CLEAN),
    ("swinir-classical-df2k-x3", _SWINIR_M, 3, 3, "001_classicalSR_DF2K_s64w8_SwinIR-M_x3", _CLEAN),
    ("swinir-classical-df2k-x4", _SWINIR_M, 4, 3, "001_classicalSR_DF2K_s64w8_SwinIR-M_x4", _CLEAN),
    ("swinir-classical-df2k-x8", _SWINIR_M, 8, 3, "001_classicalSR_DF2K_s64w8_SwinIR-M_x8", _CLEAN),
    ("swinir-lightweight-x2", _SWINIR_S, 2, 3, "002_lightweightSR_DIV2K_s64w8_SwinIR-S_x2", _LIGHT),
    ("swinir-lightweight-x3", _SWINIR_S, 3, 3, "002_lightweightSR_DIV2K_s64w8_SwinIR-S_x3", _LIGHT),
    ("swinir-lightweight-x4", _SWINIR_S, 4, 3, "002_lightweightSR_DIV2K_s64w8_SwinIR-S_x4", _LIGHT),
    ("swinir-real-x2-gan", _SWINIR_REAL, 2, 3, "003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x2_GAN", _GAN),
    ("swinir-real-x2-psnr", _SWINIR_REAL, 2, 3, "003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x2_PSNR", _PSNR),
    ("swinir-real-x4-gan", _SWINIR_REAL, 4, 3, "003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x4_GAN", _GAN),
    ("swinir-real-x4-psnr", _SWINIR_REAL, 4, 3, "003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x4_PSNR", _PSNR),
    ("swinir-real-large-x4-gan", _SWINIR_LARGE, 4, 3, "003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN", _GAN),
    ("swinir-real-large-x4-psnr", _SWINIR_LARGE, 4, 3, "003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_PSNR", _PSNR),
    ("swinir-denoise-gray-15", _SWINIR_DENOISE, 1, 1, "004_grayDN_DFWB_s128w8_SwinIR-M_noise15", _NOISE),
    ("swinir-denoise-gray-25", _SWINIR_DENOISE, 1, 1, "004_grayDN_DFWB_s128w8_SwinIR-M_noise25", _NOISE),
    ("swinir-denoise-gray-50", _SWINIR_DENOISE, 1, 1, "004_grayDN_DFWB_s128w8_SwinIR-M_noise50", _NOISE),
    ("swinir-denoise-color-15", _SWINIR_DENOISE, 1, 3, "005_colorDN_DFWB_s128w8_SwinIR-M_noise15", _NOISE),
    ("swinir-denoise-color-25", _SWINIR_DENOISE, 1, 3, "005_colorDN_DFWB_s128w8_SwinIR-M_noise25", _NOISE),
    ("swinir-denoise-color-50", _SWINIR_DENOISE, 1, 3, "005_colorDN_DFWB_s128w8_SwinIR-M_noise50", _NOISE),
    ("swinir-jpeg-gray-10", _SWINIR_JPEG, 1, 1, "006_CAR_DFWB_s126w7_SwinIR-M_jpeg10", _BLOCKS),
    ("swinir-jpeg-gray-20", _SWINIR_JPEG, 1, 1, "006_CAR_DFWB_s126w7_SwinIR-M_jpeg20", _BLOCKS),
    ("swinir-jpeg-gray-30", _SWINIR_JPEG, 1, 1, "006_CAR_DFWB_s126w7_SwinIR-M_jpeg30", _BLOCKS),
    ("swinir-jpeg-gray-40", _SWINIR_JPEG, 1, 1, "006_CAR_DFWB_s126w7_SwinIR-M_jpeg40", _BLOCKS),
    ("swinir-jpeg-color-10", _SWINIR_JPEG, 1, 3, "006_colorCAR_DFWB_s126w7_SwinIR-M_jpeg10", _BLOCKS),
    ("swinir-jpeg-color-20", _SWINIR_JPEG, 1, 3, "006_colorCAR_DFWB_s126w7_SwinIR-M_jpeg20", _BLOCKS),
    ("swinir-jpeg-color-30", _SWINIR_JPEG, 1, 3, "006_colorCAR_DFWB_s126w7_SwinIR-M_jpeg30", _BLOCKS),
    ("swinir-jpeg-color-40", _SWINIR_JPEG, 1, 3, "006_colorCAR_DFWB_s126w7_SwinIR-M_jpeg40", _BLOCKS),
)

# Size in bytes and SHA-256 of the released files. The authors publish neither; a value is listed here if at least
# two independent projects pin the same one. A model that is not listed is pinned by its first download
# (`swin2sr_ops.weights.download`).
_PINNED: dict[str, tuple[int, str]] = {
    "swinir-classical-div2k-x4": (59611499, "129dc773ba2d4c07f3eb0bb116fbe692011b7cc072d9ca12797cd3748198610a"),
    "swinir-classical-df2k-x2": (67277475, "2032ebf8f401dd3ce2fae5f3852117cb72101ec6ed8358faa64c2a3fa09ed4ac"),
    "swinir-classical-df2k-x4": (67869037, "4e78e33f22c1aa8a773db0cf4a7381bae97c2362c717f155439ebc690cbd9215"),
    "swinir-lightweight-x2": (17147989, "193b229909ca89cd8b55de9c9e7fce146ae759d59dfcd78d8feb9dd1d6fa0fd7"),
    "swinir-lightweight-x4": (17225941, "09fad24e32ae62722e1a055efde9921328f4137981bab0a42a4a3a806306c58e"),
    "swinir-real-x2-gan": (66974517, "f397408977a3e07eb06afb7238d453a12ef35ebab7328a54241f307860dbe342"),
    "swinir-real-x4-gan": (67129861, "b9afb61e65e04eb7f8aba5095d070bbe9af28df76acd0c9405aeb33b814bcfc6"),
    "swinir-real-x4-psnr": (67129849, "1fd8fed99684bd271db55563e4906d36459cf535446820053f7a1081d4781dc5"),
    "swinir-real-large-x4-gan": (142473939, "99adfa91350a84c99e946c1eb3d8fce34bc28f57d807b09dc8fe40a316328c0a"),
    "swinir-real-large-x4-psnr": (142473947, "450be6eac63a59959b55a83df6743444de9f018547f81d16f699b3680d366ad7"),
    "swinir-denoise-color-15": (122905743, "917cd972f7ba80786871add249ad43e4477ce2db59b4ad63e2fa446f7221d013"),
    "swinir-jpeg-color-10": (102873665, "0005b707e0e6f75b4d13c7447e2f184858ddbdcec95aa7eb8c07e8afa1d26bd9"),
}


#: Largest error of approximate halos, for models whose weights were available: `benchmarks/halo_error.py`.
_HALO_ERROR = {"swin2sr-lightweight-x2": {"8": 0.025279, "16": 0.004326, "24": 0.001251, "32": 0.000334}}


def _released(row: _Row) -> ModelSpec:
    name, network, scale, channels, file, advice = row
    size, sha256 = _PINNED.get(name, (0, ""))
    return replace(
        network,
        name=name,
        scale=scale,
        channels=channels,
        weights=(_SWIN2SR if network.architecture == "swin2sr" else _SWINIR) + file + ".pth",
        size_bytes=size,
        sha256=sha256,
        advice=advice.format(name.rsplit("-", 1)[-1]),
        halo_error=_HALO_ERROR.get(name, {}),
    )


#: The models released by the authors of Swin2SR and SwinIR, by catalogue name.
BUILTIN: dict[str, ModelSpec] = {row[0]: _released(row) for row in _RELEASED}


def all_models() -> tuple[ModelSpec, ...]:
    """Return all models with a name: the shipped ones first, then the released ones."""
    return (*shipped(), *BUILTIN.values())


def find(name: str) -> ModelSpec:
    """Return the model called ``name``.

    Raises
    ------
    ModelError
        If there is none; the message lists similar names.
    """
    models = {spec.name: spec for spec in reversed(all_models())}  # a shipped model wins over a released one
    if name in models:
        return models[name]
    close = difflib.get_close_matches(name.lower(), [*QUALITIES, *models], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise ModelError(f"There is no model called {name!r}.{hint} `swin2sr-ops models` lists all.")


def shipped() -> tuple[ModelSpec, ...]:
    """Return the shipped models by name; their ``weights`` are ``package:<file>``."""
    return _shipped(MODELS_FOLDER)


@lru_cache(maxsize=4)
def _shipped(folder: Path) -> tuple[ModelSpec, ...]:
    specs = []
    for path in sorted(folder.glob("*.safetensors")):
        spec = spec_of_header(read_header(path), path)
        if spec is None:
            raise CheckpointError(f"{path} carries no model description in its header: reinstall swin2sr-ops.")
        specs.append(replace(spec, weights=f"package:{path.name}"))
    return tuple(sorted(specs, key=lambda spec: spec.name))


def header_of(spec: ModelSpec) -> dict[str, str]:
    """Return the metadata of a ``.safetensors`` file of ``spec``; `spec_of_header` reads them.

    What describes a file is left out. There is one key only: the order of several would not be fixed.
    """
    about = replace(spec, weights="", sha256="", size_bytes=0).to_dict()
    return {HEADER_KEY: json.dumps(about, sort_keys=True)}


def read_header(path: Path) -> dict[str, Any]:
    """Read the JSON header of a ``.safetensors`` file: 8 bytes of length, then the text.

    Raises
    ------
    CheckpointError
        If the file is not a safetensors file, or its size does not match its header.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= min(size - 8, _MAX_HEADER) else b""
    try:
        header: dict[str, Any] = json.loads(text)
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, TypeError, LookupError, AttributeError) as exc:  # no JSON, or JSON of another shape
        problem = "is not a safetensors file, or it is truncated"
        raise CheckpointError(f"{path} {problem} ({size} bytes): fetch it again.") from exc
    if end != size:
        raise CheckpointError(f"{path} should have {end} bytes and has {size}: it is truncated, fetch it again.")
    return header


def spec_of_header(header: dict[str, Any], path: Path) -> ModelSpec | None:
    """Return the `ModelSpec` in a header from `read_header`; None if another program wrote the file."""
    text = header.get("__metadata__", {}).get(HEADER_KEY)
    if text is None:
        return None
    try:
        spec = ModelSpec.from_dict(json.loads(text))
    except (ValueError, TypeError, AttributeError) as exc:
        raise CheckpointError(f"{path} carries a model description that cannot be read ({exc}).") from exc
    return replace(spec, weights=str(path.resolve()), size_bytes=path.stat().st_size)
