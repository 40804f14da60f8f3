"""The terminal approver at a real terminal: a program at one end of a pty, the test at the other."""

import io
import json
import os
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pexpect
import pytest

from guarded_tools.approvers.keyboard import Keyboard
from guarded_tools.approvers.protocol import Unanswered
from tests import forked

ASKS = str(Path(__file__).with_name("asks.py"))
PROMPT = r"your answer \[\d+:\d\d(, \d+ more waits?)?\] > "


class Terminal:
    def __init__(self, command, **env):
        env = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"} | env
        for name in ("EDITOR", "VISUAL"):
            if name not in env or name in os.environ:
                env.pop(name, None)
        self.child = pexpect.spawn(command[0], command[1:], encoding="utf-8", timeout=15, env=env, dimensions=(50, 100))
        self.child.delaybeforesend = None
        self.child.logfile_read = io.StringIO()

    def expect(self, pattern):
        self.child.expect(pattern)
        return self.child.before + self.child.after

    def answer(self, text, prompt=PROMPT):
        seen = self.expect(prompt)
        self.child.send(text + "\r")
        self.child.expect("\r\n")  # the line was taken
        return seen

    def answer_next(self, text):
        """Answer the question that comes up next; the prompt of one that was answered may just have been drawn again."""
        self.expect("A tool call waits for you")
        return self.answer(text)

    def kinds_at_the_end(self):
        """Of all answers; the next question may come up before an answer that was given is printed."""
        self.child.expect(pexpect.EOF)
        return re.findall(r'ANSWER \["(\w+)"', self.child.logfile_read.getvalue())

    def verdict(self):
        self.child.expect(r"ANSWER (.*?)\r?\n")
        kind, args, message, remember, by, cause, text = json.loads(self.child.match.group(1))
        return {
            "kind": kind,
            "args": args,
            "message": message,
            "remember": remember,
            "by": by,
            "cause": cause,
            "text": text,
        }


@pytest.fixture
def terminal():
    opened = []

    def start(*calls, go=None, **env):
        """``go`` is a file that has to be there before anything is asked."""
        opened.append(Terminal([sys.executable, ASKS, json.dumps(calls), *([go] if go else [])], **env))
        return opened[-1]

    yield start
    for each in opened:
        each.child.close(force=True)


def test_a_approves_once_and_says_who_did(terminal):
    t = terminal({})
    t.answer("a")
    verdict = t.verdict()
    assert (verdict["kind"], verdict["remember"], verdict["cause"], verdict["by"]) == ("approve", "once", "human", True)


def test_r_rejects_and_asks_why(terminal):
    t = terminal({})
    t.answer("r")
    t.answer("wrong café", r"why\?.*> ")
    verdict = t.verdict()
    assert (verdict["kind"], verdict["message"]) == ("reject", "wrong café")


def test_w_answers_in_its_place(terminal):
    t = terminal({})
    t.answer("w")
    t.answer("it is blue", r"answer\? .*> ")
    assert t.verdict()["text"] == "it is blue"


def test_what_is_no_command_decides_nothing(terminal):
    t = terminal({})
    for typed in ("", "yes", "aa", "approve it", "s", "t", "\x1b[A"):
        t.answer(typed)
    t.answer("x\x7fa")
    assert t.verdict()["kind"] == "approve"


def test_what_is_offered_to_remember_is_what_the_policy_permits(terminal):
    t = terminal({"remember": "tool", "remember_for": 600})
    seen = t.answer("t")
    assert "s  approve these same arguments, for 10 minutes" in seen
    assert "t  approve ANY arguments of t, for 10 minutes" in seen
    assert t.verdict()["remember"] == "tool"


@pytest.mark.parametrize("call", [{"remember": "never"}, {"remember": "tool", "risk": "destructive"}])
def test_nothing_is_offered_to_remember_where_the_policy_permits_none(terminal, call):
    t = terminal(call)
    assert "approve ANY" not in t.answer("t")
    assert "t is none of these" in t.answer("r")


def test_the_arguments_reach_the_screen_byte_for_byte_harmless(terminal):
    t = terminal({"args": {"s": "a\x1b[2J\x1b]0;pwned\x07\rb\u202ec\u200bd\x9bX", "[red]k[/red]": ":smile:"}})
    seen = t.answer("a")
    assert r'"s": "a\u001b[2J\u001b]0;pwned\u0007\rb\u202ec\u200bd\u009bX"' in seen
    assert '"[red]k[/red]": ":smile:"' in seen
    ours = re.sub(r"\x1b\[[0-9;]*m|\r\x1b\[2K", "", seen)
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202e]", ours)


def test_long_values_are_folded_and_v_shows_all(terminal):
    t = terminal({"args": {"s": "x" * 3000 + "THE END" + "y" * 3000}})
    seen = t.answer("v")
    assert "FOLDED" in seen
    assert "THE END" not in seen
    assert "THE END" in t.answer("a").replace("↳ ", "")
    assert t.verdict()["kind"] == "approve"


def test_type_ahead_is_thrown_away(terminal, tmp_path):
    t = terminal({}, go=str(tmp_path / "go"))
    t.expect("READY")
    t.child.send("a\ra\r")
    t.child.expect_exact("a\r\na\r\n")  # what the terminal echoes, it has
    (tmp_path / "go").touch()
    t.expect(PROMPT)
    with pytest.raises(pexpect.TIMEOUT):
        t.child.expect("ANSWER", timeout=0.4)
    t.child.send("r\r")
    t.expect(r"why\?.*> ")
    t.child.send("\r")
    assert t.verdict()["kind"] == "reject"


def test_what_was_pasted_together_with_a_line_answers_none_of_those_that_follow(terminal):
    t = terminal({})
    t.expect(PROMPT)
    t.child.send('e\r{"x": 7}\ry\r')
    t.answer('\x15{"x": 8}', r"JSON object.*> ")
    t.answer("y", GO_ON)
    assert t.verdict()["args"] == {"x": 8}


def test_half_a_letter_that_was_typed_before_spoils_no_answer(terminal):
    t = terminal({})
    t.expect(PROMPT)
    os.write(t.child.child_fd, b"r\r\xc3")
    t.answer("caf\u00e9", r"why\?.*> ")
    assert t.verdict()["message"] == "caf\u00e9"


def test_the_countdown_runs(terminal):
    t = terminal({"timeout": 2})
    t.expect(r"\[0:01\]")
    t.expect(r"\[0:00\]")
    assert t.verdict()["cause"] == "timeout"


def test_a_question_whose_time_is_up_leaves_nothing_that_eats_the_next_answer(terminal):
    t = terminal({"timeout": 0.6, "args": {"x": 1}}, {"timeout": 10, "args": {"x": 2}})
    t.expect(PROMPT)
    first = t.verdict()
    assert first["cause"] == "timeout"
    t.answer("a")
    assert t.verdict()["kind"] == "approve"


def test_the_line_of_a_question_that_is_over_is_ended():
    ours, theirs = os.openpty()
    try:
        with (
            Keyboard(os.ttyname(theirs), time.monotonic() + 0.3) as keyboard,
            keyboard.raw(),
            pytest.raises(Unanswered, match="in time"),
        ):
            keyboard.line("your answer")
        said = b""
        while select.select([ours], [], [], 1)[0]:
            said += os.read(ours, 4096)
        assert re.search(rb"> \r+\n$", said)
    finally:
        os.close(theirs)
        os.close(ours)


def test_a_prompt_says_how_many_questions_wait(terminal):
    t = terminal(*({"args": {"x": x}} for x in range(3)))
    for others in (", 2 more wait", ", 1 more waits", ""):
        t.answer("a", rf"your answer \[\d+:\d\d{others}\] > ")
    assert t.kinds_at_the_end() == ["approve"] * 3


def test_parallel_questions_take_turns(terminal):
    t = terminal(*({"args": {"x": x}} for x in range(4)))
    seen = []
    for _ in range(4):
        shown = t.answer_next("a")
        assert "A tool call waits for you" not in shown
        seen += re.findall(r'"x": (\d)', shown)
    assert sorted(seen) == ["0", "1", "2", "3"]
    assert t.kinds_at_the_end() == ["approve"] * 4


def test_processes_that_share_a_terminal_take_turns(terminal):
    calls = json.dumps([{}])
    both = f"import subprocess, sys; [p.wait() for p in [subprocess.Popen([sys.executable, {ASKS!r}, {calls!r}]) for _ in 'ab']]"
    t = Terminal([sys.executable, "-c", both])
    try:
        for _ in range(2):
            assert "A tool call waits" not in t.answer_next("a")
        assert t.kinds_at_the_end() == ["approve"] * 2
    finally:
        t.child.close(force=True)


def test_ctrl_c_stops_the_program_and_leaves_the_terminal_as_it_was(terminal):
    t = terminal({})
    t.expect(PROMPT)
    assert not t.child.getecho()
    t.child.send("\x03")
    t.expect("INTERRUPTED")
    t.child.expect(pexpect.EOF)
    lflag = termios.tcgetattr(t.child.child_fd)[3]
    assert lflag & termios.ECHO
    assert lflag & termios.ICANON


ASYNC = """
import asyncio, sys, time
from langchain_core.tools import tool
from guarded_tools import Guard, Policy, TerminalApprover

@tool
def pay(x: int) -> str:
    "Pay."
    print("PAID", flush=True)
    return "paid"

policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"pay": {"action": "approve"}}})
[pay] = Guard(policy, store="memory://", approver=TerminalApprover()).wrap([pay])

async def main():
    await asyncio.gather(*(pay.ainvoke({"x": x}) for x in range(3)))

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("INTERRUPTED", flush=True)
"""


def test_ctrl_c_ends_a_program_that_asks_from_an_executor(tmp_path):
    """A tool without a coroutine runs in a thread there, which the loop waits for and cannot cancel."""
    t = Terminal([sys.executable, "-c", ASYNC], GUARDED_TOOLS_HOME=str(tmp_path))
    try:
        for _ in range(3):  # drawn once a second: by then the others wait for their turn
            t.expect(PROMPT)
        t.child.send("\x03")
        t.expect("INTERRUPTED")
        t.child.expect(pexpect.EOF)
        assert "PAID" not in t.child.logfile_read.getvalue()
        assert t.child.logfile_read.getvalue().count("A tool call waits for you") == 1
        assert termios.tcgetattr(t.child.child_fd)[6][termios.VINTR] == b"\x03"
    finally:
        t.child.close(force=True)


# Editing


@pytest.fixture
def editor(tmp_path):
    """An editor that replaces the file by the next of the given texts, and keeps what it was given."""

    def make(*texts):
        for at, text in enumerate(texts):
            (tmp_path / f"text{at}").write_text(text)
        script = tmp_path / "editor.py"
        script.write_text(
            "import sys, pathlib\n"
            "here = pathlib.Path(sys.argv[0]).parent\n"
            "at = len(list(here.glob('given*')))\n"
            "(here / f'given{at}').write_text(pathlib.Path(sys.argv[1]).read_text())\n"
            "(here / 'mode').write_text(oct(pathlib.Path(sys.argv[1]).parent.stat().st_mode & 0o777))\n"
            "pathlib.Path(sys.argv[1]).write_text((here / f'text{at}').read_text())\n"
        )
        return f"{sys.executable} {script}"

    return make


GO_ON = r"y to run this.*> "


def test_e_opens_the_editor_and_shows_what_changed(terminal, editor, tmp_path):
    t = terminal({"args": {"x": 1, "s": "a\u202eb"}}, EDITOR=editor('{"x": 2, "s": "a\\u202eb"}'))
    t.answer("e")
    seen = re.sub(r"\x1b\[[0-9;]*m", "", t.answer("y", GO_ON))
    assert '-  "x": 1' in seen
    assert '+  "x": 2' in seen
    verdict = t.verdict()
    assert (verdict["kind"], verdict["args"]) == ("edit", {"x": 2, "s": "a\u202eb"})
    assert "\\u202e" in (tmp_path / "given0").read_text()
    assert (tmp_path / "mode").read_text() == "0o700"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting"),
        ("[1]", "JSON object"),
        ('{"x": 1, "x": 2}', "twice"),
        ('{"x": NaN}', "NaN"),
        ('{"x": 100}', "x must stay below 100"),
    ],
)
def test_an_edit_is_validated_before_it_is_accepted(terminal, editor, tmp_path, text, why):
    t = terminal({}, EDITOR=editor(text, '{"x": 3}'))
    t.answer("e")
    assert why in t.answer("", "Enter to edit again.*> ")
    t.answer("y", GO_ON)
    assert t.verdict()["args"] == {"x": 3}
    assert (tmp_path / "given1").read_text() == text


@pytest.mark.parametrize("editor", ["/no/such/editor", "vi 'unclosed"])
def test_an_editor_that_does_not_start_leaves_the_question_open(terminal, editor):
    t = terminal({}, EDITOR=editor)
    t.answer("e")
    assert "did not work" in t.answer("x", r"Enter to edit again.*> ")
    t.answer("a")
    assert t.verdict()["kind"] == "approve"


def test_without_an_editor_the_arguments_are_typed(terminal):
    t = terminal({})
    t.answer("e")
    t.answer('\x15{"x": 7, "s": "é\\u200b"}', r"JSON object.*> ")
    t.answer("y", GO_ON)
    assert t.verdict()["args"] == {"x": 7, "s": "é\u200b"}


def test_without_an_editor_an_edit_begins_with_what_is_there(terminal):
    t = terminal({"args": {"s": "é", "x": 1}})
    t.answer("e")
    left, home, end, right, delete = "\x1b[D", "\x1b[H", "\x1bOF", "\x1b[C", "\x1b[3~"
    # { "s": "é", "x": 1 }: the é becomes è!, and the 1 becomes 23
    t.answer(f"{home}{right * 8}{delete}è!{end}{left * 2}\x7f23", r"JSON object.*> .*é")
    t.answer("y", GO_ON)
    assert t.verdict()["args"] == {"x": 23, "s": "è!"}


def test_an_edit_that_was_not_accepted_is_typed_on(terminal):
    t = terminal({})
    t.answer("e")
    t.answer("\x7f", r"JSON object.*> ")  # the brace at its end
    t.answer("", "Enter to edit again.*> ")
    t.answer(', "y": 2}', r"JSON object.*> ")
    t.answer("y", GO_ON)
    assert t.verdict()["args"] == {"x": 1, "y": 2}


def test_only_y_runs_an_edit_and_only_enter_goes_back(terminal):
    t = terminal({})
    t.answer("e")
    t.answer('\x15{"x": 7}', r"JSON object.*> ")
    for typed in ("yes", "Y", "n"):
        t.answer(typed, GO_ON)
        t.expect(f"{typed} is not y")
    t.answer("y", GO_ON)
    assert t.verdict()["args"] == {"x": 7}


def test_an_edit_can_be_left(terminal):
    t = terminal({})
    t.answer("e")
    t.answer('\x15{"x": 7}', r"JSON object.*> ")
    t.answer("", GO_ON)
    t.answer("e")
    t.answer("\x15nonsense", r"JSON object.*> ")
    t.answer("x", r"Enter to edit again.*> ")
    t.answer("a")
    verdict = t.verdict()
    assert (verdict["kind"], verdict["args"]) == ("approve", None)


@pytest.mark.serial
def test_time_ends_an_open_editor(terminal):
    t = terminal({"timeout": 1}, EDITOR=f"{sys.executable} -c 'import time; time.sleep(30)'")
    t.answer("e")
    began = time.monotonic()
    assert t.verdict()["cause"] == "timeout"
    assert time.monotonic() - began < 5


# Nobody there


def run_without_terminal(**options):
    return subprocess.run(
        [forked.PYTHON, ASKS, "[{}]"], capture_output=True, text=True, timeout=20, check=True, **options
    ).stdout


def test_without_a_terminal_denied_and_told_what_to_do():
    said = json.loads(run_without_terminal(stdin=subprocess.DEVNULL).split("ANSWER ")[1])
    assert (said[0], said[5]) == ("reject", "unavailable")
    assert "interactive terminal" in said[6]
    assert "InterruptApprover" in said[6]


def test_with_closed_standard_input_denied():
    said = run_without_terminal(preexec_fn=lambda: os.close(0), stdin=None)
    assert '"unavailable"' in said


def test_when_the_terminal_goes_away_the_program_is_not_left_hanging(terminal):
    t = terminal({})
    t.expect(PROMPT)
    t.child.close(force=False)
    assert not t.child.isalive()
