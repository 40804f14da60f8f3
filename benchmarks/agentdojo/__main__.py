"""``make agentdojo``: every suite under every policy, written to ``results.md`` beside this file."""

from __future__ import annotations

import argparse
import time
import warnings
from importlib.metadata import version
from pathlib import Path

from benchmarks.agentdojo.policies import POLICIES, tool_list
from benchmarks.agentdojo.report import HEAD, Tally, details, legend, row, tally, total
from benchmarks.agentdojo.world import SUITES, VERSION

RESULTS = Path(__file__).parent / "results.md"


def main() -> None:
    """Play what is asked for, and write the results where all was."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agentdojo", description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES, help="default: all")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="default: all")
    parser.add_argument("--details", action="store_true", help="which injections and which tasks")
    parser.add_argument(
        "--tools", type=Path, metavar="FOLDER", help="write each suite's tools there, for `scan`; no more"
    )
    chosen = parser.parse_args()
    suites, names = chosen.suite or SUITES, chosen.policy or POLICIES
    if chosen.tools is not None:
        for suite in suites:
            (chosen.tools / f"{suite}.json").write_text(tool_list(suite), encoding="utf-8")
        return
    began = time.monotonic()
    played: dict[tuple[str, str], Tally] = {}
    lines = []
    print(HEAD, flush=True)
    for suite in suites:
        for name in names:
            played[suite, name] = tally(suite, name)
            lines.append(row(suite, name, played[suite, name]))
            print(lines[-1], flush=True)
    for name in names:
        if len(suites) > 1:
            lines.append(row("**all**", name, total(played[suite, name] for suite in suites)))
            print(lines[-1], flush=True)
    if chosen.details:
        print(*(f"\n{details(suite, name, played[suite, name])}" for suite in suites for name in names), sep="\n")
    took = time.monotonic() - began
    print(f"\n{took:.0f} s")
    if tuple(suites) == SUITES and tuple(names) == POLICIES:
        attacks = total(played[suite, "none"] for suite in suites)
        about = (
            f"One run of `make agentdojo`: AgentDojo {version('agentdojo')}, benchmark {VERSION}, {took:.0f} s. Of "
            f"{attacks.attacks.total() + attacks.unread} pairs of a user's task and an injection, the agent read the "
            f"injection in {attacks.attacks.total()}; all figures are of those: [README.md](README.md)."
        )
        text = "\n\n".join(["# AgentDojo", about, "\n".join([HEAD, *lines]), legend(POLICIES)])
        RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # AgentDojo's dependencies, at their import and at each of its checks
    main()
