"""What the pages show, and what their buttons do."""

import html
import json
import re
import time
from collections import Counter
from contextlib import closing
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools import Policy, Verdict
from guarded_tools.approvers import inbox
from guarded_tools.audit import AuditLog, audit_path, read
from guarded_tools.errors import StoreError
from guarded_tools.state import state_dir
from guarded_tools.text.charts import HEIGHT
from guarded_tools.values import AuditEvent, ToolInfo
from guarded_tools.web import approvals, desk, live, recent
from guarded_tools.web.charts import chart
from guarded_tools.web.recent import DAY, KEPT, Recent
from guarded_tools.web.shared import Shared
from tests.web.conftest import POLICY, Agent, form_of, said, text_of


def answers():
    return [record["approval"] for record in read(audit_path(state_dir()), kind="answered")]


def test_an_approval_runs_what_was_shown_and_names_who_gave_it(browser, agent):
    question, became = agent.ask(text="hello", session="s1", grant="bob")
    page = text_of(browser.get("/approvals").text)
    for row in ("tool: note", "risk: write", "session: s1", "acting for: bob", '"text": "hello"', "rule: /tools/note"):
        assert row in " ".join(page.split())
    done = browser.post(f"/approvals/{question.id}", answer="approve", **form_of(browser, question))
    assert (done.status_code, said(done)) == (200, "Answered: the agent goes on with it.")
    agent.join()
    assert became == [("ran", {"text": "hello"})]
    assert answers()[0]["by"] == "ann (web)"
    assert "No question waits." in browser.get("/approvals").text


def test_a_notice_leads_to_its_question_alone(browser, agent):
    question, _ = agent.ask(text="hello")
    other, _ = agent.ask(text="goodbye")
    page = browser.get(f"/approvals/{question.id}")
    assert page.status_code == 200
    assert '"text": "hello"' in text_of(page.text)
    assert other.id not in page.text
    browser.post(f"/approvals/{question.id}", answer="approve", **form_of(browser, question))
    gone = browser.get(f"/approvals/{question.id}")
    assert (gone.status_code, said(gone)) == (
        404,
        "This question is not open: somebody was first: approve by ann (web).",
    )
    assert browser.get("/approvals/ffffffff").status_code == 404


def test_what_is_recent_stands_in_a_file_that_is_full_by_now():
    with AuditLog(audit_path(state_dir()), max_bytes=1) as log:
        for number in range(3):
            log.write(AuditEvent("refused", tool=f"t{number}", key=str(number), outcome="denied"))
    audit_path(state_dir()).write_bytes(b"")
    recent = Recent(audit_path(state_dir()))
    recent.load()
    assert [record["tool"] for record in recent.records()] == ["t0", "t1"]


@pytest.mark.parametrize(("wide", "then"), [("same", {"text": "x"}), ("tool", {"text": "y"})])
def test_an_approval_is_remembered_as_widely_as_the_policy_permits(browser, agent, wide, then):
    question, _ = agent.ask(text="x")
    browser.post(f"/approvals/{question.id}", answer=f"approve {wide}", **form_of(browser, question))
    agent.join()
    assert agent.call("note", **then) == "ran"


def test_a_rejection_tells_the_model_why_and_an_answer_stands_in(browser, agent):
    one, became = agent.ask(text="x")
    browser.post(f"/approvals/{one.id}", answer="reject", message="not today", **form_of(browser, one))
    agent.join()
    assert "not today" in str(became[0])
    other, became = agent.ask(text="x")
    form = form_of(browser, other)
    empty = browser.post(f"/approvals/{other.id}", answer="respond", message=" ", **form)
    assert (empty.status_code, became) == (422, [])
    # Nothing came of it, so the same form is sent again.
    assert browser.post(f"/approvals/{other.id}", answer="respond", message="done already", **form).status_code == 200
    agent.join()
    assert "done already" in str(became[0])


def test_an_edit_that_the_agent_refuses_leaves_the_question_open(browser, agent):
    question, became = agent.ask("pay", amount=50)
    form = form_of(browser, question)
    refused = browser.post(f"/approvals/{question.id}", answer="edit", args='{"amount": 101}', **form)
    assert refused.status_code == 422
    assert "the policy refuses this edit" in said(refused)
    unread = browser.post(f"/approvals/{question.id}", answer="edit", args='{"amount": 1, "amount": 2}', **form)
    assert unread.status_code == 422
    fine = browser.post(f"/approvals/{question.id}", answer="edit", args='{"amount": 40}', **form)
    assert fine.status_code == 200
    agent.join()
    assert became == [("ran", {"amount": 40})]


def test_an_edit_is_checked_as_far_as_it_can_be_known(site, agent):
    question, _ = agent.ask("pay", amount=50)
    schema = {
        "properties": {"amount": {"type": "integer", "maximum": 500}, "to": {"enum": ["a", "b"]}},
        "required": ["amount"],
    }
    tools = {"pay": ToolInfo("pay", schema={"type": "object", **schema})}
    with site(policy=Policy.model_validate(POLICY), tools=tools).open() as browser:
        page = text_of(browser.get("/approvals").text)
        assert "integer, to 500" in page
        assert "one of a, b" in page
        form = form_of(browser, question)
        for args, told in (
            ('{"amount": 101}', "must not be more than 100"),
            ('{"amount": "5"}', "Not accepted"),
            ("[]", "have to be a JSON object"),
            ('{"amount": 40}', "The policy lets them through"),
        ):
            checked = browser.post(f"/approvals/{question.id}/check", args=args, **form)
            assert told in text_of(checked.text)
    with site().open() as browser:
        checked = browser.post(f"/approvals/{question.id}/check", args='{"amount": 101}', **form_of(browser, question))
        assert "The agent checks them" in text_of(checked.text)
        gone = browser.post("/approvals/00000000/check", args="{}", **form_of(browser, question))
        assert gone.status_code == 409


@pytest.mark.parametrize("schema", [None, {}, {"properties": []}, {"properties": {"a": True}, "required": 5}, True])
def test_a_schema_of_any_shape_is_described(schema):
    assert [one["name"] for one in approvals.described(schema)] in ([], ["a"])


def test_nobody_who_picks_the_answer_up_is_no_success(browser, agent, monkeypatch):
    monkeypatch.setattr(approvals, "answer", lambda *args: inbox.answer(*args, wait=0.0))
    question, _ = agent.ask(text="x")
    done = browser.post(f"/approvals/{question.id}", answer="approve", **form_of(browser, question))
    assert (done.status_code, "may be gone" in said(done)) == (202, True)


def test_many_questions_are_shown_some_at_a_time(browser, agent, monkeypatch):
    monkeypatch.setattr(approvals, "MOST_CARDS", 2)
    asked = [agent.ask(session=f"s{number}", text="x")[0].id for number in range(3)]
    first, rest = browser.get("/approvals").text, browser.get("/approvals?from=2").text
    assert [one in first for one in asked] == [True, True, False]
    assert [one in rest for one in asked] == [False, False, True]
    assert 'href="/approvals?from=2"' in first
    assert 'href="/approvals?from=0"' in rest
    for odd in ("-1", "x", "9" * 30, "٣"):
        assert browser.get(f"/approvals?from={odd}").status_code == 200


def test_the_answered_stand_below(browser, agent):
    question, _ = agent.ask(text="x")
    inbox.answer(agent.guard.store, question, Verdict.reject("no", by="bob@host"))
    agent.join()
    browser.catches_up()
    assert "bob@host" in text_of(browser.get("/approvals").text).partition("Answered")[2]


def test_now_is_filtered_and_tells_a_calls_whole_story(browser, agent):
    for session, tool in (("s1", "read"), ("s1", "read"), ("s1", "read"), ("s2", "read"), ("s2", "unheard")):
        agent.call(tool, session=session)
    browser.catches_up()

    def listed(query):
        page = browser.get(f"/now?{query}").text
        return page.partition('class="calls"')[2].partition("<tbody>")[2].count("<tr>")

    assert [listed(""), listed("session=s2"), listed("tool=re*"), listed("outcome=limited")] == [5, 2, 4, 1]
    assert listed("rule=default") == listed("tool=unheard") == 1
    (limited,) = read(audit_path(state_dir()), outcome="limited")
    story = text_of(browser.get(f"/call?key={quote(json.dumps(limited['key']))}").text)
    assert limited["message"] in story
    assert len(Recent(audit_path(state_dir())).story(limited["key"])) == 1  # also of what is not kept
    assert browser.get("/call?key=%22none%22").status_code == browser.get("/call?key=").status_code == 404


def test_charts_say_the_same_as_a_table(browser, agent):
    for _ in range(3):
        agent.call("read")
    browser.catches_up()
    page = browser.get("/now").text
    tables = re.findall(r"<details.*?</details>", page, re.DOTALL)
    assert [re.search("<summary[^>]*>(.*?)<", one)[1] for one in tables] == [
        "The last hour as a table",
        "The last day as a table",
    ]
    for one in tables:
        assert re.findall('<th scope="col">(.*?)</th>', one) == ["from (UTC)", "ok", "limited"]
        rows = re.findall(r'<th scope="row">[0-9: -]+</th>(.*?)</tr>', one, re.DOTALL)
        counted = [tuple(map(int, re.findall(r"</span>(\d+)</td>", row))) for row in rows]
        assert (sum(ok for ok, _ in counted), sum(limited for _, limited in counted)) == (2, 1)


@pytest.mark.parametrize("path", ["/now?tool=re*", "/limits", "/sessions"])
def test_what_is_fetched_again_is_the_same_without_anybodys_own(browser, agent, path):
    agent.call("read")
    browser.catches_up()
    whole, part = browser.get(path).text, browser.get(path, **{"hx-request": "true"}).text
    assert "ann (web)" in whole
    for own in ("ann (web)", 'name="press"', "<html", "<nav"):
        assert own not in part

    def live_part(text):
        return re.sub(
            r"\d", "", text[text.index('<div id="live"') : text.rindex("</div>")].partition("</main>")[0]
        ).split()

    assert live_part(part)[:40] == live_part(whole)[:40]
    assert 'hx-get="' + html.escape(path) in part


def test_what_is_live_is_written_once_for_all_who_look():
    version, now, written = [1], [100.0], []
    shared = Shared(lambda: version[0], lambda: now[0])

    def get(address="/now"):
        return shared.get(address, lambda of: written.append((address, of)) or f"{address} {len(written)}")

    assert [get(), get(), get("/limits"), get()] == ["/now 1", "/now 1", "/limits 2", "/now 1"]
    version[0] = 2  # somebody was told
    assert [get(), get()] == ["/now 3", "/now 3"]
    now[0] += 1.0  # and time goes on
    assert get() == "/now 4"
    assert written[-2:] == [("/now", 2), ("/now", 2)]
    for number in range(200):
        get(f"/now?session={number}")
    assert len(shared._parts) < 100
    with pytest.raises(StoreError):
        shared.get("/sessions", fails)
    assert shared.get("/sessions", lambda _: "anew") == "anew"


def fails(_):
    raise StoreError("the store is away")


def test_limits_say_how_much_is_used(browser, agent):
    agent.call("read", grant="bob")
    browser.catches_up()
    for path in ("/limits", "/limits?kind=session&name=s1"):
        page = " ".join(text_of(browser.get(path).text).split())
        assert "1 of 2" in page
        assert "/read/rate_limit in an hour frees in" in page
    assert "No limit is in use" in browser.get("/limits?kind=session&name=s2").text
    assert "No limit is in use" in browser.get("/limits?kind=grant&name=s1").text


def test_limits_of_a_grant_stand_under_its_name(browser):
    limits = [{"counter": "calls", "window": "hour", "max": 9, "scope": "grant"}]
    with closing(Agent({"version": "1", "default": "deny", "tools": {"read": {"limits": limits}}})) as agent:
        agent.call("read", grant="bob")
        browser.catches_up()
        for path in ("/limits", "/limits?kind=grant&name=bob", "/session?kind=grant&name=bob"):
            assert "1 of 9" in " ".join(text_of(browser.get(path).text).split())
        assert "No limit is in use" in browser.get("/limits?kind=session&name=bob").text


def test_the_policy_says_what_is_in_force_and_explains_a_call(site, agent):
    agent.call("read")
    with site(policy=Policy.model_validate(POLICY)).open() as browser:
        page = text_of(browser.get("/policy").text)
        assert "never: args.amount gt 100" in page
        assert "fingerprint" in page
        for query, told in (
            ('tool=pay&args={"amount": 5}', "ask pay by /tools/pay/approval"),
            ('tool=pay&args={"amount": 500}', "saw 500: it is → denies"),
            ("tool=unheard", "deny unheard by (default deny)"),
            ("tool=read&session=s1", "session:s1: 1 of 2 in an hour, takes 1"),
            ("tool=pay&args={", "The arguments cannot be read"),
        ):
            assert told in " ".join(text_of(browser.get(f"/policy?{query}").text).split()), query
    with site().open() as browser:
        assert "start the page with --policy" in browser.get("/policy").text
    assert [one.used for one in agent.guard.store.usage("session:s1")] == [1]


def test_halt_and_resume(browser, agent):
    form = {"kind": "session", "name": "s1", "reason": "odd"}
    assert browser.post("/stop/halt", press=browser.press(), **form).status_code == 200
    assert "odd" in str(agent.call("read"))
    assert agent.call("read", session="s2") == "ran"
    scope = json.dumps("session:s1")
    assert browser.post("/stop/halt", press=browser.press(), kind="session", name="").status_code == 422
    assert browser.post("/stop/halt", press=browser.press(), kind="grant", name="bob").status_code == 200
    assert "no reason given" in str(agent.call("read", session="s2", grant="bob"))
    for data, status in (
        ({"scope": scope, "reason": " "}, 422),
        ({"scope": '"everything"', "reason": "x"}, 422),
        ({"scope": "5", "reason": "x"}, 422),
        ({"scope": '"global"', "reason": "x"}, 409),
        ({"kind": "shop", "name": "s1", "reason": "x"}, 422),
        ({"scope": scope, "reason": "it was nothing"}, 200),
        ({"scope": scope, "reason": "it was nothing"}, 409),
    ):
        assert browser.post("/stop/resume", press=browser.press(), **data).status_code == status, data
    assert agent.call("read") == "ran"
    notes = [record["message"] for record in read(audit_path(state_dir()), kind="control")]
    assert notes[::2] == ["halted session:s1 by ann (web): odd", "resumed session:s1 by ann (web): it was nothing"]


def test_the_stop_button_works_where_the_counters_do_not(site, monkeypatch):
    def broken(_):
        raise StoreError("the counters are <b>lost</b>")

    monkeypatch.setattr(desk, "open_store", broken)
    with site().open() as browser:
        broken_page = browser.get("/approvals")
        assert broken_page.status_code == 503
        assert "&lt;b&gt;lost" in broken_page.text
        assert browser.post("/stop/halt", press=browser.press(), kind="global", reason="odd").status_code == 200
        assert "EVERYTHING IS HALTED" in browser.get("/stop").text


def test_what_cannot_be_written_down_is_halted_all_the_same(browser, agent):
    audit = audit_path(state_dir())
    audit.unlink(missing_ok=True)
    audit.mkdir()
    done = browser.post("/stop/halt", press=browser.press(), kind="global", reason="odd")
    assert "could not be written down" in said(done)
    assert [halted.scope for halted in agent.guard.store.halts()] == ["global"]


def test_a_session_is_freed_of_a_label_and_reset(browser, agent):
    agent.call("read")
    agent.call("read")
    browser.catches_up()
    assert "untrusted" in browser.get("/sessions").text
    scope = json.dumps("session:s1")
    page = browser.get(f"/session?scope={quote(scope)}").text
    assert "2 of 2" in text_of(page)
    assert page.partition("Latest calls")[2].partition("<tbody>")[2].count("<tr>") == 2
    clear = {"scope": scope, "label": '"untrusted"', "reason": "I read it"}
    assert browser.post("/sessions/clear", press=browser.press(), **clear | {"reason": ""}).status_code == 422
    assert browser.post("/sessions/clear", press=browser.press(), **clear).status_code == 200
    assert browser.post("/sessions/clear", press=browser.press(), **clear).status_code == 409
    reset = {"scope": scope, "reason": "a test"}
    assert browser.post("/sessions/reset", press=browser.press(), scope=scope, reason="").status_code == 422
    assert browser.post("/sessions/reset", press=browser.press(), **reset).status_code == 200
    assert agent.call("read") == "ran"
    notes = [record["message"] for record in read(audit_path(state_dir()), kind="control")]
    assert notes[0] == "clears the label 'untrusted' of session:s1 by ann (web): I read it"
    assert notes[1].startswith("started the counters of session:s1 at zero by ann (web)")
    assert notes[1].endswith(": a test")
    for odd in ("5", "%22shop%3A1%22", "x", ""):
        assert browser.get(f"/session?scope={odd}").status_code == 404


def test_what_is_kept_of_an_audit_is_bounded_and_counted(tmp_path):
    now = time.time()
    times = [now - DAY * 60 - 10, now - 3600, now - 5, now - 5]
    outcomes = ["ok", "ok", "denied", "ok"]
    clock = iter([moment for moment in times for _ in range(1)])
    with AuditLog(tmp_path / "audit.jsonl", clock=lambda: next(clock)) as log:
        for outcome in outcomes:
            log.write(AuditEvent("settled", "t", outcome=outcome, key=outcome))
    recent = Recent(tmp_path / "audit.jsonl")
    recent.load()
    assert [row.outcome for row in recent.calls()] == outcomes[::-1]
    last_hour = chart("", recent.minutes(), now, bars=61, each=1)
    assert last_hour.total == Counter(ok=2, denied=1)
    assert len(recent.records()) == 4 < KEPT


def test_the_whole_day_is_counted_though_only_the_latest_lines_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(recent, "KEPT", 10)
    now = time.time()
    times = iter([now - DAY * 60 - 9_000, *(now - 36_000 + 60 * number for number in range(500))])
    with AuditLog(tmp_path / "audit.jsonl", clock=lambda: next(times), max_bytes=20_000) as log:
        for number in range(501):
            log.write(AuditEvent("refused", "t", outcome="denied", key=str(number)))
    kept = Recent(tmp_path / "audit.jsonl")
    first = kept.load()
    assert (first, sum(kept.minutes().values(), Counter()).total()) == (492, 10)
    assert kept.counted_from == pytest.approx(now - 36_000 + 60 * 490, abs=1)
    kept.count(first)
    assert sum(kept.minutes().values(), Counter()) == Counter(denied=500)
    assert kept.counted_from == pytest.approx(now - DAY * 60, abs=60)
    monkeypatch.setattr(recent, "COUNTED", 5_000)
    some = Recent(tmp_path / "audit.jsonl")
    some.count(some.load())
    # What is beyond the bytes that are counted is not said to be counted.
    assert len(some.minutes()) < 60
    assert some.counted_from == min(some.minutes()) * 60


def test_a_call_that_never_ended_is_open_until_the_lines_around_it_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(recent, "KEPT", 10)
    monkeypatch.setattr(recent, "_FORGET_EVERY", 1)
    kept = Recent(tmp_path / "audit.jsonl")
    with AuditLog(tmp_path / "audit.jsonl") as log:
        log.write(AuditEvent("admitted", "t", key="crashed"))
        for number in range(11):
            log.write(AuditEvent("refused", "t", outcome="denied", key=str(number)))
            kept.load()
            assert len(kept.calls()) == min(number + 2, 10)
            assert (kept.calls()[-1].key == "crashed") == (number < 9)  # at its time: it is the first of all


def test_whoever_comes_while_others_look_shares_what_they_see_next(site, monkeypatch):
    looks, moments = [], iter([1.0, 2.0, 1.5, 3.0, 4.0])
    monkeypatch.setattr(desk, "questions", lambda *_: looks.append("look") or [len(looks)])
    at = site().desk
    at.clock = lambda: next(moments)
    assert at.questions() == [1]  # came at 1, looked at 2
    assert at.questions() == [1]  # came at 1.5, before that look began
    assert at.questions() == [2]


def test_of_calls_without_a_pause_tabs_are_told_once_a_second():
    class Loop:
        """A loop whose time stands still until it is told."""

        now, due = 100.0, ()
        time = lambda self: self.now  # noqa: E731
        is_closed = lambda self: False  # noqa: E731

        def call_soon_threadsafe(self, call, *args):
            call(*args)

        def call_at(self, when, call, *args):
            self.due = [*self.due, (max(when, self.now), call, args)]

        def run(self, until):
            self.now = until
            ready = [one for one in self.due if one[0] <= until]
            self.due = [one for one in self.due if one[0] > until]
            for _, call, args in ready:
                call(*args)

    told, loop = live.Live({}), Loop()
    told._loop = loop
    versions = []
    for tenth in range(31):
        for _ in range(20):
            told.changed("audit")
        loop.run(100 + tenth / 10)
        versions.append(told.version - versions[0] if versions else told.version)
    assert [version for version in versions[1:] if version][-1] == 3
    told.changed("approvals")  # and of a question at once
    before = told.version
    loop.run(loop.now)
    assert told.version == before + 1


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.integers(-100, 100), st.dictionaries(st.sampled_from(["ok", "denied", "odd"]), st.integers(1, 9))
    ),
    st.sampled_from([(60, 1), (96, 15), (7, 3)]),
    st.integers(0, 59),
)
def test_a_chart_draws_every_call_of_its_span_once(ago, spans, second):
    bars, each = spans
    minute = 30_000_000
    drawn = chart("", {minute + at: counted for at, counted in ago.items()}, minute * 60 + second, bars=bars, each=each)
    first = (minute // each - bars + 1) * each
    last = (minute // each + 1) * each
    inside = [counted for at, counted in ago.items() if first <= minute + at < last]
    assert drawn.total == sum((Counter(one) for one in inside), Counter())
    for bar in drawn.bars:
        assert 0 <= bar.x < drawn.width
        assert -1e-6 <= bar.y <= HEIGHT
        assert 0 < bar.height <= HEIGHT + 1e-6
    assert sum((Counter(one.counted) for one in drawn.stretches), Counter()) == drawn.total
    assert len(drawn.stretches) == len({bar.x for bar in drawn.bars})
    by_place = Counter()
    for bar in drawn.bars:
        by_place[bar.x] += bar.height
    assert not by_place or max(by_place.values()) == pytest.approx(HEIGHT)


def test_a_question_is_read_once_and_forgotten_with_its_entry(agent, monkeypatch):
    one, _ = agent.ask(text="x")
    read_anew = []
    load = inbox.Question.load
    monkeypatch.setattr(inbox.Question, "load", lambda key, kept: read_anew.append(key) or load(key, kept))
    known = {}
    for _ in range(3):
        assert [each.id for each in inbox.questions(agent.guard.store, known)] == [one.id]
    assert len(read_anew) == 1
    # An entry that was altered is another one, and one that is gone is not kept.
    key, kept = next(iter(known))
    agent.guard.store.put(key, kept.replace(b'"x"', b'"y"'), 60)
    (altered,) = inbox.questions(agent.guard.store, known)
    assert (altered.request.args, len(known)) == ({"text": "y"}, 1)
    agent.guard.store.put(key, kept, 60)
