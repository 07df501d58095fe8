"""From a real colour set to an exported model: which backbone tells nine groups of emoji apart?

The images come from the npm package emoji-datasource-google, which `npm pack` downloads (75 MB); an unpacked copy
is taken with `--package`. The choice takes up to the ten minutes of `--budget`; the download, the export and the start
of the workers come on top. If it is interrupted, the same command goes on where it was.

    python examples/emoji.py
    python examples/emoji.py --package FOLDER --budget 300 --out emoji

In the folder `--out` it leaves the images, one folder for each group; the results; and the model `emoji.keras`.
"""

import argparse
import json
import shutil
import subprocess
import tarfile
from collections import defaultdict
from pathlib import Path

import benchmark

PACKAGE = "emoji-datasource-google@16.0.0"
# Patches of skin and hair, which are no emoji by themselves.
LEFT_OUT = "Component"
# Images of each group that nothing is chosen or trained on, to try the exported model with.
N_NEW = 2


def main() -> None:
    """Download, sort, choose, export and predict."""
    options = read_options()
    package = options.package or download(options.out)
    images, new = sort_images(package, options.out, options.images)

    results = options.out / "results"
    answer = benchmark.recommend(
        f"folder:{images}",
        budget_s=options.budget,
        input_size_px=options.input_size,
        backbones=options.backbones,
        registry=options.registry,
        results=results,
    )
    print(*answer["sentences"], sep="\n")

    model = options.out / "emoji.keras"
    made = benchmark.export(answer["run_id"], out=model, results=results, registry=options.registry)
    print(f"{made['file']}: answers as the run did, on {made['n_checked']} test images.")

    answers = benchmark.predict(model, [new]).set_index("file")
    groups = answers.drop(columns="fault").astype(float)
    for file, group, share in zip(groups.index, groups.idxmax(axis=1), groups.max(axis=1), strict=True):
        print(f"{Path(file).parent.name:18} {Path(file).name:24} -> {group} ({share:.0%})")


def read_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help="an unpacked copy of the npm package; downloaded if not given")
    parser.add_argument("--out", type=Path, default=Path("emoji"), help="the folder for all that is made")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for the choice")
    parser.add_argument("--images", type=int, help="at most so many images of each group")
    parser.add_argument("--input-size", type=int, default=96, help="side of the networks' input, in px")
    parser.add_argument("--backbones", nargs="*", help="names or patterns; all if not given")
    parser.add_argument("--registry", nargs="*", type=Path, default=[], help="files of further backbones")
    return parser.parse_args()


def download(folder: Path) -> Path:
    """The package, unpacked into a folder."""
    package = folder / "package"
    if not package.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", PACKAGE, "--silent"]
        name = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
        with tarfile.open(folder / name) as archive:
            archive.extractall(folder, filter="data")
    return package


def sort_images(package: Path, folder: Path, most: int | None) -> tuple[Path, Path]:
    """Copy the images into one folder for each group; a few of each go to another place.

    Skin tones are left out: five copies of one drawing would stand in the training and in the test split.

    Args:
        package: The unpacked package.
        folder: Where the two folders are made.
        most: How many images of each group there are at most; None for all.

    Returns:
        The folder of the images to choose and train on, and the folder of the new ones.
    """
    names = defaultdict(list)
    for emoji in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
        if emoji["has_img_google"] and emoji["category"] != LEFT_OUT:
            names[emoji["category"]].append(emoji["image"])
    images, new = folder / "images", folder / "new"
    for group, files in names.items():
        for number, file in enumerate(files[: None if most is None else most + N_NEW]):
            place = (new if number < N_NEW else images) / group
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / "img" / "google" / "64" / file, place)
    return images, new


if __name__ == "__main__":
    main()
