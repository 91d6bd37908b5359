"""Report what a run did, and select what is written into the output as its provenance."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from swin2sr_ops.errors import without_secrets
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.notebook import facts_table
from swin2sr_ops.pixels.intensity import computed_in
from swin2sr_ops.run.job import Job
from swin2sr_ops.run.sides import Sides

__all__ = ["RunReport", "new_report", "provenance_of"]


@dataclass(repr=False)
class RunReport:
    """Report on a run.

    Attributes
    ----------
    source, output, model, weights_sha256 : str
    state : {"done", "already"}
        ``already``: an earlier run with the same settings finished this output.
    settings : dict
        Used halo, tile, precision, device, engine and intensity range.
    tiles, resumed : int
        Tiles times planes; ``resumed`` counts those of earlier runs.
    skipped : int
        Tiles of planes without a valid pixel, which did not enter the network (in this process).
    pixels : int
        Output pixels, all planes and channels.
    seconds, pixels_per_second : float
        Time from the first read to the finished output; speed of the tiles that this run restored.
    peak_bytes : int
        Largest resident memory of the process, measured between tiles.
    fingerprint : str
        Digest of what decides the result.
    source_identity : str
        Digest of the sizes, times and metadata of the files of the source and of the mask.
    """

    source: str
    output: str
    model: str
    weights_sha256: str
    settings: dict[str, Any] = field(default_factory=dict)
    tiles: int = 0
    pixels: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    state: str = "done"
    resumed: int = 0
    skipped: int = 0
    fingerprint: str = ""
    source_identity: str = ""

    @property
    def pixels_per_second(self) -> float:
        """Output pixels per second."""
        share = (self.tiles - self.resumed) / self.tiles if self.tiles else 0.0
        return self.pixels * share / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report's fields, JSON-ready."""
        return asdict(self) | {"pixels_per_second": self.pixels_per_second}

    def __repr__(self) -> str:
        return f"<RunReport {self.state}: {self}>"

    def _repr_html_(self) -> str:
        shown = ("state", "source", "output", "model", "tiles", "resumed", "pixels", "seconds")
        return facts_table("Run", {name: getattr(self, name) for name in shown} | self.settings)

    def __str__(self) -> str:
        if self.state == "already":
            return f"{self.output}: already finished with the same settings"
        earlier = f", {self.resumed} of them by an earlier run" if self.resumed else ""
        engine = self.settings.get("engine", "?")
        return (
            f"{self.output}: {self.pixels / 1e6:.2f} megapixels in {self.seconds:.1f} s "
            f"({self.pixels_per_second / 1e6:.3f} Mpx/s), {self.tiles} tile{'' if self.tiles == 1 else 's'}{earlier}, "
            f"model {self.model}, engine {engine}, peak memory {self.peak_bytes / 2**20:.0f} MiB"
        )


def new_report(job: Job, dst: str, key: RunKey, sides: Sides = Sides()) -> RunReport:  # noqa: B008  (a frozen value)
    """Create the report of a run that begins."""
    from swin2sr_ops import __version__

    restorer = job.restorer
    placed = restorer.network.placed()
    settings: dict[str, Any] = {
        "version": __version__,
        "halo": job.plan.placement.halo,
        "tile": list(job.plan.tile),
        "precision": placed.precision,
        "device": placed.device,
        "engine": placed.engine,
        "engine_why": placed.why,
        "scale": job.plan.spec.scale,
        "range": str(job.range),
        "nodata": job.nodata,
        "mask": job.mask_image,
        "arithmetic": computed_in(job.source.info.dtype, restorer.precision),
    }
    settings["beside"] = list(sides.names)  # an audit must notice that one of these arrays is missing
    if "torch" in key.settings:
        settings["torch"] = key.settings["torch"]
    if job.plan.spec.reach is not None:  # a plugin's network: its halo limits "exact"
        settings |= {"halo_pixels": job.plan.halo_pixels, "exact": job.plan.exact}
    if restorer.placement.ensemble > 1:
        settings["ensemble"] = restorer.placement.ensemble
    if restorer.placement.consistent is not None:
        settings["consistent"] = restorer.placement.consistent
    if job.neighbours_along is not None:
        settings["along"] = job.neighbours_along
    if sides.interval is not None:
        settings["interval"] = sides.interval.to_dict()
    if sides.trust is not None:
        settings["not_trusted"] = sides.trust.to_dict()
    if job.reading:
        settings["reading"] = dict(job.reading)
    names, weights = key.settings["model"], key.settings["weights"]
    return RunReport(
        job.image,
        without_secrets(dst),
        names,
        weights,
        settings,
        pixels=job.pixels,
        fingerprint=key.fingerprint,
        source_identity=key.source_identity,
    )


def provenance_of(report: RunReport) -> dict[str, Any]:
    """Return the provenance for the output; it does not depend on time, speed or tiles."""
    # The reason for the engine depends on how it was requested, and a resumed run may request it differently.
    settings = {k: v for k, v in report.settings.items() if k != "engine_why"}
    if settings["halo"] == "exact":
        del settings["tile"]
    return {
        "model": report.model,
        "weights_sha256": report.weights_sha256,
        "source": report.source,
        "source_identity": report.source_identity,
        "fingerprint": report.fingerprint,
        "settings": settings,
    }
