"""A whole layer, restored tile by tile into memory or onto disk. No Qt here: it runs in a worker thread.

Both ways are `swin2sr_ops.run.run`: the same tiles, the same intensity map, the same pixels as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
from numpy.typing import NDArray

from swin2sr_ops import RunReport
from swin2sr_ops.errors import RequestError, Stopped
from swin2sr_ops.hosting import Event, Region, run
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.memory_io import ArraySource, Pyramid, offer, offer_sink
from swin2sr_ops_napari.request import Request

__all__ = ["Seen", "Stop", "Stopped", "Tell", "check_memory", "to_disk", "to_memory"]

Tell = Callable[[Event], None]
Stop = Callable[[], bool]
Seen = Callable[[Region, NDArray[Any]], None]


def to_memory(
    image: LayerImage, request: Request, target: Pyramid, tell: Tell, stop: Stop = bool, seen: Seen | None = None
) -> RunReport:
    """Restore ``image`` into ``target``.

    Raises
    ------
    Stopped
        ``stop`` returned True; ``target`` holds the finished tiles.
    Swin2SROpsError
        With a sentence.
    """
    with offer(image) as source, offer_sink(target) as sink:
        return run(request.job(source, image), sink, progress=tell, stop=stop, on_block=seen)


def to_disk(
    image: LayerImage,
    request: Request,
    path: str,
    tell: Tell,
    stop: Stop = bool,
    seen: Seen | None = None,
    *,
    file: str | None = None,
    overwrite: bool = False,
    **beside: Any,
) -> RunReport:
    """Restore ``image``, or the ``file`` that it is of, into the OME-Zarr ``path``.

    From a file, it resumes an earlier run with the same settings that was stopped or killed, whether it was
    begun here or by the command line; from a NumPy array, where an earlier run of the same pixels was. ``beside`` are
    options of the format, such as ``spread``.
    """
    if file is not None:
        return run(
            request.job(file, image), path, progress=tell, stop=stop, on_block=seen, overwrite=overwrite, **beside
        )
    with offer(image) as source:
        job = request.job(source, image)
        anew = not ArraySource(source, image).recognisable  # a later run could not recognise it
        return run(job, path, progress=tell, stop=stop, on_block=seen, overwrite=overwrite, restart=anew, **beside)


def check_memory(nbytes: int, instead: str = "'OME-Zarr on disk'") -> None:
    """Refuse a result that does not fit into memory.

    Parameters
    ----------
    nbytes : int
        Of the full-size level.
    instead : str
        The line of the box 'Result' that needs less.

    Raises
    ------
    RequestError
        The sentence says how much is needed and what to choose instead.
    """
    need = nbytes * 4 // 3
    free = psutil.virtual_memory().available
    if need > free * 0.8:
        raise RequestError(
            f"The result takes {need / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free. Choose {instead} in the"
            " box 'Result' under Advanced."
        )
