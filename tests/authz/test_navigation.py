"""Whoever is shown a link may follow it, and the page behind it knows that it is the current one."""

from __future__ import annotations

import re

import pytest
from pages.site import Site

PAGE = {"accept": "text/html"}
HREF = re.compile(r'<a href="(/[^"?]*)"( aria-current="page")?')


@pytest.mark.parametrize("login", ["yunling", "tech", "staff", "regulator"])
def test_every_link_of_the_header_leads_somewhere_and_says_where_one_is(site: Site, login: str) -> None:
    with site.client(login) as client:
        first = client.get("/", headers=PAGE, follow_redirects=True)
        nav = first.text.partition('<nav class="nav')[2].partition("</nav>")[0]
        links = [path for path, _ in HREF.findall(nav)]

        assert links
        for path in links:
            answer = client.get(path, headers=PAGE, follow_redirects=True)
            here = answer.text.partition('<nav class="nav')[2].partition("</nav>")[0]

            assert answer.status_code == 200, path
            assert (path, ' aria-current="page"') in HREF.findall(here), path
