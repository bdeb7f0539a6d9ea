"""Processes of agentdeck that begin at once: forks of one that has imported it already.

While `installed`, `subprocess.Popen` starts `python -m agentdeck.cli.main …` as such a fork, and what else is in
MODULES. It is a child process like any other, with its own arguments, folder, environment, session, stdin, stdout
and stderr. All it is spared is Python's start and end, the imports, and making the model of workflow files, which
are most of the time of a short verb.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import inspect
import json
import os
import pkgutil
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agentdeck.store import fault_point
from agentdeck.workflow.loader import loads

ROOT = Path(__file__).resolve().parents[1]
#: The modules that are forked; their `main` is called.
MODULES = ("agentdeck.cli.main", "tests.engine.crowd", "tests.providers.sums", "tests.run_file")
#: What agentdeck imports where it is used, and nearly every verb uses.
LATE = ("anyio._backends._asyncio", "ruamel.yaml")
#: It is read once before the first fork: the model of workflow files is built when one is read.
WORKFLOW = "{ agentdeck: 1, name: first, agents: { one: { simulate: 1s } } }"
#: What each process imports for itself: Airflow, Dask and Ray may not be installed, the console is another one's
#: business, and `leave` tells by being there.
APART = (
    *(
        "agentdeck.airflow",
        "agentdeck.places.dask_cluster",
        "agentdeck.places.ray_cluster",
        "agentdeck.places.ray_host",
    ),
    *("agentdeck.console", "agentdeck.cli.run_process"),
)
#: Options of Popen that no fork has, with what they are if they are not used.
UNUSED = {
    "executable": (None,),
    "preexec_fn": (None,),
    "pass_fds": ((),),
    "shell": (False,),
    "umask": (-1,),
    "process_group": (None, -1),
}
PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Popen forks where it can. On systems other than Linux nothing changes: there a fork of another process
    cannot become a child of this one."""
    if not sys.platform.startswith("linux"):
        yield
        return
    forks = Forks()
    with pytest.MonkeyPatch.context() as patch:
        execute_child = "_execute_child"  # how Popen starts a process
        patch.setattr(subprocess.Popen, execute_child, forks.before(getattr(subprocess.Popen, execute_child)))
        yield
    forks.close()


def can_fork(call: Mapping[str, Any]) -> bool:
    """Whether a fork does what this call of Popen asks for."""
    args = call["args"]
    if isinstance(args, str | bytes) or (*args[:2],) != (sys.executable, "-m") or args[2] not in MODULES:
        return False
    given = os.environ if call["env"] is None else call["env"]
    here, there = (
        {name: text for name, text in env.items() if name.startswith("PYTHON") and name != "PYTHONPATH"}
        for env in (os.environ, given)
    )
    return (
        here == there
        and all(call[name] in unused for name, unused in UNUSED.items())
        and not any(shadows(Path(folder)) for folder in given.get("PYTHONPATH", "").split(os.pathsep))
    )


def shadows(folder: Path) -> bool:
    """Whether it has another version of a module that is imported already."""
    return folder != ROOT and folder.is_dir() and any(file.stem in sys.modules for file in folder.iterdir())


class Forks:
    """The process that forks, from the first fork until `close`."""

    def __init__(self) -> None:
        self.one_at_a_time = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.server = socket.socket()
        self.libc = ctypes.CDLL(None)

    def before(self, execute_child: Any) -> Any:
        """A fork if that is possible, else what `execute_child` does."""
        signature = inspect.signature(execute_child)

        def fork_or_execute(popen: Any, *given: Any) -> None:
            call = signature.bind(popen, *given).arguments
            if not can_fork(call):
                execute_child(popen, *given)
                return
            try:
                popen.pid = self.fork(call)
                popen._child_created = True
            finally:
                popen._close_pipe_fds(*(call[name] for name in PIPES))

        return fork_or_execute

    def fork(self, call: Mapping[str, Any]) -> int:
        """The process id of a new child of this process. A process whose parent ended is adopted by the nearest
        subreaper above it: that is how the fork of the server becomes a child of this one."""
        env = os.environ if call["env"] is None else call["env"]
        folder = str(Path(call["cwd"] or "").absolute())
        request = json.dumps([call["args"][2:], folder, dict(env), call["start_new_session"]]).encode()
        streams = [call["p2cread"], call["c2pwrite"], call["errwrite"]]
        fds = [number if end == -1 else end for number, end in enumerate(streams)]
        with self.one_at_a_time:
            if self.process is None:
                self.start()
            self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(self.server, [request], fds)
                return int(self.server.recv(64))
            finally:
                self.libc.prctl(PR_SET_CHILD_SUBREAPER, 0)

    def start(self) -> None:
        self.server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            call = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            self.process = subprocess.Popen(
                call, cwd=ROOT, env=env, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self.server.recv(1)  # its imports are done before a test waits for what a fork does

    def close(self) -> None:
        self.server.close()
        if self.process is not None:
            self.process.wait(10)


def serve(server: socket.socket) -> str:
    """Fork for each request, until no more can come. Returns in each fork, with the module to call."""
    import agentdeck

    for module in pkgutil.walk_packages(agentdeck.__path__, "agentdeck."):
        if not module.name.startswith(APART) and not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    loads(WORKFLOW)
    gc.freeze()  # a collection in a fork would copy the memory of all that was imported
    server.send(b"\n")
    while True:
        request, fds, _, _ = socket.recv_fds(server, 1 << 20, 3)
        if not request:
            os._exit(0)
        importlib.import_module(json.loads(request)[0][0])
        told, tell = os.pipe()
        if (between := os.fork()) == 0:
            if os.fork() == 0:
                server.close()
                return become(request, fds, told, tell)
            os._exit(0)
        os.waitpid(between, 0)
        server.send(os.read(told, 64))
        for fd in (*fds, told, tell):
            os.close(fd)


def become(request: bytes, fds: list[int], told: int, tell: int) -> str:
    """Be the process that the request describes. Returns the module to call."""
    (module, *args), folder, env, session = json.loads(request)
    if session:
        os.setsid()
    os.write(tell, str(os.getpid()).encode())
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    for fd in (*fds, told, tell):
        os.close(fd)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    time.tzset()
    random.seed()
    sys.argv = ["agentdeck", *args]
    folders = [folder, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:2] = folders
    importlib.invalidate_caches()
    if any(found for one in folders for found in Path(one).glob("*.dist-info")):
        forget()
    importlib.reload(fault_point)  # it reads the environment when it is imported
    return str(module)


def forget() -> None:
    """Forget which plugins there are, and the models that were made of them: there are other packages here."""
    for name, module in list(sys.modules.items()):
        if name.startswith("agentdeck."):
            for found in vars(module).values():
                if isinstance(found, functools._lru_cache_wrapper):
                    found.cache_clear()


def end(main: Callable[[], object]) -> None:
    """Call it, and end the process as Python does, but without clearing all modules: that takes several times as
    long as a short verb. Ends that are no SystemExit are left to Python."""
    code: object = None
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else bool(code))


if __name__ == "__main__":
    end(importlib.import_module(serve(socket.socket(fileno=int(sys.argv[1])))).main)
