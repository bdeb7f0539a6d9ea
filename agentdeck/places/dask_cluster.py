"""A Dask cluster, as its client sees it. Only the connector imports this module.

A host is an actor of Dask: an object on one worker, whose async methods run on the worker's event loop. A call is
no task of Dask, so the scheduler neither knows of it nor makes it again, and has nothing to keep of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Security

from agentdeck.places.cluster import Cluster, ClusterError, HostGone, HostLink, WorkerFacts
from agentdeck.places.connection_error import connection_error, error_text
from agentdeck.places.dask_local import START, LocalDask
from agentdeck.places.host import Host

#: Seconds in which a scheduler has to accept a connection, and in which it has to have answered: Dask itself
#: waits without end for what has accepted one.
CONNECT, ANSWER = 5.0, 10.0
#: Seconds in which a worker has to answer before and when its host is made.
OPEN = 10.0
#: Seconds in which a worker has to answer before it is reached through the scheduler.
DIRECT = 3.0
#: Seconds from an answer that has lines to the next request: what the engine says to them goes with it.
REPLY = 0.005

#: What Dask says of an actor whose worker has closed the connection, or refuses it.
UNREACHABLE = "Unable to contact Actor's worker"
#: What Dask says where it has no time left for a try.
TIMED_OUT = "Timed out trying to connect"
#: What errors say where the other side does not speak TLS, at the first and at a further try.
NO_TLS = ("WRONG_VERSION_NUMBER", "cannot convert to SSL")

VERSION = metadata.version("distributed")
T = TypeVar("T")


class DaskCluster(Cluster):
    def __init__(self, options: Any, slots: int | None, folder: Path) -> None:
        super().__init__(options, slots, folder)
        self._address: str = options.get("address", "")
        if "tls" in options:
            self._address = f"tls://{self._address.removeprefix('tcp://').removeprefix('tls://')}"
        self._local: LocalDask | None = None
        self._client: Client | None = None
        self._through_scheduler: Client | None = None  # for workers that cannot be reached from here
        self._addresses: dict[str, str] = {}

    async def connect(self) -> None:
        if (local := self.options.get("local")) is not None:
            self._local = LocalDask(local["workers"], local["slots"])
            self._address = await self._local.start()
        self._client = await self._connected(direct=True)
        if local is not None:
            wait: Any = self._client.wait_for_workers  # its type knows only clients that block
            try:
                await wait(local["workers"], timeout=START)
            except TimeoutError:
                raise ClusterError(f"the workers have not all started within {START:g} s") from None

    async def _connected(self, direct: bool) -> Client:
        security, client = self._security(), None
        try:
            async with asyncio.timeout(ANSWER) as patience:
                client = Client(  # type: ignore[no-untyped-call]
                    self._address,
                    asynchronous=True,
                    security=security,
                    timeout=CONNECT,
                    direct_to_workers=direct,
                    set_as_default=False,
                    name="agentdeck",
                )
                made: Client = await client
                return made
        except Exception as error:
            await _leave(client)
            why = f"it has said nothing for {ANSWER:g} s" if patience.expired() else await self._why(error)
            if "ssl_context" in why:  # the keys may also be in the configuration of Dask
                why = "the place has no keys; add tls: { ca: FILE, cert: FILE, key: FILE }"
            raise ClusterError(f"no scheduler of Dask answers at {self._address}: {why}") from None

    async def _why(self, error: Exception) -> str:
        """Why there is no connection, also where Dask's last try was one that its patience has cut short."""
        first = _first(error)
        if isinstance(first, TimeoutError) or TIMED_OUT in str(first):
            host, _, port = self._address.partition("://")[2].rpartition(":")
            refused = await connection_error(host.strip("[]"), int(port), DIRECT)
            return f"no answer within {CONNECT:g} s" if refused is None else error_text(refused)
        return _refusal(error)

    def _security(self) -> Security | None:
        """Raises ClusterError where the files are no keys."""
        if not (tls := self.options.get("tls")):
            return None
        files = {name: str(self.folder / Path(file).expanduser()) for name, file in tls.items()}
        security = Security(  # type: ignore[no-untyped-call]
            tls_ca_file=files["ca"],
            tls_client_cert=files["cert"],
            tls_client_key=files["key"],
            require_encryption=True,
        )
        try:
            security.get_connection_args("client")  # type: ignore[no-untyped-call]
        except OSError as error:
            raise ClusterError(f"the files of tls are no keys that belong together: {_refusal(error)}") from None
        return security

    async def workers(self) -> list[WorkerFacts]:
        assert self._client is not None
        scheduler: Any = self._client.scheduler
        try:
            identity = await scheduler.identity(n_workers=-1)
        except Exception as error:
            raise ClusterError(f"the scheduler at {self._address} does not answer: {_text(error)}") from None
        found = identity["workers"]
        self._addresses = {str(facts["name"]): address for address, facts in found.items()}
        return [_facts(address, facts) for address, facts in found.items()]

    async def probe(self, worker: str, source: str) -> str:
        assert self._client is not None
        address = self._addresses.get(worker, "")
        try:
            async with asyncio.timeout(OPEN):  # the scheduler waits for a worker that is stopped
                answers = await self._client.run(eval, source, workers=[address], on_error="return")
        except TimeoutError:
            raise HostGone(f"it does not answer within {OPEN:g} s") from None
        except Exception as error:
            raise HostGone(_text(error)) from None
        answer = answers.get(address)
        if isinstance(answer, OSError) or answer is None:
            raise HostGone(_text(answer or OSError("it does not answer")))
        if isinstance(answer, Exception):
            raise ClusterError(_text(answer))
        return str(answer)

    async def open(self, worker: str, name: str) -> HostLink:
        assert self._client is not None
        address = self._addresses.get(worker, "")
        try:
            return await self._opened(self._client, DIRECT, address, name, worker)
        except TimeoutError:
            if self._through_scheduler is None:
                self._through_scheduler = await self._connected(direct=False)
        try:
            return await self._opened(self._through_scheduler, OPEN, address, name, worker)
        except TimeoutError:
            raise HostGone(f"it does not answer within {OPEN:g} s") from None

    async def _opened(self, client: Client, patience: float, address: str, name: str, worker: str) -> HostLink:
        key = f"agentdeck-{name}-{secrets.token_hex(8)}"
        future = client.submit(
            Host,
            name,
            worker,
            key=key,
            actor=True,
            workers=[address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        link = None
        try:
            with client.as_current():  # an actor finds its client there
                async with asyncio.timeout(OPEN):
                    link = DaskLink(future, await _answer(future))
                async with asyncio.timeout(patience):
                    await link.start()
            return link
        except BaseException:
            future.release()  # type: ignore[no-untyped-call]
            raise

    async def close(self) -> None:
        for client in (self._client, self._through_scheduler):
            await _leave(client)
        if self._local is not None:
            await self._local.close()


class DaskLink(HostLink):
    """A request costs client and worker a millisecond of processor time each, so the end of a call and the begin
    of the next one share one: lines that come right after an answer go with the request for the next answer."""

    def __init__(self, future: Any, actor: Any) -> None:
        self._future = future
        self._actor = actor
        self._answered = False  # with lines
        self._requesting = True  # `receive` has made its request, or none yet
        self._out: list[bytes] = []
        self._put = asyncio.Event()

    async def start(self) -> None:
        await _answer(self._actor.start())

    async def send(self, data: bytes) -> None:
        if self._requesting:
            await self._call("send", data)
        else:
            self._out.append(data)
            self._put.set()

    async def receive(self) -> bytes:
        if self._answered:
            self._requesting = False
            with suppress(TimeoutError):
                async with asyncio.timeout(REPLY):
                    await self._put.wait()
            self._requesting = True
            self._put.clear()
        out, self._out = b"".join(self._out), []
        data: bytes = await self._call("exchange", out)
        self._answered = bool(data)
        return data

    async def _call(self, method: str, *given: bytes) -> Any:
        try:
            call = getattr(self._actor, method)(*given)
        except RuntimeError as error:  # the scheduler has said that the worker is gone
            raise HostGone(_text(error)) from None
        return await _answer(call)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(OPEN):
                await self._call("close")
        finally:
            self._future.release()


async def _leave(client: Client | None) -> None:
    if client is not None:
        with suppress(Exception):
            await client.close()  # type: ignore[no-untyped-call]


async def _answer(awaitable: Awaitable[T]) -> T:
    try:
        return await awaitable
    except TimeoutError:
        raise
    except Exception as error:
        text = _text(error)
        raise HostGone("its connection is closed" if text == UNREACHABLE else text) from None


def _facts(address: str, facts: dict[str, Any]) -> WorkerFacts:
    metrics = facts.get("metrics", {})
    return WorkerFacts(
        str(facts["name"]),
        address,
        int(facts["nthreads"]),
        VERSION,
        metrics.get("cpu"),
        metrics.get("memory"),
    )


def _first(error: BaseException) -> BaseException:
    while error.__cause__ is not None and not isinstance(error.__cause__, asyncio.CancelledError):
        error = error.__cause__
    return error


def _refusal(error: BaseException) -> str:
    """Why a connection is not made: the first error, of which Dask tells only that it has tried for some time."""
    error = _first(error)
    if isinstance(error, MemoryError):  # the length of a message, as Dask reads what is none
        return "what it says is not Dask's protocol"
    text = (isinstance(error, OSError) and error.strerror) or _text(error)
    return "it does not speak TLS" if any(one in text for one in NO_TLS) else text


def _text(error: BaseException) -> str:
    """One line: Dask's messages have several, and an empty one says only its type."""
    return " ".join(str(error).split())[:500] or type(error).__name__
