"""The example of a service, started as its container is: two workers, a limit for each user, a policy that changes."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import typer
import yaml

from guarded_tools import Policy, open_store
from guarded_tools.approvers.inbox import questions
from guarded_tools.audit import read
from guarded_tools.cli.app import _app
from tests import forked
from tests.redis_servers import start_redis

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
POLICY = yaml.safe_load((EXAMPLES / "refunds.yaml").read_text())
UNITS = sorted((EXAMPLES / "deploy").glob("*.service"))


def dockerfile() -> dict[str, list[str]]:
    """What each instruction says, in order; a line that goes on is one."""
    text = re.sub(r"^#.*\n", "", (EXAMPLES / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    told: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if line:
            told.setdefault(line.split()[0], []).append(line.partition(" ")[2])
    return told


def write(path: Path, most: int) -> None:
    fresh = path.with_suffix(".new")
    POLICY["tools"]["refund"]["limits"][0]["max"] = most
    fresh.write_text(json.dumps(POLICY))
    fresh.replace(path)


def address(log: Path, master: subprocess.Popen[bytes]) -> str:
    """Where it listens, once a worker does; the port is bound before any of them is there."""
    deadline = time.monotonic() + 60
    while True:
        found = re.search(r"http://127.0.0.1:(\d+)", log.read_text())
        if found is not None:
            with contextlib.suppress(httpx.ConnectError):
                httpx.get(f"{found[0]}/health", timeout=60)
                return found[0]
        assert master.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.fixture(params=["disk", "redis"])
def env(request, tmp_path):
    """What the service and the commands beside it are told of their state."""
    env = {**os.environ, "POLICY": str(tmp_path / "policy.json"), "GUARDED_TOOLS_HOME": str(tmp_path / "state")}
    if request.param == "disk":
        yield env
    else:
        server = start_redis(tmp_path)
        yield env | {"GUARDED_TOOLS_STORE": server.url}
        server.kill()


@pytest.fixture
def service(env, tmp_path):
    """Two workers behind one port."""
    write(tmp_path / "policy.json", 30)
    python, *words = json.loads(dockerfile()["CMD"][0])
    assert python == "python"
    # What has not ended when it is to stop is cancelled at once.
    for option, value in {"--app-dir": str(EXAMPLES), "--host": "127.0.0.1", "--port": "0"}.items():
        words[words.index(option) + 1] = value
    words[words.index("--timeout-graceful-shutdown") + 1] = "0"
    log = tmp_path / "log"
    with log.open("wb") as told:
        master = subprocess.Popen([sys.executable, *words], env=env, stdout=told, stderr=told)
    try:
        with httpx.Client(base_url=address(log, master), timeout=60) as client:
            yield master, client
    finally:
        master.kill()
        master.wait()


def ask(client: httpx.Client, user: str, amount: int = 1) -> str:
    answer = client.post("/refunds", json={"amount": amount}, headers={"X-User": user})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["said"])


def approvals(env, *words):
    """Run ``guarded-tools approvals`` in the service's environment, as its container or its user would."""
    command = [sys.executable, "-m", "guarded_tools.cli", "approvals", *words]
    done = forked.run(command, env=env | {"COLUMNS": "200"}, stdin=forked.DEVNULL, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def question(env) -> str:
    """Wait for the one question that is open, by its id."""
    deadline = time.monotonic() + 60
    store = open_store(env.get("GUARDED_TOOLS_STORE") or f"disk://{env['GUARDED_TOOLS_HOME']}")
    with contextlib.closing(store):
        while not (waiting := questions(store)):
            assert time.monotonic() < deadline, "no question came"
            time.sleep(0.02)
    return waiting[0].id


def test_a_service_from_its_start_to_its_stop(service, env, tmp_path):
    master, client = service
    assert healthy(client.base_url.port)
    each_user_has_a_limit_across_workers_and_a_new_policy(client, tmp_path / "policy.json")
    with ThreadPoolExecutor(1) as threads:
        somebody_elsewhere_approves(client, env, threads)
        waiting = threads.submit(client.post, "/refunds", json={"amount": 501}, headers={"X-User": "eve"})
        question(env)
        master.send_signal(signal.SIGTERM)
        assert master.wait(60) in {0, -signal.SIGTERM}
        with contextlib.suppress(httpx.TransportError):
            assert waiting.result(60).status_code == 500
    assert "501" not in approvals(env)  # what nobody waits for any more was taken back
    assert not healthy(client.base_url.port)
    if "GUARDED_TOOLS_STORE" not in env:
        assert json.loads(next((tmp_path / "state").rglob("store.json")).read_text())["state"] == "closed"
    paid = [r["session"] for r in read(tmp_path / "state" / "audit.jsonl") if r["kind"] == "settled"]
    assert Counter(paid) == {"ann": 33, "bob": 30, "dora": 1, "carl": 1}


def healthy(port: int) -> bool:
    """What the container's health check says."""
    python, *words = json.loads(dockerfile()["HEALTHCHECK"][0].partition("CMD ")[2])
    assert python == "python"
    command = [sys.executable, *(word.replace(":8000/", f":{port}/") for word in words)]
    return forked.run(command, timeout=60).returncode == 0


def each_user_has_a_limit_across_workers_and_a_new_policy(client: httpx.Client, policy: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(ask, [client] * 50, ["ann", "bob"] * 25))
        assert [text == "paid 1" for text in said].count(True) == 50
        said = list(threads.map(ask, [client] * 24, ["ann", "bob"] * 12))
        assert [text == "paid 1" for text in said].count(True) == 10  # five more for each

        write(policy, 33)
        more, deadline = 0, time.monotonic() + 60
        while more < 3:
            more += ask(client, "ann") == "paid 1"
            assert time.monotonic() < deadline, "the new policy did not come to the workers"
        assert not [text for text in threads.map(ask, [client] * 20, ["ann"] * 20) if "DENIED" not in text]


def somebody_elsewhere_approves(client: httpx.Client, env, threads: ThreadPoolExecutor) -> None:
    paying = threads.submit(ask, client, "carl", 500)
    asked = question(env)
    assert "500" in approvals(env, "show", asked)
    assert ask(client, "dora", 100) == "paid 100"  # nobody waits for carl's answer but carl
    approvals(env, "approve", asked, "--yes")
    assert paying.result(60) == "paid 500"


def test_the_container_runs_as_nobody_who_may_do_more():
    """What the fixture does not run of the Dockerfile. Docker itself is not asked."""
    told = dockerfile()
    assert next(iter(told)) == "FROM"
    assert told["USER"][-1] not in {"root", "0"}
    settings = dict(setting.split("=", 1) for setting in shlex.split(" ".join(told["ENV"])))
    assert settings["GUARDED_TOOLS_HOME"] in told["VOLUME"]
    assert f"install -d -o {told['USER'][-1]} -g {told['USER'][-1]} -m 0700 {told['VOLUME'][0]}" in told["RUN"][-1]
    assert told["STOPSIGNAL"] == ["SIGTERM"]
    assert not [word for word in settings if re.search("PASSWORD|SECRET|TOKEN|KEY|STORE", word)]
    extras = re.search(r"\*\.whl\)\[([\w,]+)\]", told["RUN"][0])[1].split(",")
    project = (EXAMPLES.parents[1] / "pyproject.toml").read_text()
    assert not [extra for extra in extras if not re.search(rf"^{extra} = ", project, re.MULTILINE)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_what_there_is(unit):
    (service,) = (dict(parsed["Service"]) for parsed in [configured(unit)])
    program, *words = shlex.split(service["ExecStart"])
    if program.endswith("/python"):
        assert words[:2] == ["-m", "uvicorn"]
        # As the container runs it, which the fixture starts; only where it listens is another matter.
        where = {"--host", "0.0.0.0", "/app", "/opt/refunds"}
        assert set(words) - where == set(json.loads(dockerfile()["CMD"][0])[1:]) - where
        asked = Policy.from_file(EXAMPLES / "refunds.yaml").tools["refund"]
        patience = int(words[words.index("--timeout-graceful-shutdown") + 1])
        assert asked.approval.timeout < patience
        assert patience < int(service["TimeoutStopSec"])
    else:
        assert program.endswith("/guarded-tools")
        command = typer.main.get_command(_app(words)).commands[words[0]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options
    settings = dict(setting.split("=", 1) for setting in shlex.split(service["Environment"]))
    assert settings["GUARDED_TOOLS_HOME"] == f"/var/lib/{service['StateDirectory']}"
    assert (service["User"], service["StateDirectoryMode"], service["ProtectSystem"]) == ("refunds", "0700", "strict")


def configured(unit: Path) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str
    parsed.read_string(unit.read_text())
    return parsed


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_units(tmp_path):
    for unit in UNITS:
        text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    found = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in UNITS)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
