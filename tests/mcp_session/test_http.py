"""HTTP servers that answer a single request badly: that request fails, at once, and nothing else does."""

import asyncio
import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session import HeldSession, HttpServer
from guarded_tools.mcp_session.generation import sdk

TOOLS = [{"name": "anything", "inputSchema": {"type": "object"}}]
RESULT = {"content": [{"type": "text", "text": "fine"}]}
KEY = "pk_live_0123456789"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def stream(self, body, **headers):
        """An event stream that ends where ``body`` ends."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_GET(self):
        if self.headers["last-event-id"] == "7":
            self.stream(self.server.kept)
        else:
            self.reply(405)

    def do_DELETE(self):
        self.server.goodbyes += 1
        time.sleep(self.server.goodbye_takes)
        self.reply(200)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((message.get("method"), dict(self.headers)))
        answer = self.answers().get(message.get("method"))
        if self.server.refuse_all:
            self.reply(self.server.refuse_all)
        elif self.server.moves and self.path == "/mcp":
            self.reply(307, location="/mcp/")
        elif "id" not in message:
            self.reply(202)
        elif answer is not None:
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer}).encode()
            self.reply(200, body, mcp_session_id=f"session-{self.server.sessions}")
        elif self.headers["mcp-session-id"] != f"session-{self.server.sessions}":
            self.reply(*self.server.unknown_session)
        elif message["method"] == "ping":
            self.reply(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}).encode())
        else:
            self.server.ran.append(message["params"]["name"])
            self.call(message)

    def answers(self):
        initialized = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "odd", "version": "1"},
        }
        return {"initialize": initialized, "tools/list": {"tools": TOOLS}}

    def call(self, message):  # noqa: PLR0912 - one for each way to answer
        good = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": RESULT}).encode()
        event = b"event: message\ndata: " + good + b"\n\n"
        match message["params"]["name"].split():
            case ["status", status]:
                self.reply(int(status))
            case ["says", status, who]:
                of = {"ours": message["id"], "null": None, "other": "server-error"}.get(who)
                error = {"code": -32000, "message": "the account is closed"}
                said = {"error": "the account is closed"} if who == "plain" else {"id": of, "error": error}
                self.reply(int(status), json.dumps({"jsonrpc": "2.0", **said}).encode())
            case ["acts-and-forgets", status]:
                self.server.sessions += 1
                self.reply(int(status), b"the receipt could not be mailed")
            case ["garbage"]:
                self.reply(200, b"{nonsense")
            case ["list"]:
                self.reply(200, b"[1]")
            case ["html"]:
                self.reply(200, b"<p>welcome to the proxy", "text/html")
            case ["accepted"]:
                self.reply(202)
            case ["silence"]:
                self.stream(b"")
            case ["half"]:
                self.stream(event[:30])
            case ["wrong-event"]:
                self.stream(b"event: message\ndata: {nonsense\n\n")
            case ["key-in-event"]:
                key = self.headers["authorization"]
                self.stream(f"event: message\ndata: {{{key}\n\n".encode())
            case ["key-in-error"]:
                key = self.headers["authorization"]
                error = {"code": -32000, "message": key, "data": {"sent": key}}
                self.reply(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode())
            case ["hang-up"]:
                self.close_connection = True
            case ["here"]:
                self.reply(307, location="/other")
            case ["elsewhere"]:
                self.reply(307, location="http://user:pw@evil.example/mcp?x=1")
            case ["stream"]:
                self.stream(b": comment\n\n" + event)
            case ["zipped-stream"]:
                self.stream(gzip.compress(event), content_encoding="gzip")
            case ["resumable"]:
                self.server.kept = event
                self.stream(b"retry: 10\nid: 7\ndata:\n\n")
            case ["slow"]:
                time.sleep(0.5)
                self.reply(200, good)
            case _:
                self.reply(200, good)


@pytest.fixture
def http():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.requests, server.sessions, server.refuse_all, server.unknown_session = [], 0, 0, (404,)
    server.ran, server.moves = [], False
    server.goodbyes, server.goodbye_takes = 0, 0
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.serial
def test_what_is_not_sent_is_said_to_be_not_sent_and_what_is_unclear_to_be_unclear(http):
    expected = {
        "status 500": (True, "HTTP 500"),
        "status 503": (True, "HTTP 503"),
        "status 429": (True, "HTTP 429"),
        "status 408": (True, "HTTP 408"),
        "status 401": (True, "HTTP 401. The key was not accepted."),
        "status 403": (True, "HTTP 403. The key was not accepted."),
        "status 400": (True, "HTTP 400"),
        "status 404": (True, "HTTP 404"),
        "status 413": (True, "HTTP 413"),
        "elsewhere": (True, "redirects to http://evil.example/mcp"),
        "here": (True, "redirects to http://127.0.0.1"),
        "garbage": (True, "no JSON-RPC message"),
        "list": (True, "no JSON-RPC message"),
        "html": (True, "no JSON-RPC message"),
        "accepted": (True, "no JSON-RPC message"),
        "silence": (True, "ended without an answer"),
        "half": (True, "ended without an answer"),
        "wrong-event": (True, "ended without an answer"),
        "hang-up": (True, "RemoteProtocolError"),
    }
    with HeldSession(HttpServer(http.url), name="odd") as session:
        for name, (sent, text) in expected.items():
            start = time.monotonic()
            with pytest.raises(ConnectionFailed) as failed:
                session.call_tool_sync(name)
            assert (name, failed.value.sent) == (name, sent)
            said = str(failed.value)
            if name in {"half", "wrong-event"} and "no tool result" in said:  # as the second SDK reads it
                assert said == f"odd answered {name} with something that is no tool result"
            else:
                assert f"odd did not answer {name}: " in said
                assert text in said
            assert "pw" not in str(failed.value)
            assert time.monotonic() - start < 1
            assert session.call_tool_sync("anything").content[0].text == "fine"
    methods = [method for method, _ in http.requests]
    assert methods.count("initialize") == 1
    assert methods.count("tools/call") == 2 * len(expected)
    assert [name for name in http.ran if name != "anything"] == list(expected)


async def test_a_failure_leaves_the_calls_beside_it_alone(http):
    async with HeldSession(HttpServer(http.url)) as session:
        others = [asyncio.create_task(session.call_tool("slow")) for _ in range(3)]
        with pytest.raises(ConnectionFailed):
            await session.call_tool("status 500")
        assert [(await other).content[0].text for other in others] == ["fine"] * 3


def test_event_streams_are_read_as_they_come(http):
    with HeldSession(HttpServer(http.url)) as session:
        assert session.call_tool_sync("stream").content[0].text == "fine"
        assert session.call_tool_sync("zipped-stream").content[0].text == "fine"
        assert session.call_tool_sync("resumable").content[0].text == "fine"


@pytest.mark.parametrize("status", [400, 401, 402, 404, 405, 409, 410, 413, 422, 429, 500])
@pytest.mark.parametrize("who", ["ours", "null", "other", "plain"])
def test_an_answer_is_no_reason_to_send_a_call_again_and_its_words_are_told(http, status, who):
    with HeldSession(HttpServer(http.url), name="odd") as session:
        with pytest.raises((sdk().ProtocolError, ConnectionFailed), match="the account is closed") as failed:
            session.call_tool_sync(f"says {status} {who}")
        assert isinstance(failed.value, sdk().ProtocolError) is (who == "ours")
        assert getattr(failed.value, "sent", True)
        assert session.call_tool_sync("anything").content[0].text == "fine"
    assert len(http.ran) == 2
    assert [method for method, _ in http.requests].count("initialize") == 1


@pytest.mark.parametrize("body", [b"", b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "x"}}'])
async def test_a_forgotten_session_is_opened_anew_and_the_call_runs_once(http, body):
    http.unknown_session = (404, body)
    async with HeldSession(HttpServer(http.url)) as session:
        http.sessions = 1
        results = await asyncio.gather(*(session.call_tool("anything") for _ in range(5)))
        assert [result.content[0].text for result in results] == ["fine"] * 5
    assert [method for method, _ in http.requests].count("initialize") == 2
    assert len(http.ran) == 5


@pytest.mark.parametrize(("call", "unknown", "ran"), [("anything", 400, 0), ("acts-and-forgets 404", 404, 1)])
def test_where_it_is_not_shown_that_nobody_took_it_a_call_is_lost_with_its_session(http, call, unknown, ran):
    """Some servers answer 400 in a session that they do not know, and others act before they forget it."""
    http.unknown_session = (unknown,)
    with HeldSession(HttpServer(http.url)) as session:
        http.sessions += call == "anything"
        with pytest.raises(ConnectionFailed, match="no longer knows this session") as failed:
            session.call_tool_sync(call)
        assert failed.value.sent
        assert len(http.ran) == ran
        assert session.call_tool_sync("anything").content[0].text == "fine"
    assert [method for method, _ in http.requests].count("tools/call") == 2
    assert [method for method, _ in http.requests].count("initialize") == 2


def test_a_way_is_learned_before_a_call_takes_it(http):
    """Some servers redirect every request to the address with a slash at its end."""
    http.moves = True
    with HeldSession(HttpServer(http.url)) as session:
        assert session.call_tool_sync("anything").content[0].text == "fine"
    assert [method for method, _ in http.requests].count("tools/call") == 1


@pytest.mark.parametrize("status", [401, 404, 500, 302])
def test_a_server_that_refuses_from_the_start(http, status):
    http.refuse_all = status
    with pytest.raises(ConnectionFailed, match=f"could not be reached: the server answered HTTP {status}") as failed:
        HeldSession(HttpServer(http.url), name="odd").open()
    assert not failed.value.sent


def test_nobody_listens(http):
    http.shutdown()
    http.server_close()
    with pytest.raises(ConnectionFailed, match="odd could not be reached: ConnectError") as failed:
        HeldSession(HttpServer(http.url), name="odd").open()
    assert not failed.value.sent


def test_a_key_is_sent_with_every_request_and_never_through_a_proxy_to_this_machine(http, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with HeldSession(HttpServer(http.url, {"Authorization": f"Bearer {KEY}"})) as session:
        session.call_tool_sync("anything")
    assert {headers["Authorization"] for _, headers in http.requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("key", ["bad\nkey_0123456789", "schlüssel_0123456789"])
def test_a_key_that_no_header_can_carry_is_not_quoted(http, key):
    with pytest.raises(ConnectionFailed) as failed:
        HeldSession(HttpServer(http.url, {"Authorization": f"Bearer {key}"}), name="odd").open()
    assert str(failed.value) == "the header Authorization has a character that cannot be sent"
    assert http.requests == []


@pytest.mark.serial
@pytest.mark.parametrize("takes", [0, 30])
def test_the_server_is_told_of_the_end_and_cannot_delay_it(http, takes):
    http.goodbye_takes = takes
    session = HeldSession(HttpServer(http.url))
    session.open()
    start = time.monotonic()
    session.close()
    assert time.monotonic() - start < 4
    assert http.goodbyes == 1


@pytest.mark.parametrize("name", ["key-in-event", "key-in-error"])
def test_what_a_server_sends_back_of_a_key_reaches_neither_logs_nor_errors(http, name, caplog):
    with (
        caplog.at_level("DEBUG"),
        HeldSession(HttpServer(http.url, {"Authorization": f"Bearer {KEY}"}), read_timeout=3) as session,
        pytest.raises(Exception) as failed,
    ):
        session.call_tool_sync(name)
    assert KEY not in f"{failed.value} {failed.value!r} {vars(failed.value)}"
    assert KEY not in caplog.text
    assert caplog.records
