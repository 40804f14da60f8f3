"""Labels are proposed from words, and measured against servers that were labelled by hand.

``labelled.tsv`` holds what a person read in the documentation of four servers, in words of our own: GitHub's MCP server
(without its granular tools), Google Workspace MCP 2.2 (mail, drive, calendar, chat, contacts, search), Stripe's agent
toolkit, and Pictify. It was written before the rules were, which were made with other servers. Of these, a person says:

- untrusted: the result may hold text that neither the user nor his company wrote (in GitHub, whatever a repository that
  anybody may name holds); private: it holds what not everybody may know; secret: it holds what opens something;
- outward: the call sends, shares, publishes or pays, goes to an address it is given, or changes what others see. A
  draft, a mark, a label of one's own mailbox, a file or a price that nobody is told of are none of that.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.tools.labels import LABELS, propose
from guarded_tools.tools.risk import verb_told

HERE = Path(__file__).parent
HINTS = {
    "readOnly": ("readOnlyHint", True),
    "notReadOnly": ("readOnlyHint", False),
    "openWorld": ("openWorldHint", True),
    "destructive": ("destructiveHint", True),
}


def table(name):
    with (HERE / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


LABELLED = table("labelled.tsv")
NAMES = [tool["tool"] for tool in (*LABELLED, *table("tools.tsv"))]


def labels(*told, **more):
    return {label for label, _ in propose(*told, **more)}


def takes(*names, **typed):
    return {"properties": {**{key: {"type": "string"} for key in names}, **typed}}


def measured(*, hints=False, description=True):
    """Count for each label what is rightly, wrongly and not proposed."""
    right, wrong, missed = Counter(), Counter(), Counter()
    for tool in LABELLED:
        got = labels(
            tool["tool"],
            tool["description"] if description else "",
            takes(*tool["parameters"].split()),
            dict(HINTS[hint] for hint in tool["hints"].split()) if hints else None,
            tool["risk"] if tool["server"] == "pictify" else None,
        )
        want = set(tool["labels"].split())
        right.update(got & want)
        wrong.update(got - want)
        missed.update(want - got)
    return {
        label: (right[label] / (right[label] + missed[label]), right[label] / (right[label] + wrong[label]))
        for label in LABELS
    }


def test_enough_tools_of_different_kinds_are_labelled():
    servers = Counter(tool["server"] for tool in LABELLED)
    assert set(servers) == {"github", "google", "stripe", "pictify"}
    assert min(servers.values()) >= 20
    assert {label for tool in LABELLED for label in tool["labels"].split()} == set(LABELS)


@pytest.mark.parametrize("description", [True, False])
def test_what_a_person_labelled_is_found_and_not_too_much_besides(description):
    found = measured(description=description)
    for label, (recall, precision) in found.items():
        assert recall >= 0.95, (label, recall, precision)
    assert found["untrusted"][1] >= 0.63
    assert found["private"][1] >= 0.82
    assert found["secret"][1] == 1
    assert found["outward"][1] >= 0.67


def test_hints_of_the_server_find_no_less():
    plain, hinted = measured(), measured(hints=True)
    for label in LABELS:
        assert hinted[label][0] >= plain[label][0]


@pytest.mark.parametrize(
    ("name", "schema", "want"),
    [
        ("fetch_url", takes("url"), {"untrusted", "outward"}),
        ("fetchWebPage", takes("pageUrl"), {"untrusted", "outward"}),
        ("scrape-page", None, {"untrusted", "outward"}),
        ("web_search", takes("query"), {"untrusted"}),
        ("read_inbox", None, {"untrusted", "private"}),
        ("getJiraIssue", takes("issueKey"), {"untrusted", "private"}),
        ("slack_get_channel_history", takes("channel_id"), {"untrusted", "private"}),
        ("list_customers", None, {"untrusted", "private"}),
        ("list_invoices", takes("limit"), {"private"}),
        ("get_me", None, {"private"}),
        ("list_transactions", None, {"untrusted", "private"}),
        ("browser_network_request", takes("index"), {"untrusted", "private", "outward"}),
        ("request_review", takes("pull"), {"outward", "untrusted", "private"}),
        ("browser_select_option", takes("ref"), {"untrusted", "private", "outward"}),
        ("list_issue_types", None, {"private"}),
        ("get_project_url", None, {"private"}),
        ("get_weather_forecast", takes("city"), set()),
        ("get_current_time", takes("timezone"), set()),
        ("get_time_entries", None, {"private"}),
        ("calculate", takes("expression"), set()),
        ("get_secret", takes("name"), {"private", "secret"}),
        ("list_api_keys", None, {"private", "secret"}),
        ("create_api_key", takes("name"), {"private", "secret", "outward"}),
        ("scan_keys", takes("pattern"), {"private"}),
        ("count_tokens", takes("text"), {"private"}),
        ("get_env", None, {"private", "secret"}),
        ("send_email", takes("to", "subject", "body"), {"outward"}),
        ("send_money", takes("recipient", "amount"), {"outward"}),
        ("create_invoice", takes("customer"), {"outward"}),
        ("create_issue", takes("owner", "repo", "title"), {"outward"}),
        ("write_file", takes("path", "content"), set()),
        ("write_file", takes("owner", "repo", "path", "content"), {"outward"}),
        ("write_file", None, {"outward"}),
        ("set_file_permissions", takes("path", "mode"), {"outward"}),
        ("mark_as_read", takes("chat_id"), set()),
        ("save_draft", takes("chat_id", no_webpage={"type": "boolean"}), set()),
        ("create_draft_pull_request", takes("owner", "repo"), {"outward"}),
        ("create_filter", takes("criteria", "action"), {"outward"}),
        ("execute_sql", takes("query"), {"untrusted", "private", "outward"}),
        ("browser_click", takes("ref"), {"untrusted", "private", "outward"}),
        ("download_attachment", takes("message_id"), {"untrusted", "private", "outward"}),
        ("delete_thing", takes("id"), {"outward"}),
    ],
)
def test_names_and_parameters_tell(name, schema, want):
    assert labels(name, "", schema) == want


@pytest.mark.parametrize("name", ["frobnicate", "", "widget", "工具", "get_\u0435mail", "über_get"])
def test_what_nobody_can_tell_is_everything(name):
    assert propose(name, "") == tuple(
        (label, "nothing tells what it does") for label in ("untrusted", "private", "outward")
    )


def test_what_nobody_can_tell_and_holds_secrets_is_that_as_well():
    assert labels("vault_frobnicate") == set(LABELS)


def test_an_argument_that_may_choose_to_read_brings_what_reading_brings():
    chooses = {"properties": {"action": {"enum": ["list", "create"]}}}
    assert labels("comment_write", "", chooses) == {"untrusted", "private", "outward"}
    assert labels("comment_write", "", {"properties": {"action": {"enum": ["create"]}}}) == {"outward"}


@pytest.mark.parametrize(
    ("description", "added"),
    [
        ("Reads messages of the team", {"untrusted"}),
        ("Returns the plan and its passwords", {"secret"}),
        ("Shows plans from the internet", {"untrusted", "outward"}),
        ("Read only and safe. Nothing private, nothing untrusted.", set()),
    ],
)
def test_a_description_adds(description, added):
    assert labels("list_plans", description) == {"private"} | added


def test_a_class_that_is_known_is_believed_and_money_always_leaves():
    assert labels("render_template", "", takes("id"), None, "read") == {"private"}
    assert labels("render_template", "", takes("id"), None, "write") == {"outward"}
    assert "outward" in labels("get_thing", "", None, None, "financial")


def test_each_label_says_why():
    why = dict(propose("read_inbox", "", takes("url")))
    assert why == {
        "untrusted": "name says 'inbox'",
        "private": "name says 'inbox'",
        "outward": "goes to any address: takes 'url'",
    }
    hinted = dict(propose("list_plans", "", None, {"openWorldHint": True}))
    assert hinted["untrusted"] == hinted["outward"] == "server says it reaches out into the world"
    assert dict(propose("list_plans", "", None, {"open_world_hint": True})) == hinted


SAID = st.one_of(
    st.sampled_from(["Read-only.", "Safe. Public data only.", "No secrets, nothing private.", "From the web."]),
    st.sampled_from([tool["description"] for tool in LABELLED]),
    st.text(max_size=80),
)
ANNOTATED = st.dictionaries(
    st.sampled_from(["readOnlyHint", "openWorldHint", "destructiveHint", "read_only_hint", "title"]),
    st.one_of(st.booleans(), st.none(), st.text(max_size=3)),
)


@given(name=st.sampled_from(NAMES), description=SAID, annotations=ANNOTATED)
def test_nothing_a_server_says_of_a_tool_takes_a_label_from_it(name, description, annotations):
    schema = takes("id", "path")
    if verb_told(name):
        assert labels(name, "", schema) <= labels(name, description, schema, annotations)
    assert labels(name, description, schema) <= labels(name, description, schema, annotations)


@pytest.mark.parametrize(
    "schema", [{"properties": []}, {"properties": {"action": True}}, {"properties": {"mode": {"enum": "x"}}}, {}]
)
def test_a_strange_schema_is_no_error(schema):
    assert labels("list_plans", "", schema) == {"private"}


def test_a_hostile_description_costs_no_time():
    propose("get_thing", "returns " * 200_000)
    propose("get_thing", "a" * 1_000_000, takes("a" * 100_000))
