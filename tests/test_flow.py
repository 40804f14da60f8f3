"""The two drivers: what a step returns or raises reaches the line exactly, and nothing else does."""

import asyncio

import pytest

from guarded_tools.approval.suspension import is_suspension
from guarded_tools.flow import Await, arun, run


def give(value):
    return value


async def agive(value):
    return value


def fail(error):
    raise error


async def afail(error):
    raise error


@pytest.fixture(params=["sync", "async"])
def drive(request):
    return run if request.param == "sync" else lambda line: asyncio.run(arun(line))


def test_a_line_gets_what_its_steps_return_and_its_value_comes_back(drive):
    def line():
        first = yield Await(give, agive, (1,))
        second = yield Await(give, agive, (first + 1,))
        return [first, second]

    assert drive(line()) == [1, 2]


def test_a_line_without_steps_has_a_value(drive):
    def line():
        return "at once"
        yield

    assert drive(line()) == "at once"


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("v"), Odd("o"), SystemExit(3), asyncio.CancelledError("c")])
def test_what_a_step_raises_reaches_the_line_and_comes_back_as_the_same_object(error):
    seen = []

    def line():
        try:
            yield Await(fail, afail, (error,))
        except BaseException as caught:
            seen.append(caught)
            raise

    with pytest.raises(type(error)) as raised:
        run(line())
    assert raised.value is error
    assert seen == [error]


def test_a_line_may_swallow_and_go_on(drive):
    def line():
        try:
            yield Await(fail, afail, (ValueError(),))
        except ValueError:
            return (yield Await(give, agive, ("went on",)))

    assert drive(line()) == "went on"


async def test_cancellation_reaches_the_line_which_may_still_clean_up_by_waiting():
    cleaned = []

    async def forever():
        await asyncio.Event().wait()

    async def clean():
        await asyncio.sleep(0)
        cleaned.append(True)

    def line():
        try:
            yield Await(give, forever)
        finally:
            yield Await(give, clean)

    task = asyncio.create_task(arun(line()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [True]


def test_only_what_langgraph_raises_to_steer_a_run_is_a_suspension():
    from langgraph.errors import GraphInterrupt, GraphRecursionError, ParentCommand
    from langgraph.types import Command

    assert is_suspension(GraphInterrupt())
    assert is_suspension(ParentCommand(Command()))
    assert not is_suspension(GraphRecursionError())
    assert not is_suspension(ValueError())
