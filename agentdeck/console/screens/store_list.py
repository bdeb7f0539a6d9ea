"""A screen with a list that is read from the store, and a page on the selected row."""

from __future__ import annotations

from typing import Generic, TypeVar

from agentdeck.console.outline import OutlineView
from agentdeck.console.screens.base import SizedScreen
from agentdeck.errors import AgentdeckError
from agentdeck.store.async_reader import AsyncReader
from agentdeck.terminal_text import clean

#: Seconds between two looks at the store.
AGAIN = 1.0
T = TypeVar("T")


class StoreListScreen(SizedScreen, Generic[T]):
    """The rows are read once a second, by one query at a time; what cannot be read is notified."""

    _reading = False

    def on_mount(self) -> None:
        self.store = AsyncReader(self.console_app.db)
        self.poll(AGAIN, self._look)
        self.await_rows()
        self._look()

    async def on_unmount(self) -> None:
        await self.store.close()

    async def read_rows(self) -> list[T]:
        """The rows as they are in the store now."""
        raise NotImplementedError

    def show_rows(self, found: list[T]) -> None:
        """Show the rows that were read, and the page on the selected one."""
        raise NotImplementedError

    def _look(self) -> None:
        if not self._reading:
            self._reading = True
            self.run_worker(self._read(), name="rows", group="rows")

    async def _read(self) -> None:
        try:
            found = await self.read_rows()
        except AgentdeckError as error:
            if self.query(OutlineView):
                self.notify(clean(str(error)), title="store", severity="error")
        else:
            if self.query(OutlineView):  # the screen is not being closed
                self.show_rows(found)
        self._reading = False
        self.rows_are_read()
