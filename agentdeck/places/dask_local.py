"""A Dask cluster of this machine, for one run: a scheduler and workers on 127.0.0.1, which end with it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from agentdeck.places.cluster import ClusterError
from agentdeck.processes.children import Children

#: Seconds in which the scheduler has to say its address.
START = 30.0
#: Seconds after which a worker that has ended is started again.
AGAIN = 1.0
#: What Dask does to watch tasks, of which there are none, wakes each of its processes 50 to 100 times a second:
#: scheduler and two workers at rest take 9 % of a core with it, and 1 % without. A variable that is set wins.
AT_REST = {
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "1s",
    "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "False",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
_ROOT = str(Path(__file__).parents[2])
_PROGRAM = (
    "import sys, runpy; sys.path.append(sys.argv[1]); sys.argv[:] = sys.argv[2:];"
    " runpy.run_module(sys.argv[0], run_name='__main__')"
)


class LocalDask:
    def __init__(self, workers: int, slots: int) -> None:
        self._workers, self._slots = workers, slots
        self._children = Children()
        self._lives: list[asyncio.Task[None]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="agentdeck-dask-")

    async def start(self) -> str:
        """The address of the scheduler. Its workers come by themselves."""
        file = Path(self._folder.name) / "scheduler.json"
        where = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file))
        self._keep("distributed.cli.dask_scheduler", *where, "--port", "0", "--no-show")
        for number in range(self._workers):  # they wait for the file
            self._keep(
                "distributed.cli.dask_worker",
                *(*where, "--no-nanny", "--memory-limit", "0", "--nthreads", str(self._slots)),
                *("--name", f"worker-{number + 1}", "--local-directory", self._folder.name),
            )
        try:
            async with asyncio.timeout(START):
                return await self._address(file)
        except TimeoutError:
            raise ClusterError(f"no scheduler of Dask has started within {START:g} s") from None

    async def _address(self, file: Path) -> str:
        while True:
            if (address := _written(file)) is not None:
                return address
            await asyncio.sleep(0.02)

    def _keep(self, module: str, *arguments: str) -> None:
        self._lives.append(asyncio.create_task(self._live(module, arguments)))

    async def _live(self, module: str, arguments: tuple[str, ...]) -> None:
        """A process that is started again when it ends."""
        env = {**AT_REST, **os.environ, "DASK_LOGGING__DISTRIBUTED": "warning"}
        while True:
            with self._children.child() as child:
                child.ends_whole = True
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-c", _PROGRAM, _ROOT, module, *arguments),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=child.environment(env),
                    start_new_session=True,
                )
                child.started(process.pid)
                try:
                    await process.wait()
                finally:
                    with suppress(ProcessLookupError):
                        process.kill()
            await asyncio.sleep(AGAIN)

    async def close(self) -> None:
        for life in self._lives:
            life.cancel()
        if self._lives:
            await asyncio.wait(self._lives)
        await self._children.close()
        self._folder.cleanup()


def _written(file: Path) -> str | None:
    """The address of a scheduler that has started."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):
        return None
