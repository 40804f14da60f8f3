"""The policy format: one frozen model for both dialects and our extensions. It knows nobody.

What reads a document, with every problem at once and in its place, is :mod:`guarded_tools.policy.reading`; what makes
decisions of it is :mod:`guarded_tools.policy.engine`. Both meet in :class:`guarded_tools.policy.policy.Policy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    WrapSerializer,
)

from guarded_tools.errors import Problem
from guarded_tools.policy.diagnostics import Reporter, placeless
from guarded_tools.policy.fields import (
    DAY,
    HOUR,
    RATE_PATTERN,
    ArgumentPath,
    Max,
    Maybe,
    Name,
    OrElse,
    Part,
    Text,
    ToolName,
    Window,
    parse_rate,
    wrong,
)
from guarded_tools.policy.globs import is_glob
from guarded_tools.policy.limit import Limit
from guarded_tools.policy.model_budget import ModelRules
from guarded_tools.policy.predicate import Predicates, SomePredicates
from guarded_tools.policy.result_parts import ResultRules
from guarded_tools.policy.session_parts import After, FlowPreset, Label, Need
from guarded_tools.values import Refunds, Remember, Risk, digest


def _approve(value: object) -> object:
    if value is True:
        return {}
    if value is False:
        raise wrong("false exempts nothing: approvals are never taken back", "leave approval out")
    return value


class Rate(Part):
    """A number of calls in a window of time, per session."""

    max: Max
    window: Window


class Approval(Part):
    """When a human is asked, and on what terms."""

    when: Maybe[SomePredicates] = None
    timeout: Window = 600
    remember: Remember = "never"
    remember_for: Annotated[Window, Field(le=DAY)] = Field(default=HOUR, alias="for")
    message: Maybe[Text] = None


class Rules(Part):
    """What holds for a tool, or for all of them."""

    action: Maybe[Literal["allow", "deny", "approve"]] = None
    reason: Maybe[Text] = Field(default=None, description="What a refused or asked call is told.")
    require: Predicates = ()
    deny_if: Predicates = ()
    rate_limit: Annotated[
        Maybe[Rate], BeforeValidator(parse_rate), OrElse({"type": "string", "pattern": RATE_PATTERN})
    ] = None
    limits: Annotated[tuple[Limit, ...], Field(strict=False)] = ()
    approval: Annotated[Maybe[Approval], BeforeValidator(_approve), OrElse({"const": True})] = None
    labels: Maybe[Annotated[tuple[Label, ...], Field(strict=False)]] = Field(
        default=None, description="What a result brings into the session; [] says that it brings nothing."
    )
    after: Annotated[tuple[After, ...], Field(strict=False)] = ()
    needs: Annotated[tuple[Need, ...], Field(strict=False)] = ()
    result: Maybe[ResultRules] = Field(default=None, description="What must hold for what a call brings back.")


class Tool(Rules):
    """What holds for one tool, or for the tools of a glob."""

    risk: Maybe[Risk] = None
    refunds: Refunds = Field(
        default="certain",
        description="Whose word gives charges back: what the guard itself knows, or also what the server reports.",
    )
    schema_check: Maybe[Literal["strict", "off"]] = Field(
        default=None, alias="schema", description="As the policy's own, for this tool."
    )
    shadow: bool = Field(default=False, description="Decide, count apart and log, but stop nothing.")


# Keys that came later, with what they mean where they are left out: older policies stay what they were.
_LATER: Final[Mapping[str, Any]] = {
    "refunds": "certain", "schema": None, "labels": None, "after": [], "needs": [], "result": None,
}  # fmt: skip


class ApprovalLimits(Part):
    """How many questions a human is put to, and where. ``window`` is in seconds."""

    max_pending: Max = 5
    max_asks: Max = 20
    window: Window = 600
    max_rejections: Max = 3
    grave_in_client: bool = Field(
        default=False, description="Whether an MCP client itself may be asked about what moves money or destroys."
    )


class PolicyDocument(Part):
    """What a policy file says, and nothing that reads, compiles or judges by it."""

    schema_ref: Maybe[Text] = Field(default=None, alias="$schema", repr=False)
    version: Literal["1"]
    default: Literal["allow", "deny"] = Field(description="What becomes of tools that are not listed.")
    server: Maybe[Name] = Field(default=None, description="The server whose tools these are; part of counter names.")
    description: Maybe[Text] = None
    hide: Annotated[tuple[ToolName, ...], Field(strict=False)] = ()
    shadow: bool = Field(default=False, description="The whole policy on trial: only hide is in force.")
    schema_check: Literal["strict", "off"] = Field(
        default="strict", alias="schema", description="Whether arguments must fit the tool's own input schema."
    )
    log_values: Annotated[tuple[ArgumentPath, ...], Field(strict=False)] = Field(
        default=(), description="Arguments whose values the audit may hold."
    )
    approvals: ApprovalLimits = ApprovalLimits()
    flow: Maybe[FlowPreset] = Field(
        default=None, description="Rules across calls made of labels and risk: what leaves or changes state asks."
    )
    model: Maybe[ModelRules] = Field(default=None, description="What the agent's own model may spend.")
    all_tools: Rules = Rules()
    tools: Annotated[
        Mapping[ToolName, Tool],
        AfterValidator(MappingProxyType),
        WrapSerializer(lambda tools, dump: dump(dict(tools))),
        Field(default_factory=lambda: MappingProxyType({})),
    ]

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _report: Reporter = PrivateAttr(default_factory=lambda: placeless)
    _warnings: tuple[Problem, ...] = PrivateAttr(default=())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy without what was worked out from the original. Nothing in it can change, so no copy is ``deep``."""
        del deep
        copied = super().model_copy(update=update)
        for derived in self._derived():
            copied.__dict__.pop(derived, None)
        return copied

    def __eq__(self, other: object) -> bool:
        # Where it was read from is no part of what it says; what its rules are called is.
        return isinstance(other, PolicyDocument) and (self.fingerprint, self._origins) == (
            other.fingerprint,
            other._origins,
        )

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        derived = self._derived()
        content = {name: part for name, part in state["__dict__"].items() if name not in derived}
        private = {**state["__pydantic_private__"], "_report": placeless}
        return {**state, "__dict__": {**content, "tools": dict(self.tools)}, "__pydantic_private__": private}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        content = state["__dict__"]
        super().__setstate__({**state, "__dict__": {**content, "tools": MappingProxyType(content["tools"])}})

    @classmethod
    def _derived(cls) -> frozenset[str]:
        """What is worked out from the fields when it is first asked for, and kept beside them."""
        parts = ((name, part) for kind in cls.__mro__ for name, part in vars(kind).items())
        return frozenset(name for name, part in parts if isinstance(part, cached_property))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is not wrong but easily misread."""
        return self._warnings

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 of what the policy says, whatever file and format it came from."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"schema_ref", "description"})
        for key in ("flow", "model"):
            if content[key] is None:
                del content[key]
        if not content["approvals"]["grave_in_client"]:
            del content["approvals"]["grave_in_client"]
        for rules in (content["all_tools"], *content["tools"].values()):
            for key, unsaid in _LATER.items():
                if key in rules and rules[key] == unsaid:
                    del rules[key]
            for limit in rules["limits"]:
                for key in ("estimate", "unit", "scale"):
                    if limit[key] is None:
                        del limit[key]
        # Of globs, the first one that fits counts.
        prices = list(self.model.prices) if self.model else []
        return digest(content, [key for key in self.tools if is_glob(key)], *([prices] if prices else []))

    def origin(self, place: str, otherwise: str | None = None) -> str:
        """The pointer by which a rule is named: where it stands in the file, if that is not where it stands here."""
        return self._origins.get(place, otherwise or place)

    def place(self, origins: Mapping[str, str], report: Reporter, warnings: tuple[Problem, ...]) -> None:
        """Take in what the file knows and the data does not; called once, by whoever read the file."""
        self._origins, self._report, self._warnings = origins, report, warnings
