"""The two lists of versions agree with the bounds of pyproject.toml."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = (project["dependencies"], *project["optional-dependencies"].values())
    found = [Requirement(one) for some in lists for one in some]
    return {canonicalize_name(one.name): one for one in found}


def pinned(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def test_the_lowest_versions_are_the_bounds():
    known, lowest = requirements(), pinned("constraints-lowest.txt")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]

    assert {canonicalize_name(Requirement(one).name) for one in needed} <= set(lowest)
    assert {name: str(known[name].specifier) for name in lowest} == {name: f">={lowest[name]}" for name in lowest}


@pytest.mark.parametrize("name", sorted(requirements()))
def test_the_known_good_version_is_within_the_bound(name: str):
    assert pinned("constraints.txt")[name] in requirements()[name].specifier
