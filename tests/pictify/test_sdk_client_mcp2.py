"""The sandbox to the client of the second SDK itself, which finds out which revision a server speaks."""

import sys

import pytest

from tests.wire import NEW, OLD


@pytest.mark.parametrize(("mode", "revision"), [("auto", NEW), ("legacy", OLD), (NEW, NEW)])
@pytest.mark.parametrize("road", ["stdio", "http", "http-json"])
async def test_in_each_of_its_modes(serve, road, mode, revision):
    import mcp
    from mcp.client.stdio import StdioServerParameters, stdio_client

    if road == "stdio":
        words = ["-m", "guarded_tools.pictify.sandbox"]
        target = stdio_client(StdioServerParameters(command=sys.executable, args=words))
    else:
        target = serve(*(["--json"] if road == "http-json" else []))
    async with mcp.Client(target, mode=mode) as client:
        assert client.protocol_version == revision
        assert len((await client.list_tools()).tools) == 31
        made = await client.call_tool("pictify_create_image", {"html": "x"})
        assert (made.is_error, "img_000002" in made.content[0].text) == (False, True)
        assert (await client.call_tool("pictify_create_image", {})).is_error
