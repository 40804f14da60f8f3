"""The sandbox as a server: what it lists, how it words its answers, whom it lets in, and its test equipment."""

import json
import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from guarded_tools.pictify.catalogue import catalogue
from guarded_tools.pictify.sandbox.server import invalid, validators
from tests import forked
from tests.faulty_sandbox import COMMAND as FAULTY
from tests.faulty_sandbox import parse_faults
from tests.wire import NEW, OLD, SERVED, Wire

COMMAND = ["-m", "guarded_tools.pictify.sandbox"]
NAMESPACE = "io.modelcontextprotocol"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


def said(result):
    """What a result says; the new revision says beside it whose it is, and that it is whole."""
    assert set(result) in ({"content", "isError"}, {"content", "isError", "resultType", "_meta"})
    (block,) = result["content"]
    assert block == {"type": "text", "text": block["text"]}
    return block["text"]


@pytest.fixture(params=["stdio", "http", "http-json"])
def server(request, serve):
    """Starts a server, for a client."""
    if request.param == "stdio":
        return lambda *options: [*COMMAND, *options]
    return lambda *options: serve(*options, *(["--json"] if request.param == "http-json" else []))


@pytest.fixture(params=SERVED)
def reach(request, server):
    """Connects a client to a server, by either revision of the protocol."""
    return lambda *options: Wire(server(*options), request.param)


def test_it_says_who_it_is(reach):
    with reach() as wire:
        info = wire.server["serverInfo"] if wire.revision == OLD else wire.server["_meta"][f"{NAMESPACE}/serverInfo"]
        versions = [wire.server["protocolVersion"]] if wire.revision == OLD else wire.server["supportedVersions"]
        assert info == {"name": "pictify", "version": "1.2.0"}
        assert wire.revision in versions
        assert "tools" in wire.server["capabilities"]


def test_it_lists_exactly_the_catalogue(reach):
    with reach() as wire:
        assert wire.tools() == [
            {"name": info.name, "description": info.description, "inputSchema": info.schema}
            for info in catalogue().values()
        ]


def test_it_words_its_answers_as_the_real_server_does(reach, tmp_path, seen):
    log = tmp_path / "log"
    with reach("--log", str(log)) as wire:
        call = wire.call
        read = call("pictify_get_template", {"templateId": "tpl_000001"})
        assert json.loads(said(read))["name"] == "Welcome banner"
        assert said(read).startswith("{\n  ")
        written = call("pictify_create_image", {"html": "<p>"})
        assert said(written) == "Image created.\nID: img_000002\nURL: https://media.sandbox.invalid/img_000002.png"
        assert (read["isError"], written["isError"]) == (False, False)
        for args in ({}, {"imageId": 1}, {"imageId": ["x"]}):
            wrong = call("pictify_get_image", args)
            assert wrong["isError"]
            prefix = "MCP error -32602: Input validation error: Invalid arguments for tool pictify_get_image: "
            assert said(wrong).startswith(prefix)
            assert json.loads(said(wrong).removeprefix(prefix))
        unknown = call("pictify_nothing", {})
        assert (unknown["isError"], said(unknown)) == (True, "MCP error -32602: Tool pictify_nothing not found")
        missing = call("pictify_get_image", {"imageId": "x"})
        assert (missing["isError"], said(missing)) == (True, "Error (404): Not Found\nThere is no image x.")
    assert seen(log) == {
        ("get_template", "arrived"): 1,
        ("get_template", "completed"): 1,
        ("create_image", "arrived"): 1,
        ("create_image", "completed"): 1,
        ("get_image", "arrived"): 4,
        ("get_image", "invalid"): 3,
        ("get_image", "refused"): 1,
        ("nothing", "arrived"): 1,
        ("nothing", "invalid"): 1,
    }


@pytest.mark.skipif(NEW not in SERVED, reason="the SDK that is installed serves one revision")
def test_over_http_one_account_serves_clients_of_both_revisions(serve):
    url = serve()
    with Wire(url, OLD) as old, Wire(url, NEW) as new:
        assert "img_000002" in said(old.call("pictify_create_image", {"html": "x"}))
        assert "img_000003" in said(new.call("pictify_create_image", {"html": "x"}))
        assert json.loads(said(old.call("pictify_list_images")))["total"] == 3


@pytest.mark.parametrize(
    ("tool", "args", "problem"),
    [
        ("create_image", {"html": "x", "width": 4001}, "maximum"),
        ("create_image", {"url": "not a url"}, "uri"),
        (
            "create_experiment",
            {"name": "n", "type": "ab_test", "slug": "abc", "variants": [{"id": "a", "weight": 1}]},
            "2",
        ),
        ("track_experiment_events", {"events": []}, "1 item"),
        ("track_experiment_events", {"events": [{"event": "click", "experiment": "x"}] * 101}, "100"),
        ("track_experiment_events", {"events": [{"event": "purchase", "experiment": "x"}]}, "impression"),
        ("batch_render", {"templateId": "t", "variableSets": [{}] * 101}, "100"),
    ],
)
def test_arguments_are_held_to_the_schema(validated, tool, args, problem):
    assert problem in validated(f"pictify_{tool}", args)


@pytest.fixture
def validated():
    return lambda tool, args: invalid(validators().get(tool), tool, args)


def test_what_the_real_server_does_not_know_it_drops_at_every_depth(reach):
    variants = [{"id": "a", "weight": 5000, "odd": 1}, {"id": "b", "weight": 5000}]
    args = {
        "name": "Hero",
        "type": "ab_test",
        "slug": "hero",
        "variants": variants,
        "more": 1,
        "goalConfig": {"type": "impressions_only", "x": 1},
    }
    with reach() as wire:
        made = wire.call("pictify_create_experiment", args)
        assert not made["isError"], said(made)
        row = json.loads(said(wire.call("pictify_get_experiment", {"experimentId": "exp_000001"})))
        assert "more" not in row
        assert row["variants"] == [{"id": "a", "weight": 5000}, {"id": "b", "weight": 5000}]
        assert row["goalConfig"] == {"type": "impressions_only"}
        drawn = wire.call("pictify_render_template", {"templateId": "tpl_000001", "variables": {"a": {"b": 1}}})
        assert not drawn["isError"]


@pytest.mark.parametrize("revision", SERVED)
def test_injected_refusals(tmp_path, seen, revision):
    log = tmp_path / "log"
    expected = {
        "get_image": ("4xx", "Error (400): Injected fault"),
        "get_gif": ("409", "Error (409): Injected fault\nThe resource is not in a state"),
        "list_gifs": ("402", "Error (402): Injected fault\nThe plan's quota is used up"),
        "list_images": ("429", "Error (429): Too Many Requests\nRate limited. Retry after 7 seconds."),
        "list_templates": ("5xx", "Error (503): Injected fault"),
    }
    faults = [word for tool, (fault, _) in expected.items() for word in ("--fault", f"pictify_{tool}={fault}")]
    with Wire([*FAULTY[1:], *faults, "--log", str(log)], revision) as wire:
        for tool, (_, text) in expected.items():
            args = {"get_image": {"imageId": "img_000001"}, "get_gif": {"gifId": "x"}}.get(tool, {})
            result = wire.call(f"pictify_{tool}", args)
            assert result["isError"]
            assert said(result).startswith(text)
        assert not wire.call("pictify_list_experiments")["isError"]
    assert seen(log)["get_image", "refused"] == 1


@pytest.mark.parametrize(
    "spec",
    [
        "pictify_get_image",
        "nothing=429",
        "pictify_get_image=boom",
        "pictify_get_image=200",
        "pictify_get_image=slow:x",
        "pictify_get_image=slow",
    ],
)
def test_a_fault_that_is_none(spec):
    with pytest.raises(ValueError, match=rf"--fault {spec}: "):
        parse_faults([spec])


def test_options_that_are_wrong_end_the_server_before_it_serves():
    done = subprocess.run([*FAULTY, "--fault", "nothing=429"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--fault nothing=429: there is no tool 'nothing'" in done.stderr


@pytest.mark.parametrize("revision", SERVED)
def test_a_key_is_checked_at_the_first_call_and_not_before(serve, monkeypatch, revision):
    monkeypatch.delenv("PICTIFY_API_KEY", raising=False)
    url = serve("--key", "right")
    started = [*COMMAND, "--key", "right"]
    clients = [
        (Wire(started, revision, env={"PICTIFY_API_KEY": "right"}), True),
        (Wire(started, revision, env={"PICTIFY_API_KEY": "dead"}), False),
        (Wire(started, revision), False),
        (Wire(url, revision, headers={"Authorization": "Bearer right"}), True),
        (Wire(url, revision, headers={"X-API-Key": "right"}), True),
        (Wire(url, revision, headers={"Authorization": "Bearer dead"}), False),
        (Wire(url, revision), False),
    ]
    for client, fine in clients:
        with client as wire:
            assert len(wire.tools()) == 31
            result = wire.call("pictify_list_images")
            assert result["isError"] != fine
            assert fine or said(result).startswith("Error (401): Unauthorized\nThe API key was not accepted.")


def test_only_this_machine_and_no_foreign_page_gets_in(serve):
    url = serve()
    port = int(url.rpartition(":")[2].partition("/")[0])
    accept = {"accept": "application/json, text/event-stream"}
    expected = {
        ("host", f"127.0.0.1:{port}"): 200,
        ("host", f"localhost:{port}"): 200,
        ("host", "evil.example"): 421,
        ("host", f"evil.example:{port}"): 421,
        ("host", "127.0.0.1:1"): 421,
        ("origin", f"http://127.0.0.1:{port}"): 200,
        ("origin", "http://evil.example"): 403,
        ("origin", "null"): 403,
        ("origin", f"http://127.0.0.1:{port}.evil.example"): 403,
    }
    got = {pair: httpx.post(url, json=HELLO, headers={**accept, pair[0]: pair[1]}).status_code for pair in expected}
    assert got == expected
    assert httpx.post(url.replace("/mcp", "/other"), json=HELLO).status_code == 404
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.2", port), timeout=2):
        pass


def test_it_ends_with_its_input():
    done = subprocess.run([sys.executable, *COMMAND], input="", check=False, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_interrupted(how):
    process = forked.Popen([sys.executable, *COMMAND, "--http", "0"], stdout=forked.PIPE, stderr=forked.PIPE)
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    os.kill(process.pid, how)
    _, errors = process.communicate(timeout=10)
    assert "Traceback" not in errors
    assert process.returncode in (0, -how)


def test_a_port_that_is_taken(serve):
    port = serve().rpartition(":")[2].partition("/")[0]
    done = subprocess.run(
        [sys.executable, *COMMAND, "--http", port], check=False, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr
