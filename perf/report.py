"""Seconds to make the report of a large ledger, its size, and seconds until Chromium has opened it from disk.

Needs Chromium and its driver; on Debian, `apt-get install chromium chromium-driver`.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measuring import Figures, Target, markdown_table, run_script, say, script_options
from reading import read, write_ledger
from selenium import webdriver

from benchmark.ledger import COLUMNS, DONE, RUNS, SCHEMA
from benchmark.tidycsv import append_rows

MODES = ("native", "unit", "raw", "tf", "caffe")
HEADS = ("linear", "ridge", "knn", "dense")
MOST_MIB = 8.0
MOST_OPENING_S = 3.0
PATIENCE_S = 120.0
BYTES_A_MIB = 2**20


@dataclass(frozen=True)
class Opening:
    """Seconds from the start of the navigation in a browser; medians of the rounds.

    Attributes:
        painted_s: Until the first content was on the screen.
        loaded_s: Until the page was loaded: text, tables and charts can be read.
        ready_s: Until every table can be sorted.
    """

    painted_s: float
    loaded_s: float
    ready_s: float


@dataclass(frozen=True)
class Report:
    """A report made and opened."""

    ledger: str
    make_s: float
    peak_rss_mib: float
    size_mib: float
    opening: Opening


def write_settings(folder: Path, n_rows: int) -> None:
    """A ledger in which every row is a setting of its own, which gives the longest page."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number in range(n_rows):
        rest, mode = divmod(number, len(MODES))
        backbone, head = divmod(rest, len(HEADS))
        accuracy, params = float(rng.uniform(0.3, 0.95)), 1_000_000 * (1 + backbone)
        phases = dict(zip(("load_s", "build_s", "extract_s", "train_s", "eval_s"), rng.uniform(1, 20, 5), strict=True))
        rows.append(
            {
                "schema": SCHEMA, "run_id": f"run{number}", "cell_key": f"key{number}", "status": DONE,
                "backbone": f"Net{backbone}", "dataset": "drawn", "mode": MODES[mode], "strategy": "probe",
                "head": HEADS[head], "input_size_px": 224, "resize": "bilinear", "crop": "squash",
                "precision": "float32", "seed": 0, "n_test": 10_000, "n_classes": 10, "chance": 0.1,
                "accuracy": accuracy, "params_total": params, "efficiency": 1e6 * accuracy / params,
                "efficiency_above_chance": 1e6 * (accuracy - 0.1) / params, "wall_s": sum(phases.values()),
                "images_per_s": 100.0 + number, "peak_rss_mib": 1000.0 + number, **phases,
            }
        )  # fmt: skip
    folder.mkdir(parents=True)
    append_rows(folder / RUNS, COLUMNS[RUNS], rows)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser with empty caches."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        raise SystemExit("Chromium or its driver is not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    one = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield one
    finally:
        one.quit()


def open_page(path: Path) -> dict[str, float]:
    """Milliseconds by the browser's own clock, in a browser just started."""
    with chromium() as browser:
        browser.get(path.as_uri())
        end = time.monotonic() + PATIENCE_S
        while not browser.execute_script("return 'ready' in document.documentElement.dataset"):
            if time.monotonic() > end:
                raise RuntimeError(f"{path} was not ready after {PATIENCE_S:.0f} s")
            time.sleep(0.05)
        timed: dict[str, float] = browser.execute_script(
            "return {painted: performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            " loaded: performance.getEntriesByType('navigation')[0].loadEventEnd,"
            " ready: performance.getEntriesByName('ready')[0].startTime}"
        )
    return timed


def measure_report(ledger: str, folder: Path, rounds: int) -> Report:
    """Make the report of the ledgers below a folder and open it, each time in a new browser."""
    say(f"benchmark report: {ledger}")
    made = read(("report", "--out", "report.html"), folder)
    path = folder / "report.html"
    say("opening it")
    timed = [open_page(path) for _ in range(rounds)]
    painted, loaded, ready = (median(one[name] for one in timed) / 1000 for name in ("painted", "loaded", "ready"))
    size_mib = path.stat().st_size / BYTES_A_MIB
    return Report(ledger, made.seconds, made.peak_rss_mib, size_mib, Opening(painted, loaded, ready))


def measure(options: argparse.Namespace) -> Figures:
    """The report of a ledger of several seeds with predictions, and of one of as many settings."""
    reports = []
    with tempfile.TemporaryDirectory() as name:
        seeds, settings = Path(name) / "seeds", Path(name) / "settings"
        write_ledger(seeds / "results" / "drawn", options.rows, options.test_images)
        write_settings(settings / "results" / "drawn", options.rows)
        reports.append(measure_report(f"{options.rows:,} rows, five seeds each", seeds, options.rounds))
        reports.append(measure_report(f"{options.rows:,} rows, each a setting", settings, options.rounds))
    targets = [
        target
        for report in reports
        for target in (
            Target(f"MiB of the report of {report.ledger}", report.size_mib, at_most=MOST_MIB),
            Target(f"seconds to open it ({report.ledger})", report.opening.loaded_s, at_most=MOST_OPENING_S),
        )
    ]
    rows = [
        [
            report.ledger, f"{report.make_s:.1f}", f"{report.peak_rss_mib:,.0f}", f"{report.size_mib:.1f}",
            *(f"{seconds:.2f}" for seconds in asdict(report.opening).values()),
        ]
        for report in reports
    ]  # fmt: skip
    header = ["ledger", "to make, s", "peak, MiB", "size, MiB", "painted, s", "loaded, s", "ready, s"]
    text = (
        f"{markdown_table(header, rows)}\n\nOpened from disk by headless Chromium, started anew for each of "
        f"{options.rounds} rounds; medians."
    )
    numbers = {"n_rows": options.rows, "rounds": options.rounds, "reports": [asdict(report) for report in reports]}
    return Figures("report", "The report", text, numbers, tuple(targets))


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--rows", type=int, help="of the ledgers; 1000 if absent")
    parser.add_argument("--test-images", type=int, help="of the dataset with predictions; 10000 if absent")
    parser.add_argument("--rounds", type=int, help="in which the pages are opened; 5 if absent")
    options = parser.parse_args()
    options.rows = options.rows or (40 if options.quick else 1000)
    options.test_images = options.test_images or (500 if options.quick else 10_000)
    options.rounds = options.rounds or (1 if options.quick else 5)
    return run_script(measure, options)


if __name__ == "__main__":
    sys.exit(main())
