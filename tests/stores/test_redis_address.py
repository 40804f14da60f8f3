"""A URL of a Redis server may hold a password: no message repeats it, however the URL is wrong."""

import traceback

import pytest

from guarded_tools.errors import StoreError
from guarded_tools.stores import open_store


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2/x@127.0.0.1:6379",
        "redis://user:hunter2?x@127.0.0.1:6379",
        "redis://user:hunter2#x@127.0.0.1:6379",
        "redis://:hunter2@127.0.0.1:port",
        "redis://:hunter2@[127.0.0.1:6379",
        "redis://:hunter2@127.0.0.1:6379?timeout=soon",
        "redis://:hunter2@127.0.0.1:6379?tiemout=1",
        "redis://:hunter2@127.0.0.1:6379/not-a-number",
        "redis://:hunter2@127.0.0.1:1/0?timeout=0.2",
        "reddis://:hunter2@127.0.0.1:6379",
        "unix://:hunter2@/run/redis.sock",
    ],
)
def test_no_message_repeats_the_password(url):
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "hunter2" not in "".join(traceback.format_exception_only(caught.value))
    # What a person is shown of an uncaught error: it and what it came from.
    assert "hunter2" not in "".join(traceback.TracebackException.from_exception(caught.value).format_exception_only())
    if not caught.value.__suppress_context__:
        assert "hunter2" not in f"{caught.value.__cause__} {caught.value.__context__}"
    assert "hunter2" not in str(caught.value.__cause__)
