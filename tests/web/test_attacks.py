"""Whoever is not the person at the page: other sites, other names, other users, and what agents and servers write."""

import asyncio
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools import Policy
from guarded_tools.approvers.inbox import _OPEN, Question, questions
from guarded_tools.audit import AuditLog, audit_path
from guarded_tools.audit.head import head_path
from guarded_tools.marks import Mark
from guarded_tools.state import state_dir
from guarded_tools.stores import open_store
from guarded_tools.stores.disk.address import disk_url
from guarded_tools.values import ApprovalRequest, AuditEvent, Charge, session_scope
from guarded_tools.web import shield
from guarded_tools.web.doors import LASTS, LINK_LASTS, LinkDoor, PasswordDoor, ProxyDoor
from guarded_tools.web.presses import Presses
from tests.web.conftest import ORIGIN, POLICY, Browser, Site, form_of, said

PAGES = (
    "/approvals",
    "/now",
    "/limits",
    "/sessions",
    "/stop",
    "/policy",
    "/live",
    "/call?key=1",
    "/session?scope=1",
    "/nowhere",
)
POSTS = ("/stop/halt", "/stop/resume", "/sessions/reset", "/sessions/clear", "/approvals/00000000", "/leave")


# Strangers


def test_a_stranger_sees_the_door_and_nothing_else():
    browser = Browser(Site().app)
    for path in PAGES:
        assert (browser.get(path).status_code, browser.get(path).headers["location"]) == (303, "/enter")
    for path in POSTS:
        assert browser.post(path, kind="global", reason="x").status_code == 401
    assert not open_store(disk_url(state_dir())).halts()


def test_a_link_opens_once(site):
    site = site()
    site.door.renew()
    token = site.tokens[-1]
    first, second = Browser(site.app), Browser(site.app)
    assert first.get(f"/enter?token={token}").status_code == 303
    assert first.get("/stop").status_code == 200
    assert second.get(f"/enter?token={token}").status_code == 403
    assert second.get("/stop").status_code == 303
    # The next one was made meanwhile, for the next browser.
    assert site.tokens[-1] != token
    assert second.get(f"/enter?token={site.tokens[-1]}").status_code == 303


def test_a_cookie_is_for_this_page_alone(site):
    site = site(secure=True)
    site.door.renew()
    cookie = Browser(site.app).get(f"/enter?token={site.tokens[-1]}").headers["set-cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=strict", "Secure"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    site = Site()
    site.door.renew()
    cookie = Browser(site.app).get(f"/enter?token={site.tokens[-1]}").headers["set-cookie"]
    assert "Secure" not in cookie
    assert "SameSite=strict" in cookie


@pytest.mark.parametrize(
    "headers",
    [{"sec-purpose": "prefetch"}, {"purpose": "prefetch"}, {"sec-fetch-site": "cross-site"}],
)
def test_neither_a_prefetch_nor_another_site_uses_up_the_link(site, headers):
    site = site()
    site.door.renew()
    browser = Browser(site.app)
    assert browser.get(f"/enter?token={site.tokens[-1]}", **headers).status_code == 403
    assert browser.get(f"/enter?token={site.tokens[-1]}").status_code == 303


def test_whoever_leaves_is_out(browser):
    assert browser.post("/leave", press=browser.press()).status_code == 303
    assert browser.get("/stop").status_code == 303


def test_links_and_sessions_end():
    now, tokens = [0.0], []
    door = LinkDoor("ann", tokens.append, clock=lambda: now[0])
    door.renew()
    now[0] = LINK_LASTS
    assert door.enter(tokens[0]) is None
    seat = door.enter(tokens[1])
    assert door.sessions.user(seat) == "ann"
    now[0] += LASTS - 1
    assert door.sessions.user(seat) == "ann"
    now[0] += 1
    assert door.sessions.user(seat) is None
    assert door.sessions.user("") is None


# Other names and other sites


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8765.evil.example", ""]
)
def test_a_name_that_was_pointed_here_is_not_ours(browser, host):
    for ask in (browser.get, browser.post):
        answer = ask("/stop", **{"headers": {"host": host}} if ask == browser.post else {"host": host})
        assert answer.status_code == 421
        assert "<form" not in answer.text


def asgi(app, headers, method="GET", path="/stop"):
    """Send a request as no client of ours would."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8765), "scheme": "http",
        "http_version": "1.1", "asgi": {"version": "3.0"},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"]


def test_two_hosts_or_none_are_no_host(site):
    app, ours = site().app, (b"host", ORIGIN.removeprefix("http://").encode())
    assert asgi(app, [ours]) == 303
    assert asgi(app, []) == 421
    assert asgi(app, [ours, ours]) == 421
    assert asgi(app, [ours, (b"host", b"evil.example")]) == 421
    origin = (b"origin", ORIGIN.encode())
    assert asgi(app, [ours, origin, origin], "POST") == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8765"},
        {"origin": "http://127.0.0.1:8765.evil.example"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-dest": "iframe"},
    ],
)
def test_another_sites_form_changes_nothing(browser, headers):
    answer = browser.post("/stop/halt", headers=headers, press=browser.press(), kind="global", reason="x")
    assert answer.status_code == 403
    assert "Nothing is halted" in browser.get("/stop").text


def test_a_form_that_does_not_say_where_it_comes_from_changes_nothing(browser):
    data = {"press": browser.press(), "kind": "global", "reason": "x"}
    assert browser.http.post("/stop/halt", data=data).status_code == 403
    assert "Nothing is halted" in browser.get("/stop").text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ({"sec-fetch-site": "same-origin", "sec-fetch-dest": "frame"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
    ],
)
def test_another_site_reads_and_frames_nothing(browser, headers, status):
    assert browser.get("/stop", **headers).status_code == status


@pytest.mark.parametrize("path", ["/approvals/3f2a91bc", "//evil.example/x", "/x;url=//evil.example", '/"><b>'])
def test_whoever_comes_by_a_link_from_elsewhere_is_led_on_to_here(site, path):
    elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    browser = Browser(site().app)
    request = browser.http.build_request("GET", ORIGIN + path, headers=elsewhere)
    answer = browser.http.send(request)
    assert answer.status_code == 200
    assert Active(answer.text).found == []
    (goes,) = re.findall('content="0; url=([^"]*)"', answer.text)
    assert re.fullmatch(r"/[\w%./]*", goes)
    assert not goes.startswith("//")
    assert browser.get("/approvals").status_code == 303


@pytest.mark.parametrize("path", POSTS)
def test_nothing_is_done_by_get_or_anything_but_post(browser, path):
    assert browser.get(f"{path}?press={browser.press()}&kind=global&reason=x").status_code in {404, 405, 503}
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"):
        assert browser.http.request(method, path).status_code == 405
    assert "Nothing is halted" in browser.get("/stop").text


def test_every_answer_forbids_scripts_frames_and_keeping(browser):
    answers = [browser.get(path) for path in (*PAGES[:6], "/enter", "/nowhere", "/static/nowhere")]
    answers += [browser.get("/stop", host="evil"), browser.post("/stop/halt"), browser.http.put("/stop")]
    for answer in answers:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


class Active(HTMLParser):
    """Collects what a browser would run, fetch or style of a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.fetched = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [f"<{tag} {name}>" for name, _ in attrs if name.startswith("on") or name == "style"]
        self.found += [tag] if tag in {"style", "iframe", "object", "embed", "base", "img"} else []
        self.found += ["inline script"] if tag == "script" and "src" not in dict(attrs) else []
        self.fetched += [value for name, value in attrs if name in {"src", "href", "action", "hx-get", "hx-post"}]
        self.found += [value for value in self.fetched if not re.match("[/#](?!/)", value)]


def test_pages_have_no_inline_script_or_style_and_fetch_from_here_alone(browser, agent):
    agent.call("read")
    agent.ask(text="x")
    for path in (*PAGES[:6], "/session?scope=%22session%3As1%22"):
        assert Active(browser.get(path).text).found == []


def test_static_files_are_ours_alone(browser):
    for name in ("style.css", "live.js", "htmx-2.0.11.min.js", "icon.svg", "htmx-LICENSE.txt"):
        assert browser.get(f"/static/{name}").status_code == 200
    for name in ("../app.py", "%2e%2e/app.py", "..%2fapp.py", "%2e%2e%2ftemplates/stop.html", "/etc/passwd"):
        assert browser.get(f"/static/{name}").status_code == 404


# What is sent


def test_forms_are_bounded(browser, monkeypatch):
    press = browser.press()
    large = {"reason": "x" * shield.LARGEST_FORM}
    assert browser.post("/stop/halt", press=press, kind="global", **large).status_code == 413
    many = {f"f{n}": "" for n in range(60)}
    assert browser.post("/stop/halt", press=press, kind="global", reason="x", **many).status_code == 413
    headers = {"origin": ORIGIN, "content-type": "application/json"}
    assert browser.http.post("/stop/halt", content=b"{}", headers=headers).status_code == 413
    headers["content-type"] = "application/x-www-form-urlencoded"
    for body in (b"reason=%ff", b"a=1&a=2", "reason=ü".encode()):
        assert browser.http.post("/stop/halt", content=body, headers=headers).status_code == 413

    def in_pieces():
        for _ in range(40):
            yield b"x" * (shield.LARGEST_FORM // 20)

    assert browser.http.post("/stop/halt", content=in_pieces(), headers=headers).status_code == 413
    assert browser.get(f"/now?session={'x' * 5000}").status_code == 414
    assert "Nothing is halted" in browser.get("/stop").text


async def test_a_form_that_trickles_in_is_cut_off(monkeypatch):
    monkeypatch.setattr(shield, "_PATIENCE", 0.05)
    headers = shield.Headers({"content-type": "application/x-www-form-urlencoded"})
    never = asyncio.Event()

    async def receive():
        await never.wait()

    with pytest.raises(shield.TooMuch, match="in time"):
        await shield._form(receive, headers)


# Buttons


def test_a_button_is_pressed_once(browser):
    form = {"press": browser.press(), "kind": "global", "reason": "odd"}
    assert browser.post("/stop/halt", **form).status_code == 200
    again = browser.post("/stop/halt", **form)
    assert (again.status_code, said(again)) == (409, "Refused: this was sent already: look at the page again.")


def test_a_form_of_another_user_or_of_nobody_is_no_form(browser):
    for press in ("", "x", "a.b.c", f"{'a' * 40}.9e9.{'0' * 64}", Presses().token("ann (web)"), "é.1.é"):
        assert browser.post("/stop/halt", press=press, kind="global", reason="x").status_code == 403
    assert "Nothing is halted" in browser.get("/stop").text
    ours = Presses()
    token = ours.token("ann")
    assert ours.press(token, "bob", spend=True) == "foreign"
    assert ours.press(token, "ann", spend=False) == ours.press(token, "ann", spend=True) == "fine"
    assert ours.press(token, "ann", spend=True) == "again"
    ours.give_back(token)
    assert ours.press(token, "ann", spend=True) == "fine"


def test_a_form_ends_with_the_session_it_was_shown_in():
    now = [0.0]
    presses = Presses(lambda: now[0])
    token = presses.token("ann")
    now[0] = LASTS
    assert presses.press(token, "ann", spend=True) == "foreign"


def test_of_two_who_answer_the_second_is_told(browser, agent):
    question, became = agent.ask(text="x")
    one, other = form_of(browser, question), form_of(browser, question)
    assert browser.post(f"/approvals/{question.id}", answer="approve", **one).status_code == 200
    late = browser.post(f"/approvals/{question.id}", answer="reject", **other)
    assert late.status_code == 409
    assert "somebody was first: approve by ann (web)" in said(late)
    agent.join()
    assert became == [("ran", {"text": "x"})]


def test_an_answer_without_the_seal_of_what_was_shown_runs_nothing(browser, agent):
    question, became = agent.ask(text="x")
    press = form_of(browser, question)["press"]
    answer = browser.post(f"/approvals/{question.id}", answer="approve", press=press, seal="0" * 64)
    assert (answer.status_code, became) == (409, [])
    assert "somebody altered it" in said(answer)


def test_a_question_that_was_altered_in_the_store_runs_nothing(browser, agent):
    question, became = agent.ask(text="pay 5")
    record = json.loads(question.dump())
    record["request"]["args"] = {"text": "pay 500"}
    agent.guard.store.put(f"{_OPEN}{question.id}", json.dumps(record).encode(), 60)
    (altered,) = questions(agent.guard.store)
    answer = browser.post(f"/approvals/{question.id}", answer="approve", **form_of(browser, altered))
    assert answer.status_code == 422
    agent.join()
    assert "ran" not in str(became)


@pytest.mark.parametrize("kind", ["approve same", "approve tool", "", "approve once", "edit", "respond"])
def test_what_the_card_does_not_offer_cannot_be_answered(browser, agent, kind):
    question, became = agent.ask("pay", amount=5)
    answer = browser.post(f"/approvals/{question.id}", answer=kind, args="[]", **form_of(browser, question))
    assert (answer.status_code, became) == (422, [])


def test_a_page_that_is_read_only_takes_no_form(site, agent):
    question, became = agent.ask(text="x")
    with site(read_only=True).open() as browser:
        for path in (*POSTS, f"/approvals/{question.id}", f"/approvals/{question.id}/check", "/nowhere"):
            answer = browser.post(path, press="x", seal=question.seal, answer="approve", kind="global", reason="x")
            assert answer.status_code == 403
        for path in PAGES[:6]:
            assert 'method="post"' not in browser.get(path).text
        assert question.id in browser.get("/approvals").text
    assert (became, agent.guard.store.halts()) == ([], [])


# Doors


def test_a_password_is_tried_a_few_times(site):
    now = [0.0]
    site = site(door=PasswordDoor("correct horse battery", clock=lambda: now[0]))
    browser = Browser(site.app)
    for _ in range(5):
        assert browser.post("/enter", name="eve", password="guess").status_code == 403
    stopped = browser.post("/enter", name="ann", password="correct horse battery")
    assert (stopped.status_code, stopped.headers["retry-after"]) == (429, "301")
    now[0] = 301.0
    assert browser.post("/enter", name="ann", password="correct horse battery").status_code == 303
    assert "ann (password)" in browser.get("/stop").text
    # A right one ends the count, so a typo a day locks nobody out.
    assert not site.door.attempts._tries


def test_a_password_comes_with_a_name_and_in_a_form_of_this_page(site):
    browser = Browser(site(door=PasswordDoor("correct horse battery")).app)
    right = {"name": "ann", "password": "correct horse battery"}
    assert browser.get("/enter?name=ann&password=correct horse battery").status_code == 200
    assert browser.post("/enter", password=right["password"], name=" ").status_code == 403
    assert browser.post("/enter", headers={"origin": "http://evil.example"}, **right).status_code == 403
    assert browser.get("/stop").status_code == 303


def test_many_addresses_together_try_no_more_than_a_hundred_times():
    door = PasswordDoor("correct horse battery", clock=lambda: 0.0)
    waits = [door.attempts.wait(f"10.0.0.{n}") for n in range(101)]
    assert waits == [0.0] * 100 + [300.0]


@pytest.mark.parametrize(
    ("address", "headers", "user"),
    [
        ("10.0.0.1", [("X-User", "ann")], "ann"),
        ("10.0.0.2", [("X-User", "ann")], None),
        ("::ffff:10.0.0.2", [("X-User", "ann")], None),
        ("", [("X-User", "ann")], None),
        ("10.0.0.1", [("X-Other", "ann")], None),
        ("10.0.0.1", [("X-User", "")], None),
        ("10.0.0.1", [("X-User", "ann"), ("X-User", "root")], None),
        ("10.0.0.1", [], None),
    ],
)
def test_a_proxy_is_believed_where_it_is_the_one_and_says_one_name(address, headers, user):
    browser = Browser(Site(door=ProxyDoor("X-User", "10.0.0.1")).app, client=(address, 1))
    answer = browser.http.get("/stop", headers=[*headers, ("X-Forwarded-For", "10.0.0.1")])
    assert answer.status_code == (303 if user is None else 200)
    if user is not None:
        assert ">ann<" in answer.text


# What agents, models and servers write

NASTY = st.lists(
    st.sampled_from([
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><b id=x>', "' onfocus='alert(1)", "</textarea>",
        "{{ 7*7 }}", "{% raw %}", "javascript:alert(1)", "\u202e", "\u200b", "\x00", "\x1b[2J", "\r\n", "\ud800", "а",
        "<!--", "]]>", "&lt;b&gt;", "hx-get=/leave", "\u2028", "</style>",
    ]) | st.text(max_size=8),
    min_size=1, max_size=4,
).map("".join).filter(str.strip)  # fmt: skip


def planted(store, text):
    """Put a text wherever somebody else's words get to."""
    request = ApprovalRequest(
        tool=text, args={text: [text], "n": {"k": text}}, session=text, digest="", rule=text, reason=text, grant=text,
        server=text, description=text, timeout=60.0, remember="tool", risk="write",
    )  # fmt: skip
    question = Question.ask(request)._replace(asker=text)
    store.put(f"{_OPEN}{question.id}", question.dump(), 60)
    scope = session_scope(text or "x")
    store.reserve([Charge(scope, f"{text}/{text}/{text}", 1, 5, 60, text)])
    store.note([Mark(scope, "label", text[:40] or "x", text)])
    store.halt(scope, text)
    with AuditLog(audit_path(state_dir())) as log:
        base = AuditEvent("settled", text, text, key=text, outcome="ok", rule=text, message=text, grant=text)
        log.write(base._replace(outcome="denied", kind="refused"))
        log.write(base._replace(kind="answered", approval={"verdict": text, "by": text}))
        log.write(AuditEvent("control", rule=text, message=text, outcome="ok"))
    return question, scope


HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2066-\u2069\ud800-\udfff\ufeff]")


class Shape(HTMLParser):
    """The elements and attributes of a page, without what they say; and all that they say."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        # Notes on words that read as others differ by what is said, and how they do is ours.
        if ("class", "note remark") not in attrs:
            self.tags.append((tag, *sorted(name for name, _ in attrs)))

    def handle_data(self, data):
        self.words.append(data)


def shapes(browser, scope):
    quoted = browser.http.build_request("GET", "/", params={"scope": json.dumps(scope)}).url.query.decode()
    key = browser.http.build_request("GET", "/", params={"key": json.dumps(scope)}).url.query.decode()
    words = quoted.replace("scope=", "tool=") + "&args=" + quoted.removeprefix("scope=")
    paths = (
        "/approvals",
        "/now",
        "/limits",
        "/sessions",
        "/stop",
        f"/session?{quoted}",
        f"/call?{key}",
        f"/policy?{words}",
    )
    filtered = quoted.replace("scope=", "session=")
    paths = (*paths, f"/now?{filtered}", f"/limits?{quoted.replace('scope=', 'name=')}")
    for path in paths:
        answer = browser.get(path)
        yield path.partition("=")[0], Shape(answer.text), answer.text


def pages_with(words):
    """Every page of a state in which others wrote these words wherever they can."""
    own = words.encode("utf-8", "replace").decode()  # a policy holds no half of a surrogate pair
    require = [{"path": "args.k", "op": "eq", "value": own, "on_deny": own}]
    site = Site(policy=Policy.model_validate({**POLICY, "tools": {"*": {"require": require}}}))
    store = site.desk.store()
    for key, _ in store.scan(""):
        store.take(key)
    store.reset()
    for halted in store.halts():
        store.resume(halted.scope)
    audit_path(state_dir()).unlink(missing_ok=True)
    head_path(audit_path(state_dir())).unlink(missing_ok=True)
    _, scope = planted(store, words)
    site.desk.recent.load()
    site.door.renew()
    browser = Browser(site.app)
    browser.get(f"/enter?token={site.tokens[-1]}")
    found = {path: (shape, page) for path, shape, page in shapes(browser, scope)}
    site.desk.close()
    return found


PLAIN = {}


@settings(max_examples=25)
@given(NASTY)
def test_whatever_is_written_somewhere_stays_text(text):
    PLAIN.update(PLAIN or pages_with("plain"))
    for path, (shape, page) in pages_with(text).items():
        assert Active(page).found == [], path
        assert not HIDDEN.search("".join(shape.words)), path
        assert set(shape.tags) <= set(PLAIN[path][0].tags), path
