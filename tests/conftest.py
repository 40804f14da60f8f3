"""What every test has: a state directory of its own, so that none reads or writes the user's; and the command."""

import gc
import inspect
import itertools
import json
import os
import re
import signal
import sys
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from blockbuster import BlockBuster
from hypothesis import settings

from guarded_tools.cli.app import main
from guarded_tools.mcp_session.generation import installed
from tests import forked
from tests.browsing import CHROMIUM

# What only one generation of MCP has is tested where that is installed.
collect_ignore_glob = ["**/*_mcp2.py" if installed() == 1 else "**/*_mcp1.py"]

# An example's time is that of all that runs beside it; what has a bound says it where it counts.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

TESTS = str(Path(__file__).parent)


def pytest_configure(config):
    """One server of forks for the run and all its workers; where tests run, what starts Python starts a fork."""
    # A shell has what it starts in the background ignore it, and with that all tests of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        forked.start()
    if not config.getoption("numprocesses", None):  # or this process starts workers
        forked.launch()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What was imported and collected by now stays to the end: no search for garbage looks at it again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items):
    """The longest first: whoever came to one of them last would end alone."""
    items.sort(key=lambda item: item.path.name not in {"test_wheel.py", "test_architecture.py"})


def pytest_ignore_collect(collection_path, config):
    """What has no serial test need not be imported to run those."""
    test = collection_path.suffix == ".py" and collection_path.name.startswith("test_")
    if config.getoption("markexpr") != "serial" or not test:
        return None
    text = collection_path.read_text()
    return None if "serial" in text or "tests.browsing" in text else True  # all that is tested in a browser is serial


class Ran(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Runs a command of ``guarded-tools`` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def cli(*argv):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in argv])
        captured = capsys.readouterr()
        return Ran(ended.value.code or 0, captured.out, captured.err)

    return cli


STATES = itertools.count()


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory, monkeypatch):
    """A name that is free: whoever keeps something makes the directory."""
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path_factory.getbasetemp() / f"state-{next(STATES)}"))
    monkeypatch.delenv("GUARDED_TOOLS_STORE", raising=False)


@pytest.fixture
def http_sandbox():
    """Starts a sandbox that listens on a port of this machine; the context is its address."""

    @contextmanager
    def http_sandbox(*options):
        command = [sys.executable, "-m", "guarded_tools.pictify.sandbox", "--http", "0", *options]
        process = forked.Popen(command, stdout=forked.PIPE, stderr=forked.STDOUT)
        try:
            found = None
            while found is None and (line := process.stdout.readline()):
                found = re.search(r"http://127\.0\.0\.1:\d+/mcp", line)
            assert found, "the sandbox did not say where it listens"
            yield found[0]
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()

    return http_sandbox


@pytest.fixture(scope="module")
def chromium():
    """A browser without a page; its tests have :data:`tests.browsing.MARKS`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root has no sandbox of its own here, and the page that is opened is ours.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def block_buster():
    """What LangGraph's server runs graphs under: blocking calls on an event loop's thread are errors, from now on."""
    buster = BlockBuster("guarded_tools")
    for function in buster.functions.values():
        may = function.can_block_predicate
        function.can_block_predicate = lambda *args, may=may, **kwargs: may(*args, **kwargs) or is_the_tests_own()
    buster.activate()
    yield buster
    buster.deactivate()


def is_the_tests_own():
    """Whether a test, or a tool or an approver of one, does what blocks: it calls what is not awaited, on its loop.

    Such is making a guard, ``reload()``, ``usage()`` or ``tool.invoke()``. What a coroutine of the package or of
    LangChain does, or the loop itself, is not the test's own. What an earlier test left behind is tidied up wherever
    the garbage is collected: that is nobody's on the loop.
    """
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(TESTS) or path == weakref.__file__:
            return True
        if frame.f_code.co_flags & inspect.CO_COROUTINE or "/asyncio/" in path:
            return False
        frame = frame.f_back
    return False


@pytest.fixture(autouse=True)
def loops_stay_free(request, block_buster):
    """Nothing of this package blocks an event loop, in any test but those marked ``may_block``, which say why.

    In sync tests as well: they run loops of their own, and a session's thread has one.
    """
    if not request.node.get_closest_marker("may_block"):
        yield
        return
    block_buster.deactivate()
    yield
    block_buster.activate()
