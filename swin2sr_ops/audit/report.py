"""Report the result of an audit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from swin2sr_ops.audit.compare import Difference
from swin2sr_ops.audit.confidence import at_most_wrong, statement

__all__ = ["AuditReport"]

_SHOWN = 20


@dataclass
class AuditReport:
    """Describe the result of an audit.

    Attributes
    ----------
    output, source, model : str
    total, checked : int
        Number of tiles of the output, and of recomputed tiles. A tile covers whole chunks of the output.
    wrong : int
        Recomputed tiles that differ, or that cannot be read.
    faults : int
        Differences that concern no single tile: arrays that the run wrote and that are missing or cannot be read, and
        metadata.
    inexact : int
        Blocks that differ, but only within the bound between two engines or devices.
    agreement : str
        ``bit for bit``, or the bound and its reason.
    weights : str
        ``verified`` by their SHA-256, or ``not recorded``.
    source_identity : str
        ``same``, ``other`` (sizes, times or metadata of its files changed, as for a copy), or ``not recorded``.
    seed : int
        Seed of the random draw; the same seed draws the same tiles.
    differences : list of Difference
    missing : dict
        Images that cannot be checked, and the reasons.
    left_out : list of str
        Images that the run could not restore, according to the archive's metadata.
    notes : list of str
    """

    output: str
    source: str = ""
    model: str = ""
    total: int = 0
    checked: int = 0
    wrong: int = 0
    faults: int = 0
    inexact: int = 0
    agreement: str = ""
    weights: str = ""
    source_identity: str = ""
    seed: int = 0
    seconds: float = 0.0
    differences: list[Difference] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if everything checked is right."""
        return not self.differences and not self.missing

    @property
    def statement(self) -> str:
        """The audit's conclusion, as a sentence."""
        if self.ok:
            return statement(self.total, self.checked)
        parts = []
        if self.wrong:
            share = 100 * self.wrong / self.checked
            are = "is" if self.wrong == 1 else "are"
            parts.append(f"{self.wrong:,} of {self.checked:,} recomputed tiles {are} wrong ({share:.2g} %).")
        if self.faults:
            one = self.faults == 1
            concern = "difference concerns a whole array" if one else "differences concern whole arrays"
            parts.append(f"{self.faults} {concern} or the metadata.")
        if self.missing:
            parts.append(f"{len(self.missing)} of the images cannot be checked.")
        return " ".join(parts)

    def add(self, faults: Iterable[Difference], notes: Iterable[str] = ()) -> None:
        """Add differences that concern no single tile, and notes; each note once."""
        before = len(self.differences)
        self.differences += faults
        self.faults += len(self.differences) - before
        self.notes += [note for note in notes if note not in self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Return the report's fields, JSON-ready."""
        clean = self.ok and self.checked
        return {
            "output": self.output,
            "source": self.source,
            "model": self.model,
            "weights": self.weights,
            "source_identity": self.source_identity,
            "agreement": self.agreement,
            "tiles": self.total,
            "checked": self.checked,
            "wrong": self.wrong,
            "faults": self.faults,
            "inexact_blocks": self.inexact,
            "at_most_wrong": at_most_wrong(self.total, self.checked) if clean else None,
            "ok": self.ok,
            "statement": self.statement,
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "differences": [vars(one) for one in self.differences],
            "missing": self.missing,
            "left_out": self.left_out,
            "notes": self.notes,
        }

    def __str__(self) -> str:
        how = (
            f", compared {self.agreement or 'bit for bit'}; model {self.model}, weights {self.weights}, source"
            f" {_SOURCE[self.source_identity]}"
        )
        did = f"{self.output}: {self.checked:,} of {self.total:,} tiles recomputed in {self.seconds:.1f} s"
        lines = [did + how if self.model else did]
        lines += [f"  {one}" for one in self.differences[:_SHOWN]]
        if len(self.differences) > _SHOWN:
            lines.append(f"  ... and {len(self.differences) - _SHOWN} more (--json lists all)")
        lines += [f"  {path}: {reason}" for path, reason in list(self.missing.items())[:_SHOWN]]
        lines += [f"  note: {note}" for note in self.notes]
        if self.checked < self.total:
            lines.append(f"  seed {self.seed} draws these tiles again")
        return "\n".join([*lines, self.statement])


_SOURCE = {
    "same": "unchanged",
    "other": "with other sizes, times or metadata than during the run",
    "not recorded": "not identified",
    "": "not checked",
}
