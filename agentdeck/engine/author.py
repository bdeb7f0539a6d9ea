"""The author of decisions and commands of this process, which is recorded with each of them."""

from __future__ import annotations

import os
import socket

from agentdeck.scheduler.events import Author


def current_author(tool: str, by: str = "") -> Author:
    """The user of this process by its real user id (USER and LOGNAME can be set to anything), on this host, with
    this tool. `by` is the name given with --by. The name is never empty."""
    return Author(_user(), socket.gethostname(), tool, by.strip())


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, AttributeError, KeyError):  # no such database, or a container's user id without a name
        pass
    try:
        import getpass

        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
