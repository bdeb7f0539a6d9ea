"""Ends the console when its terminal is gone."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time

#: Seconds until a process that ignores SIGHUP (nohup) is ended all the same.
GRACE = 1.0


def end_on_hangup() -> None:
    """End this process with SIGHUP once the terminal of stdin is closed; do nothing where stdin is no terminal.

    The kernel sends SIGHUP to the session leader only, so a console that was started in another way does not get
    it. A thread waits for it and not the event loop: Textual's writer dies at its first write to a closed
    terminal, and the loop then blocks for good on the writer's full queue.
    """
    stdin = sys.__stdin__
    if stdin is not None and stdin.isatty():
        threading.Thread(target=_wait, args=(stdin.fileno(),), name="agentdeck-hangup", daemon=True).start()


def _wait(terminal: int) -> None:
    poll = select.poll()
    poll.register(terminal, 0)  # errors and a hang-up are reported without being asked for
    events = 0
    for _, found in poll.poll():
        events |= found
    if events & select.POLLHUP:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(GRACE)
        os._exit(128 + signal.SIGHUP)
