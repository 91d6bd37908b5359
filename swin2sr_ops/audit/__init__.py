"""Check that an output matches its provenance: recompute tiles and compare them bit for bit.

``swin2sr-ops audit`` is the command for it; see ``docs/evidence.md``.
"""

from __future__ import annotations

from swin2sr_ops.audit.api import audit
from swin2sr_ops.audit.compare import Difference
from swin2sr_ops.audit.report import AuditReport

__all__ = ["AuditReport", "Difference", "audit"]
