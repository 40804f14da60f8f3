"""An account with a clock of its own, and what a tool answers it."""

import json
import sys
from collections import Counter

import pytest

from guarded_tools.pictify.catalogue import catalogue
from guarded_tools.pictify.sandbox.account import Account
from guarded_tools.pictify.sandbox.answers import Refused
from guarded_tools.pictify.sandbox.server import with_defaults
from tests import forked


class Customer:
    """Calls tools as an agent would, by the name without the prefix."""

    def __init__(self):
        self.time = 1_700_000_000.0
        self.account = Account(clock=lambda: self.time)

    def __call__(self, tool, **args):
        schema = catalogue()[f"pictify_{tool}"].schema
        return self.account.answer(f"pictify_{tool}", with_defaults(schema, args))

    def read(self, tool, **args):
        return json.loads(self(tool, **args))

    def refused(self, tool, **args):
        """The status of a refusal; the call has to have changed nothing that can be listed."""
        before = self.everything()
        with pytest.raises(Refused) as refused:
            self(tool, **args)
        assert self.everything() == before
        assert str(refused.value).startswith(f"Error ({refused.value.status}): ")
        return refused.value.status

    def everything(self):
        lists = ("list_templates", "list_images", "list_gifs", "get_experiment_quota")
        experiments = self.read("list_experiments", limit=100)["experiments"]
        return [self(name) for name in lists] + [self("get_experiment", experimentId=row["id"]) for row in experiments]

    def experiment(self, status="draft", slug="hero", **more):
        """An experiment that was taken to ``status``."""
        variants = [{"id": "a", "weight": 5000}, {"id": "b", "weight": 5000}]
        args = {"name": "Hero", "type": "ab_test", "slug": slug, "variants": variants, **more}
        (line,) = [line for line in self("create_experiment", **args).splitlines() if line.startswith("ID: ")]
        uid = line.removeprefix("ID: ")
        if status != "draft":
            self("start_experiment", experimentId=uid)
        if status == "paused":
            self("pause_experiment", experimentId=uid)
        if status == "completed":
            self("complete_experiment", experimentId=uid, winnerVariantId="a")
        return uid

    def status(self, uid):
        return self.read("get_experiment", experimentId=uid)["status"]


@pytest.fixture
def customer():
    return Customer()


@pytest.fixture
def serve():
    """Start a sandbox on a port of this machine; gives its address."""
    processes = []

    def serve(*options):
        command = [sys.executable, "-m", "guarded_tools.pictify.sandbox", "--http", "0", *options]
        processes.append(forked.Popen(command, stdout=forked.PIPE))
        return processes[-1].stdout.readline().strip()

    yield serve
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def seen():
    """What a sandbox's log says: how many calls of each (tool, state)."""

    def seen(path):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return Counter((row["tool"].removeprefix("pictify_"), row["state"]) for row in rows)

    return seen
