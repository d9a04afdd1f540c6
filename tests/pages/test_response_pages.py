"""The pages of demand response over HTTP: enter a programme, enrol, call, answer; each only for whom it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from pages import world
from pages.site import Site


def test_from_programme_to_answer(site: Site) -> None:
    html = {"accept": "text/html"}
    today = datetime.now(UTC)  # noqa: TID251  # the site's own clock runs on
    first, day = f"{today + timedelta(days=1):%Y-%m-%d}", f"{today + timedelta(days=3):%Y-%m-%d}"
    with site.client("staff") as staff, site.client("yunling") as holder, site.client("zhou") as other:
        tokens = {each: site.form_token(each) for each in (staff, holder, other)}

        def post(who, path: str, **form: str):  # type: ignore[no-untyped-def]
            return who.post(path, data=form | {"form_token": tokens[who]})

        programme = {"packaged": "jibei-peak-demo-1.toml"}
        assert post(staff, "/response/programmes", **programme).status_code == 303
        assert post(holder, "/response/programmes", **programme).status_code == 403
        enrolment = {"programme": "jibei-peak-demo", "account": world.WORKSHOP, "first_day": first}
        enrolment |= {"capacity_kw": "100", "resource": "空调", "agreement": "示范协议"}
        assert post(other, "/response/enrolments", **enrolment).status_code == 404
        assert post(holder, "/response/enrolments", **enrolment).status_code == 303
        assert post(holder, "/response/enrolments", **enrolment).status_code == 409
        event = {"programme": "jibei-peak-demo", "day": day, "start": "14:00", "end": "16:00"}
        event |= {"target_kw": "100", "price": "1.2", "reason": "晚峰缺口"}
        for field, bad in (("start", "14:07"), ("price", "x"), ("end", "13:00"), ("price", "1.6")):
            assert post(staff, "/response/events", **event | {field: bad}).status_code == 422
        planned = post(staff, "/response/events", **event)
        path = planned.headers["location"]
        assert holder.get(path).status_code == 404
        assert post(staff, f"{path}/notify").status_code == 303
        (part,) = holder.get(path).json()["parts"]
        answer = {"enrolment": str(part["enrolment_id"]), "bid_kw": "80"}
        assert post(other, f"{path}/answer", **answer).status_code == 404
        assert post(holder, f"{path}/answer", **answer).status_code == 303
        assert other.get(path).status_code == 404
        assert staff.get(path).json()["promised_kw"] == 80
        assert [each["estimate_fen"] for each in staff.get(path).json()["parts"]] == [24000]  # 200 kWh x 1.20
        split = {"aggregator": "1", "first_day": first, "keep_percent": "20", "by": "response"}
        split |= {"charges": "members", "document": "示范协议"}
        for field, bad in (
            ("keep_percent", "120"),
            ("by", "age"),
            ("first_day", "soon"),
            ("aggregator", "x"),
        ):
            assert post(staff, "/response/splits", **split | {field: bad}).status_code == 422
        assert post(holder, "/response/splits", **split).status_code == 403
        assert holder.get("/response/portfolio").json()["aggregators"] == []
        test = post(staff, "/response/events", **event | {"purpose": "test"})
        assert staff.get(test.headers["location"]).json()["event"]["is_test"] is True
        for who in (staff, holder):
            assert who.get("/response/portfolio", headers=html).status_code == 200
            for language in ("zh", "en"):
                for each in ("/response", path):
                    page = who.get(f"{each}?lang={language}", headers=html)
                    assert page.status_code == 200
                    assert not re.search(r"response[._][a-z_]+\.", page.text.replace("/response", ""))
