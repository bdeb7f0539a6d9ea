# ruff: noqa: ASYNC110, ASYNC240, ASYNC251
"""What agents call in children: nothing but the standard library, as their interpreter has nothing else."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path


def about(n, ctx):  # type: ignore[no-untyped-def]
    print("printed by", n)
    os.system("echo raw output of a program")
    ctx.log("logged", "warning")
    return {"pid": os.getpid(), "python": sys.executable, "id": ctx.id, "modules": sorted(sys.modules)}


def environment(names):  # type: ignore[no-untyped-def]
    return {name: os.environ.get(name) for name in names}


def add(x: int, y: int = 2):  # type: ignore[no-untyped-def]
    return x + y


def sleep(seconds):  # type: ignore[no-untyped-def]
    time.sleep(seconds)
    return os.getpid()


async def meet(n, folder):  # type: ignore[no-untyped-def]
    """Ends when as many calls as `n` says are under way."""
    Path(folder, f"{os.getpid()}-{time.monotonic_ns()}").touch()
    while len(list(Path(folder).iterdir())) < n:
        await asyncio.sleep(0.01)
    return os.getpid()


def meet_blocking(n, folder, ctx):  # type: ignore[no-untyped-def]
    Path(folder, ctx.task).touch()
    while len(list(Path(folder).iterdir())) < n:
        time.sleep(0.01)
    return os.getpid()


def die_once(file, how):  # type: ignore[no-untyped-def]
    """The first call ends its process."""
    if not Path(file).exists():
        Path(file).touch()
        die(how)  # type: ignore[no-untyped-call]
    return "survived"


def die(how):  # type: ignore[no-untyped-def]
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)


def stubborn(file):  # type: ignore[no-untyped-def]
    """Writes into a file for as long as it lives, whatever is raised in it."""
    while True:
        try:
            with Path(file).open("a") as out:
                out.write(f"{os.getpid()}\n")
            time.sleep(0.02)
        except BaseException:
            pass


async def stubborn_coroutine(file):  # type: ignore[no-untyped-def]
    while True:
        try:
            if not Path(file).exists():
                Path(file).write_text(str(os.getpid()))
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            pass


async def gentle(file):  # type: ignore[no-untyped-def]
    Path(file).write_text(str(os.getpid()))
    try:
        await asyncio.sleep(60)
    finally:
        Path(file).write_text("ended")


async def gentle_too(file):  # type: ignore[no-untyped-def]
    Path(file).touch()
    try:
        await asyncio.sleep(60)
    finally:
        Path(file).write_text(f"ended in {os.getpid()}")


async def together(file, how):  # type: ignore[no-untyped-def]
    """Goes on until there is a file `FILE.end`, ignores its cancellation, or blocks the process."""
    Path(file).write_text(str(os.getpid()))
    while not Path(f"{file}.end").exists():
        if how == "block":
            time.sleep(60)
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            if how != "ignore":
                raise
    return os.getpid()


def raises(text):  # type: ignore[no-untyped-def]
    raise ValueError(text)


def too_much():  # type: ignore[no-untyped-def]
    return "x" * 17_000_000


def much():  # type: ignore[no-untyped-def]
    return ["y" * 1000] * 3000


def no_data():  # type: ignore[no-untyped-def]
    return {"file": object()}


async def pieces(n):  # type: ignore[no-untyped-def]
    for word in ("first", "second"):
        yield f"{word} piece\n"
        await asyncio.sleep(0)
    yield {"n": n}


def words(n):  # type: ignore[no-untyped-def]
    yield "all "
    yield "text"


class Chain:
    """An object with a method of a usual name."""

    async def ainvoke(self, values):  # type: ignore[no-untyped-def]
        return sorted(values)


chain = Chain()
thing = object()


def kill_worker(file):  # type: ignore[no-untyped-def]
    """The first call kills the worker that has started its process."""
    if not Path(file).exists():
        Path(file).write_text(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return Path(file).read_text()


async def visit(folder, ctx):  # type: ignore[no-untyped-def]
    """Goes on until there is a file `go-TASK`, and says how often it was begun. No two calls of a task may be
    under way at the same time: the process of the one before must have ended."""
    mark = Path(folder, f"task-{ctx.task}")
    before = mark.read_text().split() if mark.exists() else []
    if any(map(_lives, before)):
        return "two at once"
    mark.write_text(" ".join((*before, str(os.getpid()))))
    while not (Path(folder, f"go-{ctx.task}").exists() or Path(folder, "go").exists()):
        await asyncio.sleep(0.02)
    return len(before) + 1


def _lives(pid):  # type: ignore[no-untyped-def]
    """One that has ended may not have been reaped: its parent is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def add_line(file, ctx):  # type: ignore[no-untyped-def]
    with Path(file).open("a") as out:
        out.write(f"{ctx.task}\n")


def where_am_i():  # type: ignore[no-untyped-def]
    return __file__


def kill_host(ctx):  # type: ignore[no-untyped-def]
    """Ends the process that has started this one, as a worker that crashes does."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def noted(folder, n, ctx):  # type: ignore[no-untyped-def]
    """Notes that it began, waits for a file `go`, and notes that it ended."""
    note(folder, f"began {n}")  # type: ignore[no-untyped-call]
    ctx.log(f"{n} waits")
    while not Path(folder, "go").exists():
        time.sleep(0.02)
    note(folder, f"ended {n}")  # type: ignore[no-untyped-call]
    return n


async def noted_too(folder, n, ctx):  # type: ignore[no-untyped-def]
    note(folder, f"began {n}")  # type: ignore[no-untyped-call]
    ctx.log(f"{n} waits")
    while not Path(folder, "go").exists():
        await asyncio.sleep(0.02)
    note(folder, f"ended {n}")  # type: ignore[no-untyped-call]
    return n


def note(folder, text):  # type: ignore[no-untyped-def]
    with Path(folder, "notes").open("a") as out:
        out.write(f"{text} {os.getpid()}\n")


def visible(folder):  # type: ignore[no-untyped-def]
    """The processors of graphics that this process may use, once two are under way."""
    Path(folder, str(os.getpid())).touch()
    while len(list(Path(folder).iterdir())) < 2:
        time.sleep(0.02)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def sixteen():  # type: ignore[no-untyped-def]
    return "x" * 15_900_000


async def held(folder, n):  # type: ignore[no-untyped-def]
    """Takes a second, and goes on when there is no file `hold`; at once when there is a file `go`."""
    end = time.monotonic() + 1
    while not Path(folder, "go").exists() and (time.monotonic() < end or Path(folder, "hold").exists()):
        await asyncio.sleep(0.05)
    return n


def tell_key(folder, ctx):  # type: ignore[no-untyped-def]
    """Says its key of the gateway wherever it can, and returns the processes in which it can be seen."""
    key = os.environ["OPENAI_API_KEY"]
    Path(folder, "key").write_text(key)
    print("printed", key)
    os.system("echo by a program $OPENAI_API_KEY >&2")
    ctx.log(f"logged {key}")
    return [key, _seen_in(key.encode())]  # type: ignore[no-untyped-call]


def _seen_in(secret):  # type: ignore[no-untyped-def]
    found = []
    for file in (*Path("/proc").glob("[0-9]*/environ"), *Path("/proc").glob("[0-9]*/cmdline")):
        try:
            if secret in file.read_bytes():
                found.append(str(file))
        except OSError:
            pass
    return found


def raise_key():  # type: ignore[no-untyped-def]
    raise ValueError(f"refused: {os.environ['OPENAI_API_KEY']}")
