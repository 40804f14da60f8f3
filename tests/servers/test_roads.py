"""The roads to a server that the stock client has as well: the older transport, and an ``httpx.Auth``."""

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from guarded_tools import ConnectionFailed, Policy, Verdict, guarded_tools
from tests import forked
from tests.mcp_session.conftest import until

SERVER = str(Path(__file__).with_name("asking_server.py"))
OPEN = Policy.model_validate(
    {"version": "1", "default": "allow", "tools": {"echo": {"risk": "write", "rate_limit": "5/hour"}}}
)
TOKEN = "t0p-S3cret-0123456789"
ROADS = ("http", "sse")


class Bearer(httpx.Auth):
    """Shows a token; after a 401 it renews it, and sends the request again."""

    def __init__(self, token, renewed=None):
        self.token = token
        self.renewed = renewed

    def auth_flow(self, request):
        request.headers["Authorization"] = f"Bearer {self.token}"
        response = yield request
        if response.status_code == 401 and self.renewed:
            self.token = self.renewed
            request.headers["Authorization"] = f"Bearer {self.token}"
            yield request


@pytest.fixture
def listening(tmp_path):
    @contextmanager
    def listening(road, token=""):
        words = [sys.executable, SERVER, str(tmp_path / "ran"), road, token]
        process = listening.process = forked.Popen(words, stdout=forked.PIPE)
        try:
            url = process.stdout.readline().strip()
            assert url, "it did not say where it listens"
            yield {"url": url, "transport": road}
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    return listening


@pytest.fixture
def ran(tmp_path):
    path = tmp_path / "ran"
    return lambda: path.read_text().splitlines() if path.exists() else []


def opened(server, options, **more):
    return guarded_tools({"shop": server}, policy=OPEN, start_timeout=60, **{**options, **more})


def run(tools, name, **args):
    tool = next(tool for tool in tools if tool.name == name)
    return tool.invoke({"type": "tool_call", "id": "c1", "name": name, "args": args}).text


@pytest.mark.parametrize("road", ROADS)
def test_calls_questions_and_errors_over_each_road(listening, options, ran, road):
    def approver(request):
        return Verdict.edit({"confirm": True})

    with listening(road) as server, opened(server, options, approver=approver) as tools:
        assert run(tools, "echo", text="hello") == "hello"
        assert run(tools, "pay", to="ann") == "accept confirm=True note='none'"
        assert "sampling" in run(tools, "samples").lower()  # each SDK has its own words for that it cannot
    assert ran() == ["echo hello", "began ann", "accept ann"]


@pytest.mark.parametrize("road", ROADS)
async def test_the_same_in_an_event_loop(listening, options, ran, road):
    with listening(road) as server:
        async with opened(server, options) as tools:
            echo = next(tool for tool in tools if tool.name == "echo")
            answers = [await echo.ainvoke({"text": str(number)}) for number in range(3)]
    assert [answer[0]["text"] for answer in answers] == ["0", "1", "2"]
    assert ran() == ["echo 0", "echo 1", "echo 2"]


@pytest.mark.parametrize("road", ROADS)
def test_a_question_outlasts_the_time_of_a_silent_connection(listening, options, road):
    def approver(request):
        began = time.monotonic()
        while time.monotonic() - began < 2:
            time.sleep(0.05)
        return Verdict.edit({"confirm": True})

    with listening(road) as server, opened(server, options, approver=approver, read_timeout=1.5) as tools:
        assert run(tools, "pay", to="ann") == "accept confirm=True note='none'"


@pytest.mark.parametrize("road", ROADS)
def test_a_server_that_is_gone_costs_the_call_that_was_sent_and_no_other(listening, options, ran, road):
    with listening(road) as server, opened(server, options, approver=lambda _: Verdict.respond("1")) as tools:
        assert "UNKNOWN OUTCOME" in run(tools, "dies")
        listening.process.wait()  # while it dies, its sockets close one by one: what is sent by then may have arrived
        assert "UNKNOWN OUTCOME" not in run(tools, "echo", text="late")
        assert [usage.used for usage in tools.guard.usage() if usage.counter.endswith("rate_limit")] in ([], [0])
    assert ran() == ["gone"]


@pytest.mark.parametrize("road", ROADS)
def test_a_token_lets_in_and_is_never_quoted(listening, options, caplog, road):
    with listening(road, TOKEN) as server:
        with opened({**server, "auth": Bearer(TOKEN)}, options) as tools:
            assert run(tools, "echo", text="hello") == "hello"
        wrong = "wr0ng-S3cret-0123456789"
        with pytest.raises(ConnectionFailed, match="401") as failed, opened({**server, "auth": Bearer(wrong)}, options):
            pass
        assert wrong not in str(failed.value)
        assert not failed.value.sent
        with pytest.raises(ConnectionFailed, match="401"), opened(server, options):
            pass
    assert wrong not in caplog.text
    assert TOKEN not in caplog.text


def settled(tools):
    """Wait for the list that is asked for once a server tells of changes: it would renew a token before the next call."""
    connection = tools._sessions[0]._thread._connection

    def told():
        watching, relisting = connection._watching, connection._relisting
        listed_anew = relisting is not None and relisting.done()
        return watching is None or watching.done() or listed_anew

    until(told)


@pytest.mark.parametrize("road", ROADS)
def test_a_token_is_renewed_for_what_does_nothing_and_a_call_is_sent_once(listening, options, ran, road):
    auth = Bearer("old-S3cret-0123456789", TOKEN)
    with listening(road, TOKEN) as server, opened({**server, "auth": auth}, options) as tools:
        assert run(tools, "echo", text="one") == "one"
        settled(tools)
        auth.token = "old-S3cret-0123456789"  # it expires
        said = run(tools, "echo", text="two")
        assert "HTTP 401" in said
        assert "UNKNOWN OUTCOME" in said
        assert "S3cret" not in said
        assert run(tools, "echo", text="three") == "three"
        assert [usage.used for usage in tools.guard.usage() if usage.counter.endswith("rate_limit")] == [3]
    assert [line for line in ran() if line.startswith("echo")] == ["echo one", "echo three"]
    lines = [json.loads(line) for line in options["audit"].read_text().splitlines()]
    assert [line["outcome"] for line in lines if line["kind"] == "settled"] == ["ok", "unknown", "ok"]


@pytest.mark.parametrize("road", ROADS)
def test_a_token_leaves_this_machine_over_https_only(options, road):
    server = {"url": "http://example.com/mcp", "transport": road, "auth": Bearer(TOKEN)}
    with pytest.raises(ConnectionFailed, match="https only"), opened(server, options):
        pass


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"url": "https://example.com", "auth": "Bearer x"}, "auth is an httpx.Auth, not str"),
        ({"url": "https://example.com", "transport": "websocket"}, "the transport is"),
        ({"command": "x", "transport": "sse"}, "the transport is stdio"),
        ({"command": "x", "auth": Bearer(TOKEN)}, "auth is not known beside command"),
        ({"url": "https://example.com", "transport": "sse", "type": "http"}, "say two different"),
    ],
)
def test_what_is_described_wrongly_is_an_error(server, why):
    with pytest.raises(ConnectionFailed, match=why):
        guarded_tools({"shop": server}, policy=OPEN)
