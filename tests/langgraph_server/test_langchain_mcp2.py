"""The real ``langgraph dev`` with ``langchain.mcp``: approved over HTTP, asked in the middle of the call, restarted."""

from collections import Counter
from typing import Any

from guarded_tools.audit import audit_path, read, verify
from guarded_tools.stores import open_store
from tests.adapters.asking_agent import asking_server
from tests.adapters.claiming_server import listening
from tests.langgraph_server.dev import GO, Server, answer


def accept(key):
    return {"responses": {key: {"action": "accept", "content": {"sure": True}}}}


def asks(values):
    return [each["value"]["type"] for each in values["__interrupt__"]]


def test_an_approval_then_two_rounds_of_questions_and_a_restart_between_them(tmp_path):
    seen: list[Any] = []
    with listening(asking_server(2, seen)) as url:
        server = Server(tmp_path, "langgraph_mcp2.json", BANK=url)
        with server.running() as client:
            thread = client.threads.create()["thread_id"]
            go_on = lambda given: client.runs.wait(thread, "bank", command={"resume": given})  # noqa: E731
            assert asks(client.runs.wait(thread, "bank", input=GO)) == ["tool_approval"]
            assert seen == []
            assert asks(go_on({"type": "approve"})) == ["mcp_elicitation"]
            assert asks(go_on(accept("q0"))) == ["mcp_elicitation"]
        with server.running() as client:
            done = client.runs.wait(thread, "bank", command={"resume": accept("q1")})
            assert "paid ann" in str(answer(done))
            assert "__interrupt__" not in done
    assert seen[-1] == ("ann", [["accept", {"sure": True}]] * 2)
    assert "BlockingError" not in server.told
    used = {usage.scope: usage.used for usage in open_store(f"disk://{server.state}").usage()}
    assert used == {f"session:{thread}": 1}
    log = audit_path(server.state)
    kinds = Counter(record["kind"] for record in read(log))
    assert {kind: kinds[kind] for kind in ("asked", "answered", "admitted", "settled")} == dict.fromkeys(
        ("asked", "answered", "admitted", "settled"), 1
    )
    assert verify(log) == []
