"""Which run belongs to a task of Airflow: its id follows from the task and the try that began it.

A retry looks for the run of the tries before it, and goes on with that. So does a task that was cleared, unless
its run is done or was launched with something else: then it begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.runs import ALPHABET

#: Characters of an id, as of every run. Messages that name a run are read by this length (`command_hint.py`).
LENGTH = 10


@dataclass(frozen=True, slots=True)
class TaskTry:
    """A try of a task of Airflow. `number` is its number, from 1; `cleared` that of the last try before the task
    was cleared, 0 where it never was."""

    dag: str
    dag_run: str
    task: str
    map_index: int = -1
    number: int = 1
    cleared: int = 0

    @property
    def name(self) -> str:
        """The task as people name it: `reports.summary`, `reports.summary[3]`."""
        return f"{self.dag}.{self.task}" + (f"[{self.map_index}]" if self.map_index >= 0 else "")

    @property
    def run(self) -> str:
        """The id of the run that begins in this try."""
        return self._run_of(self.number)

    def _run_of(self, number: int) -> str:
        names = (self.dag, self.dag_run, self.task, str(self.map_index), str(number))
        digest = blake2b("\0".join(names).encode("utf-8", "backslashreplace"), digest_size=8, person=b"airflow")
        left, text = int(digest.hexdigest(), 16), ""
        while len(text) < LENGTH:
            left, digit = divmod(left, len(ALPHABET))
            text += ALPHABET[digit]
        return text

    def newest(self, reader: Reader) -> Earlier | None:
        """The run that the newest of these tries began; None where none did."""
        for number in range(self.number, 0, -1):
            if reader.has_run(run := self._run_of(number)):
                return Earlier(reader.run(run), number <= self.cleared)
        return None


@dataclass(frozen=True, slots=True)
class Earlier:
    """The run of an earlier try, and whether the task was cleared since."""

    row: RunRow
    cleared: bool
