"""Secrets of the deck: they reach servers and programs, and nothing that is recorded or shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest

from tests.cli.conftest import Deck

SECRETS = {"TOKEN": "tok/en+0123456789abcdef", "FILE": 'fi"le-987654321-zyx', "PRINTED": "printed-5555-4444-3333"}
FORMS = [
    form
    for value in SECRETS.values()
    for form in (value, json.dumps(value)[1:-1], quote(value, safe=""), b64encode(value.encode()).decode()[:-4])
]
DECK = """
agentdeck: 1
secrets:
  TOKEN: { env: THE_TOKEN }
  FILE: { file: key.txt }
  PRINTED: { command: [sh, -c, "cat printed.txt"] }
"""
SAY = (
    "import os, sys, json, base64, urllib.parse as u; t = os.environ['T']; f = os.environ['F'];"
    "print(t, f); print(t, file=sys.stderr); print(base64.b64encode(('u:' + t).encode()).decode());"
    "print(u.quote(t, safe='')); print('long ' + 'x' * 65_500 + t);"
)
WORK = """
agentdeck: 1
name: leaks
defaults: { retry: 1, on_error: continue }
agents:
  posted:
    http:
      url: "URL/echo"
      method: POST
      headers: { authorization: "Bearer ${secret.TOKEN}", x-other: "${secret.PRINTED}" }
      body: { key: "${secret.FILE}", list: ["a ${secret.TOKEN} b"] }
  refused: { http: { url: "URL/fail", headers: { authorization: "${secret.TOKEN}" }, body: "${secret.FILE}" } }
  garbled: { http: { url: "URL/garbled", headers: { authorization: "${secret.TOKEN}" } } }
  moved:   { http: { url: "URL/moved", headers: { authorization: "${secret.TOKEN}" } } }
  broken:  { http: { url: "URL/cut", headers: { authorization: "${secret.TOKEN}" } } }
  bad:     { http: { url: "http://127.0.0.1:1/", headers: { authorization: "${secret.TOKEN}" } } }
  said:
    once: "o-${run.id}"
    command: { args: [PYTHON, -c, "SAY print(json.dumps({'t': t, 'n': [f]}))"], env: ENV }
  failed:  { command: { args: [PYTHON, -c, "SAY sys.exit(t + f)"], env: ENV } }
  raised:  { command: { args: [PYTHON, -c, "SAY raise ValueError(t)"], env: ENV }, cache: 1d }
  slow:
    timeout: 2s
    command: { args: [PYTHON, -c, "SAY sys.stdout.flush(); import time; time.sleep(60)"], env: ENV }
  after:   { needs: [posted, said], simulate: { takes: 1ms, says: ["${needs}"], returns: "${posted} ${said}" } }
output: { all: "${after}", posted: "${posted}" }
"""


COMMANDS = [
    *("show last", "show last --json", "logs last", "events last", "runs", "info", "limits last", "watch last"),
    *("letters list", "letters show 1", "letters show 2", "letters export"),
    *("backup backup.db", "plan FILE", "plan FILE --json", "diff last last"),
]
#: One process for many verbs: most of the time of a short verb is its process.
VERBS = """
import json, sys
from agentdeck.cli.main import main

codes = []
for words in json.load(sys.stdin):
    try:
        main(words)
    except SystemExit as left:
        codes.append(left.code)
print("codes:", codes)
"""


class Echo(BaseHTTPRequestHandler):
    """Sends back what it was sent."""

    seen: list[tuple[str, str | None, str]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        self.seen.append((self.path, self.headers.get("authorization"), body))
        text = json.dumps({"headers": dict(self.headers), "body": body})
        if self.path == "/cut":
            self.wfile.write(f"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{text}".encode())
            self.close_connection = True
            return
        status = {"/echo": 200, "/garbled": 200, "/moved": 302}.get(self.path, 500)
        self.send_response(status, text if self.path == "/fail" else None)
        self.send_header("content-type", "application/json")
        self.send_header("location", f"http://other.invalid/{quote(text)}")
        data = text.encode() + (b"}" if self.path == "/garbled" else b"")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Echo.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def prepare(deck: Deck, url: str = "http://127.0.0.1:1", work: str = WORK) -> Path:
    deck.write("deck.yaml", DECK)
    deck.write("key.txt", SECRETS["FILE"] + "\n")
    deck.write("printed.txt", SECRETS["PRINTED"] + "\n")
    deck.env["THE_TOKEN"] = SECRETS["TOKEN"]
    env = "{ T: '${secret.TOKEN}', F: '${secret.FILE}' }"
    work = work.replace("URL", url).replace("PYTHON", sys.executable).replace("SAY", SAY).replace("ENV", env)
    return deck.write("leaks.yaml", work)


def in_one_process(deck: Deck, verbs: Sequence[Sequence[str]]) -> subprocess.CompletedProcess[str]:
    """What these verbs print, one after the other; each has to end well, or with 1."""
    done = subprocess.run(
        [sys.executable, "-c", VERBS],
        input=json.dumps(verbs),
        capture_output=True,
        text=True,
        cwd=deck.folder,
        env=deck.env,
        timeout=60,
    )
    codes = json.loads(done.stdout.rpartition("codes:")[2])
    assert len(codes) == len(verbs)
    assert set(codes) <= {0, 1}, [verb for verb, code in zip(verbs, codes, strict=True) if code not in (0, 1)]
    return done


def leaks(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


def test_secrets_are_sent_and_are_nowhere_else(deck: Deck, url: str) -> None:
    file = prepare(deck, url)
    assert not deck("check", file).stdout.count("fault")
    with ThreadPoolExecutor() as both:
        json_run = both.submit(deck, "run", file, "--json")
        shown = [deck("run", file, "--out", "out.jsonl"), json_run.result()]
    assert [run.returncode for run in shown] == [0, 0], "its agents may fail"
    token, key = SECRETS["TOKEN"], SECRETS["FILE"]
    assert ("/echo", f"Bearer {token}", json.dumps({"key": key, "list": [f"a {token} b"]})) in Echo.seen
    assert ("/fail", token, key) in Echo.seen
    verbs = [words.replace("FILE", str(file)).split() for words in COMMANDS]
    for agent in re.findall(r"^  (\w+):", WORK.partition("agents:")[2], re.M):
        verbs += [["step", "last", "1", agent], ["step", "last", "1", agent, "--json"], ["why", "last", agent]]
    shown += [in_one_process(deck, verbs), deck("letters", "retry", "1")]
    text = "".join(one.stdout + one.stderr for one in shown)
    assert "Bearer ${secret.TOKEN}" in text, "the template is shown"
    assert "[key]" in text
    assert leaks(text) == []
    kept = {"key.txt", "printed.txt"}
    files = [path for path in deck.folder.rglob("*") if path.is_file() and path.name not in kept]
    assert deck.db in files
    assert (deck.folder / "backup.db") in files
    for path in files:
        assert leaks(path.read_bytes().decode("utf-8", "replace")) == [], path
    story = json.loads(deck("step", "last", "1", "said", "--json").stdout)
    assert story["output"] == {"t": "[key]", "n": ["[key]"]}
    failed = json.loads(deck("step", "last", "1", "failed", "--json").stdout)
    assert "[key]" in failed["fault"]["message"]
    assert "[key]" in failed["fault"]["detail"]


@pytest.mark.parametrize(
    ("agent", "what"),
    [
        (
            "{ prompt: 'Say ${secret.TOKEN}' }",
            "a secret is not allowed here, as it would be recorded; secrets are allowed in",
        ),
        ("{ command: [echo, '${secret.TOKEN}'] }", "a secret is not allowed here"),
        ("{ command: { args: [cat], input: '${secret.TOKEN}' } }", "a secret is not allowed here"),
        ("{ http: 'http://h/${secret.TOKEN}' }", "a secret is not allowed here"),
        ("{ simulate: 1s, with: { a: ['${secret.TOKEN}'] } }", "a secret is not allowed here"),
        ("{ simulate: 1s, when: secret.TOKEN == 'x' }", "a secret is not allowed here"),
        ("{ simulate: 1s, once: 'k-${secret.TOKEN}' }", "a secret is not allowed here"),
        ("{ simulate: { takes: 1s, returns: '${secret.TOKEN}' } }", "a secret is not allowed here"),
        ("{ approve: 'Take ${secret.TOKEN}?' }", "a secret is not allowed here"),
        (
            "{ http: { url: 'http://h/', body: '${upper(secret.TOKEN)}' } }",
            "${…} with a secret must contain nothing else",
        ),
        ("{ http: { url: 'http://h/', body: '${secret}' } }", "${…} with a secret must contain nothing else"),
        (
            "{ http: { url: 'http://h/', body: { a: ['${secret.TOKN}'] } } }",
            "the deck has no secret TOKN; did you mean",
        ),
    ],
)
def test_misuse_is_named_with_its_place(deck: Deck, agent: str, what: str) -> None:
    file = prepare(deck, work=f"agentdeck: 1\nname: w\nagents:\n  a: {agent}\n")
    done = deck("check", file)
    assert done.returncode == 2
    assert what in done.stdout
    assert ":4:" in done.stdout
    assert deck("run", file).returncode == 2


def test_a_secret_cannot_be_an_output_or_the_name_of_an_agent(deck: Deck) -> None:
    text = "agentdeck: 1\nname: w\nagents: { a: { simulate: 1s } }\noutput: '${secret.TOKEN}'\n"
    assert "a secret is not allowed here" in deck("check", prepare(deck, work=text)).stdout
    text = "agentdeck: 1\nname: w\nagents: { secret: { simulate: 1s } }\n"
    assert "secret has a meaning in expressions" in deck("check", prepare(deck, work=text)).stdout


@pytest.mark.parametrize(
    ("deck_text", "what"),
    [
        ("TOKEN: { env: NOT_SET_HERE }", "the secret TOKEN has no value: NOT_SET_HERE is not set"),
        ("TOKEN: { file: gone.txt }", "the secret TOKEN has no value: there is no file"),
        ("TOKEN: { command: [no-such-command-here] }", "the secret TOKEN has no value: there is no command"),
    ],
)
def test_a_secret_without_value_stops_before_anything_starts(deck: Deck, deck_text: str, what: str) -> None:
    file = prepare(deck, work="agentdeck: 1\nname: w\nagents: { a: { command: { args: [env], env: ENV } } }\n")
    deck.write("deck.yaml", f"agentdeck: 1\nsecrets:\n  {deck_text}\n  FILE: {{ file: key.txt }}\n")
    done = deck("run", file)
    assert done.returncode == 3
    assert what in done.stderr
    assert "no run" in (deck("show", "last").stderr + deck("show", "last").stdout).lower()


def test_a_command_for_a_secret_that_fails_fails_the_step(deck: Deck) -> None:
    work = "agentdeck: 1\nname: w\nagents: { a: { command: { args: [env], env: { X: '${secret.PRINTED}' } } } }\n"
    file = prepare(deck, work=work)
    (deck.folder / "printed.txt").unlink()
    done = deck("run", file)
    assert done.returncode == 1
    assert "the secret PRINTED has no value" in deck("step", "last", "1", "a").stdout
