"""Keys are read when they are used, and are in nothing that is said."""

from __future__ import annotations

import sys

import pytest

from agentdeck.errors import StepError
from agentdeck.providers.keys import KeyMask, KeyStore, missing

pytestmark = pytest.mark.anyio
KEY = "sk-aaaab-aaaac"


async def test_a_key_is_from_the_environment_or_a_command() -> None:
    keys = KeyStore({"A_KEY": KEY})
    assert await keys.read("${env.A_KEY}", "provider x") == KEY
    assert (
        await keys.read({"command": [sys.executable, "-c", "print('from-a-command')"]}, "x") == "from-a-command"
    )
    assert await keys.read(None, "x") == ""
    assert keys.hide(f"{KEY} and from-a-command") == "[key] and [key]"


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("${env.NOT_SET}", "provider x has no key: NOT_SET is not set in the environment"),
        ({"command": ["no-such-command-here"]}, "`no-such-command-here`: No such file or directory"),
        ({"command": [sys.executable, "-c", ""]}, "printed nothing; run it by hand to see why"),
        ({"command": [sys.executable, "-c", "import sys; print('se''cret'); sys.exit(3)"]}, "ended with code 3"),
    ],
)
async def test_a_key_that_is_not_there_is_named(key: object, what: str) -> None:
    with pytest.raises(StepError) as caught:
        await KeyStore({}).read(key, "provider x")
    assert caught.value.fault.kind == "auth"
    assert what in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_is_missing_is_told_without_reading() -> None:
    assert missing("${env.A} ${env.B}", {"A": "x"}) == "B is not set in the environment"
    assert missing({"command": ["no-such-command-here", "x"]}) == "there is no command no-such-command-here"
    assert missing({"command": [sys.executable]}) == missing(None) == missing("literal") == ""


@pytest.mark.parametrize("size", range(1, 16))
def test_a_key_in_pieces_is_hidden_and_nothing_else_is_lost(size: int) -> None:
    keys = KeyStore({"K": KEY})
    keys.text("${env.K}", "x")
    said: list[str] = []
    curtain = KeyMask(keys, said.append)
    text = f"sk-aaaa, {KEY}{KEY} aaa {KEY[:-1]}! sk-aa"
    for at in range(0, len(text), size):
        curtain(text[at : at + size])
    curtain("")
    curtain.close()
    assert "".join(said) == text.replace(KEY, "[key]")
    assert not any(KEY[:8] in piece for piece in said[:-1] if "!" not in piece and "," not in piece)


def test_short_values_are_no_secrets() -> None:
    keys = KeyStore({"K": "any"})
    keys.text("${env.K}", "x")
    assert keys.hide("any other") == "any other"
