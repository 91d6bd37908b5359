"""Choose the neighbouring planes or frames that enter a network with a plane: a halo along Z, T or another axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.spec import ModelSpec

__all__ = ["Depth", "depth_of", "neighbour_axis", "reflected"]


@dataclass(frozen=True)
class Depth:
    """Planes that a tile owns along one axis of an image, and the planes around them that it reads.

    Beyond the first and the last plane of the image, planes are reflected without repeating the end: before plane 0
    lies plane 1. A repeated plane would have the noise of the plane itself. The rule depends on the image alone, so
    every cut gives the same pixels.

    Attributes
    ----------
    axis : int
        Position of the axis in the image.
    start, stop : int
        Owned planes.
    size : int
        Number of planes of the image.
    reach : int
        Number of planes that enter on either side of each.
    """

    axis: int
    start: int
    stop: int
    size: int
    reach: int

    @property
    def read(self) -> tuple[int, int]:
        """First plane to read, and the one after the last: never beyond the image, since reflections lie inside."""
        return max(self.start - self.reach, 0), min(self.stop + self.reach, self.size)

    @property
    def owned(self) -> slice:
        """Positions of the owned planes among those that are read."""
        first = self.start - self.read[0]
        return slice(first, first + self.stop - self.start)

    def entering(self, number: int) -> tuple[int, ...]:
        """Return the planes that enter with owned plane ``number``, as positions among those that are read.

        The plane itself comes first, then its neighbours from near to far, the lower one first.

        Examples
        --------
        >>> Depth(0, 0, 4, 4, 1).entering(0), Depth(0, 0, 4, 4, 1).entering(2)
        ((0, 1, 1), (2, 1, 3))
        """
        plane = self.start + number
        beside = (plane + side * step for step in range(1, self.reach + 1) for side in (-1, 1))
        return tuple(reflected(i, self.size) - self.read[0] for i in (plane, *beside))


def reflected(index: int, size: int) -> int:
    """Return the position inside ``0..size-1`` that an index beyond the ends stands for."""
    period = max(2 * (size - 1), 1)
    inside = abs(index) % period
    return inside if inside < size else period - inside


def neighbour_axis(order: AxisOrder, spec: ModelSpec, along: str | None = None) -> int | None:
    """Return the position of the axis whose neighbouring planes enter the network; None for a model of single planes.

    Parameters
    ----------
    order : AxisOrder
        Axes of the image.
    spec : ModelSpec
    along : str, optional
        Letter of the axis; by default the one that the model was trained along, else Z or T, whichever there is.

    Raises
    ------
    RequestError
        If the image has no such axis with several planes, or both Z and T and nothing chooses one.
    """
    if spec.planes == 1:
        return None
    several = {order.axes[i]: i for i in order.planes if i != order.channel and order.shape[i] > 1}
    wanted, needs = along or spec.along, f"{spec.name!r} restores a plane with its neighbours ({spec.planes} planes)"
    if wanted in several:
        return several[wanted]
    there = f"the image with axes {order.axes} has the shape {order.shape}"
    other = [letter for letter in "ZT" if letter in several]
    if wanted and other and not along:
        raise RequestError(
            f"{needs} along {wanted}, and {there}: give along={other[0]!r} (--along {other[0]}) to take those along"
            f" {other[0]}, or choose a model of single planes."
        )
    if wanted or not other:
        raise RequestError(
            f"{needs}, and {there}, without several planes along {wanted or 'Z or T'}: choose a model of single planes"
            + (f", or along={other[0]!r}." if other else ".")
        )
    if len(other) > 1:
        raise RequestError(f"{needs}, and {there}: give along='Z' or along='T' (--along Z) to choose one.")
    return several[other[0]]


def depth_of(
    order: AxisOrder, spec: ModelSpec, along: str | None = None, planes: Mapping[int, slice] | None = None
) -> Depth | None:
    """Return the depth of a tile that owns ``planes``, by default all; None for a model of single planes."""
    axis = neighbour_axis(order, spec, along)
    if axis is None:
        return None
    size = order.shape[axis]
    owned = (planes or {}).get(axis, slice(0, size))
    return Depth(axis, owned.start, owned.stop, size, spec.planes // 2)
