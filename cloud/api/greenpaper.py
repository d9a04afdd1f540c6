"""The proof of green power used as a page of paper: number, user, purpose, months, every certificate with its plant."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import segno

from cloud import markettime, words
from cloud.market import certificates as gec
from cloud.market.store.certificates import PlaceRow
from cloud.market.store.greenuses import RetirementRow
from cloud.paper.render import Attachment, render

SCHEMA = "shoudian-green-proof/1"


def proof_pdf(language: str, use: RetirementRow, rows: Sequence[PlaceRow], public_url: str) -> bytes:
    """Print a proof; the same use gives the same bytes."""

    def told(key: str) -> str:
        return words.say(language, f"green.{key}")

    address = f"{public_url.rstrip('/')}/green/check/{use.proof_no}"
    drawn = io.BytesIO()
    segno.make(address, error="m").save(drawn, kind="svg", scale=4, border=2)
    first, last = f"{use.first_month:%Y-%m}", f"{use.last_month:%Y-%m}"
    day = markettime.day_of(use.at).isoformat()
    certificates = [
        {
            "plant": row.plant,
            "energy": words.say(language, f"green_energy.{row.energy}"),
            "month": f"{row.month:%Y-%m}",
            "number": gec.span(row.holding.serials),
            "mwh": str(row.mwh),
        }
        for row in rows
    ]
    facts = (
        ("proof_no", use.proof_no),
        ("used_by", use.used_by),
        ("purpose", use.purpose),
        ("period", first if first == last else f"{first} – {last}"),
        ("retired_on", day),
        ("total", f"{use.mwh} MWh"),
    )
    data = {
        "title": words.say(language, "green.proof_title"),
        "language": language,
        "facts": [{"label": told(key), "text": text} for key, text in facts],
        "rows": certificates,
        "total": str(use.mwh),
        "qr": drawn.getvalue().decode(),
        "address": address,
        "words": {key: told(key) for key in ("plant", "energy", "month", "number", "mwh", "total")}
        | {"note": words.say(language, "green.proof_note")},
    }
    attachment = Attachment(
        "proof.json",
        json.dumps(_content(use, rows), ensure_ascii=False, indent=1),
        words.say(language, "green.proof_title"),
    )
    return render("proof", data, attachment, use.at)


def _content(use: RetirementRow, rows: Sequence[PlaceRow]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "proof_no": use.proof_no,
        "used_by": use.used_by,
        "purpose": use.purpose,
        "first_month": f"{use.first_month:%Y-%m}",
        "last_month": f"{use.last_month:%Y-%m}",
        "retired_on": markettime.day_of(use.at).isoformat(),
        "mwh": use.mwh,
        "certificates": [
            {
                "first": gec.number(row.first),
                "last": gec.number(row.end - 1),
                "plant": row.plant,
                "month": f"{row.month:%Y-%m}",
            }
            for row in rows
        ],
    }
