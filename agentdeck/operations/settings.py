"""Settings: flags over environment over project file over user file over defaults, each with its origin.

The sources are asked in this order, and the first that has the setting decides: a broken file does not stop a
command that needs nothing from it. Every command reads a setting when it starts, so this module imports no
pydantic: two checked values are not worth 200 ms.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentdeck.errors import UsageError
from agentdeck.workflow.wording import did_you_mean

if TYPE_CHECKING:
    from agentdeck.workflow.model import Definition

PROJECT = ".agentdeck.toml"
DEFAULT_WORKERS = 8
MAX_WORKERS = 10_000


def user_file() -> Path:
    from platformdirs import user_config_dir

    return Path(user_config_dir("agentdeck", appauthor=False)) / "config.toml"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and its origin: flag, env, project, user or default. `place` is the option, the variable or the
    file."""

    value: str | int
    origin: str
    place: str = ""


def _file_name(value: object, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{place}: db is the name of a file, not {value!r}")
    return value


def _worker_count(value: object, place: str) -> int:
    """A number, also as text: variables of the environment are text."""
    try:
        if isinstance(value, bool | float):
            raise ValueError
        number = int(str(value))
    except ValueError:
        raise UsageError(f"{place}: workers is a whole number, not {value!r}") from None
    if not 1 <= number <= MAX_WORKERS:
        raise UsageError(f"{place}: workers={number} is out of range: 1 to {MAX_WORKERS}")
    return number


def _default_database() -> str:
    from agentdeck.store.schema import database as place

    return str(place())


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a setting is checked, and its value where no source has it."""

    checked: Callable[[object, str], str | int]
    default: Callable[[], str | int]


SETTINGS = {
    "db": _Kind(_file_name, _default_database),
    "workers": _Kind(_worker_count, lambda: DEFAULT_WORKERS),
}


def setting(name: str, flag: str | int | None = None) -> Setting:
    """The value of a setting and its origin. Raises UsageError for a bad value or an unreadable file."""
    kind = SETTINGS[name]
    for value, origin, place in _sources(name, flag):
        if value is not None:
            return Setting(kind.checked(value, place), origin, place)
    return Setting(kind.default(), "default")


def _sources(name: str, flag: str | int | None) -> Iterator[tuple[object, str, str]]:
    """What each source has for a setting, the strongest first; None where it has nothing. A relative name of a
    store in a settings file begins at the folder of that file."""
    yield flag, "flag", f"--{name}"
    variable = f"AGENTDECK_{name.upper()}"
    yield os.environ.get(variable) or None, "env", variable
    for origin, file in (("project", Path.cwd() / PROJECT), ("user", user_file())):
        value = _read(file).get(name)
        if name == "db" and isinstance(value, str) and value:
            value = str(file.parent / Path(value).expanduser())
        yield value, origin, str(file)


def database(flag: str | None = None) -> Path:
    """The file of the store."""
    return Path(str(setting("db", flag).value)).expanduser()


def workers(flag: int | None, definition: Definition, folder: Path) -> int:
    """How many steps run at once. The lower limit of workflow and deck is weaker than flag and environment, and
    stronger than the settings files. Raises InvalidFile for a deck that does not load."""
    from agentdeck.workflow.deck import deck_for

    found = setting("workers", flag)
    limits = [n for n in (definition.limits.workers, deck_for(folder).workers) if n is not None]
    return min(limits) if limits and found.origin not in ("flag", "env") else int(found.value)


def _read(file: Path) -> dict[str, object]:
    """The settings in a file; none where there is no file. Raises UsageError."""
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{file}: {reason}") from error
    for name in found:
        if name not in SETTINGS:
            known = did_you_mean(name, SETTINGS, f"there are {', '.join(SETTINGS)}")
            raise UsageError(f"{file}: there is no setting {name}; {known}")
    return found
