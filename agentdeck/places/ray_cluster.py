"""A Ray cluster, as its driver sees it. Only the connector imports this module.

A host is an async actor of Ray, which answers `receive` when it has something to say. A call is no task of Ray,
so Ray neither makes it again nor keeps anything of it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

os.environ |= {  # Ray reads them when it is imported
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_NUM_REDIS_GET_RETRIES": "5",  # seconds in which a head has to accept this version and token; else 20
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_server_request_timeout_seconds": "10",  # in which this machine has to be a node; else 60
}

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from agentdeck.places.cluster import Cluster, ClusterError, HostGone, HostLink, WorkerFacts
from agentdeck.places.connection_error import connection_error, error_text
from agentdeck.places.numbered import Numbered
from agentdeck.places.ray_host import RayHost

T = TypeVar("T")
#: Seconds in which the head has to accept a connection.
ACCEPT = 5.0
#: Seconds in which Ray has to connect; it takes one.
CONNECT = 30.0
#: Seconds in which a node has to start the process of a host, or a task; Ray itself gives one up after as many.
START = 60.0
#: Seconds after which a host that does not answer `receive` is looked for; it answers after one.
LATE = 2.0
#: Seconds without a request after which a host has certainly ended its calls: its lease, and two more.
ENDED = 12.0
#: Seconds in which a host has to end its calls when it is closed.
CLOSE = 2.0
#: All requests at once: the actor is no limit.
CONCURRENCY = 1000
NAMESPACE = "agentdeck"
#: Characters of a message of Ray that are shown.
LONGEST = 300
#: Nothing is tried again, and nothing is recorded for Ray's dashboard, whose records grow with each request.
OPTIONS = {"num_cpus": 0, "enable_task_events": False}


class Node(NamedTuple):
    """A node of the cluster that is alive. `host` and `port` are those of its raylet."""

    id: str
    name: str
    host: str
    port: int
    resources: Mapping[str, float]

    @property
    def only(self) -> Any:
        return NodeAffinitySchedulingStrategy(self.id, soft=False)

    async def refuses(self) -> bool:
        """Whether it is known that its raylet has ended."""
        return isinstance(await connection_error(self.host, self.port, 1.0), ConnectionRefusedError)


class RayCluster(Cluster):
    """Its workers are the nodes that have processors. Where the place has `resources`, they are as many slots as
    it has and the cluster has room for: the host of each holds these resources."""

    def __init__(self, options: Mapping[str, Any], slots: int | None, folder: Path) -> None:
        super().__init__(options, slots, folder)
        self._address: str = options["address"]
        self._resources: Mapping[str, float] = options.get("resources", {})
        self._nodes: dict[str, Node] = {}  # by id
        self._workers: dict[str, Node] = {}
        self._held: set[str] = set()  # workers whose host is open, or opening
        self._opening: set[str] = set()

    async def connect(self) -> None:
        await self._reach_head()
        logging.getLogger("ray").setLevel(logging.ERROR)
        sys.stdout = open(os.devnull, "w")  # noqa: ASYNC230, PTH123, SIM115  # Ray prints there what happens to nodes
        try:
            async with asyncio.timeout(CONNECT):
                await in_thread(self._init)
        except TimeoutError:
            raise ClusterError(f"no Ray answers at {self._address} within {CONNECT:g} s") from None
        except Exception as error:
            raise ClusterError(self._refusal(error)) from None

    def _init(self) -> None:
        ray.init(
            address=self._address,
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
        )

    def _refusal(self, error: Exception) -> str:
        text = _text(error.__cause__ or error)
        if text.startswith("No node info found"):
            return (
                f"this machine is no node of the Ray cluster at {self._address}; join it with"
                f" `ray start --address={self._address} --num-cpus=0`"
            )
        if isinstance(error, ConnectionError):
            return (
                f"what answers at {self._address} is no head of Ray {ray.__version__}, or needs another token"
                " (RAY_AUTH_MODE, RAY_AUTH_TOKEN)"
            )
        return f"Ray at {self._address} cannot be used: {text}"

    async def _reach_head(self) -> None:
        """Ray itself would wait for a minute, and then end this process."""
        host, _, port = self._address.rpartition(":")
        if (error := await connection_error(host.strip("[]"), int(port), ACCEPT)) is not None:
            raise ClusterError(f"no head of Ray answers at {self._address}: {error_text(error)}")

    async def workers(self) -> list[WorkerFacts]:
        await self._reach_head()
        found = [_node(one) for one in await in_thread(ray.nodes) if one["Alive"]]
        self._nodes = {node.id: node for node in found}
        if self._resources:
            return await self._slots()
        usable = [node for node in found if node.resources.get("CPU")]
        names = [node.name for node in usable]
        self._workers = {
            node.name if names.count(node.name) == 1 else f"{node.name}-{node.id[:6]}": node for node in usable
        }
        return [
            WorkerFacts(name, f"{node.host}:{node.port}", int(node.resources["CPU"]), ray.__version__)
            for name, node in self._workers.items()
        ]

    async def _slots(self) -> list[WorkerFacts]:
        assert self.slots is not None
        fitting = [
            node
            for node in self._nodes.values()
            if all(node.resources.get(name, 0) >= amount for name, amount in self._resources.items())
        ]
        free = await in_thread(ray.available_resources)
        room = min(int(free.get(name, 0) / amount) for name, amount in self._resources.items())
        room = max(0, room - len(self._opening))  # it may not be deducted yet what they get
        if not self._held and not (fitting and room):
            wanted = ", ".join(f"{name}: {amount:g}" for name, amount in self._resources.items())
            raise ClusterError(
                f"no node of the Ray cluster at {self._address} has {wanted}{' free' if fitting else ''}"
            )
        names = [f"slot-{number}" for number in range(1, self.slots + 1)]
        others = [name for name in names if name not in self._held]
        here = self._held | set(others[:room])
        self._workers = dict.fromkeys(here, next(iter(fitting or self._nodes.values())))
        return [WorkerFacts(name, self._address, 1, ray.__version__, calls=1) for name in names if name in here]

    def _worker(self, name: str) -> Node:
        if (node := self._workers.get(name)) is None:
            raise HostGone("the head of Ray does not list it any more")
        return node

    async def probe(self, worker: str, source: str) -> str:
        node = self._worker(worker)
        evaluate = ray.remote(lambda text: str(eval(text)))  # goes there as its code: nothing has to be imported
        made = evaluate.options(**OPTIONS, max_retries=0, scheduling_strategy=node.only)
        try:
            async with asyncio.timeout(START):
                return str(await made.remote(source))
        except TimeoutError:
            raise HostGone(f"it has started no process within {START:g} s") from None
        except RayTaskError as error:
            raise ClusterError(_text(error.cause)) from None
        except RayError as error:
            raise HostGone(_text(error)) from None

    async def open(self, worker: str, name: str) -> HostLink:
        options: dict[str, Any] = {**OPTIONS, "max_restarts": 0, "max_task_retries": 0}
        options |= {"max_concurrency": CONCURRENCY, "name": f"{name}/{worker}"}
        options |= (
            _amounts(self._resources) if self._resources else {"scheduling_strategy": self._worker(worker).only}
        )
        actor = None
        self._held.add(worker)
        self._opening.add(worker)
        try:
            async with asyncio.timeout(START):
                actor = await self._made(options, name, worker)
                node = self._nodes.get(await actor.begin.remote())
        except BaseException as error:
            self._held.discard(worker)
            if actor is not None:
                _kill(actor)
            if isinstance(error, TimeoutError):
                raise HostGone(f"it has started no process within {START:g} s") from None
            if isinstance(error, RayError):
                raise HostGone(_text(error)) from None
            raise
        finally:
            self._opening.discard(worker)
        return RayLink(actor, node, lambda: self._held.discard(worker))

    async def _made(self, options: Mapping[str, Any], name: str, worker: str) -> Any:
        """An actor of this name; an older one, of an engine that is gone, is ended."""
        host = ray.remote(RayHost)
        while True:
            try:
                return await in_thread(lambda: host.options(**options).remote(name, worker))
            except ValueError:  # there is one of this name
                with suppress(ValueError):
                    _kill(await in_thread(lambda: ray.get_actor(options["name"], namespace=NAMESPACE)))
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        if ray.is_initialized():
            await in_thread(ray.shutdown)


class RayLink(HostLink):
    """`node` is None where Ray has listed it too late. `closed` is called when the host is given up."""

    def __init__(self, actor: Any, node: Node | None, closed: Callable[[], None]) -> None:
        self._actor, self._node, self._closed = actor, node, closed
        self._requests, self._answers = Numbered(), Numbered()  # Ray may let a short one overtake a long one
        self._deliveries: set[Future[bytes]] = set()  # under way
        self._poll: Future[bytes] | None = None
        self._polled = 0.0  # when it was asked
        self._said: list[bytes] = []
        self._error: RayError | None = None
        self._changed = asyncio.Event()

    async def send(self, data: bytes) -> None:
        """A delivery may stay under way until the next one."""
        if self._error is None:
            self._deliveries.add(self._call(self._actor.deliver, self._requests.made(data)))
        while len(self._deliveries) > 1 and self._error is None:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise await self._gone(self._error)

    async def receive(self) -> bytes:
        while not self._said:
            if self._error is not None:
                raise await self._gone(self._error)
            if self._poll is None:
                self._polled = asyncio.get_running_loop().time()
                self._poll = self._call(self._actor.poll)
            self._changed.clear()
            try:
                async with asyncio.timeout(LATE):
                    await self._changed.wait()
            except TimeoutError:
                if self._node is not None and await self._node.refuses():
                    raise HostGone("its node refuses connections") from None
        said, self._said = b"".join(self._said), []
        return said

    def _call(self, method: Any, *given: bytes) -> Future[bytes]:
        loop = asyncio.get_running_loop()
        answer: Future[bytes] = method.remote(*given).future()
        answer.add_done_callback(lambda done: loop.call_soon_threadsafe(self._take, done))
        return answer

    def _take(self, answer: Future[bytes]) -> None:
        self._deliveries.discard(answer)
        if self._poll is answer:
            self._poll = None
        if answer.cancelled():
            return
        try:
            self._said += self._answers.put(answer.result())
        except RayError as error:
            self._error = error
        self._changed.set()

    async def _gone(self, error: RayError) -> HostGone:
        """When what ran there has ended: a node that the head cannot reach may go on."""
        if isinstance(error, RayTaskError):  # the host itself
            return HostGone(_text(error.cause))
        text = _text(error)
        loop = asyncio.get_running_loop()
        ended = isinstance(error, ActorDiedError) and "node has died" not in text
        while not ended and loop.time() < self._polled + ENDED:
            await asyncio.sleep(LATE / 4)
            ended = self._node is not None and await self._node.refuses()
        return HostGone(text)

    async def close(self) -> None:
        self._closed()
        try:
            async with asyncio.timeout(CLOSE):
                await self._actor.close.remote()
        except (TimeoutError, RayError):
            pass
        finally:
            _kill(self._actor)
            for answer in (*self._deliveries, self._poll):
                if answer is not None:
                    answer.cancel()


def _kill(actor: Any) -> None:
    with suppress(RayError):
        ray.kill(actor)


def _node(found: Mapping[str, Any]) -> Node:
    name = found["NodeName"] or found["NodeManagerAddress"]
    address, port = found["NodeManagerAddress"], int(found["NodeManagerPort"])
    return Node(found["NodeID"], name, address, port, found["Resources"])


def _amounts(resources: Mapping[str, float]) -> dict[str, Any]:
    """Resources as the options of an actor: some have an option of their own."""
    own = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    found: dict[str, Any] = {own[name]: amount for name, amount in resources.items() if name in own}
    return {**found, "resources": {name: amount for name, amount in resources.items() if name not in own}}


async def in_thread(call: Callable[[], T]) -> T:
    """The result of a call that may never return: nothing waits for its thread when this process ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(set_: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            set_(value)

    def run() -> None:
        try:
            found = call()
        except BaseException as error:
            loop.call_soon_threadsafe(finish, done.set_exception, error)
        else:
            loop.call_soon_threadsafe(finish, done.set_result, found)

    threading.Thread(target=run, daemon=True).start()
    return await done


def _text(error: BaseException) -> str:
    """One line: Ray's messages have many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if not isinstance(error, ActorDiedError):
        return lines[0][:LONGEST]
    if "in its creation task" in lines[0]:
        return lines[-1][:LONGEST]
    found = next(
        (line for line in lines if line.startswith(("The actor is dead because", "The actor died because"))), ""
    )
    return (found or lines[0]).partition(". ")[0].rstrip(".")[:LONGEST]
