"""Settings: flags over environment over project file over user file over defaults, each with its origin."""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentdeck.errors import UsageError

if TYPE_CHECKING:
    from agentdeck.workflow.model import Definition

NAMES = ("db", "workers")
PROJECT = ".agentdeck.toml"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and where it comes from: flag, env, project, user or default. `place` names file or variable."""

    name: str
    value: str | int
    origin: str
    place: str = ""


def user_file() -> Path:
    from platformdirs import user_config_dir

    return Path(user_config_dir("agentdeck", appauthor=False)) / "config.toml"


def setting(name: str, flag: str | int | None = None) -> Setting:
    """What holds for this setting. Raises UsageError for a value or a file that makes no sense."""
    if flag is not None:
        return Setting(name, _valid(name, flag, f"--{name}"), "flag", f"--{name}")
    variable = f"AGENTDECK_{name.upper()}"
    if given := os.environ.get(variable):
        return Setting(name, _valid(name, given, variable), "env", variable)
    for origin, file in (("project", Path.cwd() / PROJECT), ("user", user_file())):
        found = _read(file)
        if name in found:
            value = _valid(name, found[name], str(file))
            if name == "db":
                value = str(file.parent / Path(str(value)).expanduser())
            return Setting(name, value, origin, str(file))
    return Setting(name, _default(name), "default")


def database(flag: str | None = None) -> Path:
    """The file of the store."""
    return Path(str(setting("db", flag).value)).expanduser()


def workers(flag: int | None, definition: Definition, folder: Path) -> int:
    """How many steps at once. What the workflow and its deck say, the lower of both, stands between environment
    and files. Raises InvalidFile for a deck that makes no sense."""
    from agentdeck.workflow.deck import deck_for

    found = setting("workers", flag)
    said = [n for n in (definition.limits.workers, deck_for(folder).workers) if n is not None]
    return min(said) if said and found.origin not in ("flag", "env") else int(found.value)


def _default(name: str) -> str | int:
    if name == "workers":
        return 8
    from agentdeck.store.location import database as place

    return str(place())


def _read(file: Path) -> dict[str, object]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{file}: {reason}") from error
    for name in found:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            known = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
            raise UsageError(f"{file}: there is no setting {name}; {known}")
    return found


def _valid(name: str, value: object, place: str) -> str | int:
    if name == "workers":
        try:
            if isinstance(value, bool | float):
                raise ValueError
            number = int(str(value))
        except ValueError:
            raise UsageError(f"{place}: workers is a whole number, not {value!r}") from None
        if not 1 <= number <= 10_000:
            raise UsageError(f"{place}: workers={number} is out of range: 1 to 10000")
        return number
    if not isinstance(value, str) or not value:
        raise UsageError(f"{place}: {name} is the name of a file, not {value!r}")
    return value
