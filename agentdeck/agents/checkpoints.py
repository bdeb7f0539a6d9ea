"""The file in which frameworks keep where they were, so that a question or a crash does not start them again."""

from __future__ import annotations

import tempfile
from pathlib import Path

from agentdeck.agents.verb import WorkflowContext


class CheckpointFile:
    """A SQLite file beside the store; for a run without a store, a temporary one that is removed with it. It is
    written by the frameworks themselves, and made by the first of them that does."""

    def __init__(self, db: Path | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="agentdeck-") if db is None else None
        self.path = str(Path(self._folder.name) / "checkpoints.db" if db is None else beside(db))  # type: ignore[union-attr]

    async def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def beside(db: Path) -> Path:
    """The file of checkpoints of a store."""
    return db.with_name(f"{db.name}-checkpoints")


def checkpoint_file(context: WorkflowContext) -> CheckpointFile:
    """The file that the agents of a run share."""
    return context.shared(CheckpointFile, lambda: CheckpointFile(context.db), CheckpointFile.close)
