"""An edit leaves its places in the audit, and nothing of what stood there."""

import json

import pytest

from guarded_tools import Guard, Policy, Verdict
from guarded_tools.audit import AuditLog, read
from guarded_tools.audit.edits import edited_paths
from guarded_tools.policy.paths import parse_path
from guarded_tools.stores import open_store
from guarded_tools.values import ToolCall


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["args.a"]),
        ({"a": 1}, {"a": 1.0}, ["args.a"]),
        ({"a": 1}, {"a": True}, ["args.a"]),
        ({"a": 1}, {"b": 1}, ["args.a", "args.b"]),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, ["args.a.b[1].c"]),
        ({"a": [1, 2]}, {"a": [1]}, ["args.a[1]"]),
        ({"a": (1, 2)}, {"a": [1, 2]}, []),
        ({"a": [1]}, {"a": {"b": 1}}, ["args.a"]),
        ({"a": None}, {}, ["args.a"]),
        ({"a.b": 1, 'say "x"\\': 1}, {}, ['args["a.b"]', 'args["say \\"x\\"\\\\"]']),
    ],
)
def test_paths_of_what_changed(before, after, paths):
    assert edited_paths(before, after) == paths
    for path in paths:
        parse_path(path)  # policies can name it


def test_the_audit_says_where_a_human_edited_and_not_what(tmp_path):
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"pay": {"approval": True}}})
    guard = Guard(
        policy,
        store=open_store("memory://"),
        audit=AuditLog(tmp_path / "audit.jsonl"),
        approver=lambda request: Verdict.edit({"to": {"name": "Ann", "sum": 5}}, by="ben"),
    )
    assert guard.call(ToolCall("pay", {"to": {"name": "Ann", "sum": 987654}}), json.dumps)
    answered, admitted, settled = [
        record["approval"] for record in read(guard.audit.path) if record["kind"] in {"answered", "admitted", "settled"}
    ]
    assert answered == admitted == settled
    assert (answered["verdict"], answered["by"], answered["edited"]) == ("edit", "ben", ["args.to.sum"])
    assert "987654" not in guard.audit.path.read_text()
