"""Places on clusters, as the engine sees them: which worker executes a call, and when steps have to wait.

The client of the cluster is in another process, the connector (`agentdeck.places.connector`). On each worker a
host executes the calls (`agentdeck.places.host`). When the cluster is out of reach, the place holds its steps,
and starts connectors until one reaches it again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import ClassVar
from uuid import uuid4

from agentdeck.agents.secret_masking import masked
from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.errors import StepError, UsageError
from agentdeck.places.cluster import ClusterError, HostGone, WorkerFacts
from agentdeck.places.cluster_session import Session, Wanted, shortened
from agentdeck.places.connector_process import ConnectorProcess
from agentdeck.places.environment import usual
from agentdeck.places.frames import Kind
from agentdeck.places.place import Place, PlaceRun
from agentdeck.places.remote_host import RemoteHost
from agentdeck.places.remote_verb import RemoteCall, RemoteVerb
from agentdeck.places.report import PlaceReport, WorkerReport
from agentdeck.places.worker_check import WorkerCheck
from agentdeck.processes.children import Children
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.deck import DeckPlace
from agentdeck.workflow.model import Agent

#: Seconds between two attempts to reach a cluster that is away.
AGAIN = 1.0
#: Questions to a worker that reports: the shortest answer counts.
QUESTIONS = 4
#: Seconds in which a worker has to say that a call has ended that was cancelled.
CANCEL = 2.0


class ClusterPlace(Place):
    """A type of places on clusters names its `cluster`, a subclass of `agentdeck.places.cluster.Cluster`, as
    `module:name`: only the connector imports it. `variables` are the beginnings of the names of environment
    variables that the cluster's client reads."""

    cluster: ClassVar[str]
    variables: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: DeckPlace) -> None:
        super().__init__(config)
        self._wanted = Wanted(self.cluster, dict(config.options), config.slots, str(config.folder), "")
        self._check = WorkerCheck(config.name, (), False)
        self._children = Children()
        self._session: Session | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()  # another host may be free
        self._run: PlaceRun | None = None
        self._waiting = 0  # calls that no host is free for

    def prepare(self, agent: Agent, context: WorkflowContext) -> Verb:
        kind = kind_of(agent)
        if not kind.places:
            raise StepError("setup", f"{kind.verb} agents run in the engine; remove place from {agent.name}")
        target = kind.target(agent)
        alone = self._check.alone.get((target, str(context.folder.resolve())))
        return masked(RemoteVerb(target, context, self, alone), context)

    # The connection

    @property
    def workers(self) -> list[WorkerFacts]:
        """The workers of the cluster, as it described them last."""
        return [] if self._session is None else self._session.workers

    async def connect(self, run: PlaceRun) -> None:
        """Reach the cluster, and check on each worker what is to run there."""
        self._run, self._children = run, run.children
        self._wanted = self._wanted._replace(hosts=f"{run.run}/{self.config.name}")
        targets = [(one.target, str(one.folder.resolve())) for one in run.targets]
        self._check = WorkerCheck(self.config.name, targets, self.config.options.get("code") == "ship")
        await self._check.prepare()
        session = self._new_session()
        try:
            await session.open()
            if session.refused:
                raise ClusterError(shortened(list(session.refused.values())))
        except ClusterError as error:
            await session.close()
            raise UsageError(run.hide(f"the place {self.config.name} cannot be used: {error}")) from None
        except BaseException:
            await session.close()
            raise
        self._session = session
        self._keeping = asyncio.create_task(self._keep(session))

    async def report(self, children: Children) -> PlaceReport:
        for _, problem, fix in self.faults(self.config):
            return PlaceReport(problem=f"{problem}; {fix}" if fix else problem)
        self._children = children
        self._wanted = self._wanted._replace(hosts=f"check-{uuid4().hex}/{self.config.name}")
        self._session = session = self._new_session()
        try:
            await session.open()
            states = {host.name: await _state(host) for host in session.hosts.values()}
        except (ClusterError, HostGone) as error:
            return PlaceReport(problem=str(error))
        reports = []
        for facts in session.workers:
            python, agentdeck = json.loads(session.answers.get(facts.name, '["", ""]'))
            latency, load, memory = states.get(facts.name, (None, facts.load, facts.memory))
            reports.append(
                WorkerReport(
                    *(facts.name, facts.threads, load, memory, python, agentdeck, facts.version),
                    latency,
                    session.refused.get(facts.name) or session.silent.get(facts.name, ""),
                )
            )
        return PlaceReport(tuple(reports))

    def _new_session(self) -> Session:
        return Session(self._wanted, self._check, self._connector, self._look, self._warn)

    def _connector(self, take: Callable[[Kind, int, bytes], None]) -> ConnectorProcess:
        return ConnectorProcess(self._children, usual(starts=self.variables), take, self._print)

    async def _keep(self, session: Session) -> None:
        """Replace a session that is over, for as long as the run lasts."""
        while True:
            await session.over.wait()
            self._look()
            await session.close()
            self._session = session = await self._reconnected()
            self._look()

    async def _reconnected(self) -> Session:
        while True:
            await asyncio.sleep(AGAIN)
            session = self._new_session()
            try:
                await session.open()
            except ClusterError:
                await session.close()
            except BaseException:
                await session.close()
                raise
            else:
                return session

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if self._session is not None:
            await self._session.close()

    def _look(self) -> None:
        """A host can be used, or one is gone."""
        self._changed.set()
        session, run = self._session, self._run
        if session is None or run is None:
            return
        if session.usable:
            run.release()
        else:
            run.hold(session.why or "it has no worker that can be used")

    def _warn(self, text: str) -> None:
        if self._run is not None:
            self._run.note(text)

    def _print(self, line: str) -> None:
        """A line that the connector, or a cluster of this machine, has printed: to the log of a call there."""
        for host in () if self._session is None else self._session.hosts.values():
            for call in host.calls.values():
                if isinstance(call, RemoteCall):
                    call.work.log(f"place {self.config.name}: {line}", "err")
                    return

    # Calls

    async def begin(self, call: RemoteCall, target: str, alone: bool, message: bytes) -> None:
        if self._session is None:
            raise StepError("setup", f"the place {self.config.name} is not connected")
        self._waiting += 1
        try:
            while (host := self._free()) is None:
                self._changed.clear()
                self._session.reopen(self._waiting)
                await self._changed.wait()
        finally:
            self._waiting -= 1
        host.begin(call, target, alone, message)
        if not call.prepares:
            call.work.placed(host.name)

    def _free(self) -> RemoteHost | None:
        """The worker with the fewest calls for each of its threads."""
        if self._session is None:
            return None
        free = [host for host in self._session.ready_hosts() if host.free()]
        return min(free, key=RemoteHost.load, default=None)

    async def cancel(self, call: RemoteCall, now: bool) -> None:
        hosts = [] if self._session is None else self._session.hosts.values()
        host = next((one for one in hosts if call.number in one.calls), None)
        if host is None:  # it has not begun
            return
        host.cancel(call, now)
        try:
            async with asyncio.timeout(CANCEL):
                await call.ended.wait()
        except TimeoutError:
            del host.calls[call.number]
            call.work.log(f"abandoned, still running: the worker {host.name} does not answer", "warning")


async def _state(host: RemoteHost) -> tuple[float, float | None, int | None]:
    """The shortest time from a question to a host to its answer, and the load and memory of the worker: those of
    its machine, where the cluster does not say them."""
    seconds = []
    for _ in range(QUESTIONS):
        asked = time.monotonic()
        load, memory = await host.ask("machine", None)
        seconds.append(time.monotonic() - asked)
    if host.facts.load is not None:
        load, memory = host.facts.load, host.facts.memory
    return min(seconds), load, memory
