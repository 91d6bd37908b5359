"""Named axes: which dimensions are planes, which are channels, which are colour.

The letters are those of NGFF and tifffile. ``S`` (samples) and a trailing ``C`` of three or four are
colour: a three-channel model restores them together. Any other ``C`` holds channels: each is restored
separately, with its own intensity map, except by a model of as many bands (`AxisOrder.banded`). Every other axis is a
stack of planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swin2sr_ops.errors import RequestError

__all__ = ["MAX_NDIM", "AxisOrder", "Region", "channel_groups", "letters_of"]

MAX_NDIM = 5
#: Part of an image: one slice with start and stop per axis.
Region = tuple[slice, ...]


def letters_of(axes: object) -> str:
    """Return the letters that a person gave, as capitals in one string; a list or tuple of letters is joined.

    Raises
    ------
    RequestError
        ``axes`` is something else.

    Examples
    --------
    >>> letters_of("czyx"), letters_of(("C", "Y", "X"))
    ('CZYX', 'CYX')
    """
    if isinstance(axes, (list, tuple)) and all(isinstance(letter, str) and len(letter) == 1 for letter in axes):
        axes = "".join(axes)
    if not isinstance(axes, str):
        raise RequestError(
            f"axes={axes!r} was given: give a string with one letter per dimension, such as 'YX', 'YXC' or 'TCZYX'."
        )
    return axes.upper()


@dataclass(frozen=True)
class AxisOrder:
    """The validated axes of one array.

    Attributes
    ----------
    axes : str
        One letter per dimension.
    shape : tuple of int
    colour : int or None
        Position of the colour axis, if there is one; or of the bands that a model restores together.
    opaque : bool
        No sample is opacity: the colour axis holds bands.
    """

    axes: str
    shape: tuple[int, ...]
    colour: int | None = None
    opaque: bool = False

    @classmethod
    def of(cls, shape: Sequence[int], axes: str | None = None, *, last_c_is_colour: bool = True) -> AxisOrder:
        """Validate ``axes`` against ``shape``, or guess the axes of an array without names.

        Without names the last two axes are Y and X, or Y, X and colour if the last one has three
        or four entries. The leading axes become ``Z``, ``CZ`` or ``TCZ``.

        A last ``C`` of three or four entries counts as colour, the usual convention for arrays, unless
        ``last_c_is_colour=False``. Image files use ``S`` for colour, and their ``C`` may hold four
        spectral bands.
        """
        shape = tuple(int(n) for n in shape)
        if len(shape) < 2:
            raise RequestError(f"The array has the shape {shape}: an image has 2 to {MAX_NDIM} dimensions.")
        axes = _guess(shape) if axes is None else letters_of(axes)
        if len(shape) > MAX_NDIM:
            raise RequestError(
                f"The array has {len(shape)} dimensions {shape}; 2 to {MAX_NDIM} can be restored. "
                "Select along the rest first."
            )
        if len(axes) != len(shape) or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
            raise RequestError(
                f"axes={axes!r} does not fit an array of shape {shape}: give one letter per dimension, "
                "each once, with Y and X among them, such as 'YX', 'YXC' or 'TCZYX'."
            )
        if 0 in shape:
            raise RequestError(f"The array is empty (shape {shape}): there is nothing to restore.")
        colour = axes.find("S")
        if colour < 0 and last_c_is_colour and axes.endswith("C") and shape[-1] in (3, 4):
            colour = len(axes) - 1
        return cls(axes, shape, None if colour < 0 else colour)

    @property
    def y(self) -> int:
        """Position of Y."""
        return self.axes.index("Y")

    @property
    def x(self) -> int:
        """Position of X."""
        return self.axes.index("X")

    @property
    def channel(self) -> int | None:
        """Position of the axis of separately restored channels, if there is one."""
        position = self.axes.find("C")
        return None if position in (-1, self.colour) else position

    @property
    def colours(self) -> int:
        """Colour samples per pixel; 1 without a colour axis."""
        return 1 if self.colour is None else self.shape[self.colour]

    @property
    def alpha(self) -> int | None:
        """Index of the opacity sample: the last of two or four."""
        return self.colours - 1 if self.colours in (2, 4) and not self.opaque else None

    @property
    def model_channels(self) -> int:
        """Channels of the model that ``"auto"`` selects: 3 for RGB, with or without opacity, else 1."""
        return 3 if self.colours in (3, 4) else 1

    @property
    def without_alpha(self) -> tuple[slice, ...]:
        """Index that drops opacity, which is not an intensity."""
        index = [slice(None)] * len(self.axes)
        if self.colour is not None and self.alpha is not None:
            index[self.colour] = slice(0, self.alpha)
        return tuple(index)

    @property
    def planes(self) -> tuple[int, ...]:
        """Positions of all axes that are neither Y, X nor colour, in order."""
        return tuple(i for i in range(len(self.axes)) if i not in (self.y, self.x, self.colour))

    @property
    def order(self) -> tuple[int, ...]:
        """Permutation to planes, colour (if any), Y, X."""
        colour = () if self.colour is None else (self.colour,)
        return (*self.planes, *colour, self.y, self.x)

    def together(self, count: int) -> AxisOrder:
        """Return the axes of a block whose ``count`` channels are restored together, as one colour."""
        position = self.axes.index("C")
        shape = (*self.shape[:position], count, *self.shape[position + 1 :])
        return AxisOrder(self.axes, shape, position if count > 1 else None)

    def banded(self, bands: int) -> AxisOrder:
        """Return the axes for a model of ``bands`` channels: with 1 or 3 these, else with C or S as bands together.

        Raises
        ------
        RequestError
            If the image has another number of channels than such a model.

        Examples
        --------
        >>> AxisOrder.of((2, 6, 64, 64), "TCYX").banded(6).planes
        (0,)
        """
        if bands in (1, 3):
            return self
        position = self.colour if self.colour is not None else self.channel
        have = 1 if position is None else self.shape[position]
        if have != bands:
            raise RequestError(
                f"The model restores {bands} bands together, and the image with axes {self.axes} has {have}: choose a"
                " model for its channels, or the bands that the model was trained on, in their order."
            )
        return AxisOrder(self.axes, self.shape, position, opaque=True)

    def scaled(self, scale: int) -> tuple[int, ...]:
        """Return the shape of the restored array."""
        return tuple(n * scale if a in "YX" else n for n, a in zip(self.shape, self.axes, strict=True))


def _guess(shape: tuple[int, ...]) -> str:
    """Guess letters for an array without axis names."""
    last = "YXC" if len(shape) >= 3 and shape[-1] in (3, 4) else "YX"
    leading = len(shape) - len(last)
    # A leading C would be a second C beside colour.
    names = {0: "", 1: "Z", 2: "TZ" if last == "YXC" else "CZ", 3: "TCZ"}
    return names.get(leading, "?" * leading) + last


def channel_groups(colours: int, model_channels: int) -> tuple[tuple[int, ...], ...]:
    """Group the colour samples that enter the network together; alpha never enters.

    Three samples enter a three-channel model together, and all bands a model of as many (see `AxisOrder.banded`). In
    every other case each sample enters alone. A three-channel model receives a lone sample three times, and its three
    outputs are averaged.
    """
    if model_channels not in (1, 3):
        if colours != model_channels:
            raise RequestError(f"A model of {model_channels} bands was given {colours} channel(s): they must agree.")
        return (tuple(range(colours)),)
    opaque = colours - 1 if colours in (2, 4) else colours
    if model_channels == 3 and opaque == 3:
        return ((0, 1, 2),)
    return tuple((i,) for i in range(opaque))
