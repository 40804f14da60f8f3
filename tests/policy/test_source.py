"""Every problem stands where it says: line, column and pointer, in JSON and in YAML."""

from __future__ import annotations

import json
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.errors import PolicyError
from guarded_tools.policy import Policy
from guarded_tools.policy.reading.source import Source, read_source


@pytest.fixture
def problems(tmp_path):
    def told(name, text):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode("utf-8", "surrogatepass"))
        with pytest.raises(PolicyError) as raised:
            Policy.from_file(file)
        lines = [str(problem).removeprefix(f"{file}") for problem in raised.value.problems]
        return lines, raised.value.unreadable

    return told


def test_json_places(problems):
    lines, unreadable = problems(
        "p.json",
        """\
        {
          "version": "1",
          "defualt": "deny", "tools": {
            "a/b": {"require": [ {"path": "args.x", "op": "eq", "value": 1},
                                 {"path": "x\\u0041", "op": "eqq",
                                  "value": 1} ]}
          }
        }
        """,
    )
    assert lines == [
        ':1:1: /default: default is required (add "default": "deny" to refuse the tools that are not listed)',
        ":3:3: /defualt: unknown key 'defualt' (did you mean default?)",
        ":5:35: /tools/a~1b/require/1/path: a path begins with args (did you mean args.xA?)",
        ":5:52: /tools/a~1b/require/1/op: 'eqq' is not one of eq, neq, in, not_in, lt, lte, gt, gte, regex, contains, exists, url_host, segment (did you mean eq?)",
    ]
    assert unreadable is False


def test_yaml_places(problems):
    lines, _ = problems(
        "p.yaml",
        """\
        version: "1"
        default: deny
        tools:
          create_issue:
            rules:
              - name: hourly
                rate_limt: 5/hour
          ü:
            limits:
              - {counter: c, window: week, max: 1}
        """,
    )
    assert lines == [
        ":7:9: /tools/create_issue/rules/0/rate_limt: unknown key 'rate_limt' (did you mean rate_limit?)",
        ':10:30: /tools/ü/limits/0/window: not a span of time (write "minute", "hour", "day", a number of seconds, or a number with s, m, h or d like "10m")',
    ]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("p.json", '{"version": "1", "default": "deny",\n "default": "allow"}', ":2:2: /default: this key stands here twice"),
        ("p.json", '{"version": "1", "default": "deny", "tools": {"a": {}, "\\u0061": {}}}', ":1:56: /tools/a: this key"),
        ("p.yaml", 'version: "1"\ndefault: deny\ndefault: allow\n', ":3:1: /default: this key stands here twice"),
        ("p.yaml", 'version: "1"\ndefault: deny\ntools: {1: {}}\n', ":3:9: /tools: a key that is not a text"),
        ("p.yaml", 'version: "1"\ndefault: deny\ntools: {true: {}}\n', ":3:9: /tools: a key that is not a text"),
        ("p.yaml", 'version: "1"\ndefault: deny\nhide: [!!binary aGk=]\n', ":3:8: /hide/0: the tag"),
        ("p.yaml", 'version: "1"\ndefault: deny\nhide: [!!python/name:os.system x]\n', ":3:8: /hide/0: the tag"),
        ("p.yaml", 'version: "1"\ndefault: deny\ntools: !!python/object:os.system {}\n', ":3:8: /tools: the tag"),
        ("p.yaml", 'version: "1"\ndefault: deny\ntools: {t: !custom {}}\n', ":3:12: /tools/t: the tag !custom is not part"),
        ("p.yaml", 'version: "1"\ndefault: deny\nhide: !custom [x]\n', ":3:7: /hide: the tag !custom is not part"),
        ("p.yaml", 'version: "1"\ndefault: deny\nhide: !!set {x}\n', ":3:7: /hide: the tag"),
        ("p.yaml", 'version: "1"\ndefault: deny\nhide: !!map [x]\n', ":3:7: /hide: the tag"),
        ("p.yaml", 'version: "1"\ndefault: deny\nhide: [!!int x]\n', ":3:8: /hide/0: this does not fit its tag"),
        ("p.yaml", 'version: "1"\ndefault: deny\ntools: {t: {limits: [{counter: c, window: day, max: .inf}]}}\n', "/max: must be a whole"),
        ("p.yaml", 'version: "1"\ndefault: "\x01"\n', "not YAML"),
        ("p.yaml", f"version: 0x{'f' * 5000}\n", ":1:10: /version: this does not fit its tag, or is a number too long to read"),
        ("p.yaml", "# only a comment\n", ":1:1: /: a policy is an object"),
        ("p.yaml", 'version: "1"\ndefault: deny\nhide: &a [*a]\n', ":3:7: /: an alias that repeats itself"),
        ("p.yaml", 'version: "1"\ndefault: deny\n<<: {tools: {}}\n', ":3:1: /<<: unknown key"),
        ("p.yaml", 'version: "1"\ndefault: deny\n---\nversion: "1"\n', "not YAML: but found another document"),
        ("p.yaml", 'version: "1"\ndefault: [deny\n', "not YAML"),
        ("p.yaml", "version: '1'\n\tdefault: deny\n", ":2:1: /: not YAML"),
        ("p.json", '{"version": "1"', ":1:16: /: not JSON"),
        ("p.json", '{"version": "1" x}', ":1:17: /: not JSON"),
        ("p.json", "{'version': '1'}", ":1:2: /: not JSON"),
        ("p.json", '// a comment\n{"version": "1"}', ":1:1: /: not JSON"),
        ("p.json", '{"version": NaN}', ":1:13: /version: NaN is not JSON (write a finite number)"),
        ("p.json", '{"version": "1",\n "default": "deny", "x": [1, Infinity]}', ":2:30: /x/1: Infinity is not JSON"),
        ("p.json", "NaN", ":1:1: /: NaN is not JSON"),
        ("policy", '{"log_values": [NaN], "defualt": "NaN"}', ":1:23: /defualt: unknown key"),
        ("p.json", '{"version": -Infinity}', "-Infinity is not JSON"),
        ("p.json", '{"version": 1' + "0" * 5000 + "}", "too long to read"),
        ("p.json", '{"version": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
        ("p.yaml", "version: " + "[" * 101 + "]" * 101, ":1:109: /: nested deeper than 100 levels"),
        ("p.yaml", "version: " + "[" * 200_000, "nest"),
        ("p.yaml", "- " * 101 + "a", ":1:201: /: nested deeper than 100 levels"),
        ("p.yaml", "- " * 100 + "a", ":1:1: /: a policy is an object"),
        ("p.json", '["version"]', ":1:1: /: a policy is an object"),
        ("p.yaml", "just text", ":1:1: /: a policy is an object"),
        ("p.yaml", "~", ":1:1: /: a policy is an object"),
        ("policy", '{"version": "1"', ":1:16: /: not JSON"),
        ("policy", "version: '2'\ndefault: deny", ":1:10: /version: '2' is not one of 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file(problems, name, text, line):
    lines, unreadable = problems(name, text)
    assert any(line in found for found in lines), lines
    assert unreadable is False


@pytest.mark.parametrize("text", [b"", b"  \n\t", b"\xff\xfe{", b"\xff{}", b"\xef\xbb\xbf"])
def test_a_file_without_a_policy_is_unreadable(problems, text):
    lines, unreadable = problems("p.json", text)
    assert unreadable is True
    assert len(lines) == 1


def test_what_is_not_there_is_unreadable(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(PolicyError, match="cannot be read") as raised:
            Policy.from_file(path)
        assert raised.value.unreadable is True


def test_aliases_do_not_multiply_without_end(problems):
    layers = "".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]\n" for n in range(1, 12))
    lines, _ = problems("p.yaml", f"k0: &k0 [x]\n{layers}")
    assert "an alias that repeats itself or too much" in lines[0]


def test_yaml_is_read_as_its_second_version_reads_it(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("[no, yes, on, NO, 1:30, 0o17, 0x1F, 1e3, 012, 2026-01-01, .5, ~, null, True, 1_000, =, '1']")
    assert read_source(file).data == [
        "no", "yes", "on", "NO", "1:30", 15, 31, 1000.0, 12, "2026-01-01", 0.5, None, None, True, "1_000", "=", "1",
    ]  # fmt: skip


def test_a_byte_order_mark_is_no_part_of_the_policy(tmp_path):
    file = tmp_path / "p.json"
    file.write_bytes(b'\xef\xbb\xbf{"version": "1", "default": "deny"}')
    assert Policy.from_file(file).default == "deny"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON), st.sampled_from([None, 0, 1, 3]), st.booleans())
def test_every_part_of_any_json_is_found_where_it_stands(data, indent, plain):
    text = json.dumps(data, indent=indent, ensure_ascii=plain)
    source = Source("p", text, is_json=True)
    assert source.data == data
    lines = text.split("\n")

    def walk(value, at):
        problem = source.problem(at, "")
        rest = "\n".join([lines[problem.line - 1][problem.column - 1 :], *lines[problem.line :]])
        assert json.JSONDecoder().raw_decode(rest)[0] == value
        if isinstance(value, (dict, list)):
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                there = f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}"
                walk(inner, there)
                if isinstance(value, dict):
                    spot = source.problem(there, "", key=True)
                    assert json.JSONDecoder().raw_decode(lines[spot.line - 1], spot.column - 1)[0] == key

    walk(data, "")
