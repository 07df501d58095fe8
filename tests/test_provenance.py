"""What a row says of where it was made."""

from pathlib import Path

import pytest

from benchmark import provenance
from benchmark.provenance import cpu_name, cpu_vectors


@pytest.mark.parametrize(
    ("text", "processor"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: avx avx2 avx512f\n\nprocessor\t: 1\n", ("AMD EPYC", "AVX-512")),
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx avx2\n", ("AMD EPYC", "AVX2")),
        ("model name\t: AMD EPYC\nflags\t\t: avx avx2 avx512f avx512_bf16\n", ("AMD EPYC", "AVX-512 BF16")),
        ("model name\t: Old\nflags\t\t: fpu sse2\n", ("Old", "")),
        ("BogoMIPS\t: 243.75\nFeatures\t: fp asimd\n", ("aarch64", "")),
    ],
)
def test_processors_of_one_name_with_other_vectors_are_distinguished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, processor: tuple[str, str]
):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(provenance.platform, "processor", lambda: "")
    monkeypatch.setattr(provenance.platform, "machine", lambda: "aarch64")

    assert (cpu_name(), cpu_vectors()) == processor
