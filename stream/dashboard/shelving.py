"""What people shelve on the page: no further alert about one disease of one patient for a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from uuid import uuid4

import msgspec
from msgspec import Meta

from schemas.messages import LONGEST_SHELVING, Disease, Identifier, Shelving
from stream.alerting.shelvings import ends_at

HOUR_S = 3600


class ShelveForm(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends when somebody shelves the disease and the patient of an alert."""

    identifier: Identifier
    """The alert's."""
    hours: Annotated[float, Meta(gt=0, le=LONGEST_SHELVING.total_seconds() / HOUR_S)]
    reason: Annotated[str, Meta(min_length=1, max_length=2000)]
    by: Identifier | None = None
    """What the person typed. The name that a proxy vouches for takes its place."""


class UnshelveForm(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends when somebody ends a shelving before its time."""

    patient_id: Identifier
    disease: Disease
    by: Identifier | None = None


class ShelvingRow(msgspec.Struct, kw_only=True):
    """A shelving as the list shows it; times are seconds since 1970."""

    patient_id: str
    disease: str
    until: float
    reason: str
    shelved_by: str
    authenticated: bool
    shelved_at: float


def new_shelving(
    patient: str, disease: Disease, *, at: datetime, hours: float, reason: str, by: str, authenticated: bool
) -> Shelving:
    """Return the message. With no hours it ends what was before."""
    return Shelving(
        shelving_id=uuid4().hex,
        subject=patient,
        code=disease,
        until=at + timedelta(hours=hours),
        reason=reason,
        shelved_by=by,
        authenticated=authenticated,
        shelved_at=at,
    )


def shelving_row(shelving: Shelving) -> ShelvingRow:
    """Return what the list shows of a shelving."""
    return ShelvingRow(
        patient_id=shelving.subject,
        disease=shelving.code,
        until=ends_at(shelving).timestamp(),
        reason=shelving.reason,
        shelved_by=shelving.shelved_by,
        authenticated=shelving.authenticated,
        shelved_at=shelving.shelved_at.timestamp(),
    )
