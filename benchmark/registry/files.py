"""Registry files: the one that comes with the project, that of the working folder, and those of the user."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.errors import ConfigError
from benchmark.registry.record import Backbone
from benchmark.tables import config_error, read_toml

REGISTRY_FILE = "backbones.toml"
SHIPPED = Path(__file__).parents[1] / "data"
CHECKOUT = Path(__file__).parents[2]

Registry = Mapping[str, Backbone]


@functools.cache
def shipped_entries() -> dict[str, Backbone]:
    """The registry that comes with the project."""
    return read_registry(shipped_path(REGISTRY_FILE))


def shipped_path(name: str) -> Path:
    """A file or folder that comes with the project: inside the wheel, or at the top of a checkout."""
    packaged = SHIPPED / name
    return packaged if packaged.exists() else CHECKOUT / name


def read_registry(path: Path, *, is_trusted: bool = True) -> dict[str, Backbone]:
    """The backbones of one registry file, in its order.

    Args:
        path: The file.
        is_trusted: Whether its builders may be imported.

    Raises:
        ConfigError: A table has an unknown key, a missing key or a wrong value.
    """
    backbones = {}
    for name, table in read_toml(path).items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name!r} stands outside a table; expected one table per backbone, [{name}].")
        if reserved := {"name", "folder", "is_trusted"} & set(table):
            raise ConfigError(f"{path}, table [{name}]:\n  {', '.join(sorted(reserved))}: not a key of a registry.")
        try:
            place: dict[str, Any] = {"name": name, "folder": path.resolve().parent, "is_trusted": is_trusted}
            backbones[name] = Backbone(**table, **place)
        except ValidationError as error:
            raise config_error(f"{path}, table [{name}]", Backbone, error) from error
    return backbones


def load_registry(extra: Sequence[Path] = ()) -> Registry:
    """The backbones of `./backbones.toml` (without one, those shipped) and of the files in `extra`.

    An entry of a later file replaces one of the same name. Builders named in `./backbones.toml` are imported only if
    `extra` holds that file too.
    """
    local = Path(REGISTRY_FILE)
    backbones = read_registry(local, is_trusted=False) if local.exists() else read_registry(shipped_path(REGISTRY_FILE))
    for path in extra:
        backbones |= read_registry(path)
    return backbones
