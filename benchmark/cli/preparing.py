"""`benchmark fetch` and `params`: what a sweep needs, downloaded or counted before it runs."""

import typer

from benchmark import console
from benchmark.actions.sweeps import AD_HOC_SWEEP, find_sweep
from benchmark.cli import options, parsing
from benchmark.cli.listing import print_records
from benchmark.options import CLASSIFY


def fetch(
    context: typer.Context,
    recipe: options.RecipeArgument = None,
    backbones: options.BackbonesOption = None,
    datasets: options.DatasetsOption = None,
    registry: options.RegistryOption = None,
) -> None:
    """Download the weights and data of a recipe, or of the given lists, ahead of time."""
    from benchmark.plan.fetching import fetch_backbone, fetch_dataset
    from benchmark.plan.grid import expand

    sweep = find_sweep(recipe, parsing.grid_options(context.params), AD_HOC_SWEEP)
    cells = expand(sweep, parsing.known_backbones(registry))
    wants_backbones = recipe is not None or backbones is not None or datasets is None
    wants_datasets = recipe is not None or datasets is not None or backbones is None
    if wants_datasets:
        for request in dict.fromkeys(cell.dataset for cell in cells):
            console.show(f"{request.name}: {fetch_dataset(request)}")
    if wants_backbones:
        # Keras has one file with the classifier, and one without it.
        needed = {(cell.backbone, cell.input_size_px, cell.strategy == CLASSIFY): cell for cell in cells}
        for cell in needed.values():
            console.show(f"{cell.backbone.name}: {fetch_backbone(cell)}")


def params(
    context: typer.Context,
    recipe: options.RecipeArgument = None,
    backbones: options.BackbonesOption = None,
    datasets: options.DatasetsOption = None,
    strategies: options.StrategiesOption = None,
    heads: options.HeadsOption = None,
    input_size_px: options.InputSizeOption = None,
    classes: options.ClassesOption = None,
    as_json: options.JsonOption = False,
    registry: options.RegistryOption = None,
) -> None:
    """Count the parameters of a recipe's cells; neither weights nor data are needed."""
    from benchmark.plan.grid import expand
    from benchmark.work.counting import count_params

    sweep = find_sweep(recipe, parsing.grid_options(context.params), AD_HOC_SWEEP)
    print_records(count_params(expand(sweep, parsing.known_backbones(registry))), as_json=as_json)
