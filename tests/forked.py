"""Processes that begin at once: forks of one that has imported the command line already.

A call is a process of its own, with its own arguments, folder, environment, stdin, stdout and stderr. All it is
spared is Python's start and the imports, which are most of the time of a short verb.
"""

from __future__ import annotations

import gc
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

from agentdeck.store import fault_point

#: What each process imports for itself: the console is another one's business, and `leave` tells by being there.
APART = ("agentdeck.console", "agentdeck.cli.run_process")
ROOT = Path(__file__).resolve().parents[1]


class Forked:
    """The process that forks, from the first call until `close`."""

    def __init__(self) -> None:
        self.server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def run(
        self,
        args: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: str = "",
        timeout: float = 60.0,
        module: str = "agentdeck.cli.main",
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` with a process of its own. `module` has the `main` that it calls."""
        told, tell = os.pipe()
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as source,
            tempfile.TemporaryFile("w+", encoding="utf-8") as out,
            tempfile.TemporaryFile("w+", encoding="utf-8") as err,
            os.fdopen(told) as told_by,
        ):
            source.write(stdin)
            source.seek(0)
            request = json.dumps([module, list(args), str(cwd), dict(env)]).encode()
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


def serve(server: socket.socket) -> str:
    """Fork for each call, until nobody can call any more. Returns in the fork that is to be the command, with the
    module to call."""
    import agentdeck

    for module in pkgutil.walk_packages(agentdeck.__path__, "agentdeck."):
        if not module.name.startswith(APART) and not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    gc.freeze()  # a collection in a fork would copy the memory of all that was imported
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
                return become(request, fds)
            os.write(fds[3], f"{pid}\n".encode())
            _, status = os.waitpid(pid, 0)
            os.write(fds[3], f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
        for fd in fds:
            os.close(fd)


def become(request: bytes, fds: list[int]) -> str:
    module, args, cwd, env = json.loads(request)
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    random.seed()
    sys.argv = ["agentdeck", *args]
    importlib.reload(fault_point)  # it reads the environment when it is imported
    return str(module)


if __name__ == "__main__":
    importlib.import_module(serve(socket.socket(fileno=int(sys.argv[1])))).main()
