"""`benchmark recommend` beside the exhaustive sweep of the same backbones: its choice and its cost, on other subsets.

The backbones are those with real weights at several sizes, and networks of Keras Applications with random weights.
Subsets overlap, and features of the images that they share are extracted once. So the cost of a command is what it
would be with an empty cache: for the work in its rows, the seconds of that work when it was really done; for each job,
the seconds that its network takes to be ready, measured apart; and its own clock beyond the rows.
"""

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tomli_w
from measuring import Figures, Target, markdown_table, measured_once, run_script, run_sweep, say, script_options
from numpy.typing import NDArray
from PIL import Image

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import load_runs
from benchmark.analysis.significance import ALPHA
from benchmark.backbones.sources import weights_file
from benchmark.datasets import load_dataset
from benchmark.registry import load_registry
from benchmark.storage import CACHE_VARIABLE

NAME = "recommend"
# The sizes of the backbones with real weights; VGG16 at 224 px would take as long as all others together.
SIZES_PX = {"MobileNetV2-dogs": (96, 160, 224), "VGG16-hed": (48, 96)}
QUICK_SIZES_PX = {"MobileNetV2-dogs": (32, 64)}
DECOYS = (
    "MobileNet",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "NASNetMobile",
    "EfficientNetB0",
    "DenseNet121",
    "ResNet50",
)
QUICK_DECOYS = ("MobileNet",)
# Size of the decoys in a quick run; otherwise they run at their usual size, as in `recommend` without --input-size.
QUICK_PX = 64
# Images that the subsets of a dataset are drawn from, if it has as many; and the largest share of them in a subset.
N_DRAWN_FROM, LARGEST_SHARE = 8000, 0.75
SEEDS = (0, 1, 2)
LEAST_SHARE = 19 / 20
MOST_COST = 1 / 3


@dataclass(frozen=True)
class Repeat:
    """What both commands found on one subset.

    Attributes:
        images: Which images.
        number: Of the subset.
        chosen: By the race.
        best: Of the exhaustive sweep.
        is_right: Whether the exhaustive sweep cannot tell the two apart.
        points_lost: Accuracy of the best minus that of the chosen one, both of the exhaustive sweep, in points.
        race_s: Cost of the race in seconds.
        sweep_s: Cost of the sweep.
    """

    images: str
    number: int
    chosen: str
    best: str
    is_right: bool
    points_lost: float
    race_s: float
    sweep_s: float


def write_registry(path: Path, *, is_quick: bool) -> list[str]:
    """A registry file of all contestants; their names."""
    shipped, tables = load_registry(), {}
    for name, sizes in (QUICK_SIZES_PX if is_quick else SIZES_PX).items():
        for size_px in sizes:
            facts = shipped[name].model_dump(
                mode="json", exclude={"name", "folder", "is_trusted"}, exclude_defaults=True, by_alias=True
            )
            scale = (size_px / shipped[name].input_size_px) ** 2
            flops_g = (shipped[name].flops_g or 0.0) * scale
            tables[f"{name}-{size_px}px"] = {**facts, "input_size_px": size_px, "flops_g": flops_g}
    for name in QUICK_DECOYS if is_quick else DECOYS:
        one = shipped[name]
        size_px = QUICK_PX if is_quick else one.input_size_px
        tables[f"{name}-random"] = {
            "application": name,
            "preprocess": one.preprocess,
            "mode": one.native_mode,
            "input_size_px": size_px,
            "flops_g": (one.flops_g or 0.0) * (size_px / one.input_size_px) ** 2,
            "params_backbone": one.params_backbone,
            "weights": "random",
        }
    path.write_text(tomli_w.dumps(tables))
    return list(tables)


def write_subset(name: str, folder: Path, n_images: int, rng: np.random.Generator) -> None:
    """A folder per class of images that are drawn from the first ones of a dataset."""
    dataset = load_dataset(name)
    for index in draw(len(dataset), n_images, rng):
        place = folder / dataset.class_names[dataset.labels[index]].replace("/", "-")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.images.read([index])[0].squeeze()).save(place / f"{index}.png")


def draw(n_present: int, n_images: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The indices of a subset."""
    n_drawn_from = min(n_present, N_DRAWN_FROM)
    return rng.choice(n_drawn_from, min(n_images, int(LARGEST_SHARE * n_drawn_from)), replace=False)


def write_noise(folder: Path) -> None:
    """The least images that can be trained on."""
    rng = np.random.default_rng(0)
    for number in range(24):
        place = folder / f"class {number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(place / f"{number}.png")


def measure_ready_s(work: Path, cache: Path, *, is_quick: bool) -> dict[str, float]:
    """By backbone, the seconds of a job that are neither reading, extracting, training nor testing.

    They are for building the network, making it ready for its engine, and measuring its latency.
    """
    write_noise(work / "images")
    registry = work / "contestants.toml"
    names = write_registry(registry, is_quick=is_quick)
    chosen = {"datasets": f"folder:{work / 'images'}", "backbones": ",".join(names), "registry": registry}
    runs = run_sweep(chosen, work / "results", cache=cache).runs.set_index("backbone")
    ready_s = runs["elapsed_s"] - runs[["load_s", "extract_s", "train_s", "eval_s"]].sum(axis=1)
    return {str(name): float(seconds) for name, seconds in ready_s.items()}


def write_emoji(package: Path, folder: Path, n_images: int, rng: np.random.Generator) -> None:
    """A folder per category of emoji that are drawn from the unpacked npm package."""
    entries = [
        (entry["category"].replace("/", "-"), package / "img/google/64" / entry["image"])
        for entry in json.loads((package / "emoji.json").read_text(encoding="utf-8"))
        if entry["category"] != "Component"
    ]
    present = [(category, path) for category, path in entries if path.exists()]
    for index in draw(len(present), n_images, rng):
        category, path = present[index]
        (folder / category).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / category)


def compare_on_subset(
    write: Callable[[Path, int, np.random.Generator], None],
    options: argparse.Namespace,
    number: int,
    work: Path,
    cache: Path,
    ready_s: Mapping[str, float],
) -> dict[str, object]:
    """Both commands on other images for each number."""
    write(work / "images", options.images, np.random.default_rng(number))
    return compare_on(work / "images", work, cache, ready_s, is_quick=options.quick)


def compare_on(
    images: Path, work: Path, cache: Path, ready_s: Mapping[str, float], *, is_quick: bool
) -> dict[str, object]:
    """Both commands on the images of a folder: the fields of `Repeat` that they decide."""
    registry = work / "contestants.toml"
    names = write_registry(registry, is_quick=is_quick)
    race_clock_s, chosen = run_race(images, registry, names, work, cache)
    sweep = run_sweep(
        {
            "datasets": f"folder:{images}", "backbones": ",".join(names), "registry": registry,
            "seeds": ",".join(map(str, SEEDS)),
        },
        work / "sweep", cache=cache,
    )  # fmt: skip
    runs = load_runs([work / "sweep"])
    board = make_leaderboard(runs, correctness=Correctness(runs)).set_index("backbone")
    return {
        "chosen": chosen,
        "best": str(board.index[0]),
        "is_right": not board.loc[chosen, "p_best"] < ALPHA,
        "points_lost": 100 * float(board["accuracy"].iloc[0] - board.loc[chosen, "accuracy"]),
        "race_s": cost_s(load_runs([work / "race"]), race_clock_s, ready_s),
        "sweep_s": cost_s(runs, sweep.clock_s, ready_s),
    }


def cost_s(runs: pd.DataFrame, clock_s: float, ready_s: Mapping[str, float]) -> float:
    """Seconds of a command that found nothing in the cache.

    Args:
        runs: Its rows. Features of a larger set hold the cost of the smaller ones.
        clock_s: Seconds of its process.
        ready_s: See `measure_ready_s`.
    """
    extract_s = runs.groupby("backbone")["extract_s"].max().sum()
    jobs = runs.drop_duplicates(["backbone", "dataset_fingerprint"])
    of_jobs = jobs["load_s"].sum() + jobs["backbone"].map(ready_s).sum()
    of_heads = runs[["train_s", "eval_s"]].to_numpy().sum()
    return float(extract_s + of_jobs + of_heads + clock_s - runs["elapsed_s"].sum())


def run_race(images: Path, registry: Path, names: list[str], work: Path, cache: Path) -> tuple[float, str]:
    """Seconds of `benchmark recommend`, with more time than it can use, and the backbone that it says to take."""
    command = [sys.executable, "-m", "benchmark", "recommend", f"folder:{images}", "--json", "--budget", "24h"]
    command += ["--registry", str(registry), "--backbones", ",".join(names), "--seeds", str(len(SEEDS))]
    command += ["--results", str(work / "race")]
    variables = {**os.environ, CACHE_VARIABLE: str(cache)}
    started = time.perf_counter()
    answer = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {answer.returncode}:\n{answer.stderr}")
    return time.perf_counter() - started, str(json.loads(answer.stdout)["chosen"])


def make_cache(folder: Path) -> Path:
    """A cache that holds nothing but the weights files."""
    registry = load_registry()
    for name in SIZES_PX:
        path = weights_file(registry[name])
        assert path is not None, f"{name} has a weights file"
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.parent.name)
    return folder


def repeats(options: argparse.Namespace) -> Iterator[Repeat]:
    """The subsets in turn, each of other images."""
    writers: dict[str, Callable[[Path, int, np.random.Generator], None]] = {
        name: lambda folder, n, rng, name=name: write_subset(name, folder, n, rng)
        for name in ("fashion_mnist", "digits")
    }
    if options.emoji is not None:
        writers["emoji"] = lambda folder, n, rng: write_emoji(options.emoji, folder, n, rng)
    with tempfile.TemporaryDirectory() as home:
        cache = make_cache(Path(home, "cache"))
        measure_ready = functools.partial(measure_ready_s, Path(home, "ready"), cache, is_quick=options.quick)
        ready_s = measured_once(NAME, {"what": "ready", "is_quick": options.quick}, measure_ready)
        say(f"  seconds until a network is ready: {ready_s}")
        for number in range(options.repeats):
            images = list(writers)[number % len(writers)]
            what = {"images": images, "number": number, "n_images": options.images, "is_quick": options.quick}
            work = Path(home, str(number))
            do = functools.partial(compare_on_subset, writers[images], options, number, work, cache, ready_s)
            found = Repeat(images, number, **measured_once(NAME, what, do))
            say(f"  {found}")
            yield found


def measure(options: argparse.Namespace) -> Figures:
    """All repeats."""
    found = list(repeats(options))
    share = sum(one.is_right for one in found) / len(found)
    names = dict.fromkeys(one.images for one in found)
    targets = (
        Target(
            "share of subsets on which the choice is the best or not told apart from it", share, at_least=LEAST_SHARE
        ),
        Target("cost of the races over that of the sweeps", _cost(found), at_most=MOST_COST),
    )
    rows = [
        [
            f"{one.images} {one.number}", one.chosen, one.best, "yes" if one.is_right else "NO",
            f"{one.points_lost:.1f}", f"{one.race_s:.0f}", f"{one.sweep_s:.0f}", f"{one.race_s / one.sweep_s:.2f}",
        ]
        for one in found
    ]  # fmt: skip
    by_images = ", ".join(f"{images} {_cost([one for one in found if one.images == images]):.2f}" for images in names)
    header = ["subset", "chosen", "best", "not told apart", "points lost", "race, s", "sweep, s", "race / sweep"]
    text = (
        f"At most {options.images:,} images in each subset, and three quarters of those that it is drawn from; "
        f"{len(SEEDS)} seeds. The best is that of the exhaustive sweep, on test images.\n\n"
        f"{markdown_table(header, rows)}\n\nThe cost of all races over that of all sweeps: {by_images}."
    )
    title = "The recommendation beside the exhaustive sweep"
    return Figures(NAME, title, text, {"repeats": [asdict(one) for one in found]}, targets)


def _cost(found: Sequence[Repeat]) -> float:
    """Of the races, over that of the sweeps."""
    return sum(one.race_s for one in found) / sum(one.sweep_s for one in found)


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--emoji", type=Path, help="folder of the unpacked npm package emoji-datasource-google")
    parser.add_argument("--repeats", type=int, help="subsets; 20 if absent")
    parser.add_argument("--images", type=int, help="images of a subset, if there are as many; 6000 if absent")
    options = parser.parse_args()
    options.repeats = options.repeats or (1 if options.quick else 20)
    options.images = options.images or (600 if options.quick else 6000)
    return run_script(measure, options)


if __name__ == "__main__":
    sys.exit(main())
