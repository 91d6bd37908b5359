"""Make inputs from clean images exactly as the official scripts do."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate.resize import reduce_by

__all__ = ["Degradation", "Given", "Levels", "gray", "jpeg", "luma8"]

_HELP = (
    "give one of bicubic, jpeg:QUALITY (1 to 100), noise:SIGMA (of 255), poisson:PHOTONS (at full range), or several "
    "joined by +, such as bicubic+jpeg:10; with gray- in front colour becomes gray first"
)


@dataclass(frozen=True)
class Levels:
    """Data range of an image: the stored values of black and white.

    Examples
    --------
    >>> Levels.of(np.array([[7, 9]], "u1")), Levels.of(np.array([[7, 9]], "u2")).peak
    (Levels(lo=0.0, hi=255.0), 2.0)
    """

    lo: float
    hi: float

    @classmethod
    def of(cls, image: NDArray[Any], asked: tuple[float, float] | None = None) -> Levels:
        """Return the requested range; by default 0 to 255 for 8 bits, smallest to largest value for other types."""
        if asked is not None:
            return cls(*asked)
        if image.dtype == np.uint8:
            return cls(0.0, 255.0)
        found = cls(float(image.min()), float(image.max()))
        if not found.peak > 0:
            raise RequestError(
                f"An image whose only value is {found.lo:g} has no data range: give one, such as --data-range 0,4095."
            )
        return found

    @property
    def peak(self) -> float:
        """Width of the range."""
        return self.hi - self.lo

    def unit(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Map stored values to 0..1."""
        return (image.astype(np.float32) - np.float32(self.lo)) / np.float32(self.peak)

    def stored(self, unit: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Map 0..1 to stored values, clipped to that range; integers are rounded."""
        values = unit.clip(0, 1) * self.peak + self.lo
        return (values.round() if dtype.kind in "iu" else values).astype(dtype)


@dataclass(frozen=True)
class Degradation:
    """Degradation of a clean image, as steps in order.

    Examples
    --------
    >>> Degradation.parse("gray-bicubic+jpeg:10")
    Degradation(steps=(('bicubic', 0.0), ('jpeg', 10.0)), gray=True)
    """

    steps: tuple[tuple[str, float], ...]
    gray: bool = False

    @classmethod
    def parse(cls, text: str) -> Degradation:
        """Parse a user's text: ``jpeg:10``, ``noise:25``, ``bicubic+jpeg:10``, ``gray-noise:25``."""
        rest = text.strip().lower()
        steps = []
        for part in rest.removeprefix("gray-").split("+"):
            name, colon, number = part.partition(":")
            try:
                value = float(number) if colon else 0.0
            except ValueError:
                value = -1.0
            least, most = _LIMITS.get(name, (1.0, 0.0))
            if not least <= value <= most or (name == "jpeg" and value % 1) or bool(colon) == (name == "bicubic"):
                raise RequestError(f"degrade={text!r} is not valid: {_HELP}.")
            steps.append((name, value))
        return cls(tuple(steps), rest.startswith("gray-"))

    def __str__(self) -> str:
        parts = [name if name == "bicubic" else f"{name}:{value:g}" for name, value in self.steps]
        return ("gray-" if self.gray else "") + "+".join(parts)

    def has(self, name: str) -> bool:
        """Return True if ``name`` is one of the steps."""
        return any(step == name for step, _ in self.steps)

    def check(self, scale: int) -> None:
        """Raise an error if the degradation does not fit a model of scale ``scale``."""
        times = [name for name, _ in self.steps].count("bicubic")
        if times != (scale > 1):
            way = "must contain bicubic once" if scale > 1 else "cannot contain bicubic"
            raise RequestError(f"degrade={str(self)!r} does not fit scale {scale}, for which it {way}: {_HELP}.")

    def apply(self, truth: NDArray[Any], scale: int, levels: Levels) -> Given:
        """Make the input of a model from a clean ``(H, W, C)`` image.

        Noise is neither clipped nor rounded, unless a JPEG step follows. Each image starts its random numbers
        anew, from NumPy's legacy generator with seed 0, in the order blue, green, red.
        """
        random = np.random.RandomState(0)
        x, unit = truth, False
        for name, value in self.steps:
            if name == "bicubic":
                x = reduce_by(x, scale)
            elif name == "jpeg":
                x, unit = jpeg(_eight_bits(levels.stored(x, truth.dtype) if unit else x), int(value)), False
            else:
                x, unit = _noisy(x if unit else levels.unit(x), name, value, random), True
        return Given(x.astype(np.float32) if unit else x, unit)


@dataclass(frozen=True)
class Given:
    """Input of a model: stored values, or with ``unit`` 0..1 for the data range."""

    pixels: NDArray[Any]
    unit: bool = False


_LIMITS = {"bicubic": (0.0, 0.0), "jpeg": (1.0, 100.0), "noise": (0.0, 255.0), "poisson": (0.1, 1e6)}


def _noisy(unit: NDArray[Any], name: str, value: float, random: np.random.RandomState) -> NDArray[Any]:
    turned = unit[..., ::-1]  # blue, green, red
    if name == "poisson":
        noisy = random.poisson(turned.clip(0, None).astype(np.float64) * value) / value
    else:
        noisy = turned + random.normal(0, value / 255.0, unit.shape)
    return noisy[..., ::-1]


def _eight_bits(x: NDArray[Any]) -> NDArray[np.uint8]:
    if x.dtype != np.uint8:
        raise RequestError(f"JPEG stores 8 bits; images of type {x.dtype} cannot be degraded with it.")
    return x


def jpeg(image: NDArray[np.uint8], quality: int, subsampling: str = "4:2:0") -> NDArray[np.uint8]:
    """Pass ``(H, W, C)`` through a baseline JPEG, by default with chroma halved both ways, like OpenCV's."""
    from PIL import Image

    alone = image.shape[2] == 1
    data = io.BytesIO()
    picture = Image.fromarray(image[..., 0] if alone else np.ascontiguousarray(image))
    picture.save(data, "JPEG", quality=quality, **({} if alone else {"subsampling": subsampling}))
    decoded = np.asarray(Image.open(data))
    return decoded[..., None] if alone else decoded


def luma8(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map ``(H, W, 3)`` to ``(H, W, 1)``: Y of BT.601, rounded, which the official script compresses as gray."""
    x = rgb.astype(np.float32) / np.float32(255.0)
    y: NDArray[np.float64] = x[..., ::-1].astype(np.float64) @ np.array([24.966, 128.553, 65.481]) + 16.0
    return y.round().astype(np.uint8)[..., None]


def gray(rgb: NDArray[Any]) -> NDArray[Any]:
    """Map ``(H, W, 3)`` to ``(H, W, 1)``: 0.299 R + 0.587 G + 0.114 B; for 8 bits in OpenCV's integer arithmetic."""
    red, green, blue = (rgb[..., i] for i in range(3))
    if rgb.dtype == np.uint8:
        r, g, b = (x.astype(np.int64) for x in (red, green, blue))
        return ((r * 4899 + g * 9617 + b * 1868 + (1 << 13)) >> 14).astype(np.uint8)[..., None]
    y: NDArray[np.float64] = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return (y if rgb.dtype.kind == "f" else y.round()).astype(rgb.dtype)[..., None]
