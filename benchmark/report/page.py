"""The page: sections, style and scripts in one file that loads nothing from elsewhere."""

import base64
import gzip
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmark.analysis.formats import count_of
from benchmark.charts import Evidence
from benchmark.errors import BenchmarkError
from benchmark.escaping import printable_lines
from benchmark.report.figures import Figures
from benchmark.report.sections import dataset_section, days_of, environment_table, failures_table, weights_table

EXTRA = "itables"
MAX_NAMED = 3  # datasets in the title
FOLDER = Path(__file__).parent

GLOSSARY = {
    "Rank": "2–4 means: one setting is shown to be better, and all after the fourth are shown to be worse, by pairwise "
    "tests with Holm's correction. Within 2–4, the test images and seeds cannot decide. Where mode native was run, "
    "only it is ranked.",
    "Mode": "How the pixels are preprocessed; native is what the backbone was trained with.",
    "Strategy": "How the backbone is used. probe: it is frozen; finetune: its last layers are trained too; scratch: "
    "all of it is trained, from random weights. shots=5: on five images of each class.",
    "Head": "What is trained on top of the backbone.",
    "Published": "The figure of a report that the recipe repeats; Difference: measured less published.",
    "Accuracy": "Share of test images named correctly, mean of the seeds ± their standard deviation.",
    "Chance": "Accuracy of always naming the most frequent class.",
    "Balanced accuracy": "Mean over the classes of the share of their images that is named correctly.",
    "Macro F1": "Mean over the classes of the harmonic mean of precision and recall.",
    "95 % interval": "Wilson's, of that mean at the size of the test set.",
    "Top-5": "Share of test images whose class is among the five most likely ones.",
    "Log loss": "Mean of -log(probability of the true class).",
    "Calibration error": "Mean distance between confidence and accuracy, in 15 bins of confidence.",
    "Params, M": "Millions of parameters, head included.",
    "Accuracy / M": "Accuracy per million parameters; above chance / M: the same after chance is subtracted.",
    "Wall, s": "Loading, building, extracting, training and scoring, each as measured when it was really done.",
    "Images/s": "Steady rate of the extraction, without its first batch.",
    "Latency, ms": "Median time of one image alone, from pixels to features.",
    "Peak MiB": "Highest resident memory of the worker process.",
}


def make_report(paths: Sequence[Path], *, where: Mapping[str, str] | None = None, top: int | None = None) -> str:
    """Everything that ledgers say, as one HTML document.

    Args:
        paths: Ledger folders, or folders of them.
        where: Only the rows with these values or patterns; see `choosing.rows_where`.
        top: Only the best settings; see `Evidence`.

    Raises:
        LedgerError: There is no ledger, or one cannot be read.
        UnknownNameError: No row is as `where` wants it.
        BenchmarkError: The extra `report` is not installed, or the ledgers have no row.
    """
    from benchmark import __version__

    if find_spec(EXTRA) is None:
        raise BenchmarkError(
            f"The report needs {EXTRA}, which is not installed: pip install 'backbone-benchmark[report]'."
        )
    evidence = Evidence.load(paths, where=where, top=top)
    if evidence.runs.empty:
        raise BenchmarkError(
            f"The ledgers in {', '.join(map(str, paths))} have no row to report: "
            "run a sweep into them with 'benchmark run'."
        )
    figures = Figures()
    datasets = [dataset_section(evidence, dataset, figures) for dataset in evidence.datasets]
    early, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("early.js", "report.js"))
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_shown,
    )
    page: str = environment.get_template("template.html.j2").render(
        title=_title(evidence.datasets),
        subtitle=_subtitle(evidence),
        version=__version__,
        policy=_policy([early, script]),
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        early_script=early,
        script=script,
        datasets=datasets,
        failures=failures_table(evidence),
        environment=environment_table(evidence),
        weights=weights_table(evidence),
        glossary=GLOSSARY,
        command=_command(evidence),
        shapes="".join(figures.shapes.values()),
        bundles=_bundles(),
    )
    return page


def _title(datasets: Sequence[str]) -> str:
    if not datasets:
        return "Benchmark"
    return f"Benchmark on {', '.join(datasets) if len(datasets) <= MAX_NAMED else count_of(len(datasets), 'dataset')}"


def _command(evidence: Evidence) -> str:
    where = [word for column, value in evidence.where.items() for word in ("--where", f"{column}={value}")]
    top = [] if evidence.top is None else ["--top", str(evidence.top)]
    return shlex.join(["benchmark", "report", *(path.as_posix() for path in evidence.paths), *where, *top])


def _subtitle(evidence: Evidence) -> str:
    parts = [
        count_of(len(evidence.datasets), "dataset"),
        count_of(len(evidence.ranking), "setting"),
        count_of(len(evidence.done), "finished run"),
    ]
    parts += [f"only {column} {value}" for column, value in evidence.where.items()]
    if evidence.top is not None:
        parts.append(f"only the best {evidence.top} of a dataset, in all modes")
    if len(evidence.failed):
        parts.append(f"{len(evidence.failed)} failed")
    return " · ".join(filter(None, [*parts, days_of(evidence.runs)]))


def _shown(value: Any) -> Any:
    """A value of the template; in a text, what a page has no place for is made visible."""
    return printable_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(scripts: list[str]) -> str:
    """Allows the page its own scripts only, so that even a name that got past the escaping would not run."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed} blob:; style-src 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )


def _bundles() -> Mapping[str, str]:
    """JavaScript and CSS of the library, in base64 of gzip."""
    import itables.options

    tables = Path(itables.options.dt_bundle)
    return {"tables-css": _packed(tables.with_suffix(".css").read_bytes()), "tables-js": _packed(tables.read_bytes())}


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()
