"""Keys: read when they are used, held in memory only, and blacked out of everything that is said."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping

import anyio

from agentdeck.errors import StepError
from agentdeck.processes.children import Children
from agentdeck.workflow.model import Data

_NAMED = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
#: Shorter values are no secrets ("none", "any"), and words of ordinary text.
LEAST = 8
BLACK = "[key]"
PATIENCE = 30.0


class Keys:
    """The values behind a deck's keys, by how they are written there."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self._values: dict[str, str] = {}
        self._secrets: list[str] = []

    async def read(self, key: Data, of: str) -> str:
        """The value; empty where there is no key. Raises StepError of kind `auth`; `of` is named in it."""
        if key is None:
            return ""
        if isinstance(key, str):
            value = self.text(key, of)
            self._keep(value)
            return value
        written = json.dumps(key)
        if written not in self._values:
            self._values[written] = await self._told(list(key["command"]), of)
        return self._values[written]

    def refused(self, key: Data) -> None:
        """The other side does not take it: the next one that reads it asks its command again."""
        self._values.pop(json.dumps(key), None)

    def text(self, text: str, of: str) -> str:
        """A text of the deck with every `${env.X}` in it replaced, each of which is a secret."""
        for name in _NAMED.findall(text):
            if not self._env.get(name):
                raise StepError("auth", f"{of} has no key: {name} is not set in the environment")
            self._keep(self._env[name].strip())
        return _NAMED.sub(lambda found: self._env[found[1]].strip(), text)

    def hide(self, text: str) -> str:
        """The text without any key that was read."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, BLACK)
        return text

    @property
    def known(self) -> bool:
        """Whether there is any key to hide."""
        return bool(self._secrets)

    def held(self, text: str) -> int:
        """How many characters at the end of a text may be the beginning of a key."""
        return max((_overlap(text, secret) for secret in self._secrets), default=0)

    def _keep(self, secret: str) -> None:
        for form in (secret, json.dumps(secret)[1:-1]):
            if len(form) >= LEAST and form not in self._secrets:
                self._secrets.append(form)
                self._secrets.sort(key=len, reverse=True)

    async def _told(self, command: list[str], of: str) -> str:
        """What a command prints. What it says besides is shown to nobody: it may hold the key."""
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
            raise StepError("auth", f"{of} has no key: `{shown}` {what}; run it by hand")
        self._keep(value)
        return value


class Curtain:
    """Passes text on without keys, also where one comes in two pieces."""

    def __init__(self, keys: Keys, out: Callable[[str], None]) -> None:
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
    """Why this key cannot be read, as far as can be told without reading it; empty when nothing is wrong."""
    if isinstance(key, str):
        unset = [name for name in _NAMED.findall(key) if not env.get(name)]
        return f"{', '.join(unset)} is not set in the environment" if unset else ""
    if isinstance(key, Mapping) and shutil.which(key["command"][0]) is None:
        return f"there is no command {key['command'][0]}"
    return ""


def _overlap(text: str, secret: str) -> int:
    """How much of the secret's beginning the text ends with."""
    at = text.find(secret[0], max(0, len(text) - len(secret) + 1))
    while at >= 0:
        if secret.startswith(text[at:]):
            return len(text) - at
        at = text.find(secret[0], at + 1)
    return 0
