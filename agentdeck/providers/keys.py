"""API keys and secrets: read when they are used, held in memory only, and masked in all output."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from urllib.parse import quote, quote_plus

import anyio

from agentdeck.errors import StepError
from agentdeck.processes.children import Children
from agentdeck.workflow.deck import Secret
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import Data
from agentdeck.workflow.secret_references import secret_names
from agentdeck.workflow.wording import likely_fix

#: The notation in the `env` and `headers` of an MCP server.
SECRET_USE = re.compile(r"\$\{\s*secret\.([A-Za-z_][A-Za-z0-9_]*)\s*\}")
#: The largest number of characters that are read from a secret's file.
LONGEST_SECRET = 64 * 1024
_NAMED = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
#: Shorter values are not masked: they are placeholders ("none", "any") or words of ordinary text.
LEAST = 8
#: The same for declared secrets.
LEAST_SECRET = 4
#: Shorter encoded pieces are words of ordinary text.
LEAST_PIECE = 8
MASK = "[key]"
#: Bits of a number that may be a secret's digits.
LONGEST_INT = 1_000
PATIENCE = 30.0


class KeyStore:
    """The values of a deck's keys and secrets, by their notation in the deck."""

    def __init__(
        self, env: Mapping[str, str] = os.environ, secrets: Mapping[str, Secret] = MappingProxyType({})
    ) -> None:
        self._env = env
        self._declared = secrets
        self._values: dict[str, str] = {}
        self._secrets: list[str] = []
        self._reading = anyio.Lock()

    async def read(self, key: Data, of: str) -> str:
        """The value; empty where there is no key. Raises StepError of kind `auth`, which names `of`."""
        if key is None:
            return ""
        if isinstance(key, str):
            value = self.text(key, of)
            self._keep(value)
            return value
        written = json.dumps(key)
        if written not in self._values:
            self._values[written] = await self._output_of(list(key["command"]), of)
        return self._values[written]

    def add(self, secret: str) -> None:
        """Mask this too."""
        self._keep(secret)

    def refused(self, key: Data) -> None:
        """The server rejects the key: the next read executes its command again."""
        self._values.pop(json.dumps(key), None)

    def text(self, text: str, of: str) -> str:
        """A text of the deck with each `${env.X}` replaced by its value, which is a secret."""
        for name in _NAMED.findall(text):
            if not self._env.get(name):
                raise StepError("auth", f"{of} has no key: {name} is not set in the environment")
            self._keep(self._env[name].strip())
        return _NAMED.sub(lambda found: self._env[found[1]].strip(), text)

    async def secret(self, name: str) -> str:
        """The value of a secret of the deck, read once per run. Raises StepError of kind `setup`."""
        async with self._reading:
            if name not in self._values:
                self._values[name] = await self._read_secret(name)
            return self._values[name]

    async def _read_secret(self, name: str) -> str:
        spec, owner = self._declared.get(name), f"the secret {name}"
        if spec is None:
            fix = likely_fix(name, self._declared) or "it has none"
            raise StepError("setup", f"{owner} is not in the deck; {fix}")
        try:
            value = await self._secret_value(spec, owner)
        except StepError as error:
            raise StepError("setup", error.fault.message.replace("has no key", "has no value")) from None
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise StepError("setup", f"{owner} has no value: {spec.file} cannot be read: {reason}") from None
        if len(value) < LEAST_SECRET:
            what = f"has fewer than {LEAST_SECRET} characters, too few to mask it in answers and logs"
            raise StepError("setup", f"{owner} {what}" if value else f"{owner} is empty")
        self._keep(value, LEAST_SECRET)
        return value

    async def _secret_value(self, spec: Secret, owner: str) -> str:
        if spec.env is not None:
            if not self._env.get(spec.env):
                raise StepError("setup", f"{owner} has no value: {spec.env} is not set in the environment")
            return self._env[spec.env].strip()
        if spec.file is not None:
            async with await anyio.open_file(spec.file, encoding="utf-8") as file:
                return (await file.read(LONGEST_SECRET)).strip()
        return await self._output_of(list(spec.command), owner)

    async def with_secrets(self, scope: Mapping[str, Data], template: Template) -> Mapping[str, Data]:
        """A scope with the secrets that this template reads, which is rendered and sent at once."""
        secrets = {name: await self.secret(name) for name in secret_names(template)}
        return {**scope, "secret": secrets} if secrets else scope

    async def filled(self, text: str, of: str) -> str:
        """A text of the deck with each `${env.X}` and `${secret.X}` replaced by its value."""
        found = {name: await self.secret(name) for name in SECRET_USE.findall(text)}
        pieces = SECRET_USE.split(text)  # text, name, text, …
        return "".join(found[piece] if n % 2 else self.text(piece, of) for n, piece in enumerate(pieces))

    def hide_data(self, value: Data) -> Data:
        """Plain data with all keys that were read masked; the same object where there is none in it."""
        if not self._secrets:
            return value
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, Mapping):
            return {self.hide(str(key)): self.hide_data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_data(item) for item in value]
        if type(value) is float or (type(value) is int and value.bit_length() < LONGEST_INT):
            return MASK if self.hide(str(value)) != str(value) else value
        return value

    def hide(self, text: str) -> str:
        """The text with all keys that were read masked."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    @property
    def has_secrets(self) -> bool:
        """Whether the deck declares secrets."""
        return bool(self._declared)

    @property
    def known(self) -> bool:
        """Whether there is any key to mask."""
        return bool(self._secrets)

    def held(self, text: str) -> int:
        """The number of characters at the end of a text that may be the beginning of a key."""
        return max((_overlap(text, secret) for secret in self._secrets), default=0)

    def _keep(self, secret: str, least: int = LEAST) -> None:
        # A new list each time: other threads are reading the old one.
        self._secrets = sorted({*self._secrets, *_forms(secret, least)}, key=len, reverse=True)

    async def _output_of(self, command: list[str], of: str) -> str:
        """The first line that a command prints. Its stderr is not shown: it may contain the key."""
        shown = " ".join(command)
        try:
            with Children().child() as child, anyio.fail_after(PATIENCE):
                done = await anyio.run_process(
                    command,
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=False,
                    env=child.environment(os.environ),
                )
        except TimeoutError:
            raise StepError("auth", f"{of} has no key: `{shown}` took more than {PATIENCE:g} s") from None
        except OSError as error:
            raise StepError("auth", f"{of} has no key: `{shown}`: {error.strerror}") from None
        value = done.stdout.decode("utf-8", "replace").strip().partition("\n")[0].strip()
        if done.returncode or not value:
            what = f"ended with code {done.returncode}" if done.returncode else "printed nothing"
            raise StepError("auth", f"{of} has no key: `{shown}` {what}; run it by hand to see why")
        self._keep(value)
        return value


class KeyMask:
    """Passes text on with keys masked, also where a key is split over two pieces."""

    def __init__(self, keys: KeyStore, out: Callable[[str], None]) -> None:
        self._keys = keys
        self._out = out
        self._rest = ""

    def __call__(self, piece: str) -> None:
        if not piece or not self._keys.known:
            self._out(piece)
            return
        text = self._keys.hide(self._rest + piece)
        held = self._keys.held(text)
        self._rest = text[len(text) - held :]
        if held < len(text):
            self._out(text[: len(text) - held])

    def close(self) -> None:
        if self._rest:
            self._out(self._rest)
            self._rest = ""


def missing(key: Data, env: Mapping[str, str] = os.environ) -> str:
    """Why this key cannot be read, as far as that is known without reading it; empty where nothing is wrong."""
    if isinstance(key, str):
        unset = [name for name in _NAMED.findall(key) if not env.get(name)]
        return f"{', '.join(unset)} is not set in the environment" if unset else ""
    if isinstance(key, Mapping) and shutil.which(key["command"][0]) is None:
        return f"there is no command {key['command'][0]}"
    return ""


def _overlap(text: str, secret: str) -> int:
    """The length of the longest beginning of the secret with which the text ends."""
    at = text.find(secret[0], max(0, len(text) - len(secret) + 1))
    while at >= 0:
        if secret.startswith(text[at:]):
            return len(text) - at
        at = text.find(secret[0], at + 1)
    return 0


def _forms(secret: str, least: int) -> set[str]:
    """The secret, each of its lines, and both in JSON, URL, base64 and hexadecimal encoding; none shorter than
    `least` characters."""
    lines = [line.strip() for line in secret.splitlines()] if "\n" in secret else []
    found: set[str] = set()
    for part in (secret, *lines):
        if len(part) >= least:
            found |= {part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]}
            found |= {form for form in _encoded(part) if len(form) >= max(least, LEAST_PIECE)}
    return found


def _encoded(text: str) -> Iterator[str]:
    data = text.encode("utf-8", "replace")
    yield quote(text, safe="")
    yield quote_plus(text)
    yield quote(text)
    yield data.hex()
    yield data.hex().upper()
    # Inside a longer text (`user:secret`) base64 begins at one of three places; the characters at both ends that
    # depend on the neighbours are left out.
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            whole = encode(b"\0" * before + data).decode().rstrip("=")
            start = (before * 8 + 5) // 6
            end = (before + len(data)) * 8 // 6
            yield whole[start:end]
