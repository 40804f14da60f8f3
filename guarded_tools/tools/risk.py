"""What a tool can do, told from what its server says of it. Pure, and wrong on the safe side.

The verb of the name decides; where the name has none, the verbs its description begins with; where neither tells,
the tool is destructive. Description, parameters and annotations may then raise the class and nothing lowers it: a
server that lies can make a tool look worse than it is, or has to lie in the very name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from guarded_tools.tools import money
from guarded_tools.tools.verbs import CLASS_OF, NOUNS, clause, head, verb_of
from guarded_tools.tools.words import vocabulary, words_of
from guarded_tools.values import Risk

RANK: Mapping[Risk, int] = {"read": 0, "write": 1, "execute": 2, "financial": 3, "destructive": 4}


class Classified(NamedTuple):
    """A risk class, and why in a few words."""

    risk: Risk
    why: str


# What a tool shows whose name ends with it: `git_log`, `browser_snapshot`. Elsewhere two of them are verbs that write.
_SIGHTS = vocabulary(
    "log logs snapshot screenshot status info stats history details metrics summary tree help docs documentation health"
)

# What only computes or looks, though its verb may write elsewhere: `convert_time`, `open_nodes`; not `convert_lead`.
_HARMLESS: Mapping[str, frozenset[str]] = {
    "convert": vocabulary(
        "time timezone timezones date dates timestamp unit units temperature currency currencies color"
    ),
    "open": vocabulary("node nodes entity entities"),
    "scan": vocabulary("key keys table tables row rows record records item items document documents"),
    "scroll": vocabulary("point points document documents record records result results hit hits index"),
}
# Tools that only give a model room to think.
_THOUGHTS = vocabulary("thinking sequentialthinking")

# What holds the keys of everything else, and what may lead to any address, inside somebody's network or out of it.
_ENVIRONMENT = vocabulary("env envs environ envvar envvars")
_ENVIRONMENT_SAID = re.compile(r"\benvironment variables\b|\bprocess\.env\b|\bos\.environ\b", re.IGNORECASE)
ADDRESS = vocabulary("url urls uri uris webpage website")
_GOING = vocabulary("fetch scrape crawl browse visit read load open extract screenshot capture request")
ADDRESS_SAID = re.compile(
    r"\bfrom the (?:internet|web)\b|\b(?:any|arbitrary) (?:urls?|uris?|web ?(?:page|site)s?)\b", re.IGNORECASE
)

# Believed wherever they stand in a name: `search_and_delete`, `search_console_insert_site`.
_UNMISTAKABLE = vocabulary(
    "create add insert update modify write send execute delete remove destroy purge wipe erase truncate"
)

_CERTAIN_HARM = re.compile(
    r"cannot be (?:undone|reversed|recovered)|irreversibl|permanently (?:delet|remov|eras|destroy)", re.IGNORECASE
)
_ANY_PROGRAM = re.compile(r"\barbitrary (?:\w+ )?(?:code|commands?|sql|javascript|python|scripts?)", re.IGNORECASE)
# "Run a PromQL query" is another way to say "read"; "run SQL" is not.
_RUNS_A_QUERY = re.compile(
    r"\W*(?:run|execute|perform)s?\b"
    r"(?:.*\bread[ -](?:only|mode)\b|(?!.*\b(?:sql|cypher|graphql)\b).*\b(?:quer|search|\w+ql\b))",
    re.IGNORECASE,
)

_PROGRAM = vocabulary("sql command cmd script shell javascript")
_CHOICE = vocabulary("action operation mode method")

_OPENING = 8  # words of a description among which its verb is looked for

_DESCRIBING = re.compile(r"[a-z]+|,")
_JOINING = frozenset({"and", "or", "then", ","})


def classify(
    name: str,
    description: str = "",
    schema: Mapping[str, Any] | None = None,
    annotations: Mapping[str, Any] | None = None,
) -> Classified:
    """Say which risk class a tool belongs to.

    ``schema`` is its JSON Schema. ``annotations`` are MCP's ``readOnlyHint``, ``destructiveHint`` and
    ``openWorldHint``, claims of the server itself, so they are believed only where they warn.
    """
    said = _by_name(name) or _by_description(description) or Classified("destructive", "no verb tells what it does")
    warnings = (
        *_in_description(said, description, _excused(name)),
        *_in_schema(said.risk, schema or {}),
        *_reaching(name, description, schema or {}),
    )
    return warned(_worst(said, *warnings), annotations)


def verb_told(name: str, description: str = "") -> str:
    """Give the verb by which a tool is classed, or "" where nothing tells what it does."""
    words = clause(words_of(name)) if name.isascii() else []
    verbs = [word for word in words if word in CLASS_OF]
    return head(words, verbs) if verbs else next(iter(_leading_verbs(description)), "")


def warned(said: Classified, annotations: Mapping[str, Any] | None) -> Classified:
    """Raise a class to what the server's own annotations warn of, in MCP's spelling or in that of its Python types."""
    return _worst(said, *_in_hints(annotations or {}))


def _worst(*classes: Classified) -> Classified:
    return max(classes, key=lambda classified: RANK[classified.risk])


def _by_name(name: str) -> Classified | None:
    if not name.isascii():
        return Classified(
            "destructive", "name is not plain ASCII"
        )  # a letter that only looks like another hides a verb
    words = words_of(name)
    loud = [word for word in words if word in _UNMISTAKABLE] + _joined(words)
    words = clause(words)
    verbs = [word for word in words if word in CLASS_OF]
    if len(words) > 1 and words[-1] in _SIGHTS and (verbs in ([], [words[-1]]) or _only_looks(words, verbs)):
        return Classified("read", f"name ends with {words[-1]!r}")
    first = head(words, verbs) if verbs else ""
    paid = _of_money(words, first, loud)
    if paid:
        return paid
    if not verbs:
        return Classified("read", f"name says {words[-1]!r}") if words and words[-1] in _THOUGHTS else None
    if first == _excused(name) and not loud:
        return Classified("read", f"name says {first!r} of {words[-1]!r}")
    strongest = _strongest([first, *loud])
    return Classified(CLASS_OF[strongest], f"name says {strongest!r}")


def _only_looks(words: list[str], verbs: list[str]) -> bool:
    """Whether what could be a verb is the bill that is looked at: `order_status`, but not `post_status`."""
    return money.looks_at_bill(words) and set(verbs) <= {*words[-2:]}


def _of_money(words: list[str], first: str, loud: list[str]) -> Classified | None:
    """Class what creates, changes, sends or ends something that bills; to delete it destroys it all the same."""
    acts = {*loud} if CLASS_OF.get(first) == "read" else {first, *words[:2], *loud}
    verb = money.billing(words, acts)
    if verb is None:
        return None
    others = [other for other in {first, *loud} - money.ENDING if other in CLASS_OF]
    return _worst(
        Classified("financial", f"name says {verb!r} of money"),
        *(Classified(CLASS_OF[other], f"name says {other!r}") for other in others),
    )


def _excused(name: str) -> str:
    """The verb that does no harm to what this tool does it to, or nothing."""
    words = words_of(name)
    pairs = pairwise(words)
    return next((verb for verb, what in pairs if what in _HARMLESS.get(verb, ())), "")


def _reaching(name: str, description: str, schema: Mapping[str, Any]) -> Iterator[Classified]:
    """Raise what hands out the environment or fetches any address; of a tool that writes, its verb says enough."""
    words = set(words_of(name))
    if words & _ENVIRONMENT or {"environment", "variables"} <= words or _ENVIRONMENT_SAID.search(description):
        yield Classified("write", "it hands out the environment")
    properties = schema.get("properties")
    for key, value in properties.items() if isinstance(properties, Mapping) else ():
        said = value if isinstance(value, Mapping) else {}
        named = not ADDRESS.isdisjoint(words_of(str(key)))
        if (named or said.get("format") in {"uri", "url"}) and "enum" not in said and "const" not in said:
            yield Classified("write", f"goes to any address: takes {key!r}")
            return
    if (words & ADDRESS and words & _GOING) or ADDRESS_SAID.search(description):
        yield Classified("write", "it goes to any address")


def _joined(words: list[str]) -> list[str]:
    """The verbs that `and`, `or` or `then` joins to what stands before: in `list_and_kill`, both count."""
    return [
        word
        for before, joint, word in zip(words, words[1:], words[2:], strict=False)
        if joint in _JOINING
        and word in CLASS_OF
        and (word not in NOUNS or (before in CLASS_OF and before not in NOUNS))
    ]


def _strongest(verbs: Iterable[str]) -> str:
    return max(verbs, key=lambda verb: RANK[CLASS_OF[verb]])


def _by_description(description: str) -> Classified | None:
    verbs = _leading_verbs(description)
    if not verbs:
        return None
    strongest = _strongest(verbs)
    return Classified(CLASS_OF[strongest], f"description says {strongest!r}")


def _leading_verbs(description: str) -> list[str]:
    """The first verb of the first sentence, and those that `and`, `or`, `then` or a comma join to it.

    Of later sentences, which often tell how to use a tool, only those that begin with the worst verbs count.
    """
    first, *later = re.split(r"[.\n:;]", description.strip())
    verbs: list[str] = []
    before = ""
    for at, word in enumerate(_DESCRIBING.findall(first.lower())):
        verb = verb_of(word)
        if verb and (at < _OPENING if not verbs else before in _JOINING and verb not in NOUNS):
            verbs.append(verb)
        before = word
    for sentence in later:
        opening = _DESCRIBING.match(sentence.strip().lower())
        verb = verb_of(opening[0]) if opening else None
        if verb and verb not in NOUNS and RANK[CLASS_OF[verb]] >= RANK["financial"]:
            verbs.append(verb)
    return verbs


def _in_description(said: Classified, description: str, excused: str) -> Iterator[Classified]:
    if _CERTAIN_HARM.search(description):
        yield Classified("destructive", "description says it cannot be undone")
    if _ANY_PROGRAM.search(description):
        yield Classified("execute", "description says it runs what it is given")
    billed = money.said_billing(description)
    if billed:
        yield Classified("financial", f"description says {billed!r} of money")
    # What ends a bill is said of it once more; it is no other harm for that.
    known = money.ENDING if said.risk == "financial" or billed else ()
    plain = [verb for verb in _leading_verbs(description) if not (verb in NOUNS or verb == excused or verb in known)]
    if _RUNS_A_QUERY.match(description[:300]):
        plain = [verb for verb in plain if CLASS_OF[verb] != "execute"]
    if plain:
        strongest = _strongest(plain)
        # Between write and execute the name is the better witness: "Trigger the creation of …" creates.
        if said.risk == "read" or RANK[CLASS_OF[strongest]] >= RANK["financial"]:
            yield Classified(CLASS_OF[strongest], f"description says {strongest!r}")


def _in_schema(risk: Risk, schema: Mapping[str, Any]) -> Iterator[Classified]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return
    if risk != "read" and money.takes_amount({word for key in properties for word in words_of(str(key))}):
        yield Classified("financial", "takes an amount of money")
    for key, value in properties.items():
        words = set(words_of(str(key)))
        if words & _PROGRAM:
            yield Classified("execute", f"takes {key!r}")
        choices = value.get("enum") if isinstance(value, Mapping) and words & _CHOICE else None
        for choice in choices if isinstance(choices, list) else ():
            said = _by_name(str(choice))
            if said:
                yield Classified(said.risk, f"{key!r} may be {choice!r}")


def _in_hints(annotations: Mapping[str, Any]) -> Iterator[Classified]:
    def says(hint: str, snake: str, value: bool) -> bool:
        return annotations.get(hint) is value or annotations.get(snake) is value

    if says("destructiveHint", "destructive_hint", True):
        yield Classified("destructive", "server marks it destructive")
    if says("readOnlyHint", "read_only_hint", False):
        yield Classified("write", "server says it is not read-only")
    if says("openWorldHint", "open_world_hint", True):
        # As what goes to any address: a question to the world can carry out what it was asked with.
        yield Classified("write", "server says it reaches out into the world")
