"""What a tool brings into a session, and whether its call sends something out: a proposal, told from words. Pure.

Rules across the calls of a session speak of labels. Three say what the *result* holds, `outward` what the *call* does:

- `untrusted`: text that strangers may have written (web pages, mail, issues, comments, files of others);
- `private`: data of the user or the company; `secret`: what opens something, which is private as well;
- `outward`: it leaves the user's realm or others get to see it (mail, posts, payments, requests to an address).

Only its *name*, and the parameters that a call will carry, speak for a tool: the verb tells whether the result holds
anything, the nouns whose it is and who wrote it, a parameter whether there is an address, a recipient or a place that
is shared. Description and annotations, in which a server may write whatever it likes, add labels and take none away: so
that "read only, safe" changes nothing. What no word tells counts as the worst: a read of something unheard of is
private and untrusted, a change of it outward, and a tool without a verb is all three.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from guarded_tools.tools import nouns
from guarded_tools.tools.risk import ADDRESS, ADDRESS_SAID, RANK, classify, verb_told
from guarded_tools.tools.verbs import CLASS_OF, clause
from guarded_tools.tools.words import vocabulary, words_of
from guarded_tools.values import Risk

Label: TypeAlias = Literal["untrusted", "private", "secret", "outward"]

LABELS: tuple[Label, ...] = ("untrusted", "private", "secret", "outward")

# What answers with what it came upon, though it changes something on the way; `manage` may list as well.
_BRINGING = vocabulary(
    "ask browse call chat click clone control crawl dispatch download drag dump eval evaluate exec execute export fill "
    "handle hover import invoke log manage navigate open play press pull query request research run scan scrape "
    "scroll select snapshot swipe sync tap type"
)
# What works out its result from the arguments, or says nothing but how it went.
_COMPUTING = vocabulary(
    "calculate compute convert decode demangle deobfuscate deserialize echo estimate hash ping poll rank score think "
    "unescape wait"
)
_FINDING = vocabulary("browse discover explore find look lookup query research search")
_GOING_OUT = vocabulary(
    "broadcast call chat comment dispatch email forward invite mention message notify post publish push reply repost "
    "retweet send share submit tweet upload"
)
# What goes to a page by its very meaning, and what goes to one where the name has an address.
_GOING = vocabulary("browse crawl navigate scrape")
_FETCHING = vocabulary("capture extract fetch load map open read request screenshot visit")
# What makes a secret answers with it.
_MAKING = vocabulary("create generate initialize issue obtain provision refresh regenerate reset rotate")
# What a user does to his own view of things, wherever they are.
_MINDING = vocabulary("bookmark draft mark memorize mute remember snooze unmute")
# What runs whatever it is given does whatever that does.
_RUNNING = vocabulary(
    "call click drag eval evaluate exec execute fill hover invoke navigate press run scroll select swipe tap type"
)

_STRANGERS_SAID = re.compile(
    r"\b(web ?(?:pages?|sites?)|internet|e?mails?|messages?|comments?|issues?|pull requests?|merge requests?|reviews?|"
    r"posts?|tweets?|threads?|tickets?|discussions?|conversations?|transcripts?|articles?|news|attachments?|"
    r"notifications?|commits?|logs?|files?|feedback|submissions?|bios?)\b",
    re.IGNORECASE,
)
_PRIVATE_SAID = re.compile(
    r"\b(your|the user'?s|(?:authenticated|current) user|private|internal|confidential|mailbox|inbox|customers?|"
    r"accounts?|personal|workspace|company'?s)\b",
    re.IGNORECASE,
)
_SECRET_SAID = re.compile(
    r"\b(?<!no )(api keys?|access tokens?|secret values?|secrets|credentials|passwords?|private keys?|"
    r"connection strings?|environment variables?)\b",
    re.IGNORECASE,
)
_NEEDED = re.compile(r"\b(?:requires?|using|uses?|with|without|provide|valid|via)\b", re.IGNORECASE)
_ANSWERS_SAID = re.compile(
    r"\b(?:returns?|answers? with|responds? with|outputs?|extracts?|reads?|fetch(?:es)?|retrieves?|scrapes?)\b"
    r"[^.]{0,60}"
    r"\b(contents?|text|body|html|markdown|pages?|results?|output|transcript|messages|data)\b",
    re.IGNORECASE,
)
_OUT_SAID = re.compile(
    r"\b(?:sends?|posts?|publish(?:es)?|shares?|uploads?|forwards?|tweets?|notif(?:y|ies)|e-?mails?)\b"
    r"[^.]{0,60}\b(to|email|message|post|public|webhook|recipients?|everyone)\b",
    re.IGNORECASE,
)


class Labelled(NamedTuple):
    """A label that a tool seems to have, and why in a few words."""

    label: Label
    why: str


class _Tool(NamedTuple):
    """What is looked at: the words of the name and its verb, and what the server says besides."""

    words: Sequence[str]
    verb: str
    risk: Risk
    reads: bool  # whether somebody who knows, or the name alone, says so
    sentence: str  # the description's first
    parameters: Mapping[str, Sequence[str]]  # the words of each one's name
    choices: Sequence[str]  # the verbs among which an argument chooses what is done
    annotations: Mapping[str, Any]

    @property
    def nouns(self) -> list[str]:
        """All but the verb, which is none where it leads: `request_review`, but not `browser_network_request`."""
        return [word for at, word in enumerate(self.words) if at or word != self.verb]


def propose(
    name: str,
    description: str = "",
    schema: Mapping[str, Any] | None = None,
    annotations: Mapping[str, Any] | None = None,
    risk: Risk | None = None,
) -> tuple[Labelled, ...]:
    """Say which labels a tool seems to have, each once, in the order of :data:`LABELS`.

    ``schema`` is its JSON Schema, ``annotations`` are MCP's hints as for :func:`~guarded_tools.tools.risk.classify`;
    ``risk`` is its class where somebody knows it, told from the same words where left out.
    """
    verb = verb_told(name, description)
    known = risk or classify(name, description, schema, annotations).risk
    properties = (schema or {}).get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    tool = _Tool(
        words=words_of(name),
        verb=verb,
        risk=known,
        reads="read" in (known, classify(name).risk),
        sentence=re.split(r"(?:[.!?](?:\s|$))|\n\n", description.strip()[:2000], maxsplit=1)[0],
        parameters={str(key): words_of(str(key)) for key, value in properties.items() if not _is_plain(value)},
        choices=list(_choices(properties)),
        annotations=annotations or {},
    )
    found: dict[Label, str] = {}
    untold = not name.isascii() or not (verb or known == "read")
    for label, why in _untold(tool) if untold else (*_of_result(tool), *_of_call(tool), *_of_hints(tool)):
        found.setdefault(label, why)
    return tuple(Labelled(label, found[label]) for label in LABELS if label in found)


def _is_plain(value: Any) -> bool:
    """Whether a parameter can carry no text: `no_webpage` is a flag and no page."""
    return isinstance(value, Mapping) and value.get("type") in ("boolean", "integer", "number")


def _choices(properties: Mapping[str, Any]) -> Iterator[str]:
    for value in properties.values():
        choices = value.get("enum") if isinstance(value, Mapping) else None
        for choice in choices if isinstance(choices, list) else ():
            yield from (word for word in words_of(str(choice))[:1] if word in CLASS_OF)


def _untold(tool: _Tool) -> Iterator[Labelled]:
    """Count a tool as everything, where nothing tells what it does."""
    for label in ("untrusted", "private", "outward"):
        yield Labelled(label, "nothing tells what it does")
    secret = _secret(tool)
    if secret:
        yield Labelled("secret", secret)


def _of_result(tool: _Tool) -> Iterator[Labelled]:
    """Say what the result holds, where it holds anything but an account of what was done."""
    secret = _secret(tool)
    brings = _brings(tool)
    if secret and (brings or tool.verb in _MAKING):
        yield Labelled("secret", secret)
        yield Labelled("private", secret)
    private, untrusted = (_private(tool), _untrusted(tool)) if brings else ("", "")
    if private:
        yield Labelled("private", private)
    if untrusted:
        yield Labelled("untrusted", untrusted)


def _brings(tool: _Tool) -> bool:
    """Whether the result holds what the tool came upon."""
    if tool.verb in _MINDING:
        return False
    if tool.verb in _COMPUTING and not {"file", "path", "url", "id"} & {w for p in tool.parameters.values() for w in p}:
        return False
    reading = tool.reads or CLASS_OF.get(tool.verb) == "read" or tool.verb in _BRINGING
    also = any(CLASS_OF[word] == "read" for word in tool.words[:3] if word in CLASS_OF)
    chosen = any(CLASS_OF[choice] == "read" for choice in tool.choices)
    return reading or also or chosen or bool(_ANSWERS_SAID.search(tool.sentence))


def _secret(tool: _Tool) -> str:
    for before, word in zip(["", *tool.words], tool.words, strict=False):
        opens = before in nouns.OPENS or (word.startswith("token") and before == tool.verb != "count")
        if word in nouns.SECRETS or (word in nouns.OPENING and opens):
            return f"name says {word!r}"
    if ("connection", "string") in zip(tool.words, tool.words[1:], strict=False):
        return "name says 'connection string'"
    said = _SECRET_SAID.search(tool.sentence)
    if said and not _NEEDED.search(tool.sentence[: said.start()]):
        return f"description says {said[0].lower()!r}"
    return ""


def _private(tool: _Tool) -> str:
    personal = next((word for word in tool.nouns if word in nouns.PERSONAL), "")
    if personal:
        return f"name says {personal!r}"
    if not _is_public(tool):
        return "nothing tells that everybody may know it"
    said = _PRIVATE_SAID.search(tool.sentence)
    return f"description says {said[0].lower()!r}" if said else ""


def _is_public(tool: _Tool) -> bool:
    """Whether everybody may know it: the web at an address, or what a public noun says that is last or looked for."""
    if CLASS_OF.get(tool.verb) not in ("read", "execute") or tool.verb in _RUNNING:
        return False
    if _takes_address(tool) and not nouns.WEB.isdisjoint(tool.nouns or ["web"]):
        return True
    if tool.verb in _FINDING:
        return not nouns.PUBLIC.isdisjoint(tool.nouns)
    return not nouns.ALWAYS_PUBLIC.isdisjoint(tool.nouns) or not nouns.PUBLIC.isdisjoint(clause(tool.words)[-1:])


def _untrusted(tool: _Tool) -> str:
    about = clause(tool.words)
    stranger = next((word for word in tool.nouns if word in nouns.STRANGERS), "")
    if stranger and not (len(about) > 1 and about[-1] in nouns.FACETS):
        return f"name says {stranger!r}"
    address = _address(tool)
    if address:
        return address
    if tool.verb in _FINDING:
        found = next((word for word in tool.nouns if word in nouns.STRANGE_WHEN_FOUND), "")
        if found:
            return f"name says {tool.verb!r} of {found!r}"
    if tool.verb in _RUNNING:
        return f"name says {tool.verb!r}"
    said = _STRANGERS_SAID.search(tool.sentence)
    if said and not stranger:
        return f"description says {said[0].lower()!r}"
    own = next((word for word in tool.words if word in nouns.OWN), "")
    return "" if own else "nothing tells who wrote it"


def _takes_address(tool: _Tool) -> str:
    """Say what lets a caller choose the page that is gone to."""
    key = next((key for key, words in tool.parameters.items() if not ADDRESS.isdisjoint(words)), "")
    if key:
        return f"goes to any address: takes {key!r}"
    if tool.verb in _GOING or (tool.verb in _FETCHING and not ADDRESS.isdisjoint(tool.words)):
        return f"name says {tool.verb!r} of a page"
    return ""


def _address(tool: _Tool) -> str:
    return _takes_address(tool) or ("it goes to any address" if ADDRESS_SAID.search(tool.sentence) else "")


def _of_call(tool: _Tool) -> Iterator[Labelled]:
    """Say whether the call leaves the user's realm, or changes what others see."""
    if tool.risk == "financial":
        yield Labelled("outward", "it moves money")
    address = _address(tool)
    if address:
        yield Labelled("outward", address)
    if not _changes(tool):
        return
    going = next((word for word in tool.words if word in _GOING_OUT and word == tool.verb), "")
    if going:
        yield Labelled("outward", f"name says {going!r}")
    to = next((key for key, words in tool.parameters.items() if not nouns.RECIPIENTS.isdisjoint(words)), "")
    if to and not _stays(tool):
        yield Labelled("outward", f"has recipients: takes {to!r}")
    if tool.verb in _RUNNING:
        yield Labelled("outward", f"name says {tool.verb!r}")
    said = _OUT_SAID.search(tool.sentence)
    if said:
        yield Labelled("outward", f"description says {said[0].split()[0].lower()!r}")
    if not _stays(tool):
        yield Labelled("outward", "others may see what it changes")


def _changes(tool: _Tool) -> bool:
    """Whether anything is different afterwards; a read that only its reach makes more than a read is none."""
    if tool.risk == "read":
        return False
    return CLASS_OF.get(tool.verb, "destructive") != "read" or RANK[tool.risk] >= RANK["execute"]


def _stays(tool: _Tool) -> bool:
    """Whether what changes is the user's own: a file here, a draft, a mark; not a file in somebody's repository."""
    if tool.verb in _MINDING or (tool.verb == "save" and not {"draft", "drafts"}.isdisjoint(tool.words)):
        return True
    shared = any(not nouns.SHARED_PLACES.isdisjoint(words) for words in tool.parameters.values())
    opened = not nouns.ACCESS.isdisjoint(tool.nouns)
    return bool(tool.parameters) and not (shared or opened) and not nouns.INSIDE.isdisjoint(tool.nouns)


def _of_hints(tool: _Tool) -> Iterator[Labelled]:
    if tool.annotations.get("openWorldHint") is True or tool.annotations.get("open_world_hint") is True:
        yield Labelled("untrusted", "server says it reaches out into the world")
        yield Labelled("outward", "server says it reaches out into the world")
