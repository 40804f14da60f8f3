"""Which chat model a first agent is given: told from which packages are installed and which keys are set."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

VARIABLE: Final = "AGENT_MODEL"
"""What names another model to the agent, as ``provider:name``."""


class _Provider(NamedTuple):
    name: str
    package: str
    key: str
    model: str


_PROVIDERS: Final = (
    _Provider("openai", "langchain-openai", "OPENAI_API_KEY", "gpt-5"),
    _Provider("anthropic", "langchain-anthropic", "ANTHROPIC_API_KEY", "claude-sonnet-4-5"),
    _Provider("google_genai", "langchain-google-genai", "GOOGLE_API_KEY", "gemini-2.5-flash"),
    _Provider("mistralai", "langchain-mistralai", "MISTRAL_API_KEY", "mistral-large-latest"),
    _Provider("groq", "langchain-groq", "GROQ_API_KEY", "openai/gpt-oss-120b"),
    _Provider("ollama", "langchain-ollama", "", "qwen3"),  # runs here, and needs no key
)
PACKAGES: Final = tuple(provider.package for provider in _PROVIDERS)


class ChosenModel(NamedTuple):
    """A model for an agent, as ``provider:name``. ``lacking`` says what to do before it answers; empty if nothing."""

    name: str
    lacking: str = ""


def chosen_model(installed: Collection[str], environ: Mapping[str, str]) -> ChosenModel:
    """Pick a model: one whose package is installed and whose key is set, else the one that lacks least.

    ``installed`` are names of packages, of which :data:`PACKAGES` matter.
    """
    if environ.get(VARIABLE):
        return ChosenModel(environ[VARIABLE])

    def lacks(provider: _Provider) -> tuple[bool, bool]:
        there = provider.package in installed
        return not there, not (environ.get(provider.key) or (there and not provider.key))

    best = min(_PROVIDERS, key=lacks)
    lacking = [f"pip install {best.package}"] if best.package not in installed else []
    lacking += [f"export {best.key}=…"] if best.key and not environ.get(best.key) else []
    return ChosenModel(f"{best.name}:{best.model}", " && ".join(lacking))
