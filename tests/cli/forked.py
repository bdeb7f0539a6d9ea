"""Processes that begin at once: forks of one that has imported the command line already.

A call is a process of its own, with its own arguments, folder, environment, stdin, stdout and stderr. All it is
spared is Python's start and the imports, which are most of the time of a short verb.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

#: What each process imports for itself: the console is another one's business, and `leave` tells by being there.
APART = ("agentdeck.console", "agentdeck.cli.process_exit")
ROOT = Path(__file__).resolve().parents[2]


class Forked:
    """The process that forks, from the first call until `close`."""

    def __init__(self) -> None:
        self.server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.cli.forked", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def run(
        self, args: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` with the command's own process."""
        told, tell = os.pipe()
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as source,
            tempfile.TemporaryFile("w+", encoding="utf-8") as out,
            tempfile.TemporaryFile("w+", encoding="utf-8") as err,
            os.fdopen(told) as told_by,
        ):
            source.write(stdin)
            source.seek(0)
            request = json.dumps([list(args), str(cwd), dict(env)]).encode()
            socket.send_fds(self.server, [request], [source.fileno(), out.fileno(), err.fileno(), tell])
            os.close(tell)
            pid = int(told_by.readline())
            if not select.select([told_by], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(args), timeout)
            code = int(told_by.readline())
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(list(args), code, out.read(), err.read())

    def close(self) -> None:
        self.server.close()
        self.process.wait(10)


def serve(server: socket.socket) -> None:
    """Fork for each call, until nobody can call any more. Returns in the fork that is to be the command."""
    import agentdeck

    for module in pkgutil.walk_packages(agentdeck.__path__, "agentdeck."):
        if not module.name.startswith(APART) and not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for the commands
    while True:
        request, fds, _, _ = socket.recv_fds(server, 1 << 20, 4)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.close()
            pid = os.fork()
            if pid == 0:
                become(request, fds)
                return
            os.write(fds[3], f"{pid}\n".encode())
            _, status = os.waitpid(pid, 0)
            os.write(fds[3], f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
        for fd in fds:
            os.close(fd)


def become(request: bytes, fds: list[int]) -> None:
    args, cwd, env = json.loads(request)
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    random.seed()
    sys.argv = ["agentdeck", *args]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
    from agentdeck.cli.main import main

    main()
