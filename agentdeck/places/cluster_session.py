"""One connection of a place to its cluster: a connector, and the hosts that it has open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from agentdeck.places.cluster import ClusterError, HostGone, WorkerFacts
from agentdeck.places.connector_process import ConnectorProcess
from agentdeck.places.frames import Kind
from agentdeck.places.remote_host import RemoteHost
from agentdeck.places.worker_check import PROBE, WorkerCheck

#: Seconds in which a cluster has to have a worker.
NO_WORKER = 30.0
#: Seconds after which a worker that takes one call at a time, and has none, gives back what it holds.
IDLE = 20
#: The number of workers that an error names.
MOST_NAMED = 8


def shortened(wrong: Sequence[str]) -> str:
    """What is wrong with workers, a line for each of the first ones, and how many there are more."""
    more = len(wrong) - MOST_NAMED
    return "\n".join([*wrong[:MOST_NAMED], *([f"and {more} more workers"] if more > 0 else [])])


class Wanted(NamedTuple):
    """What a session connects to: the class of the cluster, what it is made with, and the name of the hosts,
    `RUN/PLACE`."""

    cluster: str
    options: dict[str, Any]
    slots: int | None
    folder: str
    hosts: str


class Session:
    """`changed` is called when a host may be usable, and when one is gone. `warn` takes what an operator should
    know. `over` is set when the cluster is out of reach, and `why` says how that is known."""

    def __init__(
        self,
        wanted: Wanted,
        check: WorkerCheck,
        connector: Callable[[Callable[[Kind, int, bytes], None]], ConnectorProcess],
        changed: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self.hosts: dict[int, RemoteHost] = {}
        self.workers: list[WorkerFacts] = []
        self.answers: dict[str, str] = {}  # what each worker has answered to PROBE
        self.refused: dict[str, str] = {}
        self.silent: dict[str, str] = {}  # workers that could not be asked when this was last tried, and why
        self.settled = False  # the list of workers is newer than the last loss of one
        self.over = asyncio.Event()
        self.why = ""
        self._wanted, self._check = wanted, check
        self._changed, self._warn = changed, warn
        self._connector = connector(self._take)
        self._listed = asyncio.Event()
        self._known: dict[tuple[str, str], asyncio.Task[str]] = {}  # workers, by name and address
        self._released: set[tuple[str, str]] = set()  # idle workers without a host
        self._ending: asyncio.Task[None] | None = None

    @property
    def usable(self) -> bool:
        """Whether calls can begin, at once or on a worker whose host is opened again."""
        return bool(self._released) or any(host.ready for host in self.hosts.values())

    async def open(self) -> None:
        """Connect, and open a host on each worker. Raises ClusterError where none can be used. Why a worker was
        `refused` is known then."""
        await self._connector.start()
        self._ending = asyncio.create_task(self._end_with_connector())
        wanted, number = self._wanted, self._connector.number()
        await self._connector.ask(
            Kind.CONNECT, number, wanted.cluster, wanted.options, wanted.slots, wanted.folder
        )
        await self._first_workers()
        wrong = await asyncio.gather(*self._known.values())
        if not self.hosts:
            raise ClusterError(shortened(wrong) if any(wrong) else self.why)

    async def _first_workers(self) -> None:
        waits = [asyncio.ensure_future(one.wait()) for one in (self._listed, self.over)]
        await asyncio.wait(waits, timeout=NO_WORKER, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()
        if self.over.is_set():
            raise ClusterError(self.why)
        if not self._listed.is_set():
            raise ClusterError(f"it has had no worker for {NO_WORKER:g} s")

    def ready_hosts(self) -> list[RemoteHost]:
        """The hosts that can be given calls. Where one worker was lost, others may be, or the whole cluster: what
        was lost waits until the cluster has said which it has."""
        return [host for host in self.hosts.values() if host.ready and host.listed] if self.settled else []

    async def close(self) -> None:
        self._end("the run is over")
        for task in self._known.values():
            task.cancel()
        await self._connector.close()

    async def _end_with_connector(self) -> None:
        await self._connector.gone.wait()
        self._end(self._connector.why)

    def _end(self, why: str) -> None:
        if not self.over.is_set():
            self.why = why
            self.over.set()
            for number in list(self.hosts):
                self._lose(number, why)

    # What the connector says

    def _take(self, kind: Kind, number: int, payload: bytes) -> None:
        if kind == Kind.DATA:
            if (host := self.hosts.get(number)) is not None:
                host.take(payload)
        elif kind == Kind.GONE:
            self._lose(number, payload.decode())
        elif kind == Kind.AWAY:
            self._end(payload.decode())
        else:
            self._list([WorkerFacts(*one) for one in json.loads(payload)])

    def _list(self, workers: list[WorkerFacts]) -> None:
        self.workers, self.settled = workers, True
        present = {(one.name, one.address): one for one in workers}
        for host in list(self.hosts.values()):
            key = host.facts.name, host.facts.address
            host.listed, host.facts = key in present, present.get(key, host.facts)
            self._release_idle(host)
        open_ = {(host.facts.name, host.facts.address) for host in self.hosts.values()}
        for key, task in list(self._known.items()):
            if task.done() and key not in present and key not in open_:
                del self._known[key]
        for key, facts in present.items():
            if key not in self._known and key not in self._released:
                self._known[key] = asyncio.create_task(self._welcome(facts))
        if workers:
            self._listed.set()
        self._changed()

    def _release_idle(self, host: RemoteHost) -> None:
        host.idle = 0 if host.calls or host.facts.calls is None else host.idle + 1
        if host.idle >= IDLE:
            key = host.facts.name, host.facts.address
            del self.hosts[host.number]
            self._known.pop(key, None)
            self._released.add(key)
            self._connector.send(Kind.CLOSE, host.number)

    def reopen(self, waiting: int) -> None:
        """Open the hosts of idle workers again, for as many calls as wait."""
        opening = sum(not task.done() for task in self._known.values())
        for facts in self.workers:
            key = facts.name, facts.address
            if opening < waiting and key in self._released:
                opening += 1
                self._released.remove(key)
                self._known[key] = asyncio.create_task(self._welcome(facts))

    async def _welcome(self, facts: WorkerFacts) -> str:
        """Open a host on a worker; returns why it cannot be used."""
        key = facts.name, facts.address
        try:
            answer = await self._connector.ask(Kind.PROBE, self._connector.number(), facts.name, PROBE)
            self.answers[facts.name] = answer
            wrong = self._check.versions(facts.name, answer) or await self._open(facts)
        except (ClusterError, HostGone) as error:
            self._known.pop(key, None)  # it is tried again while it is listed
            self.silent[facts.name] = str(error)
            return f"{facts.name}: {error}"
        self.silent.pop(facts.name, None)
        if wrong:
            self.refused[facts.name] = wrong
            self._warn(f"{wrong}; nothing runs there")
        return wrong

    async def _open(self, facts: WorkerFacts) -> str:
        number = self._connector.number()
        host = self.hosts[number] = RemoteHost(number, facts, self._connector, self._changed)
        try:
            await self._connector.ask(Kind.OPEN, number, facts.name, self._wanted.hosts)
            if wrong := await self._check.code(host, self._wanted.hosts):
                del self.hosts[number]
                self._connector.send(Kind.CLOSE, number)
                return wrong
        except BaseException:
            self.hosts.pop(number, None)
            raise
        host.ready = True
        self._changed()
        return ""

    def _lose(self, number: int, why: str) -> None:
        host = self.hosts.pop(number, None)
        if host is not None:
            self.settled = False
            self._known.pop((host.facts.name, host.facts.address), None)
            place = self._wanted.hosts.partition("/")[2]
            host.lose(f"the worker {host.name} of the place {place} is gone: {why}")
            self._changed()
