"""What MkDocs does beside its own: pages take parts from the code, and pictures and a table of results/ join the site.

A line `{{ NAME }}` of a page becomes what the function of that name in `MADE` returns.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import columns
import commands
import names
import records

# A table that pages lead to.
COSTS = "results/costs/leaderboard.md"
PART = re.compile(r"^\{\{ (\w+) \}\}$", re.MULTILINE)
MADE = {
    "commands": commands.commands,
    "recipe_keys": records.recipe_keys,
    "registry_keys": records.registry_keys,
    "modes": names.modes,
    "strategies": names.strategies,
    "heads": names.head_names,
    "datasets": names.datasets,
    "recipes": names.recipes,
    "resizers": names.resizers,
    "backbones": names.backbones,
    "error_types": names.error_types,
    "verdicts": names.xray_verdicts,
    **{f"columns_of_{Path(name).stem}": partial(columns.columns_table, name) for name in columns.meanings()},
}


def fill(markdown: str) -> str:
    """A page with its parts from the code.

    Raises:
        KeyError: There is no part of that name.
    """
    return PART.sub(lambda found: MADE[found[1]](), markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs asks for the text of each page. Pictures of `results/plots` are in `plots/` of the site."""
    return fill(markdown).replace("](../../results/plots/", "](../plots/").replace(f"](../../{COSTS}", "](../costs.md")


def on_files(files: Any, config: Any) -> Any:
    """MkDocs asks for the files of the site."""
    from mkdocs.structure.files import File, InclusionLevel

    root = Path(config.config_file_path).parent
    hidden = InclusionLevel.NOT_IN_NAV
    files.append(File.generated(config, "costs.md", abs_src_path=str(root / COSTS), inclusion=hidden))
    for picture in sorted((root / "results" / "plots").glob("*.png")):
        files.append(File.generated(config, f"plots/{picture.name}", abs_src_path=str(picture)))
    return files
