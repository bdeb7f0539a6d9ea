"""Who decided an approval, how, and with what: recorded, and shown everywhere."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from tests.cli.conftest import WHO, Deck
from tests.waiting import until

PAID = """
agentdeck: 1
name: paid
agents:
  gate:
    approve:
      ask: "Pay?"
      fields: { reason: string, amount: { type: number, default: 10 } }
      within: %s
      otherwise: reject
  after: { needs: gate, when: gate.approved, simulate: { takes: 10ms, returns: "${gate.amount}" } }
"""


def answered(deck: Deck) -> dict[str, Any]:
    log = [json.loads(line) for line in deck("events", "last", "--json").stdout.splitlines()]
    [event] = [event for event in log if event["event"] == "step_answered"]
    return event  # type: ignore[no-any-return]


def start(deck: Deck, within: str = "4h", *args: str) -> Any:
    deck.write("paid.yaml", PAID % within)
    process = deck.start("run", "paid.yaml", "--json", *args)
    until(lambda: '"gate"' in deck.log())
    return process


def shown(deck: Deck) -> dict[str, str]:
    """What each view says of the decision."""
    return {
        "show": deck("show", "last").stdout,
        "why": deck("why", "last", "gate").stdout,
        "step": deck("step", "last", "1", "gate").stdout,
        "logs": deck("logs", "last").stdout,
    }


def test_a_person_in_time_is_recorded_with_account_host_tool_and_name(deck: Deck) -> None:
    process = start(deck)
    deck.env.pop("USER")
    deck.env.pop("LOGNAME", None)
    done = deck("approve", "last", "gate", "yes", "--field", "reason=fair", "--by", "Grace Hopper")
    assert done.returncode == 0, done.stderr
    out, err = process.communicate(timeout=60)
    event = answered(deck)
    account, _, _ = WHO.partition(" ")
    user, _, host = account.partition("@")
    assert (event["how"], event["approved"]) == ("person", True)
    assert event["author"] == {"user": user, "host": host, "tool": "cli", "by": "Grace Hopper"}
    assert event["fields"] == {"reason": "fair", "amount": 10}
    assert event["defaults"] == ["amount"]
    told = f"approved by Grace Hopper ({account}, cli); used the default of amount"
    for name, text in shown(deck).items():
        assert told in text, name
        assert "time" not in text.partition("gate: ")[2].partition("\n")[0], name
    assert told in err
    summary = json.loads(out)["approvals"]
    assert (summary["approved"], summary["rejected"], summary["how"]) == (1, 0, {"person": 1})
    assert summary["latest"][0]["by"] == "Grace Hopper"
    assert json.loads(deck("step", "last", "1", "gate", "--json").stdout)["decision"] == summary["latest"][0]


def test_a_no_and_a_timeout_are_two_records(deck: Deck) -> None:
    process = start(deck)
    assert deck("approve", "last", "gate", "no", "--field", "reason=dear").returncode == 0
    process.communicate(timeout=60)
    by_hand = answered(deck)
    assert (by_hand["how"], by_hand["approved"], by_hand["who"]) == ("person", False, WHO)
    assert f"rejected by {WHO}" in deck("why", "last", "gate").stdout
    process = start(deck, "200ms")
    process.communicate(timeout=60)
    event = answered(deck)
    assert (event["how"], event["approved"], event["fields"]) == ("timeout", False, {"amount": 10})
    assert "author" not in event
    for name, text in shown(deck).items():
        assert "rejected by timeout: no answer in time; used the default of amount" in text, name
    assert json.loads(deck("show", "last", "--json").stdout)["approvals"]["how"] == {"timeout": 1}


def test_an_answer_that_lacks_a_field_is_refused_and_the_step_asks_on(deck: Deck) -> None:
    process = start(deck)
    for answer in ("yes", "no"):
        done = deck("approve", "last", "gate", answer)
        assert done.returncode == 2
        assert "gate needs a value for reason: answer again with --field reason=" in done.stderr
    assert "step_answered" not in deck("events", "last").stdout
    assert deck("approve", "last", "gate", "yes", "--field", "reason=x", "--field", "amount=2").returncode == 0
    process.communicate(timeout=60)
    event = answered(deck)
    assert event["fields"] == {"reason": "x", "amount": 2}
    assert "defaults" not in event


def test_yes_is_a_record_of_its_own_and_invents_no_value(deck: Deck) -> None:
    deck.write("paid.yaml", PAID % "4h")
    done = deck("run", "paid.yaml", "--yes")
    assert done.returncode == 2
    assert "--yes cannot answer gate: it needs a value for reason" in done.stderr
    assert "no runs" in deck("runs").stdout + deck("runs").stderr
    deck.write("paid.yaml", (PAID % "4h").replace("reason: string, ", ""))
    assert deck("run", "paid.yaml", "--yes").returncode == 0
    assert answered(deck)["how"] == "yes"
    assert f"approved by --yes of {WHO}" in deck("why", "last", "gate").stdout


def test_an_old_log_says_unknown_and_never_timed_out(deck: Deck) -> None:
    """Version 0.1 wrote no more than a name, and none where USER was unset."""
    deck.write("paid.yaml", (PAID % "4h").replace("reason: string, ", ""))
    assert deck("run", "paid.yaml", "--yes").returncode == 0
    with sqlite3.connect(deck.db) as db:
        sql = (
            "UPDATE event_log SET data = ?"
            " WHERE kind = (SELECT number FROM event_kinds WHERE name = 'step_answered')"
        )
        db.execute(sql, (json.dumps({"approved": True, "fields": {}}),))
    for name, text in shown(deck).items():
        if name != "logs":  # a line of 0.1 is what it is
            assert "approved by an unknown author" in text, name
            assert "nobody answered in time" not in text
    assert json.loads(deck("show", "last", "--json").stdout)["approvals"]["how"] == {"unknown": 1}
    with sqlite3.connect(deck.db) as db:
        db.execute(sql, (json.dumps({"approved": True, "fields": {}, "who": "ada"}),))
    assert "approved by ada" in deck("why", "last", "gate").stdout


def test_check_warns_of_fields_that_a_timeout_leaves_without_a_value(deck: Deck) -> None:
    deck.write("paid.yaml", (PAID % "4h").replace("otherwise: reject", "otherwise: approve"))
    told = "warning: reason is null when gate is approved by timeout; give it a default"
    done = deck("check", "paid.yaml")
    assert done.returncode == 0
    assert done.stdout.count(told) == done.stdout.count("warning: ") == 1  # the other field has a default


BREAKS = """
agentdeck: 1
name: breaks
agents: { a: { command: [test, -e, there], retry: 1 } }
"""


def test_letters_and_fork_take_the_name_of_who_decides(deck: Deck) -> None:
    deck.write("w.yaml", BREAKS)
    for _ in range(2):
        assert deck("run", "w.yaml").returncode == 1
    by = ("--by", "Grace Hopper")
    assert deck("letters", "drop", 1, "--why", "a test order", *by).returncode == 0
    [cause] = json.loads(deck("letters", "list", "--state", "dropped", "--json").stdout)
    assert cause["letters"][0]["why"] == f"a test order, says Grace Hopper ({WHO.replace(' (', ', ')}"
    deck.write("there", "")
    assert deck("letters", "retry", 2, *by).returncode == 0
    assert "resumed, by Grace Hopper (" in deck("show", "last").stdout
    assert deck("fork", "last", *by).returncode == 0
    assert "Grace Hopper (" in deck("events", "last").stdout


def test_check_warns_where_a_rejection_would_go_unseen(deck: Deck) -> None:
    text = PAID % "4h"
    deck.write("paid.yaml", text)
    assert "warning" not in deck("check", "paid.yaml").stdout
    deck.write("paid.yaml", text.replace("when: gate.approved, ", ""))
    done = deck("check", "paid.yaml")
    assert done.returncode == 0
    told = "paid.yaml:11:19: warning: after also runs when gate is rejected; add when: gate.approved"
    assert told in done.stdout + done.stderr
    deck.write("paid.yaml", text.replace("reason: string", "approved: string"))
    assert "approved is reserved for the decision" in deck("check", "paid.yaml").stdout
