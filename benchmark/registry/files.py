"""Registry files: the one that comes with the project, that of the working folder, and those of the user."""

import functools
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.errors import ConfigError, DownloadError, UnknownNameError, check_known
from benchmark.presets import HUB, read_preset, source_of
from benchmark.registry.record import FILE, SOURCES, Backbone
from benchmark.storage import expanded
from benchmark.tables import config_error, read_toml

REGISTRY_FILE = "backbones.toml"
SHIPPED = Path(__file__).parents[1] / "data"
CHECKOUT = Path(__file__).parents[2]

EXTENDS = "extends"
# Keys that the reader fills in itself.
OF_READER = ("name", "folder", "is_trusted")
# What was counted on a network says nothing about a variant of it.
COUNTED = ("feature_dim", "params_backbone", "flops_g")

Table = dict[str, Any]


class Registry(Mapping[str, Backbone]):
    """Backbones by name. An entry is made when it is first asked for, because facts of presets may need a download.

    `hub:PRESET` names a preset of KerasHub that has no entry; iteration does not know such names.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Backbone]]) -> None:
        self._makers = {name: functools.cache(make) for name, make in makers.items()}

    def __getitem__(self, name: str) -> Backbone:
        if name not in self._makers and name.startswith(HUB):
            facts = {"name": name, "folder": Path.cwd(), "hub": name.removeprefix(HUB)}
            self._makers[name] = functools.cache(lambda: _backbone(f"backbone {name}", facts))
        return self._makers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._makers or (isinstance(name, str) and name.startswith(HUB))

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._makers if not name.startswith(HUB))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __or__(self, later: "Registry") -> "Registry":
        """All entries; of two with the same name the later one."""
        return Registry({**self._makers, **later._makers})


@functools.cache
def shipped_entries() -> Registry:
    """The registry that comes with the project."""
    return read_registry(shipped_path(REGISTRY_FILE))


def shipped_path(name: str) -> Path:
    """A file or folder that comes with the project: inside the wheel, or at the top of a checkout."""
    packaged = SHIPPED / name
    return packaged if packaged.exists() else CHECKOUT / name


def read_registry(path: Path, *, is_trusted: bool = True, others: Mapping[str, Backbone] | None = None) -> Registry:
    """The backbones of one registry file, in its order.

    Args:
        path: The file.
        is_trusted: Whether its builders may be imported.
        others: Backbones of other files, which entries can extend.

    Raises:
        ConfigError: A table has an unknown key, a missing key or a wrong value.
    """
    tables = read_toml(path)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name!r} stands outside a table; expected one table per backbone, [{name}].")
        if reserved := set(OF_READER) & set(table):
            raise ConfigError(f"{path}, table [{name}]:\n  {', '.join(sorted(reserved))}: not a key of a registry.")
    makers: dict[str, Callable[[], Backbone]] = {}
    for name in tables:
        place = f"{path}, table [{name}]"
        table = _extended(name, tables, others or {}, path)
        facts = {**table, "name": name, "folder": path.resolve().parent, "is_trusted": is_trusted}
        make: Callable[[], Backbone] = functools.partial(_backbone, place, facts)
        makers[name] = make if "hub" in table else _made(make())
    return Registry(makers)


def _made(backbone: Backbone) -> Callable[[], Backbone]:
    return lambda: backbone


def _backbone(place: str, facts: Table) -> Backbone:
    """A record; what the table of a preset leaves out is the preset's own."""
    try:
        if isinstance(preset := facts.get("hub"), str) and not {"mode", "input_size_px"} <= set(facts):
            facts = {**read_preset(preset, facts["folder"]).table, **facts}
        return Backbone(**facts)
    except (ConfigError, DownloadError) as error:
        raise type(error)(f"{place}: {error}") from error
    except ValidationError as error:
        raise config_error(place, Backbone, error) from error


def _extended(
    name: str, tables: Mapping[str, Table], others: Mapping[str, Backbone], path: Path, below: tuple[str, ...] = ()
) -> Table:
    """The table of an entry with what it takes from the entry that it extends."""
    table = tables[name]
    if EXTENDS not in table:
        return table
    own = {key: value for key, value in table.items() if key != EXTENDS}
    parent = str(table[EXTENDS])
    # An entry may extend the one of an earlier file that it replaces.
    if parent in tables and parent != name:
        if parent in below:
            raise ConfigError(f"{path}, table [{name}]:\n  extends: {' -> '.join((*below, name, parent))} is a circle.")
        taken = _extended(parent, tables, others, path, (*below, name))
    else:
        known = {*tables, *others} - {name} | {*others}
        try:
            check_known(f"backbone in {path}, table [{name}], {EXTENDS}", parent, known)
        except UnknownNameError as error:
            raise ConfigError(f"{error} If another file has it, name that file first: --registry OTHER.") from error
        taken = _table_of(others[parent], path)
    return {**_inherited(taken, own), **own}


def _inherited(taken: Table, own: Table) -> Table:
    """What an entry with these keys takes: a network of its own, or weights of its own, replace the other's whole."""
    dropped = set(COUNTED)
    if set(SOURCES) & set(own):
        dropped |= {*SOURCES, "weights", "preprocess"}
    if "weights" in own or "weights" in dropped:
        dropped |= {key for key in taken if key.startswith("weights_")}
    return {key: value for key, value in taken.items() if key not in dropped}


def _table_of(backbone: Backbone, path: Path) -> Table:
    """The table of an entry of another file; paths in it lead to the same files.

    Raises:
        ConfigError: A builder makes its network, and may not be imported, or lies beside the other file.
    """
    if backbone.has_own_builder and not backbone.is_trusted:
        raise ConfigError(
            f"{path} extends {backbone.name} of ./{REGISTRY_FILE}, whose builder is code. If you trust it, name that "
            f"file first: --registry {REGISTRY_FILE}"
        )
    table = backbone.model_dump(mode="json", exclude=set(OF_READER), exclude_unset=True, by_alias=True)
    if backbone.folder == path.resolve().parent:
        return table
    if backbone.has_own_builder and _is_only_in(backbone.folder, str(backbone.builder)):
        raise ConfigError(
            f"{path} extends {backbone.name}, whose builder {backbone.builder!r} is a module in {backbone.folder}: put "
            "both registry files there."
        )
    for key in ("model", "weights"):
        if str(table.get(key, "")).startswith(FILE):
            table[key] = f"{FILE}{backbone.folder / expanded(table[key].removeprefix(FILE))}"
    if backbone.hub is not None and not expanded(backbone.hub).is_absolute():
        table["hub"] = source_of(backbone.hub, backbone.folder)
    return table


def _is_only_in(folder: Path, builder: str) -> bool:
    """Whether the module of a builder is found in this folder and nowhere else."""
    name = re.split(r"[.:]", builder)[0]
    module = folder / name
    return (module.is_dir() or module.with_suffix(".py").is_file()) and importlib.util.find_spec(name) is None


def load_registry(extra: Sequence[Path] = ()) -> Registry:
    """The backbones of `./backbones.toml` (without one, those shipped) and of the files in `extra`.

    An entry of a later file replaces one of the same name. Builders named in `./backbones.toml` are imported only if
    `extra` holds that file too.
    """
    local = Path(REGISTRY_FILE)
    backbones = shipped_entries()
    if local.exists():
        backbones = read_registry(local, is_trusted=False, others=backbones)
    for path in extra:
        backbones |= read_registry(path, others=backbones)
    return backbones
