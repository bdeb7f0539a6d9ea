"""Secrets in all the forms in which programs and servers send them back."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from urllib.parse import quote, quote_plus

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.errors import StepError
from agentdeck.providers.keys import KeyStore
from agentdeck.workflow.deck import Secret

pytestmark = pytest.mark.anyio
VALUE = 'pa/ss+w"örd?&0123456789'


async def known(value: str = VALUE) -> KeyStore:
    keys = KeyStore({"V": value}, {"S": Secret(env="V")})
    assert await keys.secret("S") == value
    return keys


@pytest.mark.parametrize(
    "text",
    [
        VALUE,
        json.dumps(VALUE),
        json.dumps(VALUE, ensure_ascii=False),
        quote(VALUE),
        quote(VALUE, safe=""),
        quote_plus(VALUE),
        VALUE.encode().hex(),
        b64encode(VALUE.encode()).decode(),
        *(b64encode(f"{'u' * n}:{VALUE}:{'v' * n}".encode()).decode() for n in range(4)),
        *(urlsafe_b64encode(f"{'u' * n}:{VALUE}:{'v' * n}".encode()).decode() for n in range(4)),
    ],
)
async def test_every_form_is_hidden(text: str) -> None:
    hidden = (await known()).hide(f"before {text} after")
    assert "[key]" in hidden
    assert not any(VALUE[i : i + 6] in hidden for i in range(len(VALUE) - 6))
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")


async def test_each_line_of_a_long_secret_is_hidden() -> None:
    keys = await known("-----BEGIN KEY-----\nabcdefgh\nijklmnop")
    assert keys.hide("line: ijklmnop\nabcdefgh.") == "line: [key]\n[key]."


async def test_data_is_hidden_wherever_the_secret_is_in_it() -> None:
    keys = await known("12345678")
    given = {"a": ["x 12345678", 12345678, 12345678.5, True, None], "12345678": {"b": 1}, "c": 10**2000}
    assert keys.hide_data(given) == {
        "a": ["x [key]", "[key]", "[key]", True, None],
        "[key]": {"b": 1},
        "c": 10**2000,
    }


async def test_short_secrets_are_hidden_and_too_short_ones_refused() -> None:
    assert (await known("ab1!")).hide("x ab1! y") == "x [key] y"
    with pytest.raises(StepError, match="the secret S has fewer than 4 characters"):
        await known("abc")


async def test_where_secrets_come_from(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-a-file\n")
    secrets = {
        "F": Secret(file=str(file)),
        "C": Secret(command=("printf", "first\\nsecond")),
        "E": Secret(env="V"),
    }
    keys = KeyStore({"V": " from-env "}, secrets)
    assert [await keys.secret(name) for name in "FCE"] == ["from-a-file", "first", "from-env"]
    assert await keys.filled("a ${secret.F} ${env.V} ${ secret.C }", "x") == "a from-a-file from-env first"
    assert keys.hide("from-a-file") == "[key]"


async def test_a_command_is_asked_once_by_many(tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path / 'asked'}; sleep 0.2; echo the-secret"
    keys = KeyStore({}, {"S": Secret(command=("sh", "-c", script))})
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(keys.secret, "S")
    assert (tmp_path / "asked").read_text() == "x\n"


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (Secret(env="NONE"), "the secret S has no value: NONE is not set in the environment"),
        (Secret(file="/no/such/file"), "the secret S has no value: /no/such/file cannot be read: No such file"),
        (Secret(command=("no-such-command-here",)), "the secret S has no value: `no-such-command-here`: No such"),
        (Secret(command=("false",)), "the secret S has no value: `false` ended with code 1"),
        (Secret(file="/dev/null"), "the secret S is empty"),
    ],
)
async def test_a_secret_that_cannot_be_had_is_named(spec: Secret, what: str) -> None:
    with pytest.raises(StepError, match=what) as caught:
        await KeyStore({}, {"S": spec}).secret("S")
    assert caught.value.fault.kind == "setup"
    with pytest.raises(StepError, match="the secret T is not in the deck; "):
        await KeyStore({}, {"S": spec}).secret("T")


@given(st.text(min_size=8, max_size=40), st.text(max_size=20))
def test_hiding_never_fails(secret: str, text: str) -> None:
    keys = KeyStore({"V": secret})
    keys._keep(secret)
    keys.hide_data({"a": [text + secret, text]})
