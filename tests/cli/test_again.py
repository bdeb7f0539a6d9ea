"""Retry, letters, fork and resume as an operator uses them: other processes, real runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck.engine.run_storage import LEASE
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import Author
from agentdeck.store.commands import put_command
from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_writing
from tests.cli.conftest import WHO, Deck
from tests.slow_close import DECK as SLOW_CLOSE_DECK
from tests.slow_close import let_close, write_slow_provider
from tests.waiting import until

#: `pay` works once there is a file `ok`, or with the input `ok`; every step leaves a line in `effects`.
SHOP = """
agentdeck: 1
name: shop
inputs:
  n: { type: integer, default: 1 }
  ok: { type: boolean, default: false }
defaults: { retry: 1 }
agents:
  extract: { command: [sh, -c, 'echo "extract $1" >> effects', sh, "${inputs.n}"] }
  pay:
    needs: extract
    command:
      - sh
      - -c
      - 'echo "pay $1" >> effects; test -e ok || test "$2" = true || { echo "no funds $1" >&2; exit 3; }'
      - sh
      - ${inputs.n}
      - ${inputs.ok}
  ship: { needs: extract, command: [sh, -c, 'echo "ship $1" >> effects', sh, "${inputs.n}"] }
  confirm: { needs: [pay, ship], command: [sh, -c, 'echo "confirm $1" >> effects', sh, "${inputs.n}"] }
"""


def effects(deck: Deck, where: str = ".") -> dict[str, int]:
    """How often each agent took effect."""
    path = deck.folder / where / "effects"
    words = [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []
    return {word: words.count(word) for word in dict.fromkeys(words)}


def broken(deck: Deck, tasks: int = 1) -> str:
    """A run of the shop that has failed; its name."""
    deck.write("shop.yaml", SHOP)
    deck.write("t.jsonl", "".join(json.dumps({"n": n}) + "\n" for n in range(tasks)))
    assert deck("run", "shop.yaml", "--tasks", "t.jsonl").returncode == 1
    return newest(deck)


def newest(deck: Deck) -> str:
    name: str = json.loads(deck("runs", "--json").stdout)[0]["run"]
    return name


def state(deck: Deck, run: str) -> str:
    reader = Reader(deck.db)
    try:
        return reader.run(run).state
    finally:
        reader.close()


def test_retry_runs_what_failed_and_what_follows(deck: Deck) -> None:
    run = broken(deck, 2)
    assert json.loads(deck("letters", run, "--json").stdout)[0]["count"] == 2
    deck.write("ok", "")
    done = deck("retry", run)
    assert done.returncode == 0, done.stderr
    assert "2 steps of 2 tasks will run again" in done.stderr
    assert [line.split() for line in done.stderr.splitlines() if line.startswith("  ")][1:] == [
        ["2", "-", "pay"],
        ["-", "2", "confirm"],
    ]
    assert effects(deck) == {"extract": 2, "pay": 4, "ship": 2, "confirm": 2}
    assert state(deck, run) == "done"
    assert deck("letters", run).stderr == "no dead letters\n"
    assert [
        one["state"] for one in map(json.loads, deck("letters", "export", "--state", "all").stdout.splitlines())
    ] == [
        "closed",
        "closed",
    ]
    told = json.loads(deck("show", run, "--json").stdout)
    assert told["agents"]["pay"]["attempts"] == 4, "old attempts stay in the history"
    assert deck("retry", run).stderr == f"{run}: nothing to retry\n"


def test_retry_from_an_agent_and_of_one_agent(deck: Deck) -> None:
    run = broken(deck)
    deck.write("ok", "")
    assert deck("retry", run, "--agent", "ship").stderr == f"{run}: nothing to retry\n"
    assert deck("retry", run, "--agent", "shop").returncode == 2
    assert deck("retry", run, "--agent", "pay").returncode == 0
    assert effects(deck) == {"extract": 1, "pay": 2, "ship": 1, "confirm": 1}
    assert deck("retry", run, "--from", "extract").returncode == 0
    assert effects(deck) == {"extract": 2, "pay": 3, "ship": 2, "confirm": 2}
    assert deck("retry", run, "--from", "extarct").stderr.strip().endswith("did you mean extract?")


def test_letters_by_cause_with_their_inputs(deck: Deck) -> None:
    run = broken(deck, 3)
    told = deck("letters").stdout.splitlines()
    cause = told[0].split()[0]
    assert told[0].startswith(f"{cause}  3 dead letters  pay: exit:")
    one = json.loads(deck("letters", "show", 1, "--json").stdout)
    assert (one["run"], one["step"], one["cause"], one["state"]) == (run, "pay", cause, "open")
    assert "no funds" in deck("letters", "show", 1).stdout
    assert one["inputs"]["inputs"]["n"] in (0, 1, 2)
    assert deck("letters", "show", 9).returncode == 2
    assert deck("letters", "retry").returncode == 2
    assert deck("letters", "drop", 1, "--why", "paid by hand").stdout == "1 dead letter dropped\n"
    assert (
        deck("letters", "retry", 1).stderr == f"agentdeck: dead letter 1 is dropped: paid by hand, says {WHO}\n"
    )
    assert [json.loads(line)["id"] for line in deck("letters", "export").stdout.splitlines()] == [2, 3]
    deck.write("ok", "")
    assert deck("letters", "retry", "--cause", cause).returncode == 0, "those of the cause went well"
    assert effects(deck)["confirm"] == 2


def test_other_inputs_for_one_retry(deck: Deck) -> None:
    run = broken(deck, 2)
    done = deck("letters", "retry", 1, "--set", "inputs.ok=true")
    assert done.returncode == 0, "the other task has failed, and was not asked for"
    assert effects(deck)["confirm"] == 1
    events = [json.loads(line) for line in deck("events", run, "--json").stdout.splitlines()]
    assert [e["inputs"] for e in events if e["event"] == "step_reopened"] == [{"ok": True}]
    assert deck("letters", "retry", 2, "--set", "n=1").returncode == 2
    assert deck("letters", "retry", 2, "--set", "inputs.m=1").returncode == 2


def test_one_is_tried_before_the_rest(deck: Deck) -> None:
    broken(deck, 4)
    done = deck("letters", "retry", "--all", "--try-one")
    assert done.returncode == 1
    assert "pay failed again" in done.stderr
    assert effects(deck)["pay"] == 5
    deck.write("ok", "")
    done = deck("letters", "retry", "--all", "--try-one")
    assert done.returncode == 0, done.stderr
    assert "pay succeeded" in done.stderr
    assert effects(deck)["pay"] == 9
    plan = [line.split() for line in done.stderr.splitlines() if line.startswith("  ")]
    assert plan == [["first", "after", "agent"], ["1", "-", "pay"], ["-", "1", "confirm"],
                    ["first", "after", "agent"], ["3", "-", "pay"], ["-", "3", "confirm"]]  # fmt: skip


def test_a_cause_that_is_not_there_is_named(deck: Deck) -> None:
    broken(deck, 2)
    cause = json.loads(deck("letters", "--json").stdout)[0]["cause"]
    done = deck("letters", "retry", "--cause", "pay")
    assert done.returncode == 2
    assert f"no open dead letter has the cause pay; there are {cause}." in done.stderr
    assert effects(deck)["pay"] == 2


ALIVE = """
agentdeck: 1
name: alive
defaults: { retry: 1 }
agents:
  pay: { command: [sh, -c, "echo pay >> effects; test -e ok"] }
  after: { needs: pay, command: [sh, -c, "echo after >> effects"] }
  long: { command: [sh, -c, "while ! test -e stop; do sleep 0.05; done"] }
"""
LONE = """
agentdeck: 1
name: lone
inputs: { n: integer }
defaults: { retry: 1 }
agents:
  pay:
    command:
      - sh
      - -c
      - 'echo pay >> effects; test "$1" = 9 && while ! test -e stop; do sleep 0.05; done; test -e ok'
      - sh
      - ${inputs.n}
  after: { needs: pay, command: [sh, -c, "echo after >> effects"] }
"""


def test_the_owner_of_a_live_run_retries_when_asked(deck: Deck) -> None:
    deck.write("alive.yaml", ALIVE)
    process = deck.start("run", "alive.yaml", "--wait")
    until(lambda: "1 dead letter" in deck("letters").stdout)
    deck.write("ok", "")
    done = deck("retry", "last")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 steps will run again" in done.stdout
    until(lambda: effects(deck).get("after") == 1)
    deck.write("stop", "")
    assert process.wait(20) == 0
    assert effects(deck) == {"pay": 2, "after": 1}


def test_a_task_that_has_ended_goes_again_while_the_run_lives(deck: Deck) -> None:
    deck.write("lone.yaml", LONE)
    deck.write("t.jsonl", "".join(json.dumps({"n": n}) + "\n" for n in (1, 2, 9)))
    process = deck.start("run", "lone.yaml", "--tasks", "t.jsonl", "--wait")
    until(lambda: "2 dead letters" in deck("letters").stdout)
    deck.write("ok", "")
    done = deck("letters", "retry", "--all", "--try-one")
    assert done.returncode == 0, done.stderr
    assert "pay succeeded" in done.stderr
    until(lambda: effects(deck).get("after") == 2)
    deck.write("stop", "")
    assert process.wait(20) == 0
    told = json.loads(deck("show", "last", "--json").stdout)
    assert told["tasks"]["done"] == 3
    assert effects(deck) == {"pay": 5, "after": 3}


def test_a_fork_shares_what_came_before(deck: Deck) -> None:
    run = broken(deck, 2)
    deck.write("ok", "")
    done = deck("fork", run, "--json")
    assert done.returncode == 0, done.stderr
    assert "reuses 4 results" in done.stderr
    assert effects(deck) == {"extract": 2, "pay": 4, "ship": 2, "confirm": 2}
    new = newest(deck)
    assert new != run
    assert f"{new} started" in done.stderr
    assert "resumed" not in done.stderr
    assert state(deck, run) == "failed"
    first = json.loads(deck("events", new, "--json").stdout.splitlines()[0])
    assert (first["event"], first["origin"]) == ("run_started", run)
    assert deck("fork", new, "--from", "confirm", "--set", "inputs.n=7").returncode == 0
    assert effects(deck)["confirm"] == 4
    assert (deck.folder / "effects").read_text().count("confirm 7") == 2
    assert deck("fork", run, "--from", "nobody").returncode == 2


def test_what_may_have_taken_effect_is_executed_again_only_when_that_is_decided(deck: Deck) -> None:
    deck.write(
        "once.yaml",
        "agentdeck: 1\nname: once\ndefaults: { retry: 1 }\nagents:\n"
        '  pay: { once: "pay-1", command: [sh, -c, "echo pay >> effects; test -e ok || sleep 30"] }\n',
    )
    process = deck.start("run", "once.yaml", "--wait")
    until(lambda: effects(deck).get("pay") == 1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert deck("resume", "last").returncode == 1
    deck.write("ok", "")
    assert "may have taken effect" in deck("retry", "last").stderr
    assert effects(deck) == {"pay": 1}
    refused = deck("letters", "retry", 1)
    assert refused.returncode == 2
    assert "agentdeck letters retry 1 --took-effect RESULT" in refused.stderr
    assert "agentdeck letters retry 1 --again" in refused.stderr
    assert effects(deck) == {"pay": 1}
    assert deck("letters", "retry", 1, "--again").returncode == 0
    assert effects(deck) == {"pay": 2}


PYTHON = """
from agentdeck import Workflow
shop = Workflow("shop", defaults={"retry": 1})
def note(name):
    with open("effects", "a") as file:
        file.write(name + "\\n")
@shop.agent
def extract() -> int:
    note("extract")
    return 1
@shop.agent
def pay(extract: int) -> int:
    import time
    note("pay")
    time.sleep(%s)
    return extract
"""


def test_a_python_workflow_that_changed(deck: Deck) -> None:
    deck.write("shop.py", PYTHON % 30)
    process = deck.start("run", "shop.py", "--wait")
    until(lambda: effects(deck).get("pay") == 1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    old = newest(deck)
    deck.write(
        "shop.py", PYTHON % 0 + "@shop.agent\ndef ship(pay: int) -> int:\n    note('ship')\n    return pay\n"
    )
    refused = deck("resume", old)
    assert refused.returncode == 2
    assert "ship is new" in refused.stderr
    done = deck("resume", old, "--accept-changes")
    assert done.returncode == 0, done.stderr
    assert effects(deck) == {"extract": 1, "pay": 2, "ship": 1}
    assert (state(deck, old), state(deck, "last")) == ("cancelled", "done")


ABOVE = """
agentdeck: 1
name: above
agents:
  sub: { workflow: parts/below.yaml }
  end: { needs: sub, simulate: { takes: 1ms, returns: "${sub}" } }
output: ${end}
"""
BELOW = """
agentdeck: 1
name: below
agents:
  x: { command: [sh, -c, "echo x >> effects; echo 7"] }
  y: { needs: x, command: [sh, -c, "echo y >> effects; while ! test -e stop; do sleep 0.05; done; echo 8"] }
output: ${x + y}
"""


@pytest.mark.parametrize("now", ["", BELOW.replace("x", "q")])
def test_a_run_goes_on_with_its_sub_workflows_as_they_were(deck: Deck, now: str) -> None:
    (deck.folder / "parts").mkdir()
    deck.write("above.yaml", ABOVE)
    below = deck.write("parts/below.yaml", BELOW)
    process = deck.start("run", "above.yaml", "--wait")
    until(lambda: "y" in effects(deck, "parts"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    below.write_text(now) if now else below.unlink()
    (deck.folder / "parts" / "stop").touch()
    done = deck("resume", "last")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "15\n"
    assert effects(deck, "parts") == {"x": 1, "y": 2}
    assert deck("prune", "--older", "1d", "--yes").returncode == 0
    assert deck("retry", "last", "--from", "sub").returncode == 0
    assert deck("fork", "last", "--from", "end").returncode == 0
    assert effects(deck, "parts") == {"x": 2, "y": 3}


def test_resume_all(deck: Deck) -> None:
    deck.write("slow.yaml", "agentdeck: 1\nname: slow\nagents: { a: { simulate: { takes: 500ms } } }\n")
    for count in (1, 2):
        process = deck.start("run", "slow.yaml", "--wait")
        until(lambda count=count: len(json.loads(deck("runs", "--json").stdout)) == count)  # type: ignore[misc]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert deck("resume").returncode == 2
    done = deck("resume", "--all")
    assert done.returncode == 0, done.stderr
    assert {row["state"] for row in json.loads(deck("runs", "--json").stdout)} == {"done"}
    assert deck("resume", "--all").stderr == "no run is interrupted\n"


QUIET = """
agentdeck: 1
name: quiet
agents:
  ask: { approve: { ask: "Really?" } }
  after: { needs: ask, simulate: { takes: 1ms } }
"""


def test_a_question_is_open_still_and_idle_is_only_the_time_without_an_owner(deck: Deck) -> None:
    """Nothing happened for more than a second before the kill, and yet somebody ran it."""
    deck.write("quiet.yaml", QUIET)
    process = deck.start("run", "quiet.yaml", "--wait")
    reader = Reader(deck.db)
    until(lambda: bool(runs := reader.runs(1)) and reader.last_seq(runs[0].run) >= 3)
    run = reader.runs(1)[0].run
    quiet = max(event.at for _, event in reader.events(run))
    until(lambda: (reader.run(run).lease_until or 0.0) - LEASE > quiet + 1)
    alive = (reader.run(run).lease_until or 0.0) - LEASE
    process.kill()
    process.wait()
    process = deck.start("resume", run, "--wait")
    until(lambda: reader.run(run).state == "running")
    assert deck("approve", run, "ask", "yes").returncode == 0
    assert process.wait(20) == 0
    events = [event for _, event in reader.events(run)]
    reader.close()
    (resumed,) = (e for e in events if isinstance(e, ev.RunResumed))
    assert 0.0 < resumed.idle <= resumed.at - alive
    assert [e.attempt for e in events if isinstance(e, ev.StepStarted) and e.step == "ask"] == [1]
    assert [e.who for e in events if isinstance(e, ev.StepAnswered)] == [WHO]


def test_what_was_asked_of_a_dead_owner_is_not_done_by_the_next(deck: Deck) -> None:
    """Whoever asked was told that nobody runs it."""
    deck.write("quiet.yaml", QUIET)
    process = deck.start("run", "quiet.yaml", "--wait")
    reader = Reader(deck.db)
    until(lambda: bool(runs := reader.runs(1)) and reader.last_seq(runs[0].run) >= 3)
    run = reader.runs(1)[0].run
    guard = sqlite3.connect(deck.db, isolation_level=None, timeout=10)
    guard.execute("BEGIN IMMEDIATE")  # nobody is stopped while writing: that would keep everybody from asking
    os.kill(process.pid, signal.SIGSTOP)
    stat = Path(f"/proc/{process.pid}/stat")
    until(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "T")
    guard.close()
    asked = deck.start("cancel", run)
    until(lambda: bool(reader.commands(run)))
    process.kill()
    process.wait()
    assert asked.wait(20) == 1
    assert f"{run} is interrupted: no process executes it" in (asked.stderr.read() if asked.stderr else "")
    process = deck.start("resume", run, "--wait")
    until(lambda: reader.run(run).state == "running")
    assert deck("approve", run, "ask", "yes").returncode == 0
    assert process.wait(20) == 0
    assert reader.run(run).state == "done"
    reader.close()


HELD = """
agentdeck: 1
name: held
inputs: { n: { type: integer, default: 1 } }
agents:
  quick: { simulate: { takes: 10ms, returns: 1 } }
  slow: { command: [sh, -c, "while ! test -e stop; do sleep 0.05; done"] }
  join: { needs: [quick, slow], simulate: { takes: 10ms, returns: 2 } }
"""


def started(deck: Deck, tasks: int = 1) -> str:
    """A live run whose joins wait for a step that goes on until there is a file `stop`."""
    deck.write("held.yaml", HELD)
    deck.write("t.jsonl", "".join(json.dumps({"n": n}) + "\n" for n in range(tasks)))
    deck.start("run", "held.yaml", "--tasks", "t.jsonl", "--workers", 2 * tasks, "--wait")
    reader = Reader(deck.db)
    until(lambda: bool(reader.runs(1)))
    run = reader.runs(1)[0].run
    until(lambda: sum(e["event"] == "step_succeeded" for e in reader.raw_events(run)) == tasks)
    reader.close()
    return run


def ended(deck: Deck, run: str) -> dict[str, object]:
    reader = Reader(deck.db)
    try:
        kinds = ("step_succeeded", "step_cancelled", "step_released", "task_hurried", "task_ended")
        return {f"{e['event']} {e.get('task', '')} {e.get('step', '')}".strip(): e.get("who")
                for e in reader.raw_events(run) if e["event"] in kinds}  # fmt: skip
    finally:
        reader.close()


def test_release_lets_a_join_go(deck: Deck) -> None:
    run = started(deck)
    done = deck("release", run, "join")
    assert (done.returncode, done.stdout) == (0, f"{run}: join starts with what has arrived\n")
    until(lambda: "step_succeeded 1 join" in ended(deck, run))
    assert ended(deck, run)["step_released 1 join"] == WHO
    assert deck("release", run, "join").returncode == 1
    deck.write("stop", "")


def test_cancel_of_a_task_and_of_a_step(deck: Deck) -> None:
    run = started(deck, 2)
    assert deck("cancel", run, "--task", 1).stdout == f"{run}: task 1 cancelled\n"
    until(lambda: "task_ended 1" in ended(deck, run))
    assert "step_cancelled 1 slow" in ended(deck, run)
    assert deck("cancel", run, "--task", 1).returncode == 1
    assert deck("cancel", run, "--step", "slow").stdout == f"{run}: slow cancelled in 1 tasks\n"
    assert deck.started[0].wait(20) == 1
    assert "step_cancelled 2 slow" in ended(deck, run)
    assert state(deck, run) == "cancelled"


def test_what_makes_no_sense_is_refused_with_what_there_is(deck: Deck) -> None:
    run = started(deck)
    for args, told in (
        (("cancel", run, "--step", "solw"), "there is no step solw of any open task"),
        (("cancel", run, "--step", "quick", "--task", 1), "step quick of task 1 has ended (done)"),
        (("cancel", run, "--task", 9), "task 9 is not open"),
        (
            ("limits", run, "far.requests=80/min"),
            "there is no limit far.requests; there are workers, agents.quick.",
        ),
        (("limits", run, "agents.slow.timeout=0s"), "agents.slow.timeout=0s is out of range: 1ms to 30d"),
        (("release", run, "slow"), "no step slow is waiting"),
        (("approve", run, "join", "yes"), "no step join is waiting"),
    ):
        done = deck(*args)
        assert done.returncode == 1, args
        assert told in done.stderr
    told = json.loads(deck("limits", run, "agents.slow.timeout=50s", "--json").stdout)
    assert told == {"run": run, "ok": True, "answer": "agents.slow.timeout = 50s"}
    deck.write("stop", "")
    assert deck.started[0].wait(20) == 0


def test_who_paused_it_can_let_it_go_on_at_once(deck: Deck) -> None:
    run = started(deck)
    for _ in range(3):
        assert deck("pause", run).returncode == 0
        assert state(deck, run) == "paused"
        assert "paused:" not in deck("runs").stdout, "the operator gave no reason"
        assert deck("resume", run).returncode == 0
        assert state(deck, run) == "running"
    deck.write("stop", "")
    assert deck.started[0].wait(20) == 0


def test_hurry_puts_a_task_first(deck: Deck) -> None:
    run = started(deck, 2)
    assert deck("hurry", run, 2).stdout == f"{run}: task 2 runs before all others\n"
    until(lambda: "task_hurried 2" in ended(deck, run))
    assert deck("hurry", run, 7).returncode == 1
    deck.write("stop", "")
    assert deck.started[0].wait(20) == 0


def test_cancel_of_a_run_leaves_no_process(deck: Deck) -> None:
    run = started(deck, 4)
    children = Path(f"/proc/{deck.started[0].pid}/task/{deck.started[0].pid}/children")
    if not children.exists():
        pytest.skip("needs /proc")
    pids = [int(pid) for pid in children.read_text().split()]
    assert len(pids) == 5, "four commands, and the watcher"
    assert deck("cancel", run).returncode == 0
    assert deck.started[0].wait(20) == 1
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


STUBBORN = """
agentdeck: 1
name: stubborn
agents:
  a:
    command: [sh, -c, "trap 'echo told >> effects' TERM; echo started >> effects; while :; do sleep 0.05; done"]
"""


@pytest.mark.parametrize("now", [True, False])
def test_now_leaves_no_grace(deck: Deck, now: bool) -> None:
    deck.write("stubborn.yaml", STUBBORN)
    process = deck.start("run", "stubborn.yaml", "--wait")
    until(lambda: effects(deck).get("started") == 1)
    assert deck("cancel", "last", *(["--now"] if now else [])).returncode == 0
    assert process.wait(20) == 1
    assert effects(deck).get("told", 0) == (0 if now else 1)


ENDING = """
agentdeck: 1
name: ending
agents:
  pay: { retry: 1, command: [test, -e, ok] }
  say: { prompt: "Say something." }
"""


def test_a_command_to_a_run_whose_process_is_ending_is_refused_and_a_retry_waits_for_it(deck: Deck) -> None:
    packages = deck.folder / "packages"
    write_slow_provider(packages)
    deck.env["PYTHONPATH"] = f"{packages}{os.pathsep}{deck.env['PYTHONPATH']}"
    deck.write("deck.yaml", SLOW_CLOSE_DECK)
    deck.write("ending.yaml", ENDING)
    first = deck.start("run", "ending.yaml", "--wait")
    until(lambda: "run_ended" in deck.log())
    first.send_signal(signal.SIGSTOP)  # it has seconds to close
    run = json.loads(deck.log().splitlines()[0])["run"]
    assert state(deck, run) == "running"

    refused = deck("pause", run)
    assert refused.returncode == 1
    assert (
        refused.stderr
        == f"agentdeck: {run} has ended; process {first.pid} on {socket.gethostname()} is closing\n"
    )
    with closing(open_for_writing(deck.db)) as connection:  # as one that was sent just before the end
        sent = put_command(connection, run, "pause", {}, Author("ada"), time.time())

    deck.write("ok", "")
    again = deck.start("retry", run, "--yes")
    assert again.stderr is not None
    assert again.stderr.readline() == f"{run}: 1 step of 1 task will run again\n"
    let_close(packages)
    first.send_signal(signal.SIGCONT)
    assert first.wait(20) == 1
    assert again.wait(20) == 0
    assert state(deck, run) == "done"
    with closing(Reader(deck.db)) as reader:
        command = reader.command(sent)
    assert command is not None
    assert command.answer == {"ok": False, "answer": f"{run} has ended (failed)", "run_over": True}
