"""``guarded-tools top`` and ``report``: what is so now, in a terminal and on a page in which nothing can act."""

import sys
from html.parser import HTMLParser

import pexpect
import pytest

from guarded_tools import Guard, Policy, ToolCall, ToolDenied
from guarded_tools.approvers.inbox import Question
from guarded_tools.cli.app import main
from guarded_tools.control.present import look, look_back
from guarded_tools.control.report import page
from guarded_tools.values import ApprovalRequest, AuditEvent
from tests import forked

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[2J\u202e"
POLICY = Policy.model_validate(
    {
        "version": "1",
        "default": "deny",
        "tools": {"t": {"limits": [{"counter": "c", "window": "hour", "max": 3}]}},
    }
)


@pytest.fixture
def guard(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    with Guard(POLICY, state=tmp_path / "home") as guard:
        yield guard


def use(guard, session, calls):
    for _ in range(calls):
        try:
            guard.call(ToolCall("t", {}, session), lambda _: "ran")
        except ToolDenied:
            continue


def ask(guard, tool):
    request = ApprovalRequest(tool=tool, args={}, session="asks", digest="d", rule="/r", risk="financial")
    question = Question.ask(request)
    guard.store.put(f"approvals/inbox/{question.id}", question.dump(), 600)
    return question.id


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


def test_one_frame_shows_halts_questions_limits_and_refusals(guard, run):
    empty = run("top", "--once")[1]
    assert all(said in empty for said in ("Nothing is halted", "Nobody is asked", "No limit is in use"))
    use(guard, "busy", 5)
    use(guard, "quiet", 1)
    guard.store.halt("session:stopped", "smoke")
    number = ask(guard, "refund")
    code, out, _ = run("top", "--once")
    assert code == 0
    words = " ".join(out.split())
    assert "session:stopped" in words
    assert "smoke" in words
    assert f"{number} refund financial asks 10 min" in words
    assert words.index("session:busy") < words.index("session:quiet")
    assert "████████████ 3 of 3" in words
    assert "████░░░░░░░░ 1 of 3" in words
    assert words.count("busy t limited a limit of 3 in an hour is used up") == 2
    assert "session:quiet" not in run("top", "--once", "--most", "1")[1]


def test_names_cannot_move_the_cursor_of_a_frame(guard, run):
    use(guard, HOSTILE, 4)
    guard.store.halt("global", HOSTILE)
    ask(guard, HOSTILE)
    out = run("top", "--once")[1]
    assert not {"\x1b", "\u202e"} & set(out)


def test_without_a_terminal_it_says_how_to_print_a_frame(guard, run):
    code, _, err = run("top")
    assert code == 2
    assert "--once" in err


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_in_a_terminal_it_stays_until_somebody_ends_it(guard, key):
    use(guard, "busy", 5)
    child = pexpect.spawn(sys.executable, ["-m", "guarded_tools.cli", "top"], timeout=60, dimensions=(40, 120))
    child.expect("q ends")
    child.expect("session:busy")
    child.send(key)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_it_makes_no_store_to_look_at(tmp_path, run):
    nowhere = tmp_path / "no" / "dir"
    assert "No limit is in use" in run("top", "--once", "--state", nowhere)[1]
    assert "No call since" in run("report", "--state", nowhere)[1]
    assert not nowhere.parent.exists()


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = set(), set(), "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


def test_a_report_needs_nothing_else_and_nothing_in_it_can_act(guard, run, tmp_path):
    use(guard, "busy", 5)
    use(guard, HOSTILE, 4)
    guard.audit.write(AuditEvent("refused", tool=HOSTILE, session=HOSTILE, outcome="denied", message=HOSTILE))
    guard.store.halt(f"session:{HOSTILE}", HOSTILE)
    ask(guard, HOSTILE)
    target = tmp_path / "report.html"
    code, out, _ = run("report", "-o", target, "--since", "2h")
    assert (code, out) == (0, f"Written to {target}\n")
    text = target.read_text()
    told = Page(text)
    assert told.open == []
    assert not {"script", "img", "link", "iframe", "a", "form"} & told.tags
    assert not {name for name in told.attributes if name.startswith("on")} | ({"src", "href"} & told.attributes)
    assert "url(" not in text
    assert not {"\x1b", "\u202e"} & set(text)
    assert {"svg", "rect", "table"} <= told.tags
    for said in ("busy", "3 of 3", "Latest refusals", "Who was refused what, and why", "2 sessions", "10 calls since"):
        assert said in told.text, said
    assert "<script>alert(1)</script>" in told.text  # as text
    assert run("report", "-o", target)[0] == 2
    assert run("report", "-o", target, "--force")[0] == 0
    assert run("report", "--since", "soon")[0] == 2


def test_a_report_needs_neither_matplotlib_nor_the_page(guard):
    use(guard, "busy", 1)
    code = (
        "import sys; [sys.modules.__setitem__(name, None) for name in ('matplotlib', 'jinja2', 'starlette')]\n"
        "from guarded_tools.cli.app import main\nmain(['report'])"
    )
    said = forked.run([sys.executable, "-c", code], timeout=60)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("<!doctype html>")


def test_only_the_end_of_the_audit_is_looked_at(guard, monkeypatch):
    for number in range(50):
        guard.audit.write(AuditEvent("refused", tool=f"t{number}", outcome="denied"))
    monkeypatch.setattr("guarded_tools.control.present._LOOKED_AT", 2_000)
    seen = look(None, guard.store, guard.audit.path, 1_700_000_000.0)
    assert seen.refusals[0].tool == "t49"
    assert 3 <= len(seen.refusals) < 10


def test_a_page_of_an_empty_state_says_so(guard):
    seen = look(guard.store, guard.store, guard.audit.path, 1_700_000_000.0)
    text = page(seen, look_back([], 1_700_000_000.0), "here", "then")
    assert "No call since then" in text
    assert "Nobody was refused anything" in text
