"""Asking in a real kernel over its wire protocol; the test is the front end that types and clicks."""

import html
import queue
import re
import sys
import threading
import time
from pathlib import Path

import nbclient
import nbformat
import pytest
from jupyter_client import KernelManager
from langgraph.types import Interrupt

SETUP = """
import asyncio, threading
from guarded_tools.approval import workflow
from guarded_tools.flow import run, arun
from guarded_tools.stores import open_store
from guarded_tools.approvers.notebook import NotebookApprover
from guarded_tools.values import ApprovalRequest

store = open_store("memory://")
approver = NotebookApprover()
numbers = iter(range(1000))

def line(args=None, **fields):
    fields = {"risk": "write", "timeout": 15, "digest": str(next(numbers)), "session": f"s{next(numbers)}"} | fields
    request = ApprovalRequest(tool="t", args=args or {"x": 1}, rule="/tools/t", **fields)
    return workflow.ask(request, store=store, approver=approver, limits=workflow.ApprovalLimits())

def show(answer):
    verdict = answer.verdict
    # One write: print sends its parts apart, and another thread's card would come between them.
    print(f"ANSWER {verdict.kind} {verdict.args} {verdict.message!r} {answer.cause} {answer.text}\\n", end="")
"""


class FrontEnd:
    """Runs cells and sees what a front end sees."""

    def __init__(self):
        self.manager = KernelManager()
        self.manager.kernel_spec.argv[0] = sys.executable
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.widgets = {}
        self.prompts = []
        self.told = []

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def cell(self, code, *typed, allow_stdin=True):
        """Run a cell, typing these lines (or what a function makes of the prompt) as they are asked for."""
        lines = list(typed)
        return self._until_idle(self.client.execute(code, allow_stdin=allow_stdin), lines)

    @property
    def board(self):
        """What the one board of questions shows, and the comm that it is reached by."""
        (board,) = [state["board"] for state in self.widgets.values() if "board" in state]
        return board

    def press(self, kind, at=0, **more):
        """Press a button of the question at this place, as the page does."""
        return self.say({"key": self.board["questions"][at]["key"], "kind": kind, **more})

    def say(self, content):
        (comm,) = [comm for comm, state in self.widgets.items() if "board" in state]
        self.told.clear()
        return self._to_comm(comm, {"method": "custom", "content": content})

    def labels(self):
        return [label for one in self.board["questions"] for label, _ in one["offers"] if not self.board["busy"]]

    def shown(self):
        """What the cards on the screen say of x, in their order."""
        return [int(re.search(r"&quot;x&quot;: (\d+)", one["html"])[1]) for one in self.board["questions"]]

    def became(self):
        """What the page says of answers, without its markup."""
        return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]+>", " ", self.board["above"])))

    def _to_comm(self, comm, data):
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        self.client.shell_channel.send(message)
        return self._until_idle(message["header"]["msg_id"], [])

    def _heard(self, kind, content):
        if kind == "comm_open":
            self.widgets[content["comm_id"]] = dict(content["data"].get("state", {}))
        elif kind == "comm_msg":
            self.widgets.setdefault(content["comm_id"], {}).update(content["data"].get("state", {}))
            self.told += [content["data"]["content"]] if content["data"].get("method") == "custom" else []
        elif kind == "comm_close":
            self.widgets.pop(content["comm_id"], None)
        elif kind == "stream":
            return content["text"]
        elif kind in ("display_data", "execute_result"):
            return content["data"].get("text/html", content["data"].get("text/plain", ""))
        elif kind == "error":
            return f"ERROR {content['ename']} {content['evalue']}"
        return ""

    def _until_idle(self, msg_id, lines, timeout=30):
        seen = ""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            try:
                asked = self.client.get_stdin_msg(timeout=0.01)
                self.prompts.append(asked["content"]["prompt"])
                if lines:
                    typed = lines.pop(0)
                    typed = typed(asked["content"]["prompt"]) if callable(typed) else typed
                    if typed is not None:
                        self.client.input(typed)
            except queue.Empty:
                pass
            try:
                message = self.client.get_iopub_msg(timeout=0.05)
            except queue.Empty:
                continue
            seen += self._heard(message["msg_type"], message["content"])
            idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            if idle and message["parent_header"].get("msg_id") == msg_id:
                return seen
        raise AssertionError(f"the cell did not end; so far: {seen}")


@pytest.fixture(scope="module")
def kernel():
    front_end = FrontEnd()
    assert front_end.cell(SETUP) == ""
    yield front_end
    front_end.close()


@pytest.fixture(scope="module")
def kernel_of_abandoned_questions():
    front_end = FrontEnd()
    assert front_end.cell(SETUP) == ""
    yield front_end
    front_end.close()


@pytest.mark.parametrize("run", ["run(line({}))", "await arun(line({}))"], ids=["sync", "async"])
class TestCell:
    def test_approve(self, kernel, run):
        seen = kernel.cell(f"show({run.format('')})", "a")
        assert "ANSWER approve None '' human" in seen

    def test_the_card_is_html_and_harmless(self, kernel, run):
        seen = kernel.cell(f"show({run.format(repr({'s': '<script>alert(1)</script>'}))})", "a")
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in seen
        assert "<script>" not in seen

    def test_reject_with_a_reason(self, kernel, run):
        seen = kernel.cell(f"show({run.format('')})", "yes please", "r", "wrong one")
        assert "yes please is none of these" in seen
        assert "ANSWER reject None 'wrong one' human" in seen

    def test_edit(self, kernel, run):
        seen = kernel.cell(f"show({run.format('')})", "e", '{"x": NaN}', "", '{"x": 7}', "y")
        assert "not accepted: NaN" in seen
        assert "Your edit" in seen
        assert "ANSWER edit {'x': 7}" in seen

    def test_remember(self, kernel, run):
        asked = run.format("session='keep', digest='same', remember='same'")
        seen = kernel.cell(f"show({asked}); show({asked})", "s")
        assert "approve these same arguments, for 1 hour" in seen
        assert "human" in seen
        kernel.cell("[store.take(key) for key, _ in store.scan('approvals/remembered/')]")
        assert "ANSWER approve None '' remembered" in seen

    def test_without_anybody_denied_and_told_what_to_do(self, kernel, run):
        seen = kernel.cell(f"show({run.format('')})", allow_stdin=False)
        assert "unavailable" in seen
        assert "resume_with_buttons" in seen


def test_parallel_questions_take_turns(kernel):
    seen = kernel.cell(
        "[show(a) for a in await asyncio.gather(*(arun(line({'x': x})) for x in range(3)))];", "a", "r", "", "a"
    )
    assert seen.count("ANSWER approve") == 2
    assert seen.count("ANSWER reject") == 1


def test_questions_of_threads_take_turns(kernel):
    code = """
import contextvars
threads = [threading.Thread(target=contextvars.copy_context().run, args=(lambda: show(run(line())),)) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
None
"""
    assert kernel.cell(code, "a", "a", "a").count("ANSWER approve") == 3


def test_a_question_given_up_leaves_no_box_that_answers_the_next(kernel_of_abandoned_questions):
    kernel = kernel_of_abandoned_questions
    first = kernel.cell("show(run(line(timeout=0.4)))")
    assert "timeout" in first

    def stale(prompt):
        assert "then a space and 1" in prompt
        return "a"

    seen = kernel.cell("show(run(line()))", stale, "r 1", "because 1")
    assert "ANSWER reject None 'because' human" in seen
    assert kernel.cell("print([t.name for t in threading.enumerate() if 'approver' in t.name])") == "[]\n"


@pytest.mark.serial
@pytest.mark.parametrize("run", ["run(line())", "await arun(line())"], ids=["sync", "async"])
def test_interrupting_the_kernel_takes_the_question_back(kernel_of_abandoned_questions, run):
    kernel = kernel_of_abandoned_questions

    def interrupt(prompt):
        threading.Timer(0.2, kernel.manager.interrupt_kernel).start()

    began = time.monotonic()
    seen = kernel.cell(f"show({run})", interrupt)
    assert time.monotonic() - began < 5
    assert re.search("ERROR (KeyboardInterrupt|CancelledError)", seen)
    time.sleep(0.3)
    left = "print([t.name for t in threading.enumerate() if 'approver' in t.name], list(store.scan('approvals/open/')))"
    assert kernel.cell(left) == "[] []\n"


def test_a_terminals_approver_says_what_to_write_in_a_notebook(kernel):
    asked = (
        "from guarded_tools.approvers.terminal import TerminalApprover; own, approver = approver, TerminalApprover()"
    )
    seen = kernel.cell(f"{asked}; show(run(line())); approver = own")
    assert "unavailable" in seen
    assert "In a notebook, give the guard NotebookApprover()" in seen
    assert "resume_with_buttons()" in seen


def test_outside_a_kernel_denied_and_told_what_to_do(sync_approvals):
    from guarded_tools.approvers.notebook import NotebookApprover

    answer = sync_approvals.ask(sync_approvals.request(), NotebookApprover())
    assert answer.cause == "unavailable"
    assert "outside a Jupyter kernel" in answer.text


def test_nbclient_has_nobody_at_it(tmp_path):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(SETUP), nbformat.v4.new_code_cell("show(run(line()))")],
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
    )
    nbclient.NotebookClient(notebook, timeout=60).execute(cwd=str(tmp_path))
    text = notebook.cells[1].outputs[0]["text"]
    assert "unavailable" in text
    assert "without anybody at it" in text


# Buttons

MODULES = """
import pathlib, sys, tempfile, time
sys.path.insert(0, {here!r})
from test_interrupt import Run, turn, ASK
from guarded_tools.approvers.notebook import resume_with_buttons
"""
AGENT = """
tools = {'t': ASK | {'approval': {'remember': 'tool'}}, 'asks_itself': ASK}
agents = Run(pathlib.Path(tempfile.mkdtemp()), open_store('memory://'), time.time, tools=tools)
"""


@pytest.fixture(scope="module")
def kernel_with_agents():
    front_end = FrontEnd()
    assert front_end.cell(SETUP + MODULES.format(here=str(Path(__file__).parent))) == ""
    yield front_end
    front_end.close()


@pytest.fixture
def agents(kernel_with_agents):
    kernel_with_agents.widgets.clear()
    assert kernel_with_agents.cell(AGENT) == ""
    return kernel_with_agents


def start(calls, how="resume_with_buttons(agents.agent, agents.go(), agents.config)"):
    return f"agents.agent_of(turn(*{calls!r})); buttons = {how}"


def test_buttons_resume_several_asks_in_any_order(agents):
    agents.cell(start([("t", {"x": 1}), ("u", {"x": 2}), ("t", {"x": 3})]))
    assert agents.labels().count("Approve") == 3
    assert agents.labels().count("Approve ANY arguments of t, for 1 hour") == 2
    for x in (3, 1, 2):
        agents.press("approve", agents.shown().index(x), remember="once")
        assert agents.cell("print(agents.ran[-1][1])") == f"{x}\n"
    assert agents.cell("print(len(agents.ran), buttons.pending)") == "3 []\n"
    lines = ('t: approved → t3 · {"x": 3}', 't: approved → t1 · {"x": 1}', 'u: approved → u2 · {"x": 2}')
    assert agents.became() == f" What became of your answers {' '.join(lines)} "


def test_an_approval_is_remembered_as_long_as_was_pressed(agents):
    agents.cell(start([("t", {"x": 1})]))
    agents.press("approve", remember="tool")
    kept = "print(agents.ran, len([key for key, _ in agents.guard.store.scan('approvals/remembered/')]))"
    assert agents.cell(kept) == "[('t', 1)] 1\n"


def test_a_click_approves_and_says_what_the_agent_says(agents):
    agents.cell(start([("u", {"x": 2})]))
    agents.press("approve")
    assert (
        agents.cell("print(agents.ran, buttons.pending, buttons.result['messages'][-1].text)") == "[('u', 2)] [] done\n"
    )
    assert "No question waits. The agent says: done" in agents.board["below"]


def test_a_second_press_of_what_was_answered_is_nothing(agents):
    agents.cell(start([("t", {"x": 1}), ("u", {"x": 2})]))
    pressed = {"key": agents.board["questions"][agents.shown().index(1)]["key"], "kind": "approve"}
    agents.say(pressed)
    turn = agents.board["turn"]
    agents.say(pressed)
    assert agents.board["turn"] > turn, "the page is told, for its buttons are locked"
    assert agents.cell("print(agents.ran)") == "[('t', 1)]\n"


def test_a_click_rejects_with_the_reason(agents):
    agents.cell(start([("u", {"x": 2})]))
    agents.press("reject", text="too big")
    seen = agents.cell("print(agents.ran, agents.answers())")
    assert seen.startswith("[]")
    assert "too big" in seen
    assert "u: rejected: too big" in agents.became()


def test_an_edit_is_checked_while_it_is_typed(agents):
    agents.cell(start([("u", {"x": 2})]))
    for text, said in (
        ('{"x": 2, "x": 3}', "appears twice"),
        ('{"x": "two"}', "valid integer"),
        ('{"x": 30}', "+  &quot;x&quot;: 30"),
    ):
        agents.press("check", text=text, number=7)
        [told] = agents.told
        assert said in told["html"]
        assert told["number"] == 7
    assert agents.cell("print(agents.ran)") == "[]\n"


def test_a_click_runs_what_was_edited_once_it_is_accepted(agents):
    agents.cell(start([("u", {"x": 2})]))
    for text, said in (('{"x": 2, "x": 3}', "appears twice"), ('{"x": "two"}', "valid integer")):
        agents.press("edit", text=text)
        assert said in agents.told[-1]["html"]
    agents.press("edit", text='{"x": 30}')
    assert agents.cell("print(agents.ran)") == "[('u', 30)]\n"
    assert "u: run as edited → u30" in agents.became()


def test_a_question_of_another_process_is_judged_when_it_runs(agents):
    agents.cell(start([("u", {"x": 2})]))
    agents.cell("from guarded_tools.approvers import interrupt; interrupt._checks.clear()")
    agents.press("edit", text='{"x": "two"}')
    assert agents.cell("print(agents.ran)") == "[]\n"
    assert "u: your edit was refused: u does not take these arguments" in agents.became()


def test_a_click_answers_in_its_place(agents):
    agents.cell(start([("u", {"x": 2})]))
    agents.press("respond", text="")
    assert "write the answer first" in agents.told[-1]["html"]
    agents.press("respond", text="forty")
    assert agents.cell("print(agents.ran, agents.answers())") == (
        "[] {'call_0': 'NOTE: u did not run. A human answered in its place:\\nforty'}\n"
    )
    assert "u: answered in its place: forty" in agents.became()


def test_a_tools_own_question_gets_a_box_of_its_own(agents):
    agents.cell(start([("asks_itself", {"x": 2})]))
    agents.press("approve")
    assert "asks_itself: approved; the run went on" in agents.became()
    assert agents.board["questions"][0]["offers"] is None
    agents.press("free", text='{"n": 1}')
    assert "the run's question:answered: {'n': 1}" in agents.became()
    assert agents.cell("print(agents.ran)") == "[('asks_itself', 2, {'n': 1})]\n"


def test_an_answer_that_was_not_understood_is_asked_for_again_and_says_why(agents):
    agents.cell(start([("u", {"x": 2})]))
    agents.cell("buttons.answer(buttons.pending[0].id, {'type': 'maybe'})")
    assert "u: asked once more: the last answer was not understood: type has to be approve" in agents.became()
    agents.press("approve")
    assert agents.cell("print(agents.ran)") == "[('u', 2)]\n"


def test_an_async_agent_is_resumed_on_the_kernels_loop(agents):
    how = (
        "resume_with_buttons(agents.agent, await agents.agent.ainvoke({'messages': [('user', 'go')]}, agents.config), "
    )
    how += "agents.config, run=lambda command: agents.agent.ainvoke(command, agents.config))"
    agents.cell(start([("u", {"x": 2})], how))
    agents.press("approve")
    assert agents.cell("await asyncio.sleep(0.5); print(agents.ran, buttons.pending)") == "[('u', 2)] []\n"
    assert "u: approved → u2" in agents.became()


def test_a_run_that_fails_says_so_and_can_be_resumed(agents):
    agents.cell(start([("u", {"x": 2})]))
    agents.cell("real, buttons._run = buttons._run, lambda command: 1 / 0")
    agents.press("approve")
    assert "the run failed: ZeroDivisionError" in agents.board["below"]
    agents.cell("buttons._run = real")
    agents.press("approve")
    assert agents.cell("print(agents.ran)") == "[('u', 2)]\n"


def test_interrupting_a_run_leaves_buttons_that_work():
    from guarded_tools.approvers.buttons import Buttons

    value = {"type": "tool_approval", "name": "t", "args": {"x": 1}, "risk": "write"}
    runs = iter([KeyboardInterrupt, None])

    def run(command):
        assert buttons.widget.board["busy"]
        if error := next(runs):
            raise error
        return {}

    buttons = Buttons(run, {"__interrupt__": [Interrupt(value, id="a" * 32)]}, "session")
    with pytest.raises(KeyboardInterrupt):
        buttons.answer("a" * 32, {"type": "approve"})
    assert not buttons.widget.board["busy"]
    buttons.answer("a" * 32, {"type": "approve"})
    assert buttons.pending == []


def test_a_question_that_became_another_gets_a_card_of_its_own():
    from guarded_tools.approvers.buttons import Buttons

    def asking(x):
        value = {"type": "tool_approval", "name": "t", "args": {"x": x}, "risk": "write"}
        return {"__interrupt__": [Interrupt(value, id="a" * 32)]}

    answered = []
    buttons = Buttons(lambda command: answered.append(command.resume) or asking(True), asking(1), "session")
    [before] = buttons.widget.board["questions"]
    buttons.answer("a" * 32, {"type": "nonsense"})
    [shown] = buttons.widget.board["questions"]
    assert "&quot;x&quot;: true" in shown["html"]
    assert '"x": true' in shown["args"]
    buttons._heard({"key": before["key"], "kind": "approve"})
    assert len(answered) == 1, "a press on what is no longer there answers nothing"


def test_without_a_thread_nothing_can_be_resumed():
    from guarded_tools.approvers.notebook import resume_with_buttons

    with pytest.raises(ValueError, match="thread_id"):
        resume_with_buttons(object(), {"__interrupt__": []})
