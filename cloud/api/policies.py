"""Policy documents: for everybody who is signed in to read, with how each stands today; staff enters them."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from cloud import files
from cloud.api import reply, upload, who
from cloud.api.upload import Upload
from cloud.errors import NotFound
from cloud.files import NewDocument
from cloud.market.policy import KINDS, BadPolicy, NewPolicy, Relation, standing
from cloud.market.run import policies as run
from cloud.market.store import policies as store
from cloud.market.store.policies import PolicyRow
from cloud.markettime import day_of
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["policies"])

_BIGINT_MAX: Final = 2**63 - 1
PolicyId = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Line = Annotated[str, Form(max_length=300)]


class NoPolicy(NotFound):
    """There is no such policy, or it has no file."""


class PolicyView(reply.View):
    """A policy with how it stands today, and whether the visitor has read it."""

    policy_id: int
    number: str
    title: str
    issuer: str
    issued: date
    effective: date
    expires: date | None
    summary: str
    tags: tuple[str, ...]
    rules: tuple[str, ...]
    has_file: bool
    source: str
    standing: str
    read_at: datetime | None


class InboxView(reply.View):
    """Policies, the latest in force first."""

    text: str
    tag: str
    tags: tuple[str, ...]
    unread: int
    may_enter: bool
    policies: tuple[PolicyView, ...]


class RelationView(reply.View):
    """What one policy does to another; `policy_id` None: the other is not entered here."""

    kind: str
    number: str
    policy_id: int | None
    from_day: date


class OneView(reply.View):
    """A policy, what it does to others, what others do to it, and how many have read it."""

    policy: PolicyView
    does: tuple[RelationView, ...]
    suffers: tuple[RelationView, ...]
    readers: int | None


@router.get("/policies", response_model=InboxView)
def inbox(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_POLICIES)],
    text: Annotated[str, Query(max_length=100)] = "",
    tag: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Policies, narrowed by words and by a tag."""
    _allow(visit, "all")
    rows = store.listed(visit.conn, visit.actor.user_id, text=text.strip(), tag=tag.strip())
    view = InboxView(
        text=text,
        tag=tag,
        tags=tuple(sorted({each for row in rows for each in row.tags})),
        unread=sum(row.read_at is None for row in rows),
        may_enter=visit.actor.role is Role.STAFF,
        policies=tuple(_view(visit, row) for row in rows),
    )
    return reply.answer(request, visit, "policies/inbox.html", view, drawing=KINDS)


@router.post("/policies", response_class=RedirectResponse)
def enter(
    request: Request,
    visit: Annotated[who.Visit, who.changes(Deed.ENTER_POLICY)],
    number: Line,
    title: Line,
    issuer: Line,
    issued: Annotated[date, Form()],
    effective: Annotated[date, Form()],
    expires: Annotated[str, Form(pattern="^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")] = "",
    summary: Annotated[str, Form(max_length=4000)] = "",
    tags: Line = "",
    rules: Annotated[str, Form(max_length=1000)] = "",
    relation: Annotated[str, Form(pattern="^(repeals|amends|implements)?$")] = "",
    other: Line = "",
    file: Annotated[Upload | None, upload.maybe_upload()] = None,
) -> Response:
    """Enter a policy with its file; staff is told."""
    security.allow(visit.conn, visit.actor, visit.deed, Subject("policy", number[:100]), visit.now)
    try:
        ends = date.fromisoformat(expires) if expires else None
    except ValueError:
        raise BadPolicy("bad_policy", place="expires") from None
    relations = (Relation(relation, other.strip(), effective),) if relation and other.strip() else ()
    new = NewPolicy(
        number=number.strip(),
        title=title.strip(),
        issuer=issuer.strip(),
        issued=issued,
        effective=effective,
        expires=ends,
        summary=summary.strip(),
        tags=_words(tags),
        rules=_words(rules),
        relations=relations,
    )
    by = security.actor_name(visit.actor)
    document_id = None
    if file is not None:
        sha256 = request.app.state.vault.put(file.body)
        kept = NewDocument(sha256, file.name, file.media_type, len(file.body), None, "policy", "market")
        document_id = files.note(visit.conn, kept, visit.now, by)
    policy_id = run.enter(visit.conn, new, document_id, by, visit.now)
    return RedirectResponse(f"/policies/{policy_id}", 303)


@router.get("/policies/{policy_id}", response_model=OneView)
def one(
    request: Request, policy_id: PolicyId, visit: Annotated[who.Visit, who.visits(Deed.SEE_POLICIES)]
) -> Response:
    """A policy with its relations."""
    row = _find(visit, policy_id)
    ids = store.numbers(visit.conn)
    view = OneView(
        policy=_view(visit, row),
        does=tuple(
            RelationView(
                kind=each.kind, number=each.number, policy_id=ids.get(each.number), from_day=each.from_day
            )
            for each in store.relations_of(visit.conn, policy_id)
        ),
        suffers=tuple(
            RelationView(kind=each.kind, number=number, policy_id=other_id, from_day=each.from_day)
            for other_id, number, each in store.relations_to(visit.conn, row.number)
        ),
        readers=len(store.readers(visit.conn, policy_id)) if visit.actor.role is Role.STAFF else None,
    )
    return reply.answer(request, visit, "policies/one.html", view)


@router.post("/policies/{policy_id}/read", response_class=RedirectResponse)
def read(policy_id: PolicyId, visit: Annotated[who.Visit, who.changes(Deed.SEE_POLICIES)]) -> Response:
    """Say that one has read a policy; said once, it stays said."""
    _find(visit, policy_id)
    store.mark_read(visit.conn, policy_id, visit.actor.user_id, visit.now)
    return RedirectResponse(f"/policies/{policy_id}", 303)


@router.get("/policies/{policy_id}/file", response_class=Response)
def file_of(
    request: Request, policy_id: PolicyId, visit: Annotated[who.Visit, who.visits(Deed.SEE_POLICIES)]
) -> Response:
    """The policy's file."""
    row = _find(visit, policy_id)
    document = None if row.document_id is None else files.find(visit.conn, row.document_id)
    if document is None:
        raise NoPolicy("not_found", kind="policy")
    return upload.send(document, request.app.state.vault.get(document.sha256))


def _allow(visit: who.Visit, key: str) -> None:
    """Policies are everybody's: each person reads them in the own party's name."""
    subject = Subject("policy", key, visit.actor.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)


def _find(visit: who.Visit, policy_id: int) -> PolicyRow:
    row = store.find(visit.conn, visit.actor.user_id, policy_id)
    if row is None:
        raise NoPolicy("not_found", kind="policy")
    _allow(visit, str(policy_id))
    return row


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for each in re.split(r"[\s,，;；、]+", text.strip()) if each))


def _view(visit: who.Visit, row: PolicyRow) -> PolicyView:
    return PolicyView(
        policy_id=row.policy_id,
        number=row.number,
        title=row.title,
        issuer=row.issuer,
        issued=row.issued,
        effective=row.effective,
        expires=row.expires,
        summary=row.summary,
        tags=tuple(row.tags),
        rules=tuple(row.rules),
        has_file=row.document_id is not None,
        source=row.source,
        standing=standing(row.effective, row.expires, row.repealed, day_of(visit.now)).value,
        read_at=row.read_at,
    )
