"""The page in a real browser: Debian's Chromium, driven by Playwright. Every button, live, by keyboard, narrow, dark.

With GUARDED_TOOLS_SCREENSHOTS set, it draws the pictures of docs/web.md anew.
"""

import re
from contextlib import contextmanager

import pytest

from guarded_tools.audit import audit_path, read
from guarded_tools.state import state_dir
from guarded_tools.values import ToolInfo
from tests import browsing
from tests.browsing import MARKS
from tests.web.conftest import serving, until

sync_api = pytest.importorskip("playwright.sync_api")
sync_api.expect.set_options(timeout=30_000)
pytestmark = MARKS
SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer", "minimum": 1, "maximum": 500, "description": "In whole euros."},
        "to": {"type": "string", "description": "Who gets it."},
    },
    "required": ["amount", "to"],
}


@pytest.fixture
def served(agent):
    with serving(agent.policy, {"pay": ToolInfo("pay", schema=SCHEMA)}) as served:
        yield served


@contextmanager
def opened(chromium, served, **context):
    """A page of a browser of its own, in which nothing may go wrong: no error, nothing refused by its own policy."""
    with chromium.new_context(**context) as own:
        page = own.new_page()
        page.set_default_timeout(30_000)
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda said: said.type == "error" and page.faults.append(said.text))
        page.goto(served.link())
        assert page.title() == "Approvals · guarded tools"
        yield page
        # A refused press is a 409 or 422, which the console tells of.
        assert [fault for fault in page.faults if "the server responded with a status of 4" not in fault] == []


PICTURES = (
    "approvals-light",
    "approvals-dark",
    "approvals-phone",
    "now-light",
    "limits-light",
    "edit",
    "stop-light",
    "policy-light",
)


def picture(page, name):
    if name in PICTURES:
        browsing.picture(page, f"web-{name}")


def test_every_answer_of_a_card(chromium, served, agent):
    with opened(chromium, served) as page:
        asked = {}
        for text in ("once", "same", "tool", "no", "instead"):
            asked[text] = agent.ask(text=text)
        cards = page.locator(".card")
        sync_api.expect(cards).to_have_count(5)

        def card(text):
            question, became = asked[text]
            return page.locator(f"#q-{question.id}"), became

        for text, button in (
            ("once", "Approve, this once"),
            ("same", "these same arguments"),
            ("tool", "ANY arguments"),
        ):
            there, became = card(text)
            there.get_by_role("button", name=button).click()
            sync_api.expect(page.locator("#said")).to_contain_text("the agent goes on with it")
            until(lambda became=became: became)
            assert became == [("ran", {"text": text})]
            sync_api.expect(there).to_have_count(0)
            page.wait_for_timeout(800)  # a button that has just moved takes no click
        there, became = card("no")
        there.get_by_label("Why not").fill("not today")
        there.get_by_role("button", name="Reject").click()
        until(lambda: became)
        assert "not today" in str(became[0])
        page.wait_for_timeout(800)
        there, became = card("instead")
        there.get_by_label("Why not").fill("done already")
        there.get_by_role("button", name="Answer in its place").click()
        until(lambda: became)
        sync_api.expect(page.get_by_text("No question waits.")).to_be_visible()
        sync_api.expect(page.locator("tbody tr")).to_have_count(5)
        by = {record["approval"]["by"] for record in read(audit_path(state_dir()), kind="answered")}
        assert len(by) == 1
        assert by.pop().endswith(" (web)")


def test_an_edit_is_checked_as_it_is_typed(chromium, served, agent):
    question, became = agent.ask("pay", amount=50, to="bob")
    with opened(chromium, served) as page:
        card = page.locator(f"#q-{question.id}")
        card.get_by_text("Edit the arguments").click()
        sync_api.expect(card.locator(".parameters")).to_contain_text("integer, from 1, to 500")
        typed = card.get_by_label("All arguments, as a JSON object")
        typed.fill('{"amount": 50, "to": ')
        sync_api.expect(card.locator(".bad")).to_contain_text("Not accepted")
        typed.fill('{"amount": 400, "to": "bob"}')
        sync_api.expect(card.locator(".bad")).to_contain_text("args.amount must not be more than 100")
        typed.fill('{"amount": 40, "to": "bob"}')
        sync_api.expect(card).to_contain_text("The policy lets them through")
        sync_api.expect(card.locator(".is-added")).to_contain_text('"amount": 40')
        # What others do meanwhile takes nothing away from somebody who types.
        other, _ = agent.ask(text="other")
        sync_api.expect(page.locator(f"#q-{other.id}")).to_be_visible()
        sync_api.expect(typed).to_have_value('{"amount": 40, "to": "bob"}')
        sync_api.expect(typed).to_be_focused()
        picture(page, "edit")
        page.wait_for_timeout(800)
        card.get_by_role("button", name="Run it as edited").click()
        until(lambda: became)
        assert became == [("ran", {"amount": 40, "to": "bob"})]


def test_two_browsers_see_the_same_at_once(chromium, served, agent):
    with opened(chromium, served) as one, opened(chromium, served) as other:
        question, _ = agent.ask(text="x")
        for page in (one, other):
            sync_api.expect(page.locator(f"#q-{question.id}")).to_be_visible()
        one.locator(f"#q-{question.id}").get_by_role("button", name="Approve, this once").click()
        sync_api.expect(other.locator(f"#q-{question.id}")).to_have_count(0)
        sync_api.expect(other.locator("tbody tr")).to_contain_text("note")
        other.get_by_role("link", name="Now").click()
        sync_api.expect(other.locator(".calls tbody tr")).to_have_count(1)
        agent.call("read", session="later")
        sync_api.expect(other.locator(".calls tbody tr").first).to_contain_text("later")
        other.get_by_role("link", name="Stop").click()
        one.get_by_role("link", name="Stop").click()
        everything = one.locator("form", has_text="Halt everything")
        everything.get_by_label("Why; agents are told").fill("it looks odd")
        everything.get_by_role("button").click()
        sync_api.expect(other.get_by_text("EVERYTHING IS HALTED")).to_be_visible()
        assert "it looks odd" in str(agent.call("read"))
        other.get_by_label("Why it may go on").fill("it was a test")
        other.get_by_role("button", name="Resume").click()
        sync_api.expect(one.get_by_text("Nothing is halted.")).to_be_visible()


def test_a_second_press_is_told_that_somebody_was_first(chromium, served, agent):
    question, became = agent.ask(text="x")
    with opened(chromium, served) as one, opened(chromium, served) as other:
        # As if the news had not come yet: what the other page fetches does not arrive, and its presses do.
        other.route("**/*", lambda route: route.continue_() if route.request.method == "POST" else None)
        button = f"#q-{question.id} button[value=approve]"
        one.locator(button).dblclick()
        # The second press may be told after the first, or before it.
        sync_api.expect(one.locator("#said")).to_contain_text(re.compile("the agent goes on|this was sent already"))
        other.locator(button).click()
        sync_api.expect(other.locator("#said")).to_contain_text("somebody was first: approve by")
        until(lambda: became)
        assert became == [("ran", {"text": "x"})]


def test_sessions_are_halted_reset_and_freed_of_a_label(chromium, served, agent):
    for _ in range(3):
        agent.call("read")
    with opened(chromium, served) as page:
        page.get_by_role("link", name="Sessions").click()
        sync_api.expect(page.locator("#live .tag")).to_have_text("untrusted")
        page.get_by_role("link", name="s1").click()
        for button, why, told in (
            ("Take untrusted away", "Why it may go", "no longer carries untrusted"),
            ("Start its limits and marks at zero", "Why", "start at zero"),
            ("Halt", "Why", "Halted: session:s1"),
        ):
            form = page.locator("form.act", has=page.get_by_role("button", name=button, exact=True))
            form.get_by_label(why).fill("I looked at it")
            form.get_by_role("button").click()
            sync_api.expect(page.locator("#said")).to_contain_text(told)
        sync_api.expect(page.get_by_text("HALTED since")).to_be_visible()
    notes = [record["message"] for record in read(audit_path(state_dir()), kind="control")]
    assert len(notes) == 3
    assert all("(web)" in note and "I looked at it" in note for note in notes)


def test_it_is_used_by_keyboard(chromium, served, agent):
    _, became = agent.ask(text="x")
    with opened(chromium, served) as page:
        page.keyboard.press("Tab")
        sync_api.expect(page.get_by_text("Skip to the page")).to_be_focused()
        page.keyboard.press("Enter")
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.value") == "reject":
                break
        shown = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert shown == "solid"
        page.keyboard.press("Shift+Tab")
        page.keyboard.type("no")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        until(lambda: became)
        assert "no" in str(became[0])


def test_a_calls_story_is_a_click_away_and_what_is_left_is_counted_down(chromium, served, agent):
    question, _ = agent.ask(text="x")
    agent.call("read", session="told")
    with opened(chromium, served) as page:
        left = page.locator(f"#q-{question.id} .left")
        page.clock.install()
        page.reload()
        sync_api.expect(left).to_have_text(re.compile(r"^\d+:\d\d$"))
        before = left.inner_text()
        page.clock.run_for(61_000)
        after = left.inner_text()
        assert 60 <= seconds(before) - seconds(after) < 120, (before, after)
        page.get_by_role("link", name="Now").click()
        page.locator(".calls tbody tr", has_text="told").get_by_role("link").first.click()
        sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("One call")
        sync_api.expect(page.locator(".line h2")).to_have_text([re.compile("^admitted"), re.compile("^settled")])


def seconds(shown):
    """Read a time that is left, as 9:59."""
    minutes, _, rest = shown.partition(":")
    return int(minutes) * 60 + int(rest)


def test_a_chart_is_read_as_a_table_by_keyboard_and_stays_unfolded(chromium, served, agent):
    agent.call("read")
    with opened(chromium, served) as page:
        page.get_by_role("link", name="Now").click()
        summary = page.get_by_text("The last hour as a table")
        summary.focus()
        page.keyboard.press("Enter")
        table = page.get_by_role("table").filter(has=page.get_by_role("columnheader", name="from (UTC)"))
        sync_api.expect(table).to_have_count(1)
        agent.call("read", session="later")
        sync_api.expect(page.locator(".calls tbody tr")).to_have_count(2)
        sync_api.expect(table).to_be_visible()
        sync_api.expect(summary).to_be_focused()
        assert page.locator("#table-1 tbody td").all_inner_texts()[0] in {"1", "2"}


CONTRAST = """() => {
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const least = {};
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const pair = [luminance(rgb(style.color)), luminance(ground(element))].sort((one, other) => one - other);
    const ratio = (pair[1] + 0.05) / (pair[0] + 0.05);
    if (ratio < 4.5) least[element.outerHTML.slice(0, 80)] = ratio;
  }
  return least;
}"""


def test_it_is_read_on_a_phone_and_in_the_dark(chromium, served, agent):
    for number in range(4):
        agent.call("read", session=f"s{number}", grant="ann")
    agent.ask("pay", amount=20, to="a-very-long-name-" * 12, session="s1")
    told = {}
    sizes = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": {"viewport": {"width": 360, "height": 740}}}
    for kind, context in sizes.items():
        with opened(chromium, served, **context) as page:
            for name in ("Approvals", "Now", "Limits", "Sessions", "Policy", "Stop"):
                page.get_by_role("link", name=name, exact=True).click()
                sync_api.expect(page.get_by_role("heading", level=1)).to_have_text(name)
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, (kind, name)
                assert page.evaluate(CONTRAST) == {}, (kind, name)
                picture(page, f"{name.lower()}-{kind}")
            told[kind] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert told["dark"] != told["light"] == told["phone"]


def test_a_tab_that_nobody_looks_at_does_not_listen_and_one_that_lost_the_server_says_so(chromium, agent):
    with serving() as served:
        tabs = served.tabs
        with opened(chromium, served) as page:
            until(lambda: len(tabs) == 1)
            hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
            hide += "document.dispatchEvent(new Event('visibilitychange'))"
            page.evaluate(hide % "true")
            until(lambda: not tabs)
            question, _ = agent.ask(text="x")
            assert page.locator(f"#q-{question.id}").count() == 0
            page.evaluate(hide % "false")
            sync_api.expect(page.locator(f"#q-{question.id}")).to_be_visible()
            served.stop()
            sync_api.expect(page.locator("#lost")).to_be_visible()
            page.faults.clear()  # that nobody answers any more


def test_words_that_attack_do_nothing_in_a_browser(chromium, served, agent):
    nasty = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>\u202e\'"><form action=//evil>'
    agent.ask(text=nasty, session=nasty)
    agent.call("read", session=nasty, grant=nasty)
    with opened(chromium, served) as page:
        for name in ("Approvals", "Now", "Limits", "Sessions", "Policy", "Stop"):
            page.get_by_role("link", name=name, exact=True).click()
            sync_api.expect(page.get_by_role("heading", level=1)).to_have_text(name)
            assert page.evaluate("window.hit") is None
            assert page.locator("img, form[action*=evil]").count() == 0
        page.goto(f"{served.address}/approvals")
        sync_api.expect(page.locator(".card")).to_contain_text("onerror=")
        assert page.evaluate("window.hit") is None


def test_a_link_in_somebody_elses_page_opens_the_question(chromium, served, agent):
    question, _ = agent.ask(text="x")
    with opened(chromium, served) as page:
        chat = page.context.new_page()
        link = f"<a href={served.address}/approvals/{question.id}>a question waits</a>"
        chat.route("http://chat.example/", lambda route: route.fulfill(body=link, content_type="text/html"))
        chat.goto("http://chat.example/")
        chat.get_by_role("link").click()
        sync_api.expect(chat.locator(f"#q-{question.id}")).to_be_visible()
        assert chat.url == f"{served.address}/approvals/{question.id}"


def test_a_call_is_explained_by_form(chromium, served, agent):
    with opened(chromium, served) as page:
        page.get_by_role("link", name="Policy").click()
        page.get_by_label("Tool", exact=True).fill("pay")
        page.get_by_label("Arguments").fill('{"amount": 500}')
        page.keyboard.press("Enter")
        sync_api.expect(page.locator(".told")).to_contain_text("saw 500: it is → denies")
        sync_api.expect(page.get_by_label("Arguments")).to_have_value('{"amount": 500}')
        picture(page, "policy-light")


def test_another_site_neither_frames_nor_commands_it(chromium, served, agent):
    question, became = agent.ask(text="x")
    with opened(chromium, served) as page:
        form = f"<form method=post action={served.address}/approvals/{question.id}><input name=seal "
        form += f"value={question.seal}><input name=answer value=approve></form>"
        site = f"<iframe src={served.address}/approvals></iframe>{form}"
        page.route("http://evil.example/", lambda route: route.fulfill(body=site, content_type="text/html"))
        evil = page.context.new_page()
        evil.route("http://evil.example/", lambda route: route.fulfill(body=site, content_type="text/html"))
        evil.goto("http://evil.example/")
        assert evil.frames[1].locator(".card").count() == 0
        with evil.expect_response(lambda response: "/approvals/" in response.url) as answer:
            evil.evaluate("document.forms[0].submit()")
        assert answer.value.status == 403
        assert became == []
        assert page.locator(f"#q-{question.id}").is_visible()
