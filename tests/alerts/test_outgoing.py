"""HTTP to addresses that people have typed, against real servers with bad manners."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from scheduler.alerts import outgoing
from scheduler.alerts.channels.base import DeliveryError
from scheduler.network_addresses import is_public, url_problem
from tests.harness.receivers import answer, http_server


def post(url: str, **options) -> outgoing.Answer:
    options = {"deadline_seconds": 5, "allow_http": True, "allow_private": True, **options}
    return outgoing.request("POST", url, body=b"{}", **options)


def refusal(url: str, **options) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        post(url, **options)
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.0.8", "198.18.0.1", "::", "::1",
        "fe80::1%eth0", "fd00::1", "fec0::1", "ff02::1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::1", "2001:db8::1", "2001::1",
    ],
)  # fmt: skip
def test_addresses_of_a_network_of_ones_own_are_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(address: str):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com", "ftp://hooks.example.com", "https://", "hooks.example.com",
        "https://localhost/x", "https://127.0.0.1/x", "https://[::1]/x", "https://db.internal/",
        "https://169.254.169.254/latest", "https://user:s3cret@hooks.example.com/",
        "https://hooks.example.com/a b", "https://hooks.example.com:99999/", "https://a\n.example/",
        "https://2130706433/", "https://127.1/", "https://0x7f.0.0.1/", "https://0177.0.0.1/",
        "https://0/", "https://127.0.0.1./", "https://LOCALHOST./", "https://[::ffff:7f00:1]/",
        "https://[::ffff:169.254.169.254]/", "https://[fe80::1%25eth0]/", "https://[::]:443/",
        "https://169.254.43518/", "https://ⓛocalhost/", "https://bücher.example/",
        "https://@hooks.example.com/", "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com:25/", "https://hooks.example.com:0/", "https://[::1", "https:///x",
    ],
)  # fmt: skip
def test_urls_that_lead_nowhere_good_are_refused_where_they_are_typed(url: str):
    problem = url_problem(url, allow_private=False, allow_http=False)

    assert problem is not None
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com:8443/x", "https://xn--bcher-kva.example/", "https://8.8.8.8/",
        "https://134744072/", "https://[2606:4700::1]/x", "https://face.example/", "https://cafe./",
        "https://hooks.example.com./x?a=1#b",
    ],
)  # fmt: skip
def test_urls_that_lead_into_the_internet_are_taken(url: str):
    assert url_problem(url, allow_private=False, allow_http=False) is None


def test_a_name_that_leads_to_a_private_address_is_refused_when_it_is_resolved():
    with http_server() as receiver:
        found = refusal(
            f"http://hooks.example.com:{receiver.port}/",
            allow_private=False,
            resolve=lambda host, port: [(socket.AF_INET, "127.0.0.1")],
        )

        assert found.permanent
        assert receiver.requests == []


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to():
    """Rebinding: the second answer of the name server would lead elsewhere."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[outgoing.Address]:
        asked.append(host)
        return [(socket.AF_INET, "127.0.0.1" if len(asked) == 1 else "127.0.0.2")]

    with http_server() as receiver:
        post(f"http://hooks.example.com:{receiver.port}/path?q=1", resolve=resolve)

        (request,) = receiver.requests
    assert asked == ["hooks.example.com"]
    assert request.path == "/path?q=1"
    assert request.headers["Host"] == f"hooks.example.com:{receiver.port}"


def test_a_redirect_is_not_followed():
    with http_server() as receiver:
        receiver.behave = lambda request: answer(
            request, 302, Location="http://169.254.169.254/latest/meta-data/"
        )

        found = refusal(receiver.url)

        assert found.permanent
        assert "302" in found.reason
        assert len(receiver.requests) == 1


def test_a_receiver_that_fails_may_be_tried_again():
    with http_server() as receiver:
        receiver.behave = lambda request: answer(request, 500)
        assert not refusal(receiver.url).permanent
        receiver.behave = lambda request: answer(request, 410)
        assert refusal(receiver.url).permanent


def test_of_an_answer_of_ten_megabytes_no_more_than_64_kb_are_read():
    def ten_megabytes(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(160):
            request.wfile.write(b"x" * 65_536)

    with http_server() as receiver:
        receiver.behave = ten_megabytes

        assert len(post(receiver.url).body) == outgoing.LONGEST_ANSWER


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_receiver_that_sends_a_byte_now_and_then_costs_no_more_than_the_deadline(begin: bytes):
    is_over = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(begin)
        while not is_over.wait(0.05):
            request.wfile.write(b"x")

    with http_server() as receiver:
        receiver.behave = drip
        started = time.monotonic()

        found = refusal(receiver.url, deadline_seconds=0.5)

        took = time.monotonic() - started
        is_over.set()
    assert not found.permanent
    assert took < 3


def test_a_name_server_that_is_silent_costs_no_more_than_the_deadline():
    is_over = threading.Event()

    def never(host: str, port: int) -> list[outgoing.Address]:
        is_over.wait(20)
        return []

    started = time.monotonic()
    found = refusal("http://hooks.example.com/", deadline_seconds=0.3, resolve=never)
    is_over.set()

    assert "name server" in found.reason
    assert time.monotonic() - started < 3


def test_a_certificate_that_nobody_knows_and_a_server_without_tls_are_refused(tmp_path: Path):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own_certificate(tmp_path))
    with http_server(tls) as receiver, http_server() as plain:
        unknown = refusal(f"https://127.0.0.1:{receiver.port}/secret-path")
        broken = refusal(f"https://127.0.0.1:{plain.port}/")

        assert receiver.requests == []
    assert "certificate" in unknown.reason
    assert "secret-path" not in unknown.reason
    assert "TLS" in broken.reason


def own_certificate(place: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that no authority has signed."""
    path = place / "both.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-keyout", str(path)]
    made += ["-addext", "subjectAltName=IP:127.0.0.1"]
    done = subprocess.run(made, check=True, capture_output=True, text=True)
    path.write_text(path.read_text(encoding="utf-8") + done.stdout, encoding="utf-8")
    return path
