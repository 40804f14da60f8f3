"""Pictify's tools in a real notebook kernel, where a loop runs all the time and cells are tasks of their own."""

import nbformat
from nbclient import NotebookClient

CELLS = [
    """
from guarded_tools import pictify_tools
opening = pictify_tools("read_only", sandbox=True, store="memory://", state=STATE)
tools = await opening.__aenter__()
""",
    """
by_name = {tool.name: tool for tool in tools}
blocking = by_name["pictify_list_templates"].invoke({})
awaited = await by_name["pictify_list_templates"].ainvoke({})
import asyncio
many = await asyncio.gather(*(by_name["pictify_list_templates"].ainvoke({}) for _ in range(20)))
print("Welcome" in str(blocking), "Welcome" in str(awaited), len(many))
""",
    """
await opening.__aexit__(None, None, None)
with pictify_tools("read_only", sandbox=True, store="memory://", state=STATE) as again:
    print(len(again), "Welcome" in str(again[5].invoke({})))
""",
]


def test_across_the_cells_of_a_notebook(tmp_path):
    cells = [f"STATE = {str(tmp_path)!r}", *CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    printed = [output["text"] for cell in notebook.cells for output in cell.outputs]
    assert printed == ["True True 20\n", "13 True\n"]
