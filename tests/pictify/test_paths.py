"""A read that writes: Pictify's server puts ids into the path of its request as they are."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx
import pytest
from langchain_core.tools import StructuredTool

from guarded_tools import Guard, Policy
from guarded_tools.pictify.catalogue import catalogue
from guarded_tools.policy import decide
from guarded_tools.policy.policy import load_policy
from guarded_tools.policy.presets import PRESETS
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import ToolCall

ELSEWHERE = [
    "../experiments/api/e1/pause#", "batch/b1/cancel?x=", "../../users/me", "..%2f..%2fadmin", "..", ".", "", "a/b", "a\\..\\b",
    "a?b", "a#", "%2e%2e", "%252e%252e%252f", "a;b", "a\n", " a", "a\0", "．．／users", "..／users", "a∕b", "\u200b..", "e1:pause", "@evil.test",
]  # fmt: skip
# Where each stands that goes into a path, an address of an experiment, or the id of a template.
IDS = {
    "args.imageId": ["get_image"],
    "args.gifId": ["get_gif"],
    "args.batchId": ["get_batch_results", "cancel_batch"],
    "args.templateId": [
        "get_template", "get_template_variables", "render_template", "render_pdf", "render_multi_page_pdf", "update_template",
        "delete_template", "batch_render",
    ],
    "args.template": ["create_image", "create_gif"],
    "args.experimentId": [
        "get_experiment", "update_experiment", "delete_experiment", "start_experiment", "pause_experiment", "complete_experiment",
    ],
    "args.winnerVariantId": ["complete_experiment"],
    "args.slug": ["create_experiment", "update_experiment"],
    "args.templateUid": ["create_experiment"],
    "args.variants[*].id": ["create_experiment", "update_experiment"],
    "args.variants[*].templateUid": ["create_experiment", "update_experiment"],
    "args.events[*].experiment": ["track_experiment_events"],
    "args.events[*].variantId": ["track_experiment_events"],
}  # fmt: skip
VARIANTS = [{"id": "a", "weight": 5000}, {"id": "b", "weight": 5000}]
WHOLE = {
    "render_multi_page_pdf": {"variableSets": [{}]},
    "batch_render": {"variableSets": [{}]},
    "create_experiment": {"name": "Hero", "type": "ab_test", "slug": "hero", "variants": VARIANTS},
    "complete_experiment": {"experimentId": "e1", "winnerVariantId": "a"},
    "track_experiment_events": {"events": [{"event": "view", "experiment": "hero"}]},
}
NEEDED = {"variants": VARIANTS, "events": [{"event": "view", "experiment": "hero"}]}


def with_id(tool, path, value):
    """Arguments that fit the tool, with ``value`` at the path."""
    args = dict(WHOLE.get(tool, {}))
    if tool.endswith("_experiment") and tool != "create_experiment":
        args.setdefault("experimentId", "e1")
    listed, _, key = path.removeprefix("args.").partition("[*].")
    return {**args, listed: [*NEEDED[listed], {**NEEDED[listed][0], key: value}]} if key else {**args, listed: value}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("path", "tool"), [(path, tool) for path, tools in IDS.items() for tool in tools])
def test_an_id_is_one_segment_in_every_preset(preset, path, tool):
    policy = load_policy(preset)
    name = f"pictify_{tool}"
    schema = catalogue()[name].schema
    if policy.hides(name):
        return
    plain = decide(policy, ToolCall(name, with_id(tool, path, "id-0_9")), schema)
    assert plain.effect != "deny", plain.message
    for value in ELSEWHERE:
        decision = decide(policy, ToolCall(name, with_id(tool, path, value)), schema)
        assert decision.effect == "deny", value
        assert decision.rule in {
            "/schema",
            f"/tools/{name}/require/{path}-segment",
            f"/tools/{name}/deny_if/{path}-segment",
        }


@pytest.fixture
def upstream():
    """A Pictify that notes what it was asked for; gives its address and the notes."""
    asked = []

    class Notes(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(f"{self.command} {urlsplit(self.path).path}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("client", ["httpx", "http.client"])
def test_a_read_does_not_pause_an_experiment(upstream, client):
    address, asked = upstream

    def render(templateId: str) -> str:  # noqa: N803 - as the server calls it
        """Render a template."""
        if client == "httpx":
            httpx.post(f"{address}/templates/{templateId}/render")
        else:
            connection = http.client.HTTPConnection(urlsplit(address).netloc)
            connection.request("POST", f"/templates/{templateId}/render")
            connection.getresponse().read()
            connection.close()
        return "rendered"

    def tool(policy):
        made = StructuredTool.from_function(render, name="pictify_render_template")
        return Guard(policy, store=MemoryStore()).wrap([made])[0]

    document = load_policy("read_only").model_dump(mode="json", by_alias=True, exclude_unset=True)
    del document["tools"]["pictify_render_template"]["require"]
    trick = "../experiments/api/e1/pause#" if client == "httpx" else "t1/../../experiments/api/e1/pause?"
    tool(Policy.model_validate(document)).invoke({"templateId": trick})
    led_astray = ["POST /experiments/api/e1/pause", "POST /templates/t1/../../experiments/api/e1/pause"]
    assert asked == [led_astray[client != "httpx"]]
    asked.clear()

    guarded = tool("read_only")
    for value in ELSEWHERE:
        assert "must be one path segment" in guarded.invoke({"templateId": value})
    assert asked == []
    assert guarded.invoke({"templateId": "tpl_000001"}) == "rendered"
    assert asked == ["POST /templates/tpl_000001/render"]
