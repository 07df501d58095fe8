"""Long series of cases: the usual run tests a few of them, `tox run -e exhaustive` the others."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], few: Collection[Any]) -> list[Any]:
    """The cases for `parametrize`; all but those in `few` are exhaustive."""
    cases = list(cases)
    assert {*few} <= {*cases}
    return [case if case in few else pytest.param(case, marks=pytest.mark.exhaustive) for case in cases]
