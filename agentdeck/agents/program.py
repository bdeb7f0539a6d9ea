"""Runs a program for an attempt: in a process group of its own, which has ended when this has."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import anyio

from agentdeck.agents.command_output import CHUNK, OutputStream
from agentdeck.agents.template_rendering import render_text
from agentdeck.agents.verb import NOW, AttemptContext, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.processes.ending import group_lives
from agentdeck.trace_ids import traceparent
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import Data

T = TypeVar("T")

GRACE = 0.8  # seconds from TERM to KILL
DRAIN = 0.3  # seconds without output that pipes may stay open after the exit
LONGEST_DRAIN = 2.0
_SETUP = {errno.ENOEXEC, errno.E2BIG, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


class Program:
    """What a program of an agent needs besides its arguments: `env` and `cwd` are its templates."""

    def __init__(self, context: WorkflowContext, env: Mapping[str, Data], cwd: str | None) -> None:
        self.keys = context.keys
        self._folder = context.folder
        self._children = context.children
        self._env = {name: Template(value) for name, value in env.items()}
        self._cwd = None if cwd is None else Template(cwd)

    async def run(
        self,
        work: AttemptContext,
        args: list[str],
        env: Mapping[str, str],
        data: bytes | None,
        out: OutputStream,
        err: OutputStream,
        result: Callable[[int], T],
    ) -> T:
        """Run the program, with `data` as its stdin, and return the `result` of its exit code. Its process group
        has ended when this returns or is cancelled; where `result` raises, what has left the group is ended
        too."""
        cwd = await self._folder_of(work)
        with self._children.child(work.task, work.step, work.attempt) as child:
            with anyio.CancelScope(shield=True):  # a started process must not be lost
                process = await _start(args, child.environment(env), cwd, data is not None)
            child.started(process.pid)
            return result(await _follow(process, data, out, err))

    async def environment(
        self, work: AttemptContext, inherited: Mapping[str, str] = os.environ
    ) -> dict[str, str]:
        """The environment: what is inherited, the gateway, the agent's `env`, and what names the attempt."""
        env = {**inherited, **work.gateway}
        if work.gateway:  # a proxy of this machine does not lead to its own loopback interface
            env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, [env.get("NO_PROXY", ""), "127.0.0.1"]))
        for name, template in self._env.items():
            if not name or "=" in name or "\0" in name:
                raise StepError("setup", f"{name!r} cannot be the name of an environment variable")
            scope = await self.keys.with_secrets(work.scope, template)
            env[name] = await word(template, scope, f"env {name}")
        env["AGENTDECK_RUN"], env["AGENTDECK_TASK"] = work.run, work.task
        env["AGENTDECK_STEP"], env["AGENTDECK_ATTEMPT"] = work.step, str(work.attempt)
        if "TRACEPARENT" not in self._env:  # spans that the program sends belong below this attempt
            env["TRACEPARENT"] = traceparent(work.run, work.task, work.step, work.attempt)
            env.pop("TRACESTATE", None)
        return env

    async def _folder_of(self, work: AttemptContext) -> Path:
        cwd = self._folder
        if self._cwd is not None:
            cwd /= await word(self._cwd, work.scope, "cwd")
        if not cwd.is_dir():
            what = "is not a folder" if cwd.exists() else "does not exist"
            raise StepError("setup", f"cwd {what}: {cwd}; make it, or change `cwd`")
        return cwd


async def word(template: Template, scope: Mapping[str, Data], what: str) -> str:
    """One argument for the operating system: strings unchanged, null as empty, the rest as JSON."""
    text = await render_text(template, scope)
    if "\0" in text:
        raise StepError("setup", f"{what} contains a NUL byte, which cannot be passed to a program")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise StepError("setup", f"{what} contains text that cannot be encoded") from None
    return text


async def _follow(process: Process, data: bytes | None, out: OutputStream, err: OutputStream) -> int:
    """Read the output until the program has ended; end the program when this is cancelled."""
    assert process.stdout is not None
    assert process.stderr is not None
    pumps = [asyncio.create_task(out.read(process.stdout)), asyncio.create_task(err.read(process.stderr))]
    waiter, feed = asyncio.create_task(process.wait()), list[asyncio.Task[None]]()
    if process.stdin is not None and data is not None:
        feed = [asyncio.create_task(_feed(process.stdin, data))]
    grace = GRACE
    try:
        await _ended(process, waiter, pumps)
        await _drained(pumps, out, err)
    except asyncio.CancelledError as cancelled:
        grace = 0.0 if NOW in cancelled.args else GRACE
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await _end_group(process.pid, grace)
            await _close(process, [*pumps, *feed, waiter])
            out.finish()
            err.finish()
    assert process.returncode is not None
    return process.returncode


async def _start(args: list[str], env: Mapping[str, str], cwd: Path, feed: bool) -> Process:
    pipe = asyncio.subprocess.PIPE
    stdin = pipe if feed else asyncio.subprocess.DEVNULL
    name = args[0]
    try:
        return await asyncio.create_subprocess_exec(
            *args, stdin=stdin, stdout=pipe, stderr=pipe, env=env, cwd=cwd, start_new_session=True, limit=CHUNK
        )
    except (FileNotFoundError, PermissionError) as error:
        raise StepError("setup", _why_not(name, cwd, isinstance(error, PermissionError))) from None
    except OSError as error:
        if error.errno not in _SETUP:
            raise
        raise StepError("setup", f"{name} cannot be started: {error.strerror}") from None


def _why_not(name: str, cwd: Path, forbidden: bool) -> str:
    """Why the program could not be started: its folder or the program itself."""
    if forbidden:
        if not os.access(cwd, os.X_OK):
            return f"no permission to enter cwd: {cwd}; change its permissions or `cwd`"
        return f"no permission to run {name}; is it a program, and executable (chmod +x)?"
    if not cwd.is_dir():
        return f"cwd does not exist: {cwd}; make it, or change `cwd`"
    if "/" in name and (cwd / name).exists():
        return f"{name} cannot be started: the interpreter its first line names is missing"
    return f"no such command: {name}; install it, or give its full path"


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    try:
        for at in range(0, len(data), CHUNK):
            stdin.write(data[at : at + CHUNK])
            await stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # a program may ignore its input
    finally:
        stdin.close()


async def _ended(process: Process, waiter: asyncio.Task[int], pumps: list[asyncio.Task[None]]) -> None:
    """Wait until the program has exited. Some Pythons' `wait` also waits for the pipes, so poll as well."""
    pause = 0.02
    while process.returncode is None:
        await asyncio.wait([waiter], timeout=pause)
        pause = min(0.2, pause * 1.5)
        for pump in pumps:
            if pump.done():
                pump.result()


async def _drained(pumps: list[asyncio.Task[None]], out: OutputStream, err: OutputStream) -> None:
    """Read the rest of the pipes, without waiting for one that a remaining process holds open."""
    end = asyncio.get_running_loop().time() + LONGEST_DRAIN
    while asyncio.get_running_loop().time() < end:
        before = out.total + err.total
        _, open_ = await asyncio.wait(pumps, timeout=DRAIN)
        if not open_ or out.total + err.total == before:
            break
    for pump in pumps:
        if pump.done():
            pump.result()


async def _close(process: Process, tasks: list[asyncio.Task[Any]]) -> None:
    """Close the pipes and cancel everything that waits for them."""
    end = asyncio.get_running_loop().time() + 1.0
    while process.returncode is None and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    transport: Any = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


async def _end_group(group: int, grace: float = GRACE) -> None:
    """Send TERM to the whole group, and KILL to what is left after the grace; without grace only KILL."""
    if not _signal(group, signal.SIGTERM if grace else signal.SIGKILL) or not grace:
        return
    end, pause = asyncio.get_running_loop().time() + grace, 0.01
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(pause)
        if not group_lives(group):
            return
        pause = min(0.1, pause * 1.5)
    _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
