"""A browser without scripts: keeps cookies, and sends forms as they are on the page."""

from __future__ import annotations

import http.client
import re
from contextlib import closing
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode


class Form(HTMLParser):
    """The values that a browser would send for the unchanged form of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._area = self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attributes}
        name = given.get("name", "")
        if tag == "input" and name and given.get("type") not in ("submit", "file", "button"):
            is_mark = given.get("type") in ("checkbox", "radio")
            if not is_mark or "checked" in given:
                self.values[name] = given.get("value", "on" if is_mark else "")
        elif tag == "textarea":
            self._area, self.values[name] = name, ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in given:
            self.values[self._select] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._area:
            self.values[self._area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""
        elif tag == "select":
            self._select = ""


class Browser:
    def __init__(self, port: int) -> None:
        self._port = port
        self._cookies: SimpleCookie = SimpleCookie()

    def log_in(self, site: str, name: str, password: str) -> None:
        """Signs in at an admin site, such as `/admin/`."""
        self.send(f"{site}login/?next={site}", {"username": name, "password": password})
        assert self._request("GET", site)[0] == 200

    def send(self, path: str, values: dict[str, str]) -> None:
        """Fills in the form of the page, and sends it. Fails with the page's errors."""
        status, page = self._request("POST", path, Form(self.see(path)).values | values)
        assert status == 302, re.findall(r'class="errorlist[^>]*>.*?</ul>', page, re.DOTALL) or page

    def see(self, path: str) -> str:
        status, page = self._request("GET", path)
        assert status == 200, f"{path}: {status}\n{page}"
        return page

    def is_answered(self, path: str) -> bool:
        try:
            return self._request("GET", path)[0] == 200
        except OSError:
            return False

    def _request(
        self, method: str, path: str, form: dict[str, str] | None = None
    ) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)) as connection:
            headers = {"Cookie": "; ".join(f"{k}={m.value}" for k, m in self._cookies.items())}
            if form is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request(method, path, urlencode(form) if form else None, headers)
            answer = connection.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie") or []:
                self._cookies.load(cookie)
            return answer.status, answer.read().decode()
