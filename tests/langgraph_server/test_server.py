"""The real ``langgraph dev``: it ends every run that blocks its event loop, and guarded tools run under it.

One start and one restart; what is asserted comes from its HTTP API, its log, and the guard's files.
"""

import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from guarded_tools import Verdict
from guarded_tools.approvers import inbox
from guarded_tools.approvers.inbox import questions
from guarded_tools.audit import audit_path, read, verify
from guarded_tools.stores import open_store
from tests.approvers.test_notify import Receiver, until
from tests.langgraph_server.dev import GO, Server, answer, answers

ASKING = Path(__file__).parents[1] / "servers" / "asking_server.py"
YES = {"type": "approve"}
SURE = {"type": "edit", "edited_action": {"name": "pay (asks back)", "args": {"confirm": True}}}


@pytest.fixture
def ran(tmp_path):
    return tmp_path / "ran"


@pytest.fixture
def receiver():
    with closing(Receiver()) as receiver:
        yield receiver


@pytest.fixture
def server(tmp_path, ran, receiver):
    return Server(tmp_path, ASKING_SERVER=str(ASKING), RAN=str(ran), HOOK=receiver.url)


@pytest.fixture
def store(server):
    """What the server's guards keep, as another process opens it."""
    with closing(open_store(f"disk://{server.state}")) as store:
        yield store


def resumed(client, thread, agent, given):
    """What comes of a run that goes on with an answer."""
    return client.runs.wait(thread, agent, command={"resume": given})


def asks(values):
    """What waits for an answer."""
    return [each["value"]["name"] for each in values["__interrupt__"]]


def test_run_interrupt_resume_stream_two_threads_and_a_restart(server, ran, receiver, store):
    with server.running() as client:
        threads = [client.threads.create()["thread_id"] for _ in range(2)]
        for _ in range(2):
            assert answer(client.runs.wait(threads[0], "mail", input=GO)) == "sent to ann"
        assert "a limit of 2 in an hour is used up" in answer(client.runs.wait(threads[0], "mail", input=GO))

        # The other thread's limit is its own; and its answer comes as a stream.
        parts = list(client.runs.stream(threads[1], "mail", input=GO, stream_mode=["updates", "messages-tuple"]))
        assert "error" not in {part.event for part in parts}
        assert "sent to ann" in str([part.data for part in parts if part.event == "updates"])

        # A question interrupts; what it is resumed with is the answer.
        asking = client.threads.create()["thread_id"]
        asked = client.runs.wait(asking, "refund", input=GO)["__interrupt__"]
        assert [each["value"]["args"] for each in asked] == [{"amount": 5}]
        assert answer(resumed(client, asking, "refund", YES)) == "paid back 5"
        waiting = client.threads.create()["thread_id"]
        assert "__interrupt__" in client.runs.wait(waiting, "refund", input=GO)

        # Two approvals in one message: the pages of LangGraph's own send one resume, without an interrupt's id.
        twice = {form: client.threads.create()["thread_id"] for form in ("each_by_itself", "batched", "one_by_one")}
        shown = {form: client.runs.wait(thread, form, input=GO)["__interrupt__"] for form, thread in twice.items()}
        assert {form: len(asked) for form, asked in shown.items()} == {
            "each_by_itself": 2,
            "batched": 1,
            "one_by_one": 1,
        }
        lost_answer = client.runs.wait(
            twice["each_by_itself"], "each_by_itself", command={"resume": YES}, raise_error=False
        )
        assert "must specify the interrupt id" in str(lost_answer)
        (again,) = resumed(client, twice["one_by_one"], "one_by_one", [{"type": "accept", "args": None}])[
            "__interrupt__"
        ]
        assert again["value"]["action_request"] == {"action": "pay_back", "args": {"amount": 7}}

        # A question waits in the inbox: a receiver is told of it, and the answer comes from another process.
        letter = client.threads.create()["thread_id"]
        run = client.runs.create(letter, "letters", input=GO)["run_id"]
        until(lambda: receiver.got)
        (question,) = questions(store)
        link = f"http://127.0.0.1:8765/approvals/{question.id}"
        notice = {"tool": "send", "risk": "write", "id": question.id, "link": link}
        assert [json.loads(body) for _, _, body in receiver.got] == [notice]
        assert inbox.answer(store, question, Verdict.approve(by="ann")).kind == "taken"
        client.runs.join(letter, run)
        assert answer(client.threads.get_state(letter)["values"]) == "sent to bob"

        # An MCP server asks in the middle of a call, which is made once.
        buying, lost = [client.threads.create()["thread_id"] for _ in range(2)]
        for thread in (buying, lost):
            assert asks(client.runs.wait(thread, "buy", input=GO)) == ["pay"]
        assert asks(resumed(client, buying, "buy", YES)) == ["pay (asks back)"]
        assert "accept confirm=True" in str(answer(resumed(client, buying, "buy", SURE)))
        assert asks(resumed(client, lost, "buy", YES)) == ["pay (asks back)"]
        assert ran.read_text().splitlines() == ["began ann", "accept ann", "began ann"]

    with server.running() as client:
        assert "a limit of 2 in an hour is used up" in answer(client.runs.wait(threads[0], "mail", input=GO))
        assert answer(client.runs.wait(threads[1], "mail", input=GO)) == "sent to ann"
        assert answer(resumed(client, waiting, "refund", YES)) == "paid back 5"

        # What was asked before the restart is answered after it, each call by its own answer.
        done = resumed(client, twice["batched"], "batched", {"decisions": [{"type": "reject"}, YES]})
        assert [said.partition(":")[0] for said in answers(done)] == ["DENIED", "sent to ann", "paid back 7"]
        done = resumed(client, twice["one_by_one"], "one_by_one", [{"type": "ignore", "args": None}])
        assert [said.partition(":")[0] for said in answers(done)] == ["paid back 5", "sent to ann", "DENIED"]

        # The call that was under way ended with the process, and is not made again.
        assert "UNKNOWN OUTCOME" in str(answer(resumed(client, lost, "buy", SURE)))
        assert ran.read_text().splitlines() == ["began ann", "accept ann", "began ann"]

        told = server.told
        # Such a server does end what blocks: otherwise nothing above says anything.
        client.runs.wait(None, "blocking", input=GO, raise_error=False)

    assert "BlockingError" not in told
    assert "BlockingError" in server.told
    counted, several = store.usage(), {f"session:{thread}" for thread in twice.values()}
    sent = [usage.used for usage in counted if usage.scope in several and usage.counter.endswith("send/rate_limit")]
    assert sent == [1, 1, 1]
    used = {usage.scope: usage.used for usage in counted if usage.scope not in several}
    assert used == {
        f"session:{name}": n
        for name, n in zip([*threads, asking, waiting, letter, buying, lost], [2, 2, 1, 1, 1, 1, 1], strict=True)
    }
    log = audit_path(server.state)
    kinds = Counter(record["kind"] for record in read(log))
    assert (kinds["admitted"], kinds["settled"], kinds["refused"]) == (14, 14, 4)
    assert verify(log) == []
