"""`run`, and what the store shows of it afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import ASKS, QUICK, SLOW, WHO, Deck
from tests.waiting import until


def runs(deck: Deck) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(deck("runs", "--json").stdout)
    return found


def test_the_output_of_one_task(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK)
    done = deck("run", "quick.yaml", "-i", "n=7", "-i", "word=hello")
    assert (done.returncode, done.stdout) == (0, "7\n")
    assert "started: quick" in done.stderr
    assert "1 task done, 2 attempts · simulated" in done.stderr


def test_json_is_one_object_and_the_same_later(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK)
    done = deck("run", "quick.yaml", "-i", "word=@@x", "--json")
    told = json.loads(done.stdout)
    assert (told["state"], told["output"], told["tasks"]["done"]) == ("done", 1, 1)
    assert told["steps"]["done"] == 2
    assert json.loads(deck("show", "last", "--json").stdout) == told
    [row] = runs(deck)
    assert (row["run"], row["workflow"], row["state"]) == (told["run"], "quick", "done")
    page = deck("show", told["run"]).stdout
    assert "critical   first → second" in page
    assert "got @x" in deck("logs", "last", "--agent", "second").stdout
    log = [json.loads(line) for line in deck("events", "last", "--json").stdout.splitlines()]
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert (log[0]["event"], log[-1]["event"]) == ("run_started", "run_ended")
    assert len(deck("events", "last").stdout.splitlines()) == len(log)
    watched = deck("watch", "last", "--json")
    assert watched.returncode == 0
    assert len(watched.stdout.splitlines()) == len(log)
    assert "workers" in deck("limits", "last").stdout


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "needs the input word; give it with -i word="),
        (("-i", "wrod=x"), "did you mean word?"),
        (("-i", "word"), "write it as -i name=value"),
        (("-i", "word=x", "-i", "n=many"), "-i n: 'many' is not an integer"),
        (("-i", "word=@nowhere"), "nowhere: No such file"),
        (("-i", "word=x", "--set", "agents.frist.timeout=5s"), "did you mean first?"),
        (("-i", "word=x", "--set", "agents.first.timeuot=5s"), "did you mean timeout?"),
        (("-i", "word=x", "--set", "agents.first.timeout=5"), "is not a duration"),
        (("-i", "word=x", "--set", "limits.wrokers=5"), "did you mean limits.workers?"),
        (("-i", "word=x", "--workers", "0"), "0 is not in the range"),
        (("--tasks", "t.txt"), ".jsonl or .csv"),
        (("--tasks", "nowhere.jsonl"), "nowhere.jsonl: No such file"),
    ],
)
def test_a_call_that_makes_no_sense_starts_nothing(deck: Deck, args: tuple[str, ...], told: str) -> None:
    deck.write("quick.yaml", QUICK)
    done = deck("run", "quick.yaml", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert not deck.db.exists()


def test_inputs_from_a_file_and_a_setting(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK.replace("10ms", "20s"))
    deck.write("word.txt", "from a file")
    done = deck("run", "quick.yaml", "-i", "word=@word.txt", "--set", "agents.first.timeout=1ms",
                "--set", "agents.first.retry=1")  # fmt: skip
    assert done.returncode == 1
    assert "first failed" in done.stderr


def test_inputs_in_a_json_file_keep_their_types(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK.replace('"${first.n}"', '"${first}"'))
    deck.write("inputs.json", '{"n": 7, "word": "5"}')
    done = deck("run", "quick.yaml", "--inputs", "inputs.json")
    assert json.loads(done.stdout) == {"n": 7, "word": "5"}, done.stderr
    done = deck("run", "quick.yaml", "--inputs", "inputs.json", "-i", "n=8")
    assert json.loads(done.stdout) == {"n": 8, "word": "5"}, done.stderr


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "inputs.json: this is not JSON"),
        ("[1]", "inputs are an object"),
        ('{"wrod": ""}', "quick has no input wrod; did you mean word?"),
        ('{"word": 5}', "the input word is 5, not a string"),
        (None, "inputs.json: No such file or directory"),
    ],
)
def test_a_bad_file_of_inputs(deck: Deck, text: str | None, what: str) -> None:
    deck.write("quick.yaml", QUICK)
    if text is not None:
        deck.write("inputs.json", text)
    done = deck("run", "quick.yaml", "--inputs", "inputs.json")
    assert done.returncode == 2
    assert what in done.stderr


def test_a_task_file_and_its_lines(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK)
    deck.write("t.jsonl", "".join(json.dumps({"n": n, "word": str(n)}) + "\n" for n in range(20)))
    done = deck("run", "quick.yaml", "--tasks", "t.jsonl", "--out", "out.jsonl", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["tasks"]["total"] == 20
    assert "50 %: 10 of 20 tasks" in done.stderr
    lines = [json.loads(line) for line in (deck.folder / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 20
    assert all(line["output"] == line["inputs"]["n"] and line["state"] == "done" for line in lines)
    assert set(lines[0]) == {"task", "state", "inputs", "output", "error"}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ('{"word": ', "t.jsonl:2: not JSON ("),
        ("[1]", "t.jsonl:2: not a JSON object but a list"),
        ('{"wrod": "x"}', "did you mean word?"),
        ('{"n": 1}', "t.jsonl:2: needs the input word"),
        ('{"word": "x", "n": "1"}', "t.jsonl:2: n is '1', not an integer"),
    ],
)
def test_a_bad_line_is_named_or_left_out(deck: Deck, bad: str, told: str) -> None:
    deck.write("quick.yaml", QUICK)
    deck.write("t.jsonl", f'{{"word": "a"}}\n{bad}\n\n{{"word": "b"}}\n')
    done = deck("run", "quick.yaml", "--tasks", "t.jsonl")
    assert done.returncode == 2
    assert told in done.stderr
    assert "correct it, or leave out such lines with --skip-bad" in done.stderr
    assert not deck.db.exists()
    done = deck("run", "quick.yaml", "--tasks", "t.jsonl", "--skip-bad", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["tasks"]["total"] == 2
    assert "1 bad line left out" in done.stderr


def test_csv_and_stdin(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK)
    deck.write("t.csv", 'word,n\n"a, b",3\nc,\n')
    done = deck("run", "quick.yaml", "--tasks", "t.csv", "--out", "o.jsonl")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (deck.folder / "o.jsonl").read_text().splitlines()]
    assert sorted((line["inputs"]["word"], line["inputs"]["n"]) for line in lines) == [("a, b", 3), ("c", 1)]
    done = deck("run", "quick.yaml", "--tasks", "-", "--json", stdin='{"word": "x"}\n{"word": "y"}\n')
    assert json.loads(done.stdout)["tasks"]["done"] == 2


def test_what_fails_is_told(deck: Deck) -> None:
    code = "import sys; print('\\x1b[31mred'); sys.exit(3)"
    deck.write(
        "bad.yaml",
        f"""
agentdeck: 1
name: bad
agents:
  tool: {{ command: {json.dumps([sys.executable, "-c", code])}, retry: 1 }}
""",
    )
    done = deck("run", "bad.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "task 1: tool failed" in done.stderr
    assert "1 failed" in done.stderr
    assert "\x1b" not in done.stderr + deck("show", "last").stdout + deck("logs", "last").stdout
    assert [row["state"] for row in runs(deck)] == ["failed"]
    assert deck("runs", "--state", "done", "--json").stdout == "[]\n"


def test_a_module_that_is_not_there(deck: Deck) -> None:
    deck.write("bad.yaml", "agentdeck: 1\nname: bad\nagents:\n  tool: { python: 'no_such_module:f' }\n")
    done = deck("run", "bad.yaml")
    assert done.returncode == 2
    assert "no_such_module" in done.stderr
    assert not deck.db.exists()


@pytest.mark.usefixtures("each_loop")
def test_control_c_drains_and_resume_goes_on(deck: Deck) -> None:
    deck.write("slow.yaml", SLOW)
    process = deck.start("run", "slow.yaml", "--wait")
    until(lambda: "step_started" in deck.log())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "draining" in err
    [row] = runs(deck)
    assert row["state"] == "interrupted"
    assert f"agentdeck resume {row['run']}" in err
    done = deck("pause", "last")
    assert done.returncode == 1
    assert "no process executes it" in done.stderr
    done = deck("resume", "last", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["state"], told["output"]) == (0, "done", 2)
    assert told["agents"]["one"]["attempts"] == 1
    assert deck("resume", "last").returncode == 2


@pytest.mark.usefixtures("each_loop")
def test_control_c_twice_cancels(deck: Deck) -> None:
    deck.write("slow.yaml", SLOW.replace("1500ms", "60s").replace("one: {", "one: { timeout: 2m,"))
    process = deck.start("run", "slow.yaml", "--wait")
    until(lambda: "step_started" in deck.log())
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "started" in process.stderr.readline()
    assert "draining" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cancelling" in err
    assert [row["state"] for row in runs(deck)] == ["cancelled"]


@pytest.mark.usefixtures("each_loop")
def test_resume_takes_the_task_file_up_again(deck: Deck) -> None:
    deck.write("slow.yaml", SLOW.replace("name: slow", "name: slow\ninputs: { n: { type: integer } }"))
    deck.write("t.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(6)))
    process = deck.start("run", "slow.yaml", "--tasks", "t.jsonl", "--workers", "1", "--wait")
    until(lambda: "step_started" in deck.log())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    told = json.loads(deck("resume", "last", "--json").stdout)
    assert (told["state"], told["tasks"]["total"], told["tasks"]["done"]) == ("done", 6, 6)


def test_asking_from_another_process(deck: Deck) -> None:
    deck.write("asks.yaml", ASKS)
    process = deck.start("run", "asks.yaml", "--wait")
    until(lambda: "gate" in deck.log())
    done = deck("limits", "last", "workers=3")
    assert (done.returncode, "workers = 3" in done.stdout) == (0, True), done.stderr
    assert "3" in deck("limits", "last").stdout.splitlines()[1]
    done = deck("limits", "last", "workers=30000000")
    assert done.returncode == 1
    assert "out of range" in done.stderr
    assert deck("hurry", "last", "99").returncode == 1
    assert deck("hurry", "last", "1").returncode == 0
    assert deck("pause", "last").returncode == 0
    until(lambda: runs(deck)[0]["state"] == "paused")
    assert deck("resume", "last").returncode == 0
    assert deck("approve", "last", "nobody", "yes").returncode == 1
    done = deck("approve", "last", "gate", "yes")
    assert (done.returncode, "approved" in done.stdout) == (0, True), done.stderr
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "true\n")
    assert "waits for an approval" in err
    answered = [e for e in map(json.loads, deck("events", "last", "--json").stdout.splitlines())
                if e["event"] == "step_answered"]  # fmt: skip
    assert answered[0]["who"] == WHO


def test_cancel_from_another_process(deck: Deck) -> None:
    deck.write("asks.yaml", ASKS)
    process = deck.start("run", "asks.yaml", "--wait")
    until(lambda: "gate" in deck.log())
    watching = deck.start("watch", "last")
    assert deck("cancel", "last").returncode == 0
    process.communicate(timeout=60)
    assert process.returncode == 1
    out, _ = watching.communicate(timeout=60)
    assert watching.returncode == 1
    assert "run_ended" in out
    done = deck("cancel", "last")
    assert done.returncode == 1
    assert "has ended (cancelled)" in done.stderr


def test_yes_answers_by_itself(deck: Deck) -> None:
    deck.write("asks.yaml", ASKS)
    assert deck("run", "asks.yaml", "--yes").stdout == "true\n"


def test_a_bad_line_of_stdin_is_told_before_anything_starts(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK)
    done = deck("run", "quick.yaml", "--tasks", "-", stdin='{"word": "x"}\nnope\n')
    assert done.returncode == 2
    assert "stdin:2: not JSON" in done.stderr
    assert not deck.db.exists()


def test_a_workflow_in_python_drains_and_resumes(deck: Deck) -> None:
    deck.write(
        "made.py",
        """
import time
from agentdeck import Workflow
made = Workflow("made", output="${second}")

@made.agent
def first():
    time.sleep(1.5)
    return 20

@made.agent
def second(first):
    return first + 1
""",
    )
    process = deck.start("run", "made.py", "--wait")
    until(lambda: "step_started" in deck.log())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    done = deck("resume", "last")
    assert (done.returncode, done.stdout) == (0, "21\n"), done.stderr


def test_progress_in_a_terminal(deck: Deck) -> None:
    pty = pytest.importorskip("pty")
    deck.write("slow.yaml", SLOW)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "agentdeck.cli.main", "run", "slow.yaml"],
        stdout=subprocess.PIPE, stderr=theirs, cwd=deck.folder, env={**deck.env, "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while part := os.read(ours, 65536):
                seen += part
        os.close(ours)
        assert process.stdout is not None
        assert process.stdout.read() == b"2\n"
    assert process.returncode == 0
    text = seen.decode()
    assert "queued" in text
    assert "simulated" in text
    assert "1 task done, 2 attempts" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is back


def test_resume_has_the_tasks_that_came_through_stdin(deck: Deck) -> None:
    deck.write("slow.yaml", SLOW.replace("name: slow", "name: slow\ninputs: { n: { type: integer } }"))
    process = subprocess.Popen(
        deck.command(("run", "slow.yaml", "--tasks", "-", "--workers", "1")),
        stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=deck.folder, env=deck.env, text=True,
    )  # fmt: skip
    deck.started.append(process)
    process.stdin.write("".join(f'{{"n": {n}}}\n' for n in range(4)))  # type: ignore[union-attr]
    process.stdin.close()  # type: ignore[union-attr]
    process.stdin = None
    until(lambda: "step_started" in deck.log())
    process.kill()
    process.wait()
    told = json.loads(deck("resume", "last", "--json").stdout)
    assert (told["state"], told["tasks"]["total"], told["tasks"]["done"]) == ("done", 4, 4)
