"""A program in a terminal of its own, whose keys and paint can be timed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ESCAPES = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_P^][^\x1b]*\x1b\\|.)")


class Terminal:
    """What the program paints is read by `read`, and by nobody else: a reader that pauses stalls it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        size: tuple[int, int] = (160, 48),
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self._fd = ours
        self.seen = b""
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})},
        )
        os.close(theirs)

    def read(self, seconds: float) -> bytes:
        """What is painted within so many seconds, at most 64 kB of it; empty when nothing was."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return b""
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return b""
        self.seen = (self.seen + data)[-400_000:]
        return data

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def wait_for(self, text: str, timeout: float = 20.0, *, raw: bool = False) -> float:
        """Seconds until the text was painted, counted from now. Raises TimeoutError. `raw`: all of it is painted
        at once, so that looking for it takes no time."""
        begin = time.perf_counter()
        wanted = text.encode()
        painted = b""
        while time.perf_counter() - begin < timeout:
            painted = (painted + self.read(0.5))[-100_000:]
            if wanted in (painted if raw else ESCAPES.sub(b"", painted)):
                return time.perf_counter() - begin
        raise TimeoutError(f"{text!r} was not painted within {timeout} s")

    def drain(self, seconds: float) -> int:
        """Take whatever is painted for so long; how many bytes that was."""
        end, size = time.perf_counter() + seconds, 0
        while (left := end - time.perf_counter()) > 0:
            size += len(self.read(left))
        return size

    def cpu(self) -> float:
        """Processor seconds that the threads of the program have used."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def switches(self) -> int:
        """How often threads of the program waited for something, and were woken."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        lines = (line for thread in threads for line in (thread / "status").read_text().splitlines())
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    def text(self) -> bytes:
        """The last of what was painted, without what moves and colours it."""
        return ESCAPES.sub(b"", self.seen)

    def hang_up(self) -> None:
        """The window is closed: nobody reads, and the program loses its terminal."""
        os.close(self._fd)
        self._fd = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._fd >= 0:
            self.hang_up()
