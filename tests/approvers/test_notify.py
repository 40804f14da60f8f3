"""Being told of questions: what is sent, to whom, how often, and that no question waits for it or fails by it."""

import asyncio
import hmac
import json
import logging
import os
import re
import socketserver
import sys
import threading
import time
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools import Guard, InboxApprover, Policy
from guarded_tools.approvers import notify
from guarded_tools.approvers.inbox import answer, questions
from guarded_tools.approvers.notify import MOST, Notice, Notifier, Undelivered, Webhook, signature
from guarded_tools.stores import open_store
from guarded_tools.values import ApprovalRequest, ToolCall, Usage, Verdict
from tests import forked

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (DOCS / "approvals" / "notify.md", DOCS / "how-to" / "approve-from-a-phone.md")
NOTICE = Notice("refund", "financial", "0123abcd", "http://127.0.0.1:8765/approvals/0123abcd")
SECRET = "shared"


class Receiver:
    """A real HTTP server on this machine. It answers with each of ``statuses`` in turn, the last one again and again."""

    def __init__(self, *statuses, target=""):
        self.got, self.gone_on = [], threading.Event()
        self.gone_on.set()
        receiver, answers = self, list(statuses or (200,))

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, self.headers, body))
                receiver.gone_on.wait(10)
                self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
                if target:
                    self.send_header("Location", target)
                self.end_headers()

            def do_GET(self):  # what a redirect would have become
                receiver.got.append((self.path, self.headers, b""))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self):
        self.gone_on.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = []

    def make(*statuses, **options):
        made.append(Receiver(*statuses, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def until(condition):
    """Wait for what another thread does."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def hook(url, **options):
    waited = []
    return Webhook(url, secret=SECRET, sleep=waited.append, clock=lambda: 1_700_000_000.9, **options), waited


# What is sent


def test_a_notice_is_posted_and_signed(receiver):
    at = receiver()
    post, waited = hook(at.url)
    post(NOTICE)
    ((path, headers, body),) = at.got
    assert path == "/hook"
    assert json.loads(body) == {"tool": "refund", "risk": "financial", "id": "0123abcd", "link": NOTICE.link}
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Guarded-Tools-Timestamp"] == "1700000000"
    expected = hmac.new(b"shared", b"1700000000." + body, "sha256").hexdigest()
    assert headers["X-Guarded-Tools-Signature"] == f"sha256={expected}"
    assert waited == []


def test_a_receiver_that_checks_as_the_page_says_takes_it_and_nothing_else(receiver):
    at = receiver()
    hook(at.url)[0](NOTICE)
    ((_, headers, body),) = at.got
    is_genuine = recipes()["is_genuine"]
    assert is_genuine(headers, body, b"shared", 1_700_000_100)
    assert not is_genuine(headers, body + b" ", b"shared", 1_700_000_100)
    assert not is_genuine(headers, body, b"other", 1_700_000_100)
    assert not is_genuine(headers, body, b"shared", 1_700_000_900)
    moved = dict(headers) | {"X-Guarded-Tools-Timestamp": "1700000900"}
    assert not is_genuine(moved, body, b"shared", 1_700_000_900)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=20).filter(lambda text: text.strip())
others = [
    field.name for field in fields(ApprovalRequest) if field.type in {"str", "str | None"} and field.name != "tool"
]


@settings(max_examples=60, deadline=None)
@given(args=st.dictionaries(words, words, max_size=3), said=st.lists(words, min_size=len(others), max_size=len(others)))
def test_nothing_of_a_question_is_told_but_its_tool_risk_and_id(args, said):
    marked = {name: f"«{text}»" for name, text in zip(others, said, strict=True)}
    hidden = {f"«{name}»": f"«{value}»" for name, value in args.items()}
    usage = (Usage("session:«s»", "s/t/«c»", 1, 3, 60, 0.5),)
    request = ApprovalRequest("pay", hidden, risk="financial", usage=usage, across=("«rule»",), **marked)
    notice = Notice.of(request, "0123abcd", "http://127.0.0.1:8765/")
    assert notice == ("pay", "financial", "0123abcd", "http://127.0.0.1:8765/approvals/0123abcd")
    assert set(notice._asdict()) == {"tool", "risk", "id", "link"}


def test_a_tools_name_shows_what_it_hides_and_keeps_its_secrets():
    token = "sk-proj-" + "a1B2c3D4" * 6
    request = ApprovalRequest(f"pay\u202e\n {token}", {}, session="s", digest="d", rule="/r")
    tool = Notice.of(request, "0", "").tool
    assert token not in tool
    assert "\\u202e" in tool
    assert "\n" not in tool
    assert Notice.of(request, "0", "").link == ""


# How often


def test_what_may_pass_is_tried_again_so_many_times(receiver):
    at = receiver(500, 503, 200)
    post, waited = hook(at.url)
    post(NOTICE)
    assert (len(at.got), waited) == (3, [1.0, 5.0])
    at = receiver(500)
    post, waited = hook(at.url)
    with pytest.raises(Undelivered, match="answered 500"):
        post(NOTICE)
    assert (len(at.got), waited) == (4, [1.0, 5.0, 25.0])


def test_a_refused_connection_is_tried_again(receiver):
    at = receiver()
    at.close()
    post, waited = hook(at.url)
    with pytest.raises(Undelivered, match="did not answer"):
        post(NOTICE)
    assert waited == [1.0, 5.0, 25.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_no_is_final(receiver, status):
    at = receiver(status)
    post, waited = hook(at.url)
    with pytest.raises(Undelivered, match=f"answered {status}"):
        post(NOTICE)
    assert (len(at.got), waited) == (1, [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver, status):
    elsewhere = receiver()
    at = receiver(status, target=elsewhere.url)
    with pytest.raises(Undelivered, match=f"answered {status}"):
        hook(at.url)[0](NOTICE)
    assert (len(at.got), elsewhere.got) == (1, [])


def test_what_is_for_this_machine_goes_through_no_proxy(receiver, monkeypatch):
    at, proxy = receiver(), receiver()
    monkeypatch.setenv("http_proxy", proxy.url)
    hook(at.url)[0](NOTICE)
    assert (len(at.got), proxy.got) == (1, [])


# To whom


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x", "file:///etc/passwd", "example.com/hook", "", "https://", "https:///x", "data:,x",
        "https://user:pass@example.com/", "https://example.com:99999/", "https://example.com/a b", "https://[::1/",
        "https://example.com/\n", "https://exämple.com/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_only_addresses_of_the_web_are_posted_to(url):
    with pytest.raises(ValueError, match="webhook") as refused:
        Webhook(url, secret=SECRET)
    assert "pass@" not in str(refused.value)


@pytest.mark.parametrize(
    "host", ["example.com", "10.0.0.1", "0.0.0.0", "localhost.example.com", "[::2]", "127.0.0.1.nip.io"]
)
def test_another_machine_needs_tls_or_consent(host):
    with pytest.raises(ValueError, match="insecure=True"):
        Webhook(f"http://{host}/", secret=SECRET)
    Webhook(f"http://{host}/", secret=SECRET, insecure=True)
    Webhook(f"https://{host}/", secret=SECRET)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "LOCALHOST"])
def test_this_machine_needs_none(host):
    Webhook(f"http://{host}:8000/", secret=SECRET)


def test_what_was_misunderstood_is_said_at_once():
    store = open_store("memory://")
    with pytest.raises(ValueError, match="secret"):
        InboxApprover(store, notify="https://example.com/")
    with pytest.raises(ValueError, match="secret"):
        InboxApprover(store, notify=print, secret="x")
    for link in ("127.0.0.1:8765", "javascript:alert(1)", "http://user:token@host/"):
        with pytest.raises(ValueError, match="link="):
            InboxApprover(store, notify=print, link=link)


def test_no_secret_is_shown(receiver, caplog):
    post = Webhook("https://example.com/T0/B0/password?key=value", secret=SECRET)
    assert repr(post) == "Webhook('https://example.com', …)"
    at = receiver(404)
    told = Notifier(hook(f"{at.url}/password")[0])
    told.tell(NOTICE)
    until(lambda: caplog.records)

    def fail(_):
        raise RuntimeError("https://hooks.example.com/password")

    Notifier(fail).tell(NOTICE)
    until(lambda: len(caplog.records) == 2)
    text = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "answered 404" in text
    assert "notify raised RuntimeError" in text
    assert "password" not in text
    assert SECRET not in text


# That nobody waits for it


def test_at_most_so_many_wait_and_the_thread_ends(caplog):
    going, told = threading.Event(), []

    def slow(notice):
        going.wait(10)
        told.append(notice.id)

    notifier = Notifier(slow)
    for number in range(MOST + 5):
        notifier.tell(NOTICE._replace(id=str(number)))
        if number == 0:
            until(lambda: not notifier._waiting)
    assert len(caplog.records) == 4  # one is with the receiver
    going.set()
    until(lambda: len(told) == MOST + 1)
    assert told == [str(number) for number in range(MOST + 1)]
    until(lambda: notifier._thread is None)
    notifier.tell(NOTICE)
    until(lambda: len(told) == MOST + 2)


def test_without_a_thread_the_question_stands(monkeypatch, caplog):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(notify.threading.Thread, "start", refuse)
    Notifier(print).tell(NOTICE)
    assert "there is no thread for it" in caplog.text


def test_a_process_ends_while_a_receiver_says_nothing(receiver):
    at = receiver()
    at.gone_on.clear()
    script = (
        "import sys, time\nfrom guarded_tools.approvers.notify import *\n"
        "Notifier(Webhook(sys.argv[1], secret='s')).tell(Notice('t', 'read', '0'))\n"
        "sys.stdin.readline()\n"
    )
    process = forked.Popen([sys.executable, "-c", script, at.url], stdin=forked.PIPE, stdout=forked.PIPE)
    until(lambda: at.got)
    process.stdin.write("\n")
    process.stdin.close()
    assert process.wait(timeout=10) == 0


def test_a_forked_child_tells_for_itself():
    going, reading, writing = threading.Event(), *os.pipe()

    def send(notice):
        if notice.id == "parent":
            going.wait(10)
        else:
            os.write(writing, notice.id.encode())

    notifier = Notifier(send)
    notifier.tell(NOTICE._replace(id="parent"))
    until(lambda: not notifier._waiting)
    child = os.fork()
    if child == 0:
        notifier.tell(NOTICE._replace(id="child"))
        until(lambda: notifier._thread is None)
        os._exit(0)
    assert os.read(reading, 10) == b"child"
    os.waitpid(child, 0)
    going.set()
    os.close(reading)
    os.close(writing)


# The guard

POLICY = Policy.model_validate(
    {"version": "1", "default": "deny", "tools": {"pay": {"action": "approve", "risk": "financial"}}}
)
CALL = ToolCall("pay", {"to": "ann", "api_key": "sk-secret"}, session="s1")


def call_sync(guard):
    return guard.call(CALL, lambda args: "paid")


def call_async(guard):
    async def body(_):
        return "paid"

    return asyncio.run(guard.acall(CALL, body))


@pytest.mark.parametrize("call", [call_sync, call_async])
def test_a_question_is_told_and_answered_while_the_receiver_sleeps(tmp_path, receiver, call):
    at = receiver()
    at.gone_on.clear()
    store = open_store(f"disk://{tmp_path}")
    inbox = InboxApprover(store, notify=at.url, secret=SECRET, link="http://127.0.0.1:8765")
    guard, results = Guard(POLICY, store=store, approver=inbox, audit=tmp_path / "audit.jsonl"), []
    thread = threading.Thread(target=lambda: results.append(call(guard)))
    thread.start()
    until(lambda: at.got and questions(store))
    (question,) = questions(store)
    assert answer(store, question, Verdict.approve()).kind == "taken"
    thread.join(10)
    assert results == ["paid"]
    ((_, headers, body),) = at.got
    told = json.loads(body)
    link = f"http://127.0.0.1:8765/approvals/{question.id}"
    assert told == {"tool": "pay", "risk": "financial", "id": question.id, "link": link}
    assert b"ann" not in body
    assert b"secret" not in body
    assert headers["X-Guarded-Tools-Signature"] == signature(b"shared", headers["X-Guarded-Tools-Timestamp"], body)


def test_a_function_that_fails_fails_no_question(approvals):
    told = []

    async def tell(notice):
        told.append(notice)
        for question in questions(approvals.store):
            answer(approvals.store, question, Verdict.approve(), wait=0)
        raise ValueError("no")

    got = approvals.ask(approvals.request(), InboxApprover(approvals.store, notify=tell))
    assert got.verdict == Verdict.approve()
    assert [notice.tool for notice in told] == ["t"]


# The pages' recipes


def recipes():
    """Run what the pages define, without their guards; returns its names."""
    names = {"InboxApprover": lambda *_, **__: None, "store": None}
    for page in PAGES:
        for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
            if "def " in block:
                exec(compile(block, str(page), "exec"), names)
    return names


def test_slack(receiver):
    at, names = receiver(), recipes()
    names["SLACK"] = at.url
    Notifier(names["to_slack"]).tell(NOTICE._replace(tool="<!channel>"))
    until(lambda: at.got)
    assert json.loads(at.got[0][2]) == {"text": f"&lt;!channel&gt; (financial) waits for an answer: {NOTICE.link}"}


def test_ntfy(receiver):
    at, names = receiver(), recipes()
    names |= {"NTFY": at.url, "TOPIC": "mine"}
    names["to_ntfy"](NOTICE)
    assert json.loads(at.got[0][2]) == {
        "topic": "mine",
        "priority": 5,
        "title": "refund waits",
        "message": "financial, 0123abcd",
        "click": NOTICE.link,
    }


def test_mail():
    got = []

    class Mail(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            for line in self.rfile:
                if line.upper().startswith(b"DATA"):
                    self.wfile.write(b"354 go\r\n")
                    got.extend(iter(self.rfile.readline, b".\r\n"))
                self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")
                if line.upper().startswith(b"QUIT"):
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        names = recipes()
        names |= {"MAIL": "127.0.0.1", "PORT": server.server_address[1]}
        names["to_mail"](NOTICE)
        server.shutdown()
    text = b"".join(got).decode()
    assert "Subject: refund (financial) waits for an answer" in text
    assert NOTICE.link in text
    assert "guarded-tools approvals show 0123abcd" in text
