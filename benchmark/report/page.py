"""The page: sections, style and scripts put together in one file that loads nothing from elsewhere."""

import base64
import gzip
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmark.analysis.commands import Commands
from benchmark.charts.labels import count_of
from benchmark.errors import BenchmarkError
from benchmark.report.charts import DARK_COLOURS
from benchmark.report.material import Material
from benchmark.report.sections import dataset_section, environment_table, failures_table, weights_table

EXTRA = {"plotly": "plotly", "itables": "itables"}
# So many datasets the title names.
MAX_NAMED = 3
FOLDER = Path(__file__).parent

GLOSSARY = {
    "Rank": "A range such as 2–4 is all that the test images say: McNemar's test on the saved predictions, corrected "
    "for all pairs, shows one setting to be better and all but four to be worse.",
    "Mode": "What is done to the pixels first; native is what the backbone was trained with.",
    "Strategy": "How the backbone is used: probe, where it is frozen and is the plain case; finetune, where its last "
    "layers are trained too; scratch, where all of it is, from random weights.",
    "Head": "What is trained on top of the backbone.",
    "Published": "The figure of a report that the recipe repeats; Difference is what was measured less that.",
    "Accuracy": "Share of test images named correctly, mean of the seeds ± their standard deviation.",
    "95 % interval": "Wilson's, of that mean at the size of the test set.",
    "Params, M": "Millions of parameters, head included.",
    "Accuracy / M": "Accuracy over millions of parameters; above chance / M: the same after chance is taken off.",
    "Wall, s": "Loading, building, extracting, training and scoring, each as measured when it was really done.",
    "Images/s": "Steady rate of the extraction, its first batch left out.",
    "Peak MiB": "Highest resident memory of the worker process.",
}


def render_page(material: Material) -> str:
    """The whole report as one HTML document.

    Raises:
        BenchmarkError: The extra `report` is not installed.
    """
    check_extra()
    commands = Commands(material.runs)
    datasets = [dataset_section(material, dataset, commands) for dataset in material.datasets]
    early, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("early.js", "report.js"))
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["inert"] = _inert
    page: str = environment.get_template("template.html.j2").render(
        title=_title(material.datasets),
        subtitle=_subtitle(material),
        version=_version(),
        policy=_policy([early, script]),
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        early_script=early,
        script=script,
        datasets=datasets,
        failures=failures_table(material),
        environment=environment_table(material),
        weights=weights_table(material),
        glossary=GLOSSARY,
        command=shlex.join(["benchmark", "report", *(path.as_posix() for path in material.paths)]),
        dark_colours=json.dumps(DARK_COLOURS),
        bundles=_bundles(),
    )
    return page


def check_extra() -> None:
    """Refuse to go on without the libraries of the extra.

    Raises:
        BenchmarkError: One is not installed.
    """
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise BenchmarkError(
            f"The report needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'backbone-benchmark[report]'."
        )


def _version() -> str:
    from benchmark import __version__

    return __version__


def _title(datasets: Sequence[str]) -> str:
    if not datasets:
        return "Benchmark"
    return f"Benchmark on {', '.join(datasets) if len(datasets) <= MAX_NAMED else count_of(len(datasets), 'dataset')}"


def _subtitle(material: Material) -> str:
    days = sorted(set(material.runs["started_utc"].str[:10]) - {""})
    parts = [
        count_of(len(material.datasets), "dataset"),
        count_of(len(material.board), "setting"),
        count_of(len(material.done), "finished run"),
    ]
    if len(material.failed):
        parts.append(f"{len(material.failed)} failed")
    if days:
        parts.append(" to ".join(dict.fromkeys((days[0], days[-1]))))
    return " · ".join(parts)


def _inert(text: str) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element."""
    return Markup(text.replace("<", "\\u003c"))


def _policy(scripts: list[str]) -> str:
    """What the page may load and run: itself. Even a name that got past the escaping would not run."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed} blob:; style-src 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )


def _bundles() -> Mapping[str, str]:
    """The libraries' JavaScript and CSS, in base64 of gzip."""
    import itables.options
    from plotly.offline import get_plotlyjs

    tables = Path(itables.options.dt_bundle)
    return {
        "tables-css": _packed(tables.with_suffix(".css").read_bytes()),
        "tables-js": _packed(tables.read_bytes()),
        "charts-js": _packed(get_plotlyjs().encode()),
    }


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()
