"""`agentdeck plugins`, and how `check` speaks of a plugin that does not load."""

from __future__ import annotations

import json
import os
import subprocess

from tests.cli.conftest import Deck
from tests.cli.documents import check_documents
from tests.plugin_packages import write_package


def run(deck: Deck, *args: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: which plugins there are is looked up once per process."""
    path = os.pathsep.join([str(deck.folder / "installed"), deck.env["PYTHONPATH"]])
    done = subprocess.run(
        deck.command(args), capture_output=True, text=True, check=False, cwd=deck.folder,
        env={**deck.env, "PYTHONPATH": path},
    )  # fmt: skip
    check_documents(args, done.stdout)
    return done


def test_agentdecks_own_parts_are_plugins_too(deck: Deck) -> None:
    done = run(deck, "plugins", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["ok"]
    names = {(one["seam"], one["name"]) for one in found["plugins"]}
    assert {
        ("agents", "prompt"),
        ("providers", "openai"),
        ("places", "local"),
        ("frameworks", "methods"),
    } <= names
    first = found["plugins"][0]
    assert (first["package"], first["ok"], first["why"]) == ("agentdeck", True, "")
    table = run(deck, "plugins").stdout
    assert table.splitlines()[0].split() == ["seam", "name", "package", "object", "loads"]
    assert "agentdeck.providers.openai:OpenAIType" in table


def test_a_plugin_that_does_not_load_is_named_with_the_reason(deck: Deck) -> None:
    entries = {"providers": {"acme": "acme_provider:AcmeType"}, "agents": {"mail": "acme_mail:MailKind"}}
    write_package(
        deck.folder / "installed", "acme", entries,
        {"acme_provider": "print('hello')\nimport acme_sdk\n", "acme_mail": "MailKind = 7\n"},
    )  # fmt: skip
    done = run(deck, "plugins")
    assert done.returncode == 3
    assert "providers acme of acme is left out: ModuleNotFoundError: No module named 'acme_sdk'" in done.stdout
    assert "agents mail of acme is left out: it is not a subclass of" in done.stdout
    assert "hello" not in done.stdout
    broken = [one for one in json.loads(run(deck, "plugins", "--json").stdout)["plugins"] if not one["ok"]]
    assert [(one["name"], one["target"], one["version"]) for one in broken] == [
        ("mail", "acme_mail:MailKind", "1.0"),
        ("acme", "acme_provider:AcmeType", "1.0"),
    ]
    deck.write("fine.yaml", "agentdeck: 1\nname: w\nagents: { a: { simulate: 1ms } }\n")
    fine = run(deck, "check", "fine.yaml")
    assert (fine.returncode, fine.stdout) == (0, "fine.yaml: ok\n")
    deck.write("needs.yaml", "agentdeck: 1\nname: w\nagents: { a: { mail: ada } }\n")
    needs = run(deck, "check", "needs.yaml")
    assert needs.returncode == 2
    assert "acme 1.0" in needs.stdout
    deck.write("deck.yaml", "agentdeck: 1\nproviders: { it: { type: acme } }\n")
    assert (
        "the type acme does not load: acme 1.0 (acme_provider:AcmeType)" in run(deck, "check", "deck.yaml").stdout
    )
