"""A package that pip can bring without a network."""

import base64
import hashlib
import os
import zipfile
from pathlib import Path

import pytest


def write_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    """A wheel of `toy-weights` 1.2 that needs a package that does not exist and an old Python."""
    info = "toy_weights-1.2.dist-info"
    metadata = (
        "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.2\n"
        "Requires-Python: <3.0\nRequires-Dist: a-package-that-is-nowhere\n"
    )
    files = members | {
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir()
    path = folder / "toy_weights-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def find_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pip, on any machine, know the packages of this folder and no others."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
