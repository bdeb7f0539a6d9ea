"""The console ends: by ctrl+q while a thread or a read hangs, with its terminal while its loop is blocked."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HUNG = """
import sys, threading, time
from pathlib import Path
from agentdeck.console.app import DeckApp

class Hung(DeckApp):
    def on_mount(self):
        super().on_mount()
        self.run_worker(lambda: time.sleep(3600), thread=True)
        self.run_worker(lambda: time.sleep(3600), thread=True)

Hung(Path(sys.argv[1])).run()
print("left", flush=True)
"""


HUNG_STORE = """
import sys, time
from pathlib import Path
from agentdeck.console.app import DeckApp
from agentdeck.store import async_reader
async_reader.open_for_reading = lambda path: time.sleep(3600)  # a network drive that is gone

DeckApp(Path(sys.argv[1]), run="r1").run()
print("left", flush=True)
"""


@pytest.mark.parametrize("program", [HUNG, HUNG_STORE])
def test_ctrl_q_leaves_the_process_while_workers_hang(tmp_path: Path, program: str) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "deck.db")],
        stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path, env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(slave)
    try:
        seen, end, pressed = b"", time.monotonic() + 60, 0.0
        while process.poll() is None and time.monotonic() < end:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    seen += os.read(master, 65536)
                except OSError:
                    break  # the other side is closed
            if b"Help" in seen and time.monotonic() - pressed > 2:
                os.write(master, b"\x11")
                pressed = time.monotonic()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)


BLOCKED = """
import time
from agentdeck.console.process_exit import end_on_hangup
end_on_hangup()
print("blocked", flush=True)
time.sleep(3600)
"""


def test_a_closed_terminal_ends_the_process_while_its_loop_is_blocked() -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKED], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    try:
        painted = b""
        while not painted.endswith(b"\n"):  # a terminal that is closed within a line fails the write of the rest
            painted += os.read(master, 100)
        assert process.poll() is None
    finally:
        os.close(master)
    try:
        assert process.wait(30) == -signal.SIGHUP
    finally:
        process.kill()
        process.wait()
