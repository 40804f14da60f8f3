"""Servers that are put behind a gateway, and what clients ask them: no word of it is about a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

LISTS = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")


class Upstream(NamedTuple):
    """A server: its command, variables it needs, what is called, and what else is asked."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    calls: tuple[tuple[str, dict[str, Any]], ...]
    more: tuple[tuple[str, dict[str, Any]], ...] = ()

    @property
    def script(self) -> list[list[Any]]:
        """All that a client asks, in turn."""
        calls = [["tools/call", {"name": name, "arguments": arguments}] for name, arguments in self.calls]
        return [*([method, {}] for method in LISTS), *calls, *map(list, self.more)]


def upstreams(modules: Path, room: Path, first: Path, second: Path) -> list[Upstream]:
    """List them. ``room`` is a folder of theirs, new for each run; ``first`` and ``second`` are pythons with MCP 1 and 2."""
    node = str(modules / ".bin" / "node")

    def of_npm(name: str, *words: str) -> tuple[str, ...]:
        return (node, str(modules / ".bin" / name), *words)

    (room / "files").mkdir(parents=True)
    (room / "files" / "note.txt").write_text("one\ntwo\n", encoding="utf-8")
    files, note = str(room / "files"), str(room / "files" / "note.txt")
    sandbox = ("-m", "guarded_tools.pictify.sandbox")
    pictify = (
        ("pictify_list_templates", {}),
        ("pictify_list_images", {}),
        ("pictify_create_image", {"html": "<b>hi</b>"}),
        ("pictify_delete_template", {"templateId": "none"}),
    )
    return [
        Upstream("server-everything", of_npm("mcp-server-everything"), {}, EVERYTHING_CALLS, EVERYTHING_MORE),
        Upstream(
            "server-filesystem",
            of_npm("mcp-server-filesystem", files),
            {},
            (
                ("list_allowed_directories", {}),
                ("read_text_file", {"path": note}),
                ("write_file", {"path": f"{files}/new.txt", "content": "ü 😀"}),
                ("list_directory", {"path": files}),
                ("edit_file", {"path": note, "edits": [{"oldText": "one", "newText": "1"}]}),
                ("read_multiple_files", {"paths": [note, f"{files}/none.txt"]}),
                ("read_text_file", {"path": "/etc/hostname"}),
                ("search_files", {"path": files, "pattern": "**/*.txt"}),
            ),
        ),
        Upstream(
            "server-memory",
            of_npm("mcp-server-memory"),
            {"MEMORY_FILE_PATH": str(room / "memory.json")},
            (
                ("create_entities", {"entities": [{"name": "Ann", "entityType": "person", "observations": ["tall"]}]}),
                ("add_observations", {"observations": [{"entityName": "Ann", "contents": ["fast"]}]}),
                ("read_graph", {}),
                ("search_nodes", {"query": "fast"}),
                ("add_observations", {"observations": [{"entityName": "Bob", "contents": ["x"]}]}),
            ),
        ),
        Upstream(
            "mcp-server-sqlite",
            (str(first.with_name("mcp-server-sqlite")), "--db-path", str(room / "sqlite.db")),
            {},
            (
                ("create_table", {"query": "CREATE TABLE t (a INTEGER, b TEXT)"}),
                ("write_query", {"query": "INSERT INTO t VALUES (1, 'ü')"}),
                ("read_query", {"query": "SELECT * FROM t"}),
                ("read_query", {"query": "DROP TABLE t"}),
                ("list_tables", {}),
                ("append_insight", {"insight": "few"}),
            ),
            (
                ("resources/read", {"uri": "memo://insights"}),
                ("prompts/get", {"name": "mcp-demo", "arguments": {"topic": "cats"}}),
            ),
        ),
        Upstream("our sandbox (mcp 1)", (str(first), *sandbox), {}, pictify),
        Upstream("our sandbox (mcp 2)", (str(second), *sandbox), {}, pictify),
    ]


EVERYTHING_CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("echo", {"message": "hi"}),
    ("get-sum", {"a": 1, "b": 2.5}),
    ("get-annotated-message", {"messageType": "error", "includeImage": True}),
    ("get-resource-links", {"count": 2}),
    ("get-resource-reference", {"resourceType": "Text", "resourceId": 2}),
    ("get-structured-content", {"location": "Chicago"}),
    ("get-tiny-image", {}),
    ("trigger-long-running-operation", {"duration": 0.3, "steps": 3}),
    ("get-roots-list", {}),
    ("trigger-elicitation-request", {}),
    ("trigger-sampling-request", {"prompt": "hi", "maxTokens": 5}),
)
EVERYTHING_MORE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("resources/read", {"uri": "demo://resource/static/document/features.md"}),
    ("resources/read", {"uri": "demo://resource/dynamic/text/3"}),
    ("resources/read", {"uri": "demo://nowhere"}),
    ("prompts/get", {"name": "simple-prompt", "arguments": {}}),
    ("prompts/get", {"name": "args-prompt", "arguments": {"city": "Ulm"}}),
    ("prompts/get", {"name": "resource-prompt", "arguments": {"resourceType": "Text", "resourceId": "1"}}),
    (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "completable-prompt"}, "argument": {"name": "department", "value": "E"}},
    ),
)
