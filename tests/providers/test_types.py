"""Types of providers: built-in ones and those of other packages are registered, checked and used alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest

from agentdeck.documents.registry import schema
from agentdeck.errors import InvalidFile, ProviderError, StepError
from agentdeck.providers.model_facts import Prices
from agentdeck.providers.provider import Message, PromptRequest
from agentdeck.providers.provider_type import ProviderType, provider_type
from agentdeck.providers.registry import ProviderRegistry, simulates
from agentdeck.workflow.deck import Deck, Model, Provider, load_deck
from agentdeck.workflow.provider_types import type_names
from tests.plugin_packages import installed, write_package

ACME = '''
    from agentdeck.providers.provider import PromptReply
    from agentdeck.providers.provider_type import PriceList, ProviderType

    class AcmeType(ProviderType):
        simulated = True

        def spec(self):
            from agentdeck.workflow.deck_file import ProviderSpec
            from agentdeck.workflow.file_model import ABSENT, Share

            class AcmeSpec(ProviderSpec):
                """A provider of Acme."""
                caution: Share = ABSENT

            return AcmeSpec

        def create(self, context):
            return Acme(context)

        def price_list(self, url):
            return PriceList("openai")

        def default_max_output(self, model):
            return 77

    class Acme:
        def __init__(self, context):
            self.context = context

        async def answer(self, request, on_text, on_sent):
            on_sent()
            on_text("careful")
            return PromptReply(f"careful {self.context.deck.options['caution']:g}")

        async def close(self):
            pass

    class Fails(ProviderType):
        def create(self, context):
            raise RuntimeError("no licence")

    class Unreadable(ProviderType):
        def spec(self):
            return missing

        def create(self, context):
            return None
'''
ENTRIES = {
    "acme": "acme_types:AcmeType",
    "broken": "acme_gone:AcmeType",
    "fails": "acme_types:Fails",
    "openai": "acme_types:AcmeType",
    "function": "acme_types:len",
    "unreadable": "acme_types:Unreadable",
}


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_package(tmp_path, "acme", {"providers": ENTRIES}, {"acme_types": ACME})
    with installed(tmp_path, monkeypatch):
        yield tmp_path
    sys.modules.pop("acme_types", None)


def read(folder: Path, provider: str) -> Deck:
    file = folder / "deck.yaml"
    file.write_text(f"agentdeck: 1\nproviders:\n  it: {provider}\n")
    return load_deck(file)


def fault(folder: Path, provider: str) -> str:
    with pytest.raises(InvalidFile) as caught:
        read(folder, provider)
    return str(caught.value)


@pytest.mark.parametrize("name", ["anthropic", "openai", "simulated"])
def test_a_built_in_type_is_found_like_any_other(name: str) -> None:
    assert name in type_names()
    kind = provider_type(name)
    assert isinstance(kind, ProviderType)
    assert kind.simulated == (name == "simulated")
    assert (kind.default_max_output("claude-3-opus") is None) == (name != "anthropic")


@pytest.mark.anyio
async def test_a_type_of_another_package_has_its_own_keys_and_answers(acme: Path) -> None:
    deck = read(acme, "{ type: acme, caution: 20%, max_retry_after: 5s }")
    assert deck.providers["it"] == Provider("acme", max_retry_after=5.0, options={"caution": 0.2})
    room = ProviderRegistry(deck, anyio.sleep)
    said: list[str] = []
    reply = await room.provider("it").answer(
        PromptRequest("m", [Message("user", "?")]), said.append, lambda: None
    )
    await room.close()
    assert (reply.text, said) == ("careful 0.2", ["careful"])
    assert room.type_of("it").default_max_output("m") == 77


def test_prices_and_the_mark_of_simulated_answers_come_from_the_type(acme: Path) -> None:
    def deck(kind: str) -> Deck:
        return Deck(providers={"it": Provider(kind)}, models={"m": Model("it", "gpt-4o-mini")})

    assert simulates(deck("acme"))
    assert simulates(Deck())
    assert not simulates(deck("openai"))
    assert Prices(deck("acme")).usd("m", 10**6, 0, 0) == Prices(deck("openai")).usd("m", 10**6, 0, 0)
    assert Prices(deck("fails")).usd("m", 10**6, 0, 0) is None


@pytest.mark.parametrize(
    ("provider", "what"),
    [
        ("{ type: acmee }", "'acmee' is not one of anthropic, openai, simulated, acme, broken"),
        ("{ type: acmee }", "did you mean acme?"),
        ("{ type: acme, caution: much }", "3:30: 'much' is not a share; write it like"),
        ("{ type: acme, fails: 2% }", "fails is not a key here; there are caution, type, key, url"),
        ("{ type: openai, fails: 2% }", "fails is not a key here; there are type, key, url, limits"),
        ("{ type: acme, url: 7 }", "text is needed here, not a number; quote it"),
        ("{ type: [acme] }", "text is needed here, not a list"),
        ("{ url: x }", "type is missing; add type:"),
        ("acme", "a map is needed here, not text"),
        (
            "{ type: broken }",
            "3:15: the type broken does not load: acme 1.0 (acme_gone:AcmeType): ModuleNotFound",
        ),
        ("{ type: function }", "acme 1.0 (acme_types:len): AttributeError"),
        ("{ type: unreadable }", "its keys cannot be read: NameError: name 'missing' is not defined"),
    ],
)
def test_a_fault_of_a_provider_has_its_place_and_a_fix(acme: Path, provider: str, what: str) -> None:
    assert what in fault(acme, provider)


def test_an_unknown_type_is_one_fault_whatever_its_other_keys(acme: Path) -> None:
    assert fault(acme, "{ type: acmee, caution: 20%, url: x }").count("\n") == 0


def test_a_broken_plugin_does_not_disturb_other_types(acme: Path) -> None:
    assert read(acme, "{ type: openai }").providers["it"].type == "openai"
    with pytest.raises(ProviderError, match=r"the type broken of providers does not load: acme 1\.0"):
        provider_type("broken")


def test_no_other_package_can_replace_a_built_in_type(acme: Path) -> None:
    assert type(provider_type("openai")).__module__ == "agentdeck.providers.openai"


def test_a_provider_whose_own_code_fails_is_a_fault_of_the_step(acme: Path) -> None:
    room = ProviderRegistry(Deck(providers={"it": Provider("fails")}), anyio.sleep)
    with pytest.raises(StepError, match="provider it cannot be created: RuntimeError: no licence") as caught:
        room.provider("it")
    assert caught.value.fault.kind == "setup"


def test_the_json_schema_of_the_deck_knows_the_keys_of_each_type(acme: Path) -> None:
    def fits(provider: dict[str, Any]) -> bool:
        validator = jsonschema.Draft202012Validator(schema("deck"))
        return bool(validator.is_valid({"agentdeck": 1, "providers": {"it": provider}}))

    jsonschema.Draft202012Validator.check_schema(schema("deck"))
    assert fits({"type": "simulated", "fails": "2%"})
    assert fits({"type": "acme", "caution": "2%", "limits": {"requests": "5/min"}})
    assert fits({"type": "openai", "url": "http://x", "x-note": 1})
    assert not fits({"type": "openai", "fails": "2%"})
    assert not fits({"type": "acme", "fails": "2%"})
    assert not fits({"type": "acmee"})
    assert not fits({"url": "http://x"})


def test_a_deck_is_read_without_the_network_packages(tmp_path: Path) -> None:
    file = tmp_path / "deck.yaml"
    file.write_text("agentdeck: 1\nproviders: { a: { type: anthropic }, b: { type: openai } }\n")
    code = (
        "import sys; from pathlib import Path; from agentdeck.workflow.deck import load_deck;"
        f"load_deck(Path({str(file)!r})); print('httpx' in sys.modules, 'genai_prices' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
