"""A limit written back into a workflow file changes that limit, and not a character besides."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from agentdeck.errors import UsageError
from agentdeck.operations.workflow_file_edit import rewrite, set_value
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import Data

ROOT = Path(__file__).resolve().parents[2]
FILE = Path("w.yaml")
TEXT = """\
# What a shop does with an order.
agentdeck: 1
name: order           # the name

limits: { workers: 16 }   # at most

x-slow: &slow { attempts: 5, delay: 2s }
x-late: &late 45s

defaults:
  timeout: { queue: 1h, attempt: 30s }

agents:
  # first of all
  extract:
    simulate: { takes: 1s }   # a second

    # be patient
    timeout: 30s              # half a minute
  payment: &payment { needs: extract, simulate: {}, retry: *slow, timeout: *late }
  inventory:
    <<: *payment
    max_parallel: 4   # few
  shipping:
    needs: extract
    simulate:
      takes: 1s
    timeout:
      attempt: 20s   # vans
      total: 2m
    retry:
      attempts: 2
  confirm: {
    needs: [payment, shipping],   # and no more
    simulate: { takes: 1s },
  }
"""


def changed(before: str, after: str) -> list[str]:
    """Lines that differ, without those that do not."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    ("name", "value", "lines"),
    [
        ("workers", 8, ["-limits: { workers: 16 }   # at most",
                        "+limits: { workers: 8 }   # at most"]),
        ("agents.extract.timeout", 10.0, ["-    timeout: 30s              # half a minute",
                                          "+    timeout: 10s              # half a minute"]),
        ("agents.extract.attempts", 7, ["+    retry: 7"]),
        ("agents.extract.max_parallel", 2, ["+    max_parallel: 2"]),
        ("agents.shipping.timeout", 90.0, ["-      attempt: 20s   # vans", "+      attempt: 90s   # vans"]),
        ("agents.shipping.attempts", 1, ["-      attempts: 2", "+      attempts: 1"]),
        ("agents.inventory.max_parallel", 9, ["-    max_parallel: 4   # few", "+    max_parallel: 9   # few"]),
        ("agents.inventory.timeout", 0.5, ["+    timeout: 500ms"]),
        ("agents.confirm.attempts", 2, ["-    needs: [payment, shipping],   # and no more",
                                        "+    retry: 2, needs: [payment, shipping],   # and no more"]),
        ("openai.concurrent", 3, ["-limits: { workers: 16 }   # at most",
                                  "+limits: { workers: 16, openai: { concurrent: 3 } }   # at most"]),
    ],
)  # fmt: skip
def test_only_what_was_meant(name: str, value: Data, lines: list[str]) -> None:
    made = rewrite(TEXT, {name: value}, FILE)
    assert [line[0] + line[2:] for line in changed(TEXT, made)] == lines
    assert rewrite(made, {name: value}, FILE) == made, "once more changes nothing"
    definition = loads(made).definition
    if name.startswith("agents."):
        _, agent, setting = name.split(".")
        of = definition.agents[agent]
        values = {"timeout": of.timeout.attempt, "attempts": of.retry.attempts, "max_parallel": of.max_parallel}
        assert values[setting] == value


def test_what_agents_share_is_not_changed_for_the_others() -> None:
    """`payment` has an anchor: `inventory` is made of it, and a new value would be its value too."""
    with pytest.raises(UsageError, match=r"agents\.payment\.attempts: other agents share"):
        rewrite(TEXT, {"agents.payment.attempts": 9}, FILE)
    alone = TEXT.replace("    <<: *payment\n", "    needs: extract\n    simulate: {}\n    retry: *slow\n")
    made = rewrite(alone, {"agents.payment.attempts": 9, "agents.payment.timeout": 5.0}, FILE)
    assert "retry: { <<: *slow, attempts: 9 }, timeout: 5s }" in made
    agents = loads(made).definition.agents
    assert (agents["payment"].retry.attempts, agents["payment"].retry.delay) == (9, 2.0)
    assert agents["inventory"].retry.attempts == 5


def test_a_file_without_limits() -> None:
    short = "agentdeck: 1\nname: d\nagents:\n  a: { simulate: {} }\n"
    made = rewrite(short, {"workers": 3, "agents.a.timeout": 7200.0}, FILE)
    assert made == (
        "agentdeck: 1\nlimits: { workers: 3 }\nname: d\nagents:\n  a: { simulate: {}, timeout: 2h }\n"
    )
    assert loads(made).definition.limits.workers == 3


@pytest.mark.parametrize("file", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples(file: Path) -> None:
    text = file.read_text()
    before = loads(text, str(file), file.parent).definition
    given = [name for name, agent in before.agents.items() if agent.does.verb not in ("approve", "dispatch")]
    values = {name: (17.0 + number, 6 + number) for number, name in enumerate(given)}
    new: dict[str, Data] = {"workers": 5}
    for name, (timeout, attempts) in values.items():
        new |= {f"agents.{name}.timeout": timeout, f"agents.{name}.attempts": attempts}
    made = rewrite(text, new, file)
    after = loads(made, str(file), file.parent).definition
    assert {
        name: (after.agents[name].timeout.attempt, after.agents[name].retry.attempts) for name in given
    } == values
    assert after.limits.workers == 5
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in made.splitlines() if "#" in line] == comments


def test_places() -> None:
    assert set_value("a: # here\n  b: 1 # one", ("a", "c"), "2") == "a: # here\n  b: 1 # one\n  c: 2"
    assert set_value("a:\n  b:\n    c: 1\n", ("a", "d"), "2") == "a:\n  d: 2\n  b:\n    c: 1\n"
    assert set_value("a: {}\n", ("a", "b"), "1") == "a: { b: 1 }\n"
    assert set_value("a: {b: 2}\n", ("a", "c"), "1") == "a: {b: 2, c: 1}\n"
    with pytest.raises(UsageError, match="a is not a map"):
        set_value("a: [1]\n", ("a", "b"), "1")
    with pytest.raises(UsageError):
        set_value("a:\n", ("a", "b"), "1")
