"""What values look like in a notebook, and that nothing in them can act there."""

import re
from html.parser import HTMLParser

import pytest

from guarded_tools import Guard, Policy
from guarded_tools.audit import AuditLog
from guarded_tools.policy.paths import escape
from guarded_tools.policy.presets import PRESETS
from guarded_tools.text.tables import Cell, Table, to_html
from guarded_tools.values import Ask, AuditEvent, Charge, Decision, ToolCall, Usage, Usages

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[2J\u202e\u200b"


class Reader(HTMLParser):
    """Checks that a fragment is well formed and holds nothing but what we lay out; collects its text."""

    KNOWN = frozenset({"div", "table", "thead", "tbody", "tr", "th", "td", "span"})

    def __init__(self, fragment):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(fragment)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag == "wbr":  # a word may go on in the next line there
            assert attributes == []
            return
        assert tag in self.KNOWN
        classes = dict(attributes).get("class")
        # JupyterLab takes dollars in an HTML output for mathematics, but for what is in an element of these classes.
        assert classes == (None if self.open else "tex2jax_ignore mathjax_ignore")
        assert {name for name, _ in attributes} <= {"style", "class"}
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


def test_a_table_escapes_everything_and_shows_what_is_invisible():
    fragment = to_html(Table((HOSTILE,), [[HOSTILE, Cell(HOSTILE, "bad", 0.5)]], HOSTILE, HOSTILE))
    text = Reader(fragment).text
    assert text.count("<script>alert(1)</script>") == 5
    assert not {"\x1b", "\u202e", "\u200b"} & set(fragment)
    assert "\\u202e" in text


@pytest.mark.parametrize("share", [-1.0, 0.0, 0.5, 1.0, 7.0])
def test_a_bar_stays_within_its_frame(share):
    shown = to_html(Table((), [[Cell("x", share=share)]]))
    filled = re.search(r"linear-gradient\(90deg,.* (-?\d+)%,transparent (-?\d+)%\)", shown)
    assert filled[1] == filled[2] == f"{min(max(share, 0), 1) * 100:.0f}"


def test_a_decision():
    charge = Charge("session:s", "srv/t/rate", 1, 30, 60, "/r")
    shown = Decision("ask", "/tools/t", HOSTILE, (charge,), Ask(), Decision("deny", "/new"))._repr_html_()
    text = Reader(shown).text
    assert "ask" in text
    assert "1 of 30 in a minute" in text
    assert "deny by /new" in text


def test_usage_is_a_list_and_a_table():
    usage = Usages([Usage("session:s", f"srv/{escape(HOSTILE)}/n", 3, 30, 60, 4.25)])
    assert usage == [Usage("session:s", f"srv/{escape(HOSTILE)}/n", 3, 30, 60, 4.25)]
    assert "3 of 30" in Reader(usage._repr_html_()).text
    Reader(Usages()._repr_html_())


def test_a_limit_that_allows_nothing_is_full():
    assert "transparent 100%" in Usages([Usage("global", "srv/t/n", 0, 0, 60, 0.0)])._repr_html_()


def test_a_guards_usage_is_such_a_table():
    policy = {"version": "1", "default": "deny", "tools": {"t": {"rate_limit": "5/hour"}}}
    guard = Guard(Policy.model_validate(policy), store="memory://", audit="/dev/null")
    guard.store.reserve(guard.explain(ToolCall("t", {})).charges)
    assert "1 of 5" in Reader(guard.usage()._repr_html_()).text


def test_a_policy():
    policy = Policy.model_validate(
        {
            "version": "1",
            "default": "deny",
            "server": HOSTILE,
            "hide": ["gone"],
            "all_tools": {"limits": [{"counter": "all", "window": "day", "max": 9, "counts": "attempts"}]},
            "tools": {
                "a": {"rate_limit": "5/hour", "risk": "write"},
                "b": {"action": "deny"},
                "c": {"action": "approve", "shadow": True},
                "d": {
                    "approval": {
                        "when": [
                            {"path": "args.x", "op": "gt", "value": 5},
                            {"path": "args.y", "op": "gt", "value": 6},
                        ],
                        "remember": "same",
                    },
                    "require": [{"path": "args.html", "op": "contains", "value": HOSTILE}],
                    "limits": [
                        {"counter": "events", "window": "10m", "max": 3, "count": "args.n.length", "scope": "global"}
                    ],
                },
            },
        }
    )
    text = Reader(policy._repr_html_()).text
    for expected in (
        "gone hidden",
        "every tool",
        "all: 9 calls a day, per session, attempts",
        "a allowed write 5 calls an hour",
        "b denied",
        "c on trial: asked",
        "when args.x gt 5 or args.y gt 6",
        "may remember the same arguments",
        "must: args.html contains",
        "events: 3 n.length in 10 minutes, for all together",
        "any other tool denied",
        policy.fingerprint[:12],
    ):
        assert expected in " ".join(text.split()), expected


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset(name):
    from guarded_tools.pipeline.registry import Registry

    Reader(Registry(name, None).policy(None)._repr_html_())


def test_an_audit(make_log):
    log = make_log()
    assert "no call yet" in Reader(log._repr_html_()).text
    log.write(AuditEvent("refused", tool=HOSTILE, session=HOSTILE, outcome="denied", rule="(hidden)", message=HOSTILE))
    text = Reader(log._repr_html_()).text
    assert "Who was refused what, and why" in text
    assert "1 calls: 1 denied" in text
    assert isinstance(log, AuditLog)
