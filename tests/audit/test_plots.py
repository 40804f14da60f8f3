"""Pictures of the audit: that they show what the records say, and survive whatever the records hold."""

import subprocess
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools import plots
from guarded_tools.audit import read
from guarded_tools.audit.activity import BusySessions, CallTimes, HumanWaits
from guarded_tools.audit.charged import Fullest, TakenCharges, fullest, spending
from guarded_tools.audit.label_spans import carried_over
from guarded_tools.audit.summary import calls
from guarded_tools.values import AuditEvent
from tests import forked

START = 1_700_000_040.0  # a whole minute


class Clock:
    now = START

    def __call__(self):
        return self.now


@pytest.fixture
def story(make_log, path):
    """Five calls run and three are refused for the same reason; one human says no after 20 s, one never answers."""
    clock = Clock()
    log = make_log(clock=clock)

    def call(number, session, tool, outcome, **more):
        charges = ((f"session:{session}", f"srv/{tool}/rate", 1, 4, 60),)
        common = {"tool": tool, "session": session, "key": str(number), "charges": charges} | more
        if outcome in {"ok", "never_ran"}:
            log.write(AuditEvent("admitted", **common))
            log.write(AuditEvent("settled", **common, outcome=outcome, refunded=int(outcome == "never_ran")))
        else:
            log.write(AuditEvent("refused", **common, outcome=outcome))

    for number in range(5):
        clock.now = START + 10 * number
        call(number, "busy", "track", "never_ran" if number == 4 else "ok")
    clock.now = START + 130
    for number in range(3):
        call(10 + number, "busy", "track", "limited", message="the limit is used up", rule="/tools/track/limits/rate")
    for number, (cause, wait) in enumerate((("human", 20_000.0), ("timeout", 600_000.0), ("remembered", 0.0))):
        approval = {"verdict": "reject", "cause": cause, "by": "ann"}
        common = {"tool": "delete", "session": "calm", "key": f"a{number}", "approval": approval, "human_ms": wait}
        log.write(AuditEvent("answered", **common))
        log.write(AuditEvent("refused", **common, outcome="rejected", message="not this one"))
    return path


def texts(axes):
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return labels, [text.get_text().strip() for text in axes.texts]


def test_refusals_say_who_what_and_why(story):
    from matplotlib import colors

    (axes,) = plots.refusals(story).axes
    labels, notes = texts(axes)
    assert labels == ["track\nbusy", "delete\ncalm", "delete\ncalm"]
    assert notes == [
        "3 times limited: the limit is used up",
        "2 times rejected: not this one",
        "once rejected (timeout): not this one",
    ]
    assert [(bar.get_width(), bar.get_facecolor()) for bar in axes.patches[:2]] == [
        (3, colors.to_rgba(plots.COLOURS["limited"])),
        (2, colors.to_rgba(plots.COLOURS["rejected"])),
    ]


def test_calls_are_stacked_by_outcome_where_they_happened(story):
    from matplotlib import dates

    (axes,) = plots.calls(story).axes
    heights = {container.get_label(): [bar.get_height() for bar in container] for container in axes.containers}
    assert {name: sum(values) for name, values in heights.items()} == {
        "ok": 4,
        "never_ran": 1,
        "limited": 3,
        "rejected": 3,
    }
    assert list(heights) == ["ok", "never_ran", "limited", "rejected"]
    limited = next(container for container in axes.containers if container.get_label() == "limited")
    (bar,) = [bar for bar in limited if bar.get_height()]
    middle = dates.num2date(bar.get_x() + bar.get_width() / 2).timestamp()
    assert middle - 2.5 <= START + 130 < middle + 2.5  # bars of five seconds
    assert bar.get_y() == 0


def test_limits_show_the_fullest_window_without_what_was_given_back(story):
    from matplotlib import colors

    assert list(fullest(read(story))) == [Fullest("session:busy", "srv/track/rate", 4, 4, 60)]
    (axes,) = plots.limits(story).axes
    labels, notes = texts(axes)
    assert labels == ["track/rate\nsession:busy"]
    assert notes == ["4 of 4 in a minute"]
    assert axes.patches[0].get_facecolor() == colors.to_rgba("#c0392b")


def test_the_window_rolls(make_log, path):
    clock = Clock()
    log = make_log(clock=clock)
    for number, moment in enumerate((0, 30, 59, 60, 61, 200)):
        clock.now = START + moment
        log.write(AuditEvent("admitted", key=str(number), charges=(("global", "s/t/n", 2, 10, 60),)))
    assert [one.used for one in fullest(read(path))] == [8]


def test_charges_that_are_none_are_passed_over():
    odd = [[], ["s", "c", 1], ["s", "c", "1", 2, 3], ["s", "c", 1, 0, 3], ["s", "c", 1, 2, 0], 5, ["s", "c", 1, 2, 60]]
    records = [{"kind": "admitted", "key": "1", "charges": odd}]
    assert list(fullest(records)) == [Fullest("s", "c", 1, 2, 60)]


def test_approvals_show_how_long_each_question_waited(story):
    (axes,) = plots.approvals(story).axes
    points = {line.get_label(): line.get_xdata()[0] for line in axes.lines}
    assert points == {"reject": 20.0, "timeout": 600.0}
    assert texts(axes)[0] == ["delete"]


def test_sessions_are_ordered_by_activity(story):
    (axes,) = plots.sessions(story).axes
    assert texts(axes) == (["busy", "calm"], ["8", "3"])


def test_the_overview_holds_them_all(story, make_log):
    figure = plots.overview(make_log(path=story))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Who was refused what, and why",
        "Calls over time, by outcome",
        "How full each limit was at its fullest",
        "Busiest sessions",
        "How long questions waited for a human, and the answer",
    ]
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "draw", [plots.overview, plots.refusals, plots.calls, plots.limits, plots.approvals, plots.sessions]
)
def test_an_empty_log_says_so(draw, path):
    assert draw(path)._repr_png_()
    assert draw([])._repr_png_()


def test_names_are_neither_formulas_nor_controls(make_log, path):
    nasty = "$\\frac{1}{0}$ _x_ ^y^ \x1b[2J\u202e " + "z" * 500
    log = make_log()
    approval = {"verdict": nasty, "by": nasty}
    common = {"tool": nasty, "session": nasty, "grant": nasty, "charges": ((nasty, nasty, 1, 2, 60),)}
    log.write(AuditEvent("admitted", key="1", **common))
    log.write(AuditEvent("answered", key="1", approval=approval, human_ms=1.0, **common))
    log.write(AuditEvent("refused", key="2", outcome="denied", rule=nasty, message=nasty, **common))
    figure = plots.overview(path)
    assert figure._repr_png_()
    shown = "".join(text for axes in figure.axes for part in texts(axes) for text in part)
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "$\\frac{1}{0}$" in shown


def test_many_kinds_of_refusal_show_the_most_frequent(make_log, path):
    log = make_log()
    for number in range(30):
        for _ in range(number + 1):
            log.write(AuditEvent("refused", tool=f"t{number}", session="s", outcome="denied"))
    (axes,) = plots.refusals(path).axes
    assert texts(axes)[0][0] == "t29\ns"
    assert len(texts(axes)[0]) == 12


def test_without_matplotlib_it_says_what_to_install():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "try:\n import guarded_tools.plots\nexcept Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([forked.PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said == "GuardError matplotlib is not installed: pip install 'guarded-tools[notebook]'\n"


def test_no_global_state_of_matplotlib_is_touched(story):
    code = (
        "import sys\nfrom guarded_tools import plots\n"
        f"plots.overview({str(story)!r})._repr_png_()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([forked.PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


@pytest.fixture
def tainted(make_log, path):
    """A session that reads a stranger's page and the customers, is asked, and is cleared of the first by a human."""
    clock = Clock()
    log = make_log(clock=clock)
    calls = [
        ("read_page", ("untrusted",)),
        ("find", ("private",)),
        ("mail", ()),
        ("(clear)", ("untrusted",)),
        ("mail", ()),
    ]
    for number, (tool, brought) in enumerate(calls):
        clock.now = START + 10 * number
        common = {"tool": tool, "session": "s", "key": f"k{number}", "labels": brought}
        if tool == "(clear)":
            log.write(AuditEvent("control", session="s", rule=tool, labels=brought, message="clears"))
            continue
        if number == 2:
            log.write(AuditEvent("asked", **common))
        log.write(AuditEvent("admitted", **common))
        log.write(AuditEvent("settled", **common, outcome="ok"))
    return path


def test_labels_show_what_a_session_carried_over_its_calls(tainted):
    (axes,) = plots.labels(tainted).axes
    rows, said = texts(axes)
    assert rows == ["calls (ringed: a human was asked)", "untrusted", "private"]
    assert said == ["read_page, until a human cleared it", "find"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["read_page", "find", "mail", "mail"]
    untrusted, private = (patch for patch in axes.patches if patch.get_y() > 0)
    assert (untrusted.get_x(), untrusted.get_width()) == (0.25, 2.5)
    assert (private.get_x(), private.get_width()) == (1.25, 2.5)
    assert sum(line.get_markersize() == 14 for line in axes.lines) == 1


def test_a_reset_ends_every_label(tainted, make_log):
    log = make_log(clock=Clock())
    log.write(AuditEvent("control", rule="(reset)", message="started the counters of session:other at zero"))
    assert [span.last is None for span in carried_over(read(tainted), "s")] == [False, True]
    log.write(AuditEvent("control", rule="(reset)", message="started the counters of session:s at zero (1 forgotten)"))
    assert [span.last is None for span in carried_over(read(tainted), "s")] == [False, False]


def test_a_session_that_carries_nothing_is_drawn_too(story, tmp_path):
    (axes,) = plots.labels(story, "busy").axes
    assert texts(axes)[0] == ["calls (ringed: a human was asked)"]
    (empty,) = plots.labels(story, "nobody").axes
    assert texts(empty)[1] == ["No call yet."]


def test_spending_is_drawn_by_day_and_session(make_log, path):
    clock = Clock()
    log = make_log(clock=clock)

    def paid(key, session, reserved, settled, outcome="ok", **more):
        def charges(amount):
            limits = (
                (f"session:{session}", "(model)/*/usd/USD"),
                ("grant:ann", "(model)/*/usd/USD"),
                ("global", "x/y/z"),
            )
            return tuple((scope, counter, amount, 10**8, 86_400) for scope, counter in limits)

        common = {"tool": "(model)", "session": session, "key": key}
        log.write(AuditEvent("admitted", **common, charges=charges(reserved)))
        if settled is not None:
            log.write(AuditEvent("settled", **common, outcome=outcome, charges=charges(settled), **more))

    paid("1", "a", 500_000, 120_000)
    paid("2", "b", 500_000, 2_000_000)
    clock.now += 86_400
    paid("3", "a", 500_000, None)  # it was killed: the estimate stays
    paid("4", "a", 500_000, 500_000, "never_ran", refunded=3)
    first, second = (datetime.fromtimestamp(START + day * 86_400, UTC).date().isoformat() for day in (0, 1))
    assert spending(read(path)) == [(first, "a", 120_000), (first, "b", 2_000_000), (second, "a", 500_000)]
    assert spending(read(path), "EUR") == []
    axes = plots.spending(path).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [first, second]
    assert texts(axes)[1] == ["2.12", "0.50"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["b", "a"]
    assert plots.spending(path, "EUR").axes[0].texts[0].get_text() == "Nothing was spent in EUR."


def test_how_full_a_limit_was_is_told_by_what_calls_took_in_truth(make_log):
    log = make_log()
    common = {"tool": "t", "session": "s", "key": "1"}
    for kind, amount in (("admitted", 100), ("settled", 7)):
        log.write(AuditEvent(kind, **common, charges=(("session:s", "srv/t/tokens", amount, 1000, 60),)))
    assert [row.used for row in fullest(read(log.path))] == [7]


# In one pass, in bounded memory: the same as from all that there is


moments = st.lists(st.tuples(st.floats(0, 4e6), st.sampled_from(["ok", "denied"])), min_size=1, max_size=30).map(sorted)


@settings(max_examples=120, deadline=None)
@given(found=moments, stretch=st.sampled_from([1, 1e-2, 1e-4, 30]), most=st.sampled_from([3, 40]))
def test_calls_over_time_are_counted_as_if_all_were_kept(found, stretch, most):
    times = CallTimes(most)
    rows = [empty._replace(ended=START + at * stretch, outcome=outcome) for at, outcome in found]
    for row in rows:
        times.add(row)
    start, width, stretches = times.found()
    assert sum(stretches, Counter()) == Counter(row.outcome for row in rows)
    for at, counted in enumerate(stretches):
        first = start + at * width
        assert counted == Counter(row.outcome for row in rows if first <= row.ended < first + width)
    assert start <= rows[0].ended
    assert len(stretches) <= most + 1 or width == 604800


empty = next(calls([{"seq": 1, "kind": "refused"}]))


charged = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 20, 61, 500]),
        st.integers(0, 3),
        st.integers(1, 9),
        st.sampled_from(["settled", "settled", "open", "refunded"]),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=120, deadline=None)
@given(charged)
def test_how_full_a_limit_was_is_the_same_as_from_all_calls(found):
    """Against a plain sum over each window that ends in a call; with limits that are swept all the time."""
    records, ends, admitted, now = [], [], [], START
    for number, (passes, limit, amount, end, later) in enumerate(found):
        now += passes
        charge = ["session:s", f"srv/t/{limit}", amount, 10, 60 + limit]
        common = {"key": str(number), "charges": [charge], "session": "s", "tool": "t"}
        records.append({"kind": "admitted", "time": datetime.fromtimestamp(now, UTC).isoformat(), **common})
        ends.append((number + later, {"kind": "settled", **common, "refunded": int(end == "refunded")}, end))
        records += [record for at, record, end in ends if at == number and end != "open"]
        if end != "refunded" or number + later >= len(found):
            admitted.append((now, limit, amount))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("guarded_tools.audit.charged._SWEEP_EVERY", 1)
        told = {one.counter: one.used for one in fullest(records)}
    plain = {}
    for moment, limit, _ in admitted:
        window = 60 + limit
        used = sum(amount for at, which, amount in admitted if which == limit and moment - window < at <= moment)
        # Of several at one moment, all.
        plain[f"srv/t/{limit}"] = max(plain.get(f"srv/t/{limit}", 0), used)
    assert told == plain


def test_a_call_that_never_settles_holds_up_no_other_for_ever(monkeypatch):
    monkeypatch.setattr("guarded_tools.audit.charged._PATIENCE", 5)
    charges = TakenCharges()

    def admitted(key):
        return charges.add({"kind": "admitted", "key": key, "charges": [["global", "s/t/n", 1, 10, 60]]})

    assert admitted("open") == []
    for number in range(4):
        assert admitted(str(number)) == []
        assert charges.add({"kind": "settled", "key": str(number)}) == []
    assert len(admitted("last")) == 5
    assert len(list(charges.rest())) == 1


def test_of_very_many_questions_the_drawing_says_how_many_it_shows():
    approval = {"verdict": "approve"}
    records = [{"kind": "answered", "tool": "t", "approval": approval, "human_ms": 1.0} for _ in range(1_000)]
    (axes,) = plots.approvals(records).axes
    assert texts(axes)[0] == ["t (250 of 1,000)"]


def test_very_many_sessions_and_waits_leave_the_most(monkeypatch):
    monkeypatch.setattr("guarded_tools.audit.activity.MOST_SESSIONS", 10)
    busy, waits = BusySessions(), HumanWaits()
    for number in range(1_000):
        busy.add(empty._replace(session="busy" if number % 3 == 0 else f"s{number}"))
        approval = {"verdict": "approve"}
        waits.add({"kind": "answered", "tool": "t", "approval": approval, "human_ms": number * 1000.0})
    assert busy.found(1) == [("busy", Counter({empty.outcome: 334}))]
    assert len(busy.found(100)) <= 10
    (tool,) = waits.found(5)
    assert (tool.tool, tool.asked) == ("t", 1_000)
    assert 200 <= len(tool.waits) <= 400
    seconds = [wait for wait, _ in tool.waits]
    assert 450 < sum(seconds) / len(seconds) < 550
