"""A benchmark harness for pretrained image backbones, with the preprocessing as a swept axis.

The functions do what the commands of the same names do, and show their progress on standard error; the workers are
processes of their own. What a ledger says, as pandas tables:

>>> from benchmark import ablation, leaderboard, load_ledger
>>> runs = load_ledger("results/fashion_mnist")
>>> leaderboard(runs).loc[0, "backbone"]
'MobileNetV2-dogs'
>>> ablation(runs).loc[0, ["backbone", "mode", "head", "verdict"]].tolist()
['VGG16-hed', 'unit', 'dense', 'harmful']
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd

    from benchmark.actions.keywords import ImageOptions, SweepOptions

__version__ = "0.1.0"
__all__ = ["ablation", "export", "inspect", "leaderboard", "load_ledger", "predict", "recommend", "run"]

# The functions import what they need themselves, so that `benchmark --help` need not wait for pandas.


def run(
    recipe: str | Path | None = None,
    *,
    name: str = "custom",
    results: str | Path = "results",
    registry: Sequence[str | Path] = (),
    where: Mapping[str, str] | None = None,
    when: str = "missing",
    jobs: int = 1,
    timeout_s: float | None = None,
    deterministic: bool | None = None,
    keep_weights: bool = False,
    **options: "Unpack[SweepOptions]",
) -> "pd.DataFrame":
    """Run the missing cells of a recipe, or of the lists given as options, as `benchmark run` does.

    Args:
        recipe: A recipe file or the name of a shipped one; `demo` if there are no options either.
        name: Of the sweep if no recipe is given.
        results: The folder of the results of all sweeps.
        registry: Files of further backbones.
        where: Only cells with these values or shell patterns in columns of the ledger.
        when: Which cells: `missing` (stale ones too), `failed` or `always`.
        jobs: Backbones to run at the same time.
        timeout_s: Seconds that a cell may take; None = no limit.
        deterministic: Whether TensorFlow uses deterministic operations only; None = where it costs nothing.
        keep_weights: Whether what is trained goes into the ledger.
        options: Keys of a recipe, such as `backbones` and `datasets`; see `benchmark.recipes.Grid`. They replace those
            of the recipe.

    Returns:
        The last row of each of these cells, as `load_ledger` returns it; of failed ones, `status` is `failed`.

    Raises:
        BenchmarkError: A name is unknown, a dataset or network cannot be used, or the ledger cannot be written.
        KeyboardInterrupt: Finished rows are kept, and the same call goes on from there.
    """
    from benchmark.actions.keywords import as_keys
    from benchmark.actions.sweeps import find_sweep, run_sweep
    from benchmark.processes.execution import Execution
    from benchmark.registry import load_registry

    sweep = find_sweep(None if recipe is None else str(recipe), as_keys(options), name)
    execution = Execution(jobs, timeout_s, deterministic, keep_weights=keep_weights)
    known = load_registry([Path(path) for path in registry])
    return run_sweep(sweep, known, Path(results), execution, when=when, where=where)


def recommend(
    dataset: str,
    *,
    budget_s: float = 600.0,
    max_params: float | None = None,
    max_latency_ms: float | None = None,
    min_images_per_s: float | None = None,
    max_model_mib: float | None = None,
    backbones: str | Sequence[str] | None = None,
    n_seeds: int = 3,
    results: str | Path = "results",
    registry: Sequence[str | Path] = (),
    **options: "Unpack[ImageOptions]",
) -> dict[str, Any]:
    """Say which backbone to take for a dataset, as `benchmark recommend` does.

    Args:
        dataset: Its name, such as `folder:pets`.
        budget_s: Seconds for all cells.
        max_params: Of the backbone.
        max_latency_ms: Of one image, in milliseconds.
        min_images_per_s: Images per second.
        max_model_mib: Of the weights.
        backbones: Names or shell patterns; None for all.
        n_seeds: Number of validation splits.
        results: The folder of the results; the rows are in its ledger `recommend`.
        registry: Files of further backbones.
        options: How images are chosen and prepared; see `benchmark.recipes.Grid`.

    Returns:
        `sentences` (the answer in words), `chosen` (the backbone's name), `backbones` (accuracies in 0..1 and costs of
        each), `cut` and `untried` (with reasons), `rounds`, and the seconds.

    Raises:
        BenchmarkError: No backbone keeps the limits, or the budget is too small for one.
    """
    from benchmark.actions.keywords import as_keys
    from benchmark.actions.races import recommend_backbone
    from benchmark.registry import load_registry

    answer, _ = recommend_backbone(
        {**as_keys(options), "datasets": (dataset,)},
        load_registry([Path(path) for path in registry]),
        Path(results),
        patterns=(backbones,) if isinstance(backbones, str) else backbones,
        budget_s=budget_s,
        limits={
            "params_backbone": max_params, "model_mib": max_model_mib, "latency_ms": max_latency_ms,
            "images_per_s": min_images_per_s,
        },
        n_seeds=n_seeds,
    )  # fmt: skip
    return answer


def export(
    run_id: str | None = None,
    *,
    out: str | Path,
    results: str | Path = "results",
    best: str | Path | None = None,
    format: str | None = None,  # the name of the command's option
    registry: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Make one model of a run, preprocessing inside, as `benchmark export` does.

    Args:
        run_id: Of the row, or its beginning.
        out: The file: `*.keras`, `*.onnx`, `*.tflite`, or a folder for `saved_model`.
        results: The folder that has the row.
        best: In place of `run_id`: the ledger whose best setting that can be exported is; in mode native, or trained
            from scratch.
        format: `keras`, `onnx`, `tflite` or `saved_model`; None for that of the suffix.
        registry: Files of further backbones.

    Returns:
        `file`, `format`, `n_checked` (test images that the model was compared with the run on), `n_test`,
        `n_undecided`, and `row`: what `runs.csv` has of the run.

    Raises:
        BenchmarkError: The run cannot be exported; nothing is written.
    """
    from benchmark.actions.exporting import export_model
    from benchmark.registry import load_registry

    known = load_registry([Path(path) for path in registry])
    best = None if best is None else Path(best)
    return export_model(run_id, [Path(results)], known, Path(out), best=best, format_name=format)


def predict(model: str | Path, images: str | Path | Sequence[str | Path]) -> "pd.DataFrame":
    """The class probabilities of images by an exported model, as `benchmark predict` shows them.

    Args:
        model: A `.keras` file that `export` wrote.
        images: A file, a folder of files, or several of both.

    Returns:
        One row per image: `file`, `fault` (why it could not be predicted; else empty), and the probability of each
        class, in 0..1, under its name.

    Raises:
        BenchmarkError: The model is none, or there are no images.
    """
    from benchmark.actions.predicting import predict_table

    several = [images] if isinstance(images, str | Path) else images
    return predict_table(Path(model), [Path(image) for image in several])


def inspect(target: str | Path, *, mode: str | None = None, registry: Sequence[str | Path] = ()) -> dict[str, Any]:
    """What a network and its preprocessing do to a pixel, as `benchmark inspect --json` prints it.

    Args:
        target: The name of a backbone, or the file of a saved model.
        mode: The mode that is fed; of a saved model whose layers do not show it, the one it was trained with.
        registry: Files of further backbones.

    Returns:
        `native` (the mode it was trained with), `modes` (the verdict on each), and what was found out.

    Raises:
        BenchmarkError: There is no such backbone or file, or it cannot be built.
    """
    from benchmark.actions.inspecting import inspect_network, xray_record
    from benchmark.registry import load_registry

    known = load_registry([Path(path) for path in registry])
    return xray_record(inspect_network(str(target), known, mode), mode)


def load_ledger(*paths: str | Path, by_machine: bool = False) -> "pd.DataFrame":
    """The last row of every cell of one or many ledgers, failures too.

    Args:
        paths: Folders that `benchmark run` wrote, or folders of them; `results` without any.
        by_machine: Keep the last row of every cell on each machine, and not only that of the last machine.

    Returns:
        The columns of `runs.csv`, which results/README.md explains, then `sweep`, the name of the ledger's folder,
        `folder`, its path, and `machine`, such as `AMD EPYC, 2 CPUs`, or `several machines`.

    Raises:
        LedgerError: There is no ledger, or one cannot be read.
    """
    from benchmark.analysis.loading import load_runs

    return load_runs([Path(path) for path in paths or ("results",)], by_machine=by_machine)


def leaderboard(runs: "pd.DataFrame", *, by: str = "accuracy", by_machine: bool = False) -> "pd.DataFrame":
    """The settings of these runs, each the mean of its seeds, ranked within their dataset; wrong modes stand below.

    Args:
        runs: What `load_ledger` gives, or some of its rows.
        by: The column to rank by, such as `accuracy`, `efficiency` or `wall_s`.
        by_machine: Rank each machine's rows among themselves; for runs that were loaded by machine.

    Returns:
        The columns of `benchmark.analysis.leaderboard.make_leaderboard`: ranks with ties (`not_ranked` says why there
        is none), the setting, `n_seeds`, `accuracy` in 0..1 with its deviation and interval, and the means of the rest.

    Raises:
        UnknownNameError: There is no such column to rank by.
    """
    from benchmark.analysis.correctness import Correctness
    from benchmark.analysis.leaderboard import make_leaderboard
    from benchmark.analysis.published import load_published

    folders = [Path(folder) for folder in runs["folder"].unique()]
    published, correctness = load_published(folders), Correctness(runs)
    return make_leaderboard(runs, by=by, published=published, correctness=correctness, by_machine=by_machine)


def ablation(runs: "pd.DataFrame") -> "pd.DataFrame":
    """What every wrong preprocessing mode of these runs costs against native, the most harmful first.

    Args:
        runs: What `load_ledger` gives, or some of its rows.

    Returns:
        The columns of `benchmark.analysis.ablation.make_ablation`: the setting, `accuracy` and `accuracy_native` in
        0..1, `accuracy_lost` with its 95 % interval, `relative_gain`, and `verdict`.
    """
    from benchmark.analysis.ablation import make_ablation
    from benchmark.analysis.correctness import Correctness

    return make_ablation(runs, Correctness(runs))
