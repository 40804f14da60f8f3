"""A page on a state of its own, as its own browser would talk to it; and questions that wait there."""

import html
import queue
import re
import threading
import time
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from guarded_tools import Guard, InboxApprover, Policy, ToolCall, ToolDenied, Verdict, open_store
from guarded_tools.approvers.inbox import answer, questions
from guarded_tools.audit import audit_path, read
from guarded_tools.state import state_dir
from guarded_tools.stores.disk.address import disk_url
from guarded_tools.web.app import make_app, make_live
from guarded_tools.web.desk import Desk
from guarded_tools.web.doors import LinkDoor
from guarded_tools.web.recent import Recent
from guarded_tools.web.server import serve
from guarded_tools.web.settings import WebSettings, checked

ORIGIN = "http://127.0.0.1:8765"
POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {
        "note": {"risk": "write", "approval": {"remember": "tool"}},
        "pay": {
            "risk": "financial",
            "approval": True,
            "deny_if": [{"path": "args.amount", "op": "gt", "value": 100}],
            "limits": [{"counter": "day", "window": "day", "max": 500, "count": "args.amount"}],
        },
        "read": {"risk": "read", "rate_limit": "2/hour", "labels": ["untrusted"]},
    },
}


class Browser:
    """A client that behaves as a browser does on our own pages. ``at`` is the application."""

    def __init__(self, app, **client):
        self.http = TestClient(app, base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=True, **client)

    def get(self, path, **headers):
        return self.http.get(path, headers={"sec-fetch-site": "same-origin", **headers})

    def post(self, path, headers=(), **form):
        return self.http.post(
            path, data=form, headers={"origin": ORIGIN, "sec-fetch-site": "same-origin", **dict(headers)}
        )

    def catches_up(self):
        """Wait until the page has read the audit to its end."""
        desk = self.http.app._app.state.desk
        last = max((record["seq"] for record in read(audit_path(state_dir()))), default=0)
        until(lambda: desk.recent._last == last)

    def press(self, path="/stop"):
        """A token as the page's own forms carry it."""
        return re.search(r'name="press" value="([^"]+)"', self.get(path).text)[1]


class Site:
    """The page, its door and its desk."""

    def __init__(self, *, door=None, policy=None, tools=None, **options):
        self.tokens = []
        self.desk = Desk(
            disk_url(state_dir()),
            None,
            Recent(audit_path(state_dir())),
            None if policy is None else lambda: policy,
            tools or {},
        )
        self.door = LinkDoor("ann (web)", self.tokens.append) if door is None else door
        self.app = make_app(
            self.desk, self.door, make_live(self.desk), origins=frozenset({ORIGIN}), cookie="seat", **options
        )

    @contextmanager
    def open(self):
        """A browser that is in; what goes on in the background goes on."""
        browser = Browser(self.app)
        with browser.http:
            if isinstance(self.door, LinkDoor):
                self.door.renew()
                assert browser.get(f"/enter?token={self.tokens[-1]}").status_code == 303
            yield browser


@pytest.fixture
def site():
    return Site


@pytest.fixture
def browser():
    with Site().open() as browser:
        yield browser


class Agent:
    """A guard whose calls wait at its inbox, each in a thread of its own."""

    def __init__(self, policy=POLICY):
        self.policy = Policy.model_validate(policy)
        store = open_store(disk_url(state_dir()))
        self.guard = Guard(self.policy, store=store, approver=InboxApprover(store))
        self.threads = []

    def ask(self, tool="note", session="s1", grant=None, **args):
        """Call a tool that has to be asked about; returns the question, and where what becomes of it is put."""
        before = {question.id for question in questions(self.guard.store)}
        became = []

        def call():
            try:
                became.append(self.guard.call(ToolCall(tool, args, session, grant), lambda args: ("ran", args)))
            except ToolDenied as denied:
                became.append(denied)

        self.threads.append(threading.Thread(target=call, daemon=True))
        self.threads[-1].start()
        until = time.monotonic() + 20
        while not (new := [one for one in questions(self.guard.store) if one.id not in before]):
            assert time.monotonic() < until, became
            time.sleep(0.01)
        return new[0], became

    def call(self, tool, session="s1", grant=None, **args):
        try:
            return self.guard.call(ToolCall(tool, args, session, grant), lambda args: "ran")
        except ToolDenied as denied:
            return denied

    def join(self):
        for thread in self.threads:
            thread.join(20)

    def close(self):
        for question in questions(self.guard.store):
            answer(self.guard.store, question, Verdict.reject(), wait=0)
        self.join()
        self.guard.audit.close()
        self.guard.store.close()


class Served:
    """A page that is served for real, in a thread. ``link()`` opens it once."""

    def __init__(self, desk, **options):
        self.lines, self.server = queue.Queue(), queue.Queue()
        self.desk = desk
        settings = checked(WebSettings(port=0, **options))
        self.thread = threading.Thread(
            target=serve, args=(settings, desk, self.lines.put, self.server.put), daemon=True
        )
        self.thread.start()
        self.running = self.server.get(timeout=60)
        self.address = self.lines.get(timeout=60).split(" at ")[1].partition(";")[0]

    def link(self):
        return self.lines.get(timeout=60).partition(": ")[2]

    @property
    def tabs(self):
        """Those who are told what changes."""
        return self.running.live._tabs

    def stop(self):
        self.running.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextmanager
def serving(policy=None, tools=None, **options):
    recent = Recent(audit_path(state_dir()))
    desk = Desk(disk_url(state_dir()), None, recent, None if policy is None else lambda: policy, tools or {})
    served = Served(desk, **options)
    try:
        yield served
    finally:
        served.stop()


def until(holds):
    """Wait for what another thread or process is about to do."""
    ends = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture
def agent():
    agent = Agent()
    yield agent
    agent.close()


def form_of(browser, question):
    """What the form of a question carries."""
    page = browser.get("/approvals").text
    card = page[page.index(f'id="q-{question.id}"') :]
    return {name: re.search(f'name="{name}" value="([^"]*)"', card)[1] for name in ("press", "seal")}


def said(answer):
    """The sentence that an answer says."""
    return text_of(re.search(r'<div id="outcome">(.*?)</div>', answer.text, re.DOTALL)[1]).strip()


def text_of(page):
    """What a page says, without its markup."""
    return html.unescape(re.sub(r"<[^>]*>", " ", page))
