"""The page served by a real server: slow clients, many tabs, agents at work meanwhile, and where it refuses to start."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, closing, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from guarded_tools.errors import GuardError
from guarded_tools.web import server
from guarded_tools.web.settings import WebSettings, checked, read_password
from tests.web.conftest import serving, until

pytestmark = pytest.mark.may_block("the server has an event loop of its own, in another thread")


def seat_of(served):
    """The cookie of somebody who came in by the link."""
    answer = httpx.get(served.link(), headers={"sec-fetch-site": "none"})
    return answer.headers["set-cookie"].partition(";")[0]


def connect(served, *lines):
    """A connection that has sent so much of a request."""
    at = urlsplit(served.address)
    there = socket.create_connection((at.hostname, at.port), timeout=20)
    there.sendall("".join(f"{line}\r\n" for line in lines).encode())
    return there


def tab(served, seat):
    """An open tab that has been told that it listens."""
    there = connect(served, "GET /live HTTP/1.1", f"Host: {urlsplit(served.address).netloc}", f"Cookie: {seat}", "")
    said = b""
    while b"event: here" not in said:
        said += there.recv(4096)
    return there


def test_two_hundred_tabs_and_some_that_never_read_hold_up_nobody(agent):
    with serving() as served, ExitStack() as stack:
        seat = seat_of(served)
        tabs = [stack.enter_context(closing(tab(served, seat))) for _ in range(200)]
        # These send no request, half a request, and a form that never comes.
        for lines in ((), ("GET /stop HTTP/1.1", "Host: x"), ("POST /enter HTTP/1.1", "Content-Length: 9", "")):
            for _ in range(10):
                stack.enter_context(closing(connect(served, *lines)))
        until(lambda: len(served.tabs) == 200)
        question, became = agent.ask(text="x")
        for there in tabs[:40]:  # and the others do not read
            said = b""
            while b"data: approvals" not in said and b"audit approvals" not in said:
                said += there.recv(4096)
        for _ in range(20):
            assert agent.call("read", session="busy") is not None
        with httpx.Client(base_url=served.address, headers={"cookie": seat}) as http:
            took = []
            for path in ("/approvals", "/now", "/limits", "/sessions", "/stop") * 2:
                begun = time.perf_counter()
                answer = http.get(path)
                took.append(time.perf_counter() - begun)
                assert answer.status_code == 200
            assert question.id in http.get("/approvals").text
        assert sorted(took)[len(took) // 2] < 1.0  # a tab that held up the others would do so for as long as it is open
        assert became == []
    assert not served.thread.is_alive()


def test_no_page_waits_for_the_rest_of_a_packet():
    with serving() as served, closing(tab(served, seat_of(served))):
        (connection,) = served.running.server_state.connections
        there = connection.transport.get_extra_info("socket")
        assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_open_tabs_end_with_the_server():
    with serving() as served, closing(tab(served, seat_of(served))) as there:
        served.stop()
        said = b""
        while piece := there.recv(4096):
            said += piece
        assert said.endswith(b"0\r\n\r\n")  # to its end, and not cut off


def test_a_request_that_does_not_come_to_its_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(server, "_PATIENCE", 0.2)
    with serving() as served:
        whole = ("GET /enter HTTP/1.1", f"Host: {urlsplit(served.address).netloc}", "")
        for lines in ((), ("GET /stop HTTP/1.1", "Host: x"), whole):
            with closing(connect(served, *lines)) as there:
                if lines == whole:
                    assert there.recv(65_536).startswith(b"HTTP/1.1 401")
                    there.sendall(b"GET /enter HT")
                with suppress(ConnectionResetError):
                    while there.recv(65_536):
                        pass


def test_a_connection_too_many_is_closed(monkeypatch):
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 2)
    with serving() as served, closing(connect(served)), closing(connect(served)), closing(connect(served)) as third:
        third.settimeout(20)
        try:
            assert third.recv(1) == b""
        except ConnectionResetError:
            third.close()


def test_what_a_proxy_might_say_is_not_believed(agent):
    with serving(proxy_header="X-User", proxy_from="10.9.8.7") as served:
        for headers in ({}, {"x-forwarded-for": "10.9.8.7"}, {"forwarded": "for=10.9.8.7"}, {"x-real-ip": "10.9.8.7"}):
            answer = httpx.get(f"{served.address}/stop", headers={"x-user": "ann", **headers})
            assert answer.status_code == 303
    with serving(proxy_header="X-User", proxy_from="127.0.0.1") as served:
        assert ">ann<" in httpx.get(f"{served.address}/stop", headers={"x-user": "ann"}).text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    names = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost", "-days", "2"]
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-nodes", "-newkey", "rsa:2048"]
    subprocess.run(["openssl", "req", "-x509", *more, *names], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def test_over_tls_with_a_password(certificate):
    cert, key = certificate
    with serving(certificate=cert, key=key, password="correct horse battery") as served:
        assert served.address.startswith("https://127.0.0.1:")
        with httpx.Client(base_url=served.address, verify=ssl.create_default_context(cafile=cert)) as http:
            form = {"name": "ann", "password": "correct horse battery"}
            answer = http.post("/enter", data=form, headers={"origin": served.address})
            assert answer.headers["set-cookie"].startswith("__Host-guarded_tools_")
            assert "Secure" in answer.headers["set-cookie"]
            assert "ann (password)" in http.get("/stop").text


ELSEWHERE = {"host": "0.0.0.0", "public": "https://guard.example"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "0.0.0.0"}, "needs TLS"),
        ({"host": "192.168.1.2", "password": "x" * 12}, "needs TLS"),
        ({"host": "::", "proxy_header": "X-User", "proxy_from": "10.0.0.1"}, "needs TLS"),
        ({**ELSEWHERE, "tls": True}, "has to know who comes"),
        ({"host": "0.0.0.0", "tls": True, "password": "x" * 12}, "--public"),
        ({**ELSEWHERE, "tls": True, "proxy_header": "X-User"}, "belong together"),
        ({**ELSEWHERE, "tls": True, "proxy_from": "10.0.0.1"}, "belong together"),
        ({"proxy_header": "X-User", "proxy_from": "10.0.0.0/8"}, "no address of one proxy"),
        ({"proxy_header": "X User", "proxy_from": "10.0.0.1"}, "no name of a header"),
        ({"proxy_header": "X-User", "proxy_from": "10.0.0.1", "password": "x" * 12}, "exclude each other"),
        ({"host": "guard.example"}, "no address"),
        ({"public": "guard.example"}, "no address of a site"),
        ({"public": "https://guard.example/path"}, "no address of a site"),
        ({"public": "https://ann@guard.example"}, "no address of a site"),
        ({"public": "https://guard.example:x"}, "no address of a site"),
    ],
)
def test_where_it_refuses_to_start(options, why, certificate):
    if options.pop("tls", False):
        options |= dict(zip(("certificate", "key"), certificate, strict=True))
    with pytest.raises(GuardError, match=why):
        checked(WebSettings(**options))


def test_where_it_starts(certificate):
    cert, key = certificate
    tls = {"certificate": cert, "key": key}
    assert checked(WebSettings(host="localhost")).origins(8765) == {"http://127.0.0.1:8765", "http://localhost:8765"}
    assert checked(WebSettings(host="::1")).origins(80) == {"http://[::1]", "http://localhost"}
    own = checked(WebSettings(**ELSEWHERE, **tls, password="x" * 12))
    assert own.origins(8765) == {"https://guard.example"}
    assert own.secure
    one = checked(WebSettings(host="192.168.1.2", **tls, proxy_header="X-User", proxy_from="192.168.1.1"))
    assert one.origins(443) == {"https://192.168.1.2"}
    with pytest.raises(GuardError, match="cannot be used"):
        checked(WebSettings(certificate=key, key=cert))
    with pytest.raises(GuardError, match="belong together"):
        checked(WebSettings(certificate=cert))


def test_a_password_that_others_may_read_is_none(tmp_path):
    path = tmp_path / "password"
    path.write_text("correct horse battery\nand notes\n")
    path.chmod(0o640)
    with pytest.raises(GuardError, match="chmod 600"):
        read_password(path)
    path.chmod(0o600)
    assert read_password(path) == "correct horse battery"
    path.write_text("short\n")
    with pytest.raises(GuardError, match="shorter than 12"):
        read_password(path)
    with pytest.raises(GuardError, match="cannot be read"):
        read_password(tmp_path / "absent")


@pytest.fixture
def steps_back(monkeypatch):
    """How far the command has stepped behind others; this process stays where it is."""
    steps = []
    monkeypatch.setattr(os, "nice", steps.append)
    return steps


@pytest.mark.usefixtures("steps_back")
def test_the_command_refuses_and_says_why(cli, tmp_path):
    refused = cli("web", "--host", "0.0.0.0")
    assert (refused.code, "needs TLS" in refused.err) == (2, True)
    assert cli("web", "--policy", tmp_path / "absent.json").code == 2
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        refused = cli("web", "--port", taken.getsockname()[1])
    assert (refused.code, "cannot be used" in refused.err) == (2, True)


def test_the_command_serves_what_is_there(cli, monkeypatch, agent, steps_back):
    question, _ = agent.ask(text="x")
    seen = []

    def served(settings, desk, say):
        say("a line")
        seen.append((settings, desk.questions()[0].id, desk.told_policy().fingerprint, sorted(desk.tools)[:1]))

    monkeypatch.setattr(server, "serve", served)
    ran = cli("web", "--port", "0", "--read-only", "--policy", "standard", "--tools", "pictify")
    assert (ran.code, ran.out) == (0, "a line\n")
    ((settings, found, _, tools),) = seen
    assert (settings.read_only, settings.port, found) == (True, 0, question.id)
    assert steps_back == [10]
    assert re.match("pictify_", tools[0])
