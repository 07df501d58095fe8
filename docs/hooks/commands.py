"""The reference of the commands, from the program itself."""

import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from markdown_tables import table

from benchmark.cli.app import app

# What options take, by the types of the parameters; a switch takes nothing.
KINDS = {int: "whole number", float: "number", str: "text", Path: "path", bool: ""}


def commands() -> str:
    """All commands with their arguments and options."""
    return "\n\n".join(part for name, command in all_commands() for part in _parts(name, command))


def all_commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by what is typed for it."""
    yield from _commands_below("benchmark", typer.main.get_command(app))


def _commands_below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for word, below in command.commands.items():
        yield from _commands_below(f"{name} {word}", below)


def _parts(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}"
    yield inspect.cleandoc(command.help)
    hints = get_type_hints(command.callback, include_extras=True)
    groups: dict[str, list[Any]] = {}
    for one in command.params:
        is_argument = one.param_type_name == "argument"
        if not one.hidden and one.name in hints:
            groups.setdefault("Argument" if is_argument else one.rich_help_panel or "Option", []).append(one)
    names = (_names(one) if one.required else f"[{_names(one)}]" for one in groups.get("Argument", ()))
    yield f"```text\n{' '.join([name, '[OPTIONS]', *names])}\n```"
    for group, some in sorted(groups.items(), key=lambda named: named[0] == "Option"):  # those that experts need last
        rows = ([f"`{_names(one)}`", _value(hints[one.name]), one.help or "", _default(one)] for one in some)
        yield table([group, "value", "meaning", "default"], rows)


def _names(parameter: Any) -> str:
    """An argument as the usage shows it, or all spellings of an option."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return ", ".join((*parameter.opts, *parameter.secondary_opts))


def _value(hint: Any) -> str:
    """What a parameter takes, such as `whole number, 1 to 1024`."""
    return KINDS[_inner(hint)] + _bounds(hint) + (", may be repeated" if "list[" in str(hint) else "")


def _bounds(hint: Any) -> str:
    """The range that `options.within` checks."""
    callback = next((one.callback for one in get_args(hint)[1:] if getattr(one, "callback", None)), None)
    limits = inspect.getclosurevars(callback).nonlocals if callback else {}
    if "low" not in limits:
        return ""
    low, high = limits["low"], limits["high"]
    return f", at least {low:,}" if high == math.inf else f", {low:,} to {high:,}"


def _inner(hint: Any) -> type:
    """The type itself of such as `Annotated[list[Path] | None, …]`."""
    inside = [one for one in get_args(hint) if one is not type(None)]
    return _inner(inside[0]) if inside else hint


def _default(parameter: Any) -> str:
    """The default as the help shows it."""
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    has_default = parameter.show_default and parameter.default not in (None, False, ())
    return f"`{parameter.default}`" if has_default and not callable(parameter.default) else ""
