"""The verbs that names and descriptions of tools are made with, each in the class of the worst it does anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guarded_tools.tools.words import vocabulary
from guarded_tools.values import Risk

# Where a verb is harmless in one API and risky in another, it stands under the risky class: `validate` may store its
# findings, `resolve` may close an incident, `log` may write an entry, `export` and `download` leave a file behind.
VERBS: Mapping[Risk, frozenset[str]] = {
    "read": vocabulary(
        "access aggregate analyse analyze audit browse calculate check compare compute count decode decompile "
        "demangle deobfuscate describe deserialize detect determine diff disasm disassemble discover display echo "
        "enumerate estimate examine explain explore extract fetch find get glob grep hash head identify inspect "
        "introspect iterate list locate look lookup measure obtain paginate parse peek ping poll preview query rank "
        "read recommend rerank research retrieve return score scrape screenshot search show suggest summarise "
        "summarize tail think trace traverse unescape view wait whoami"
    ),
    "write": vocabulary(
        "accept acknowledge add adjust allow amend annotate answer append approve archive ask assign associate attach "
        "authenticate authorize autofix bind block book bookmark capture change chat checkout clone close comment "
        "commit complete compose compress configure confirm convert copy create crop declare decline decompress "
        "decrypt define demote detach disable disassociate dismiss download draft dump duplicate edit email embed "
        "enable encode encrypt escalate expand export extend favorite finalize fix follow fork format forward give "
        "grant gunzip gzip hide import increment index ingest init initialize insert invite join label leave like "
        "link load lock log login logout make manage map mark memorize mention merge message migrate modify monitor "
        "move mutate mute notify open patch pin populate post protect provision publish pull push put queue quote "
        "react rebase record redeem redirect redo refresh register reindex reject release remember remind rename "
        "render reopen reorder replace replicate reply repost request reschedule resend reserve resize resolve "
        "restore retweet revert review rewrite rotate save schedule seed send set share sign snapshot snooze sort "
        "stage star store submit subscribe switch sync tag toggle track train transfer transition translate unarchive "
        "unassign unban unblock undo unfollow unlike unlink unload unlock unmute unpack unpin unprotect unstar "
        "unsubscribe untag untar unzip update upgrade upload upsert validate verify vote watch write zip"
    ),
    "execute": vocabulary(
        "abort activate apply batch boot build call click compile connect control cordon crawl deactivate deploy "
        "disconnect dispatch drag drain eval evaluate exec execute failover fill fuzz generate handle hover initiate "
        "install invoke launch navigate pause play press promote reboot rebuild recompile redeploy refactor reload "
        "rerun restart resume retry rollback run scale scan scroll select shutdown simulate skip start stop suspend "
        "swipe tap test trigger turn type"
    ),
    "financial": vocabulary(
        "bid buy charge donate order pay payout purchase refund sell stake swap tip trade withdraw"
    ),
    "destructive": vocabulary(
        "ban cancel clean cleanup clear decommission delete deprovision deregister destroy discard drop empty erase "
        "evict expire expunge flush forget invalidate kill nuke overwrite prune purge remove reset revoke terminate "
        "trash truncate uninstall unpublish unregister void wipe"
    ),
}
CLASS_OF: Mapping[str, Risk] = {verb: risk for risk, verbs in VERBS.items() for verb in verbs}

# Verbs that are as often nouns (`get_order`, `list_builds`). They count where they lead, or where nothing else does.
NOUNS = vocabulary(
    "access answer audit ban batch bid block book bookmark build call capture change charge chat check checkout clean "
    "comment commit control copy count deploy diff download draft drop dump email empty export favorite fork format "
    "gzip hash head import index label leave like link list load lock log login map mention merge message monitor "
    "move order patch payout pin play post preview pull purchase push put query queue quote rank record redirect "
    "refund release render request research reset return review scan schedule score screenshot search select set "
    "share sign skip snapshot sort stage stake star start stop store swap tag tap test tip trace track trade train "
    "transfer trash turn type upload view void vote wait watch zip"
)

_HOW = vocabulary("batch bulk")
_PREPOSITIONS = vocabulary("to in from by for with of on at into as via within using per")


def clause(words: Sequence[str]) -> list[str]:
    """Keep the words before the first preposition, among which the verb is that says what is done."""
    end = next((at for at, word in enumerate(words) if at and word in _PREPOSITIONS), len(words))
    return list(words[:end])


def head(words: Sequence[str], verbs: Sequence[str]) -> str:
    """The verb that says what is done, in `list_orders`, `shop_list_orders`, `order_list` and `bulk_order_list`."""
    plain = [verb for verb in verbs if verb not in NOUNS]
    first = verbs[0]
    if not plain or first == plain[0]:
        return first
    leads = words.index(first) <= 1 and first not in _HOW
    return first if leads and words[-1] != plain[-1] else plain[0]


def verb_of(word: str) -> str | None:
    """Give the verb that a word is a form of: `reads`, `retries`, `dropping`."""
    stems = [word]
    if word.endswith("ies"):
        stems.append(word[:-3] + "y")  # not of any other word: "pages" are not what pays
    elif word.endswith("s"):
        stems += [word[:-1], word[:-2]]
    elif word.endswith("ing"):
        stems += [word[:-3], word[:-3] + "e", *([word[:-4]] if word[-5:-4] == word[-4:-3] else [])]
    return next((stem for stem in stems if stem in CLASS_OF), None)
