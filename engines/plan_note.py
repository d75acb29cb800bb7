"""What is noted of a plan: what it was built from and for, and its digest. Light enough for a command's help."""

from __future__ import annotations

import hashlib

import msgspec

from .options import Precision


class PlanKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan was built from and for. With another one of these, it is another plan."""

    graph: str
    """SHA-256 of the ONNX graph, or of what the graph is made of."""
    precision: Precision
    library: str
    """With its version: no other version opens the plan."""
    gpu: str
    """Its architecture, and its model where the library tunes for that."""
    rows: int
    """The biggest batch."""

    def digest(self) -> str:
        """Return what the files are called."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


class PlanNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a plan."""

    key: PlanKey
    sha256: str
    size: int
    built_s: float
