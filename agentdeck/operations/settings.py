"""Settings: flags over environment over project file over user file over defaults, each with its origin.

pydantic-settings lays the sources over each other and validates the result. A source gives each setting together
with its origin and place, so both reach the result. A file is read only for a setting that no stronger source
has, so a broken file does not stop a command that needs nothing from it.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

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


def _file_name(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{info.data['place']}: db is the name of a file, not {value!r}")
    return value


def _worker_count(value: object, info: ValidationInfo) -> object:
    """A number, also as text: variables of the environment are text."""
    place = info.data["place"]
    try:
        if isinstance(value, bool | float):
            raise ValueError
        number = int(str(value))
    except ValueError:
        raise ValueError(f"{place}: workers is a whole number, not {value!r}") from None
    if not 1 <= number <= MAX_WORKERS:
        raise ValueError(f"{place}: workers={number} is out of range: 1 to {MAX_WORKERS}")
    return number


class Setting(BaseModel):
    """A value and its origin: flag, env, project, user or default. `place` is the option, the variable or the
    file; it comes before `value`, as the messages on bad values begin with it."""

    origin: str
    place: str = ""
    value: str | int


class DatabaseSetting(Setting):
    """The file of the store. A relative name in a settings file begins at the folder of that file."""

    value: Annotated[str, BeforeValidator(_file_name)]


class WorkersSetting(Setting):
    """How many steps run at once."""

    value: Annotated[int, BeforeValidator(_worker_count)]


class _Layered(BaseSettings):
    """The sources that all settings have, the strongest first."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        project, user = Path.cwd() / PROJECT, user_file()
        return (
            init_settings,
            _Environment(settings_cls),
            _SettingsFile(settings_cls, "project", project),
            _SettingsFile(settings_cls, "user", user),
        )


def _default_database() -> DatabaseSetting:
    from agentdeck.store.schema import database as place

    return DatabaseSetting(value=str(place()), origin="default")


class _Database(_Layered):
    db: DatabaseSetting = Field(default_factory=_default_database)


class _Workers(_Layered):
    workers: WorkersSetting = WorkersSetting(value=DEFAULT_WORKERS, origin="default")


#: The settings by name. One model each: a bad value of one does not stop a command that needs only the other.
SETTINGS: dict[str, type[_Layered]] = {"db": _Database, "workers": _Workers}


class _Source(PydanticBaseSettingsSource):
    """A source that is asked only for settings which no stronger source has."""

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        needed = {name: field for name, field in fields.items() if name not in self.current_state}
        found = {name: self.get_field_value(field, name)[0] for name, field in needed.items()}
        return {name: given for name, given in found.items() if given is not None}


class _Environment(_Source):
    """AGENTDECK_DB and AGENTDECK_WORKERS; an empty variable is none."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"AGENTDECK_{field_name.upper()}"
        value = os.environ.get(variable)
        return {"value": value, "origin": "env", "place": variable} if value else None, field_name, False


class _SettingsFile(_Source):
    """One TOML file."""

    def __init__(self, settings_cls: type[BaseSettings], origin: str, file: Path) -> None:
        super().__init__(settings_cls)
        self.origin, self.file = origin, file

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value = _read(self.file).get(field_name)
        if field_name == "db" and isinstance(value, str) and value:
            value = str(self.file.parent / Path(value).expanduser())
        given = {"value": value, "origin": self.origin, "place": str(self.file)}
        return given if value is not None else None, field_name, False


def setting(name: str, flag: str | int | None = None) -> Setting:
    """The value of a setting and its origin. Raises UsageError for a bad value or an unreadable file."""
    given = {} if flag is None else {name: {"value": flag, "origin": "flag", "place": f"--{name}"}}
    try:
        found: Setting = getattr(SETTINGS[name](**given), name)
    except ValidationError as error:
        raise UsageError(str(error.errors()[0]["ctx"]["error"])) from None
    return found


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
