from __future__ import annotations

import csv
from pathlib import Path

import pytest

from guarded_tools.tools import verbs
from guarded_tools.tools.risk import RANK, classify


def table(name):
    with (Path(__file__).parent / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


TOOLS = table("tools.tsv")


def test_the_list_is_told_as_a_person_would():
    assert len(TOOLS) >= 120
    told = [(tool, classify(tool["tool"], tool["description"] or "").risk) for tool in TOOLS]
    equal = sum(risk == tool["class"] for tool, risk in told)
    risky = [(tool, risk) for tool, risk in told if tool["class"] != "read"]
    called_read = [tool["tool"] for tool, risk in risky if risk == "read"]
    assert equal / len(told) >= 0.95
    assert called_read == []


def test_servers_that_the_rules_were_not_made_with_are_told_as_well():
    tools = [tool for tool in table("labelled.tsv") if tool["server"] != "pictify"]
    told = [(tool, classify(tool["tool"], tool["description"]).risk) for tool in tools]
    assert sum(risk == tool["risk"] for tool, risk in told) / len(told) >= 0.95
    assert [tool["tool"] for tool, risk in told if risk == "read" != tool["risk"]] == []
    assert [tool["tool"] for tool, risk in told if "financial" in (risk, tool["risk"]) and risk != tool["risk"]] == []


@pytest.mark.parametrize(
    "name", ["deleteRepo", "delete-repo", "delete_repo", "acme_delete_repo", "repo.delete", "DELETE/repo"]
)
def test_spelling_of_a_name_does_not_matter(name):
    assert classify(name).risk == "destructive"


@pytest.mark.parametrize(
    ("name", "risk"),
    [
        ("list_orders", "read"),
        ("order_get", "read"),
        ("order_list", "financial"),
        ("shop_list_orders", "read"),
        ("order_pizza", "financial"),
        ("get_or_create_user", "write"),
        ("search_and_delete", "destructive"),
        ("list_and_kill_processes", "destructive"),
        ("lookupAndRefund", "financial"),
        ("find_and_replace", "write"),
        ("inspect_then_restart_pod", "execute"),
        ("get_terms_and_conditions", "read"),
        ("get_price_and_order_history", "read"),
        ("search_console_insert_site", "write"),
        ("bulk_delete_users", "destructive"),
        ("batch_update_rows", "write"),
        ("batch_render", "execute"),
        ("list_users_to_delete", "destructive"),
        ("list_deleted_items", "read"),
        ("get_payment", "read"),
        ("process_payment", "financial"),
        ("shop_process_payment", "financial"),
        ("run_sql_transaction", "execute"),
        ("add_card_to_list", "write"),
        ("getHTTPHeaders", "read"),
    ],
)
def test_the_verb_of_a_name_decides(name, risk):
    assert classify(name).risk == risk


@pytest.mark.parametrize(
    ("name", "description"),
    [("frobnicate", ""), ("", ""), ("widget", "The widget."), ("工具", "读取"), ("d\u0435lete_user", "Get a user")],
)
def test_what_nobody_can_tell_is_never_read(name, description):
    assert classify(name, description).risk == "destructive"


@pytest.mark.parametrize(
    ("name", "description", "risk"),
    [
        ("console_messages", "Returns all console messages", "read"),
        ("get_report", "Deletes the report and answers its last copy", "destructive"),
        ("get_report", "Finds the report, deletes it and answers its last copy", "destructive"),
        ("get_report", "Finds the report then deletes it", "destructive"),
        ("get_report", "Gets the report. Deletes it afterwards.", "destructive"),
        ("get_report", "Gets the report. Set limit to page. Call it once.", "read"),
        ("update_row", "Update a row. This cannot be undone.", "destructive"),
        ("lookup", "Looks up and executes arbitrary Python code", "execute"),
        ("query_metrics", "Run a PromQL query", "read"),
        ("read_query", "Execute a SELECT query", "read"),
        ("write_query", "Execute an INSERT, UPDATE, or DELETE query", "destructive"),
        ("query_database", "Run SQL against the database", "execute"),
        ("delete_all", "Get a list of everything", "destructive"),
        ("get_status", "This tool lets you see the status", "read"),
    ],
)
def test_a_description_tells_where_the_name_does_not_and_raises_where_it_does(name, description, risk):
    assert classify(name, description).risk == risk


def test_parameters_raise():
    takes_sql = {"properties": {"sql": {"type": "string"}}}
    choices = {"properties": {"action": {"enum": ["list", "delete"]}}}
    assert classify("query_table", "Query a table", takes_sql).risk == "execute"
    assert classify("get_thing", "", choices).risk == "destructive"
    assert "action" in classify("get_thing", "", choices).why
    assert classify("get_thing", "", {"properties": {"action": {"enum": ["list", "show"]}}}).risk == "read"


def test_annotations_raise_and_never_lower():
    assert classify("delete_thing", "", None, {"readOnlyHint": True, "destructiveHint": False}).risk == "destructive"
    assert classify("frobnicate", "", None, {"readOnlyHint": True}).risk == "destructive"
    assert classify("get_thing", "", None, {"readOnlyHint": False}).risk == "write"
    assert classify("get_thing", "", None, {"destructiveHint": True}).risk == "destructive"
    assert classify("get_thing", "", None, {"destructive_hint": True}).risk == "destructive"
    assert classify("get_thing", "", None, {"read_only_hint": False}).risk == "write"
    for hint in ("openWorldHint", "open_world_hint"):
        assert classify("get_thing", "", None, {hint: True}) == ("write", "server says it reaches out into the world")
        assert classify("get_thing", "", None, {hint: False}).risk == "read"
        assert classify("delete_thing", "", None, {hint: True}).risk == "destructive"
    assert classify("get_thing", "", None, {"readOnlyHint": "yes", "destructiveHint": "no"}).risk == "read"


@pytest.mark.parametrize(
    "schema", [{"properties": []}, {"properties": {"action": True}}, {"properties": {"mode": {"enum": "x"}}}]
)
def test_a_strange_schema_is_no_error(schema):
    assert classify("get_thing", "", schema).risk == "read"


def test_nothing_a_server_adds_makes_a_tool_look_safer():
    for tool in TOOLS:
        bare = classify(tool["tool"])
        for description in (tool["description"] or "", "Get it.", "Read-only."):
            full = classify(tool["tool"], description, {"properties": {}}, {"readOnlyHint": True})
            named = "no verb" not in bare.why
            assert not named or RANK[full.risk] >= RANK[bare.risk]


def test_a_hostile_description_costs_no_time():
    classify("get_thing", "Run " + "a" * 1_000_000)
    classify("frobnicate", "arbitrary " * 100_000 + "," * 100_000)


def test_every_verb_has_one_class():
    counted = sum(len(members) for members in verbs.VERBS.values())
    assert counted == len(verbs.CLASS_OF)
    assert set(verbs.CLASS_OF) >= verbs.NOUNS


@pytest.mark.parametrize(
    ("name", "risk"),
    [
        ("git_log", "read"),
        ("log_event", "write"),
        ("browser_snapshot", "read"),
        ("snapshot_volume", "write"),
        ("server_info", "read"),
        ("post_status", "write"),
        ("deploy_logs", "execute"),
    ],
)
def test_a_sight_at_the_end_of_a_name_is_looked_at(name, risk):
    assert classify(name).risk == risk


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("echo", "Echoes a message back"),
        ("convert_time", "Convert time between timezones"),
        ("convertCurrency", "Convert an amount of money"),
        ("open_nodes", "Open specific nodes in the knowledge graph by their names"),
        ("sequentialthinking", "A detailed tool for reflective problem-solving through thoughts."),
        ("sequential_thinking", "A tool for thoughts"),
    ],
)
def test_what_only_computes_shows_or_thinks_is_read(name, description):
    assert classify(name, description).risk == "read"


@pytest.mark.parametrize(
    ("name", "description", "risk"),
    [
        ("convert_lead", "Convert a lead into a customer", "write"),
        ("convert_time_and_delete", "", "destructive"),
        ("convert_time", "Convert time, then delete the clock", "destructive"),
        ("open_issue", "Open an issue", "write"),
        ("open_node_editor_and_write", "", "write"),
        ("delete_thinking", "", "destructive"),
        ("thinking_wipe", "", "destructive"),
    ],
)
def test_the_same_verb_elsewhere_is_what_it_was(name, description, risk):
    assert classify(name, description).risk == risk


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("printEnv", "Prints all environment variables, helpful for debugging"),
        ("get-env", "Returns all environment variables"),
        ("get_env", ""),
        ("list_envs", ""),
        ("show_environment_variables", ""),
        ("get_config", "Gets the configuration and all environment variables"),
        ("fetch", "Fetches a URL from the internet and extracts its contents as markdown"),
        ("fetch_url", ""),
        ("readWebpage", ""),
        ("get_page", "Get any web page as text"),
        ("render_template", "Render a template"),
    ],
)
def test_what_hands_out_the_environment_fetches_any_address_or_renders_is_more_than_read(name, description):
    assert RANK[classify(name, description).risk] > RANK["read"]


@pytest.mark.parametrize("key", ["url", "pageUrl", "image_url", "URI", "urls"])
def test_a_parameter_that_is_an_address_raises_what_reads_and_nothing_else(key):
    takes = {"properties": {key: {"type": "string"}}}
    assert classify("get_page", "Get a page", takes).risk == "write"
    assert classify("run_page", "Run a page", takes).risk == "execute"
    assert (
        classify("get_page", "Get a page", {"properties": {"page": {"type": "string", "format": "uri"}}}).risk
        == "write"
    )
    assert classify("get_page", "Get a page", {"properties": {key: {"enum": ["https://a.example"]}}}).risk == "read"


def test_what_only_names_an_address_or_an_environment_is_read():
    for name in ("get_project_url", "list_environments", "get_environment", "get_curl_example"):
        assert classify(name).risk == "read", name


@pytest.mark.parametrize(
    "name",
    [
        "create_invoice",
        "finalize_invoice",
        "send-invoice",
        "markInvoicePaid",
        "shop_update_invoice",
        "void_invoice",
        "create_invoice_item",
        "create_subscription",
        "updateSubscription",
        "cancel_subscription",
        "pause_subscription",
        "create_price",
        "create_coupon",
        "create_credit_note",
        "charges.create",
        "update_order",
        "cancel_order",
        "close_dispute",
        "payment_link_notify",
        "cancelScheduledPayment",
        "create_checkout_session",
        "upgrade_plan",
        "get_and_update_invoice",
        "create_bank_transaction",
    ],
)
def test_what_bills_somebody_is_financial(name):
    assert classify(name).risk == "financial"
    assert "money" in classify(name).why


@pytest.mark.parametrize(
    ("name", "risk"),
    [
        ("list_invoices", "read"),
        ("invoice_get", "read"),
        ("search_subscriptions", "read"),
        ("order_status", "read"),
        ("refund_details", "read"),
        ("get_cost", "read"),
        ("download_invoice", "write"),
        ("create_webhook_subscription", "write"),
        ("update_notification_subscription", "write"),
        ("set_price_alert", "write"),
        ("create_invoice_template", "write"),
        ("add_order_comment", "write"),
        ("create_order_custom_attribute_definition", "write"),
        ("update_sort_order", "write"),
        ("create_plan", "write"),
        ("commit_transaction", "write"),
        ("checkout_branch", "write"),
        ("delete_invoice", "destructive"),
        ("cancel_subscription_and_delete_customer", "destructive"),
        ("cancel_and_purge_orders", "destructive"),
        ("cancel_run", "destructive"),
    ],
)
def test_what_only_looks_at_a_bill_or_hangs_on_one_is_not(name, risk):
    assert classify(name).risk == risk


@pytest.mark.parametrize(
    ("name", "description", "risk"),
    [
        ("get_thing", "Finalizes the draft invoice", "financial"),
        ("settle", "Creates a new subscription for a customer", "financial"),
        ("settle", "This tool will create an invoice item", "financial"),
        ("cancel_subscription", "Cancel a customer's subscription at once", "financial"),
        ("cancel_subscription", "Cancel a subscription and delete the customer", "destructive"),
        ("cancel_subscription", "Cancel it. This cannot be undone.", "destructive"),
        ("reorder_folders", "Change the order of folders", "write"),
        ("add_comment", "Add a comment to an invoice", "write"),
        ("add_listener", "Create a subscription to a topic", "write"),
        ("list_rows", "When all pages are there, the list is whole", "read"),
        ("get_rates", "Banking rates of the day", "read"),
    ],
)
def test_a_description_tells_of_bills_and_is_not_misheard(name, description, risk):
    assert classify(name, description).risk == risk


def test_a_tool_that_is_told_how_much_goes_to_whom_moves_money():
    def takes(*names):
        return {"properties": {name: {"type": "string"} for name in names}}

    assert classify("create_plan", "", takes("amount", "currency")).risk == "financial"
    assert classify("schedule_it", "", takes("recipient", "amountCents", "date")).risk == "financial"
    assert classify("update_standing_item", "", takes("recipientIban", "amount")).risk == "financial"
    assert classify("create_scene", "", takes("amount", "color")).risk == "write"
    assert classify("list_transactions", "", takes("amount", "currency")).risk == "read"


@pytest.mark.parametrize(
    "name", ["decode_jwt", "base64_decode", "decompileClass", "disassemble_function", "demangle", "paginate_results"]
)
def test_what_undoes_an_encoding_or_turns_pages_only_reads(name):
    assert classify(name).risk == "read"


@pytest.mark.parametrize(
    ("name", "risk"),
    [
        ("unzip_archive", "write"),
        ("decompress_file", "write"),
        ("decode_and_delete", "destructive"),
        ("force_recompile", "execute"),
        ("scan_table", "read"),
        ("scroll_points", "read"),
        ("scan_network", "execute"),
        ("browser_scroll", "execute"),
        ("list_employee_leave", "read"),
        ("leave_chat", "write"),
        ("server_health", "read"),
    ],
)
def test_neighbours_of_those_keep_what_they_do(name, risk):
    assert classify(name).risk == risk
