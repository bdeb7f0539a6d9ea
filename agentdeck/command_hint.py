"""Commands of the command line that a message names: they need the --db of the store that the message is about,
where that is not the usual one."""

from __future__ import annotations

import re
import shlex

#: Verbs that take --db; then the run or the letter, where one follows.
_VERBS = (
    "approve|backup|budget|cancel|diff|drain|events|fork|hurry|limits|logs|otel export|pause|prune|release"
    "|results|resume|retry|runs|show|skip|step|watch|why|letters(?: (?:drop|export|list|retry|show))?"
)
_COMMAND = re.compile(rf"\bagentdeck (?:{_VERBS})\b(?: (?:last|\d+|[0-9a-z]{{10}})\b)?+(?! --(?:db|help)\b)")


def with_db(text: str, db: str) -> str:
    """The text with `--db` in each command that has none yet. As it is where `db` is empty."""
    if not db or "agentdeck " not in text:
        return text
    where = f" --db {shlex.quote(db)}"
    return _COMMAND.sub(lambda found: found.group() + where, text)
