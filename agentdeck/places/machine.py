"""How busy this machine is, where the cluster does not say it of a worker."""

from __future__ import annotations

import os
import re
from pathlib import Path

MEMORY = Path("/proc/meminfo")


def load() -> float:
    """Of the processors, over the last minute, in percent of all of them. Above 100, processes wait for one."""
    return 100 * os.getloadavg()[0] / (os.cpu_count() or 1)


def memory_in_use() -> int | None:
    """In bytes. None where the system does not say it."""
    try:
        kilobytes = {name: int(size) for name, size in re.findall(r"(\w+): +(\d+)", MEMORY.read_text())}
        return 1024 * (kilobytes["MemTotal"] - kilobytes["MemAvailable"])
    except (OSError, KeyError):
        return None
