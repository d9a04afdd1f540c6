"""A bill read back from the database is the bill that was drawn up, to the last decimal."""

from __future__ import annotations

import psycopg
import pypdfium2
from pages import world
from pages.site import Site

from cloud.billing import billjson
from cloud.billing.store import bills


def test_a_kept_bill_is_read_back_as_it_was_drawn_up(site: Site) -> None:
    with psycopg.connect(site.world.dsn) as conn:
        loaded = bills.load(conn, site.world.bill_id)

    assert loaded == world.august_bill(world.WORKSHOP)
    assert loaded.state == "issued"


def test_page_json_file_and_pdf_attachment_are_one_bill(site: Site) -> None:
    path = f"/bills/{site.world.bill_id}"
    with site.client("yunling") as client:
        answer, file, paper = client.get(path), client.get(f"{path}/json"), client.get(f"{path}/pdf")

    assert billjson.bill_from(answer.json()["bill"]) == billjson.bill_from_text(file.content)
    pdf = pypdfium2.PdfDocument(paper.content)
    attached = bytes(pdf.get_attachment(0).get_data())
    pdf.close()
    assert attached == file.content
    assert paper.headers["content-disposition"] == f'attachment; filename="bill-{world.WORKSHOP}-2026-08.pdf"'
