"""The real ``langgraph dev``: it ends every run that blocks its event loop, and guarded tools run under it.

One start and one restart; what is asserted comes from its HTTP API, its log, and the guard's files.
"""

from collections import Counter
from pathlib import Path

import pytest

from guarded_tools.audit import audit_path, read, verify
from guarded_tools.stores import open_store
from tests.langgraph_server.dev import GO, Server, answer

ASKING = Path(__file__).parents[1] / "servers" / "asking_server.py"
YES = {"type": "approve"}
SURE = {"type": "edit", "edited_action": {"name": "pay (asks back)", "args": {"confirm": True}}}


@pytest.fixture
def ran(tmp_path):
    return tmp_path / "ran"


@pytest.fixture
def server(tmp_path, ran):
    return Server(tmp_path, ASKING_SERVER=str(ASKING), RAN=str(ran))


def resumed(client, thread, agent, given):
    """What comes of a run that goes on with an answer."""
    return client.runs.wait(thread, agent, command={"resume": given})


def asks(values):
    """What waits for an answer."""
    return [each["value"]["name"] for each in values["__interrupt__"]]


def test_run_interrupt_resume_stream_two_threads_and_a_restart(server, ran):
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

        # The call that was under way ended with the process, and is not made again.
        assert "UNKNOWN OUTCOME" in str(answer(resumed(client, lost, "buy", SURE)))
        assert ran.read_text().splitlines() == ["began ann", "accept ann", "began ann"]

        told = server.told
        # Such a server does end what blocks: otherwise nothing above says anything.
        client.runs.wait(None, "blocking", input=GO, raise_error=False)

    assert "BlockingError" not in told
    assert "BlockingError" in server.told
    used = {usage.scope: usage.used for usage in open_store(f"disk://{server.state}").usage()}
    assert used == {
        f"session:{name}": n
        for name, n in zip([*threads, asking, waiting, buying, lost], [2, 2, 1, 1, 1, 1], strict=True)
    }
    log = audit_path(server.state)
    kinds = Counter(record["kind"] for record in read(log))
    assert (kinds["admitted"], kinds["settled"], kinds["refused"]) == (8, 8, 2)
    assert verify(log) == []
