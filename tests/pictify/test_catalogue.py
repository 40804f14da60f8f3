"""The catalogue of tools, and the presets that are built on it."""

import json
import subprocess
import sys

import jsonschema_rs
import pytest

from guarded_tools import Policy
from guarded_tools.errors import PolicyError
from guarded_tools.pictify.catalogue import catalogue, risk_of
from guarded_tools.policy.presets import PRESETS, cases_of, preset_text
from guarded_tools.values import ToolCall

BY_RISK = {
    "read": "list_images get_image list_gifs get_gif list_pdf_presets list_templates get_template render_template "
    "get_template_variables get_batch_results list_experiments get_experiment get_experiment_quota",
    "write": "create_image create_canvas_image create_gif capture_gif render_pdf render_multi_page_pdf create_template "
    "update_template create_experiment update_experiment complete_experiment track_experiment_events",
    "execute": "batch_render start_experiment pause_experiment",
    "destructive": "cancel_batch delete_template delete_experiment",
}
TOOLS = [(f"pictify_{name}", risk) for risk, names in BY_RISK.items() for name in names.split()]


def test_31_tools_of_known_risk():
    assert sorted(TOOLS) == sorted((info.name, info.risk) for info in catalogue().values())
    assert len(TOOLS) == 31


def test_an_unknown_tool_is_destructive():
    assert risk_of("pictify_list_everything") == "destructive"
    assert risk_of("pictify_get_image") == "read"


def test_schemas_are_draft_7_and_closed():
    for info in catalogue().values():
        jsonschema_rs.Draft7Validator(dict(info.schema or {}))
        assert info.description.endswith(".")
        if info.schema["properties"]:
            assert info.schema["additionalProperties"] is False


@pytest.fixture(params=PRESETS)
def preset(request):
    return request.param, Policy.from_file(f"{request.param}.json")


@pytest.fixture(autouse=True)
def _as_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in PRESETS:
        (tmp_path / f"{name}.json").write_text(preset_text(name))


@pytest.mark.parametrize(("tool", "risk"), TOOLS)
def test_what_each_preset_says_of_each_tool(preset, decided, tool, risk):
    name, policy = preset
    # What volumes are counted by, too.
    decision = decided(policy, tool, events=[{"experiment": "x"}], variableSets=[{}], variants=[{"id": "a"}])
    if risk == "read":
        assert (decision.effect, policy.hides(tool)) == ("allow", False)
    elif name == "read_only" or (name == "standard" and risk == "destructive"):
        assert (decision.effect, decision.rule, policy.hides(tool)) == ("deny", "(hidden)", True)
    else:
        assert (decision.effect, policy.hides(tool)) == ("ask", False)
        assert decision.ask.remember == ("tool" if name == "standard" else "never")
        if name == "standard":
            assert decision.ask.remember_for == 24 * 3600
        per_minute = [charge for charge in decision.charges if f"/tools/{tool}/" in charge.rule and charge.window == 60]
        assert [charge.max for charge in per_minute] == [30 if risk == "write" else 10]
        assert [charge.scope for charge in per_minute] == ["session:s"]


def test_no_preset_takes_a_servers_word_for_a_refund(preset):
    # The server repeats a 5xx by itself: what a 404 or 409 says of the second try proves nothing of the first.
    _, policy = preset
    assert {tool.refunds for tool in policy.tools.values()} == {"certain"}


def test_ceilings_over_all_calls_count_attempts(preset, decided):
    _, policy = preset
    ceilings = [
        charge for charge in decided(policy, "pictify_get_image").charges if charge.rule.startswith("/all_tools/")
    ]
    assert {charge.scope for charge in ceilings} == {"session:s", "global"}
    assert not any(charge.refundable for charge in ceilings)


def test_a_tool_that_nobody_knows_is_denied(preset, decided):
    _, policy = preset
    assert decided(policy, "pictify_format_disk").effect == "deny"


def test_volumes_are_limited_by_what_a_call_carries(decided):
    policy = Policy.from_file("standard.json")
    events = [{"event": "click", "experiment": "x"}] * 25
    charges = decided(policy, "pictify_track_experiment_events", events=events).charges
    assert [charge.amount for charge in charges if charge.counter.endswith("/events")] == [25]


@pytest.fixture
def decided():
    from guarded_tools import decide

    def decided(policy, tool, **args):
        ids = dict.fromkeys(
            ("imageId", "gifId", "templateId", "batchId", "experimentId", "winnerVariantId", "slug"), "id_1"
        )
        return decide(policy, ToolCall(tool, {**ids, **args}, session="s"))

    return decided


@pytest.mark.parametrize("name", PRESETS)
def test_the_command_prints_a_preset_that_validates(name, tmp_path):
    command = [sys.executable, "-c", "from guarded_tools.cli.app import main; main()"]
    printed = subprocess.run([*command, "preset", name], check=True, capture_output=True, text=True).stdout
    assert printed == preset_text(name)
    (tmp_path / "policy.json").write_text(printed)
    subprocess.run([*command, "validate", "policy.json"], check=True, capture_output=True)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_the_schema_of_its_format(name):

    file = cases_of(name).with_name(f"{name}.json")
    policy = json.loads(file.read_text())
    schema = json.loads((file.parent / policy["$schema"]).read_text())
    jsonschema_rs.validate(schema, policy)
    assert json.loads(preset_text(name))["$schema"] == "./policy.schema.json"


def test_a_preset_that_there_is_not():
    with pytest.raises(PolicyError, match="standard, supervised, read_only"):
        preset_text("relaxed")
