"""The code of agents on both sides of a cluster: which file a module name means here, and a workflow's folder as
a package that a worker unpacks.

The engine and each worker call the same functions, and compare what they return. Imports nothing but the standard
library and modules that do the same. It reads many files, so it is called in threads."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from agentdeck.errors import StepError, UsageError

#: A folder that is shipped has at most so many files and bytes.
MOST_FILES = 2_000
MOST_BYTES = 32 << 20
#: Files and folders that are no code: hidden ones, caches, packages of other languages, stores.
LEFT_OUT = (".*", "__pycache__", "*.py[co]", "node_modules", "*.db*")
#: The module of `from MODULE import`, or the modules of `import`. A parser takes seconds for a large project.
#: A line of text that looks like an import has one more module compared.
_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([\w., \t]+))", re.MULTILINE)
#: So many files are counted for the message that there are too many.
_COUNTED = 10 * MOST_FILES
#: The time of every file in a package: equal files make equal bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


class CodeFacts(NamedTuple):
    """What a module is on this machine. `sha256` is that of its file or, where it belongs to a package, of all
    Python files of the package. It is empty for modules of Python itself: its version says what they are."""

    module: str
    file: str
    sha256: str


def found(target: str, folder: Path) -> CodeFacts:
    """The facts of the module that `workflow.functions.resolve` would import for `module:name`, without importing
    it. Raises StepError of kind `setup` where there is none."""
    module = target.partition(":")[0]
    first = [str(folder.resolve()), str(Path.cwd())]
    path: list[str] | None = None
    owner: ModuleSpec | None = None
    parts, file = module.split("."), ""
    for count in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:count]), path, first)
        if spec is None:
            raise StepError("setup", f"there is no module {module}; {folder} is searched first")
        path, file = list(spec.submodule_search_locations or ()), _file(spec)
        if owner is None and spec.has_location:  # folders without an __init__.py have none
            owner = spec
    return CodeFacts(module, file, "" if owner is None else _hash(owner))


def _spec(name: str, path: list[str] | None, first: list[str]) -> ModuleSpec | None:
    """What an import would find, with these folders before those of the path."""
    for finder in sys.meta_path:
        where = [*first, *sys.path] if path is None and finder is PathFinder else path
        spec = finder.find_spec(name, where)
        if spec is not None:
            return spec
    return None


def _file(spec: ModuleSpec) -> str:
    """Its file; the folder of a package without one; `built-in` or `frozen` inside the interpreter."""
    if spec.has_location and spec.origin is not None:
        return str(Path(spec.origin).resolve())
    return spec.origin or next(iter(spec.submodule_search_locations or ()), "")


def _hash(spec: ModuleSpec) -> str:
    file = Path(_file(spec))
    if spec.name in sys.stdlib_module_names and file.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve()):
        return ""
    try:
        if spec.submodule_search_locations is None:
            return sha256(file.read_bytes()).hexdigest()
        digest = sha256()
        for name, path in sorted(_files(file.parent)):
            if name.endswith(".py"):
                content = path.read_bytes()
                digest.update(f"{name}\0{len(content)}\0".encode())
                digest.update(content)
    except OSError as error:
        raise StepError("setup", f"the module {spec.name} cannot be read: {error}") from None
    return digest.hexdigest()


def imported(target: str, folder: Path) -> list[str]:
    """The other modules of the folder that the module of `module:name` imports where it is one of them, and those
    that they import, as far as `import` says it. Without importing anything."""
    names, files = [target.partition(":")[0].partition(".")[0]], 0
    for name in names:
        for file in _sources(folder, name):
            files += 1
            if files > MOST_FILES:
                break
            names += [one for one in sorted(_imports(file)) if one not in names and any(_sources(folder, one))]
    return names[1:]


def _sources(folder: Path, name: str) -> Iterator[Path]:
    """The Python files of a module, or package, that lies directly in a folder."""
    if (folder / name / "__init__.py").is_file():
        yield from (path for file, path in _files(folder / name) if file.endswith(".py"))
    elif (file := folder / f"{name}.py").is_file():
        yield file


def _imports(file: Path) -> set[str]:
    """The first parts of the names that a file imports. None where it cannot be read: its import says why."""
    try:
        lines = _IMPORT.findall(file.read_bytes())
    except OSError:
        return set()
    names = [name.split()[:1] for source, several in lines for name in (source or several).split(b",")]
    return {one.partition(b".")[0].decode(errors="replace") for name in names for one in name} - {""}


def packed(folder: Path) -> tuple[str, bytes]:
    """The folder as a zip, with its sha256. Equal files give equal bytes. Raises UsageError where the folder has
    too much in it, or something cannot be read."""
    try:
        sizes = {name: (path, path.stat().st_size) for name, path in _some(folder)}
        if len(sizes) > MOST_FILES or sum(size for _, size in sizes.values()) > MOST_BYTES:
            raise UsageError(_too_large(folder, {name: size for name, (_, size) in sizes.items()}))
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, (path, _) in sorted(sizes.items()):
                info = zipfile.ZipInfo(name, _TIME)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (0o755 if os.access(path, os.X_OK) else 0o644) << 16
                archive.writestr(info, path.read_bytes())
    except OSError as error:
        raise UsageError(f"{folder} cannot be shipped: {error}") from None
    data = made.getvalue()
    return sha256(data).hexdigest(), data


def _some(folder: Path) -> Iterator[tuple[str, Path]]:
    for number, (name, path) in enumerate(_files(folder)):
        if number > _COUNTED:
            return
        yield name, path


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that belong to the code of a folder, by their names relative to it. Links are followed, to each
    folder once."""
    seen: set[str] = set()
    for base, folders, files in os.walk(folder, followlinks=True, onerror=_raised):
        real = os.path.realpath(base)
        folders[:] = [] if real in seen else [one for one in folders if _counts(one, base)]
        if real in seen:
            continue
        seen.add(real)
        for file in files:
            path = Path(base, file)
            if not _left_out(file) and path.is_file():
                yield path.relative_to(folder).as_posix(), path


def _raised(error: OSError) -> None:
    raise error


def _counts(name: str, base: str) -> bool:
    return not _left_out(name) and not Path(base, name, "pyvenv.cfg").exists()


def _left_out(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in LEFT_OUT)


def _too_large(folder: Path, sizes: dict[str, int]) -> str:
    """With the largest things directly in the folder."""
    bytes_of, files_of = Counter[str](), Counter[str]()
    for name, size in sizes.items():
        top = PurePosixPath(name).parts[0]
        bytes_of[top] += size
        files_of[top] += 1
    by_files = len(sizes) > MOST_FILES
    largest = (files_of if by_files else bytes_of).most_common(3)
    parts = [f"{name} ({_files_text(files_of[name])}, {_megabytes(bytes_of[name])})" for name, _ in largest]
    more = "more than " if len(sizes) > _COUNTED else ""
    has = f"{more}{_files_text(min(len(sizes), _COUNTED))} of {_megabytes(sum(sizes.values()))}"
    return (
        f"{folder} is too large to be shipped: it has {has}, and at most {_files_text(MOST_FILES)} of "
        f"{_megabytes(MOST_BYTES)} can be; the largest: {', '.join(parts)}; move them out of the folder, or "
        "install the code on the workers and remove code: ship"
    )


def _files_text(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MB"


def unpack(data: bytes, into: Path) -> Path:
    """The folder of a package, below `into`: unpacked by the first call with these bytes, found by the others,
    also by those of other processes. Raises UsageError for bytes that are no package."""
    there = into / sha256(data).hexdigest()[:32]
    if there.is_dir():
        return there
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=into))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_FILES or sum(one.file_size for one in entries) > MOST_BYTES:
                raise UsageError("a package of code has more in it than can be shipped")
            for entry in entries:
                _write(archive, entry, fresh)
        fresh.rename(there)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"a package of code is damaged: {error}") from None
    except OSError as error:
        if not there.is_dir():  # another process may have been first
            raise UsageError(f"a package of code cannot be unpacked in {into}: {error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return there


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    name = PurePosixPath(entry.filename)
    if (
        entry.is_dir()
        or name.is_absolute()
        or ".." in name.parts
        or "\\" in entry.filename
        or "\0" in entry.filename
    ):
        raise UsageError(
            f"a package of code has the name {entry.filename!r} in it, which is no file below its folder"
        )
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive.read(entry))
    path.chmod(0o755 if entry.external_attr >> 16 & 0o100 else 0o644)
