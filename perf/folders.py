"""A folder of many small files: memory of a run beside that on a tenth of the files, and the time of a second run."""

import argparse
import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import Figures, Target, markdown_table, run_script, run_sweep, say, script_options
from PIL import Image

BACKBONE, SIZE_PX = "MobileNetV2-dogs", 32
N_FILES, QUICK_FILES, SHARE = 50_000, 500, 10
FILE_PX = 40
MOST_MIB, MOST_S = 300.0, 5.0


def write_files(folder: Path, n: int) -> None:
    """`n` small JPEG files in ten classes, no two alike."""
    rng = np.random.default_rng(0)
    for number in range(n):
        place = folder / f"class{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).resize((FILE_PX, FILE_PX), Image.Resampling.BICUBIC).save(content, "JPEG")
        (place / f"{number}.jpg").write_bytes(content.getvalue())


def measure_folders(options: argparse.Namespace) -> Figures:
    """Both folders."""
    n_files = QUICK_FILES if options.quick else N_FILES
    rows, numbers = [], {}
    for n in (n_files // SHARE, n_files):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            say(f"writing {n:,} files")
            write_files(folder / "files", n)
            sweep = {
                "datasets": f"folder:{folder / 'files'}",
                "backbones": BACKBONE,
                "input-size": SIZE_PX,
                "heads": "ridge",
            }
            first, second = (run_sweep(sweep, folder / "results", cache=folder / "cache") for _ in range(2))
            (manifest,) = (folder / "cache" / "features").glob("*/manifest.json")
            peaks_mib = {
                "peak_rss_mib": float(first.runs["peak_rss_mib"].max()),
                "extraction_peak_rss_mib": json.loads(manifest.read_text())["extraction"]["peak_rss_mib"],
            }
            numbers[n] = {"first_s": first.clock_s, "second_s": second.clock_s, **peaks_mib}
            peaks = [f"{mib:,.0f}" for mib in peaks_mib.values()]
            rows.append([f"{n:,}", f"{first.clock_s:.1f}", f"{second.clock_s:.2f}", *peaks])
            say(f"  {numbers[n]}")
    few, many = numbers.values()
    targets = (
        Target(
            f"MiB that extracting {n_files:,} files takes beyond {n_files // SHARE:,}",
            many["extraction_peak_rss_mib"] - few["extraction_peak_rss_mib"],
            at_most=MOST_MIB,
        ),
        Target(f"seconds of a second run on {n_files:,} files", many["second_s"], at_most=MOST_S),
    )
    table = markdown_table(
        ["files", "first run, s", "second run, s", "peak of the worker, MiB", "of it in extraction, MiB"], rows
    )
    text = (
        f"{table}\n\nJPEG files of {FILE_PX} px through {BACKBONE} at {SIZE_PX} px, by the public command, from an "
        "empty cache. The head needs all features in memory, several times while it is fitted; extraction does not."
    )
    return Figures("folders", "A folder of many files", text, {"files": numbers}, targets)


def main() -> int:
    return run_script(measure_folders, script_options(__doc__).parse_args())


if __name__ == "__main__":
    sys.exit(main())
