"""Describe a model without loading it: numbers and strings only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from swin2sr_ops.errors import ModelError
from swin2sr_ops.notebook import facts_table

__all__ = ["ARCHITECTURES", "UPSAMPLERS", "ModelSpec", "Reach"]

ARCHITECTURES = ("swin2sr", "swinir")

#: Upsamplers, named as in the official code, and the scales of each.
UPSAMPLERS: dict[str, tuple[int, ...]] = {
    "": (1,),  # denoising, JPEG clean-up: the network adds a residual to its input
    "pixelshuffle": (2, 3, 4, 8),
    "pixelshuffledirect": (2, 3, 4, 8),
    "nearest+conv": (2, 4, 8),
    "pixelshuffle_aux": (2, 3, 4, 8),
    "pixelshuffle_hf": (2, 3, 4, 8),
}

#: Letters of axes along which neighbouring planes may enter a network; empty: any.
_ALONG = ("", *"ABDEFGHIJKLMNOPQRTUVWZ")  # not rows, columns, channels or samples

#: Fields that only the networks of this package use.
_SWIN_FIELDS = (
    *("dim", "depths", "heads", "mlp_ratio", "qkv_bias", "patch_norm", "upsampler", "resi_connection", "num_feat"),
    "value_range",
)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Describe the receptive field of a plugin's network for the planner.

    Such a network runs as a whole, in cells: squares on a grid fixed at the image's first pixel, each
    with ``halo`` pixels around it. So its result never depends on tiles, chunks or workers. ``exact``
    says whether it also equals one pass over the whole image.

    Parameters
    ----------
    halo : int
        Distance in input pixels up to which pixels may affect a result.
    exact : bool
        True if nothing farther away can affect it, as for convolutions without pooling over
        the image, and that the network does the same at every multiple of `ModelSpec.window`.
    multiple : int
        Number that divides the sides of its input; images are padded to it by reflection.
    cell : int
        Side of a cell, a multiple of `ModelSpec.window`; 0 for about 256.
    pixel_bytes : int
        Peak memory per input pixel while the network runs in float32; 0 if unknown:
        then 1 KiB per pixel of the result is assumed.
    """

    halo: int
    exact: bool = False
    multiple: int = 1
    cell: int = 0
    pixel_bytes: int = 0

    def problems(self, window: int) -> list[str]:
        """List the problems of the description, as parts of a sentence."""
        found = []
        if self.halo < 0 or self.multiple < 1 or self.cell < 0 or self.pixel_bytes < 0:
            found.append(f"its reach {self} has negative numbers")
        elif self.cell % window or window % self.multiple:
            found.append(
                f"cell {self.cell} is not a multiple of window {window}, or window not of multiple {self.multiple}"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model as data: Swin2SR or SwinIR, or a network that a plugin builds.

    The defaults are shared by all released models; names follow the official
    constructors (mv-lab/swin2sr ``network_swin2sr.py``, JingyunLiang/SwinIR ``network_swinir.py``).

    Parameters
    ----------
    name : str
        Catalogue name, such as ``"swin2sr-lightweight-x2"``.
    architecture : str
        Network family: ``"swin2sr"``, ``"swinir"``, or a plugin's own, which needs ``reach``.
    scale : int
        Output pixels per input pixel along Y and X: 1, 2, 3, 4 or 8 here, any number in a plugin.
    channels : int
        Number of image channels that the network processes together: 1, 3 (RGB), or another number of bands.
    planes : int
        Number of planes, odd, that enter for one result: the plane itself and its neighbours on either side. More than
        1 only with one channel. The first convolution takes the plane first, then its neighbours from near to far.
    along : str
        Letter of the axis of these planes, as in the training: ``"Z"``, ``"T"``; empty for either.
    dim, depths, heads : int, tuple of int, tuple of int
        Feature channels; blocks per stage; attention heads per stage.
    window : int
        Side of the attention window in pixels: 8, or 7 for the JPEG models. For a plugin's network, the
        step of the grid on which reads start: its input may be moved by this number of pixels.
    reach : Reach, optional
        How far a plugin's network sees. ``dim`` to ``value_range`` are unused then.
    upsampler : str
        The head, a key of `UPSAMPLERS`.
    value_range : float
        ``img_range`` of the official code: 1, or 255 for the JPEG models. It cannot be read from
        a checkpoint. Pixels always enter as 0..1; the network multiplies by it.
    task : str
        Purpose of the model: ``classical_sr``, ``lightweight_sr``, ``compressed_sr``, ``real_sr``,
        ``denoise``, ``jpeg``.
    weights : str
        Location of the weights: ``""`` (unknown), a path, an URL or ``package:<file>``.
    sha256, size_bytes : str, int
        SHA-256 and size of the weight file; empty and 0 if unknown.
    provenance, quality, halo_error : dict
        Training; measured figures; the measured largest error, in fractions of the full
        range, for each approximate halo in pixels (keys are strings, as in JSON).
    """

    name: str
    architecture: str = "swin2sr"
    task: str = "classical_sr"
    scale: int = 2
    channels: int = 3
    planes: int = 1
    along: str = ""
    dim: int = 180
    depths: tuple[int, ...] = (6,) * 6
    heads: tuple[int, ...] = (6,) * 6
    window: int = 8
    reach: Reach | None = None
    mlp_ratio: float = 2.0
    qkv_bias: bool = True
    patch_norm: bool = True
    upsampler: str = "pixelshuffle"
    resi_connection: str = "1conv"
    num_feat: int = 64
    value_range: float = 1.0
    licence: str = ""
    weights: str = ""
    sha256: str = ""
    size_bytes: int = 0
    advice: str = ""
    provenance: dict[str, Any] = field(default_factory=dict, hash=False)
    quality: dict[str, Any] = field(default_factory=dict, hash=False)
    halo_error: dict[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        # JSON stores tuples as lists.
        object.__setattr__(self, "depths", tuple(int(n) for n in self.depths))
        object.__setattr__(self, "heads", tuple(int(n) for n in self.heads))
        if isinstance(self.reach, dict):
            object.__setattr__(self, "reach", Reach(**self.reach))
        for problem in self._problems() if self.reach is None else self._foreign_problems(self.reach):
            raise ModelError(f"Model {self.name!r} cannot be built: {problem}.")

    def __repr__(self) -> str:
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        channels += f" of {self.planes} planes" if self.planes > 1 else ""
        return f"<ModelSpec {self.name}: {self.architecture}, {self.task}, x{self.scale}, {channels}>"

    def _repr_html_(self) -> str:
        shown = ["architecture", "task", "scale", "channels", "window", "licence", "weights", "advice"]
        shown += ["planes", "along"] if self.planes > 1 else []
        return facts_table(self.name, {name: getattr(self, name) for name in shown})

    @property
    def inputs(self) -> int:
        """Number of channels that the first convolution takes: those of all planes."""
        return self.channels * self.planes

    def _problems(self) -> list[str]:
        problems = []
        if self.architecture not in ARCHITECTURES:
            problems.append(
                f"architecture {self.architecture!r} is not one of {', '.join(ARCHITECTURES)}, and without `reach`"
                " its receptive field is unknown"
            )
        if self.upsampler not in UPSAMPLERS:
            problems.append(f"upsampler {self.upsampler!r} is not one of {', '.join(map(repr, UPSAMPLERS))}")
        elif self.scale not in UPSAMPLERS[self.upsampler]:
            problems.append(f"head {self.upsampler!r} has scales {UPSAMPLERS[self.upsampler]}, not {self.scale}")
        if self.architecture == "swinir" and self.upsampler in ("pixelshuffle_aux", "pixelshuffle_hf"):
            problems.append(f"SwinIR has no {self.upsampler!r} head")
        if self.upsampler == "pixelshuffle_aux" and self.channels != 3:
            problems.append("the pixelshuffle_aux head takes 3 channels")
        if len(self.depths) != len(self.heads) or not self.depths:
            problems.append(f"depths {self.depths} and heads {self.heads} must have one number per stage")
        if any(heads < 1 or self.dim % heads for heads in self.heads):
            problems.append(f"dim {self.dim} must be a multiple of the heads {self.heads}")
        if self.resi_connection not in ("1conv", "3conv"):
            problems.append(f"resi_connection {self.resi_connection!r} is neither '1conv' nor '3conv'")
        if self.window < 2 or self.channels < 1:
            problems.append(f"window {self.window} or channels {self.channels} is too small")
        return problems + self._plane_problems()

    def _plane_problems(self) -> list[str]:
        problems = []
        if self.planes < 1 or self.planes % 2 == 0:
            problems.append(f"planes {self.planes} must be odd: the plane itself and as many on either side")
        if self.planes > 1 and (self.channels != 1 or self.upsampler == "pixelshuffle_hf"):
            problems.append(f"{self.planes} planes need 1 channel and a head other than pixelshuffle_hf")
        if self.along not in _ALONG:
            problems.append(f"along {self.along!r} must be the letter of an axis such as Z or T, or empty")
        return problems

    def _foreign_problems(self, reach: Reach) -> list[str]:
        problems = reach.problems(self.window) if self.window > 0 else [f"window {self.window} is too small"]
        if self.architecture in ARCHITECTURES:
            problems.append(f"architecture {self.architecture!r} derives its reach from its layers: omit `reach`")
        if self.channels not in (1, 3) or self.scale < 1:
            problems.append(f"channels {self.channels} must be 1 or 3, and scale {self.scale} at least 1")
        if self.planes != 1:
            problems.append(f"planes {self.planes} must be 1 for a network of a plugin")
        return problems

    def to_dict(self) -> dict[str, Any]:
        """Return all fields that apply to this model, as JSON-ready values."""
        left_out: set[str] = {"reach"} if self.reach is None else set(_SWIN_FIELDS)
        if self.planes == 1:  # so that earlier versions read the file
            left_out |= {"planes", "along"}
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """Build a spec from the result of `to_dict`; unknown fields of a newer version are an error."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ModelError(
                f"Model {values.get('name', '?')!r} has fields that this version does not support: "
                f"{', '.join(unknown)}. Upgrade swin2sr-ops to read it."
            )
        return cls(**values)
