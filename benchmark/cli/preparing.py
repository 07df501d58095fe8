"""`benchmark fetch` and `params`: what a sweep needs, brought and counted before it runs."""

import json

import typer

from benchmark.cli.listing import cell_text
from benchmark.cli.options import (
    BackbonesOption,
    ClassesOption,
    DatasetsOption,
    HeadsOption,
    InputSizeOption,
    JsonOption,
    RecipeArgument,
    RegistryOption,
    StrategiesOption,
    grid_options,
)
from benchmark.cli.running import AD_HOC_SWEEP, find_sweep


def fetch(
    context: typer.Context,
    recipe: RecipeArgument = None,
    backbones: BackbonesOption = None,
    datasets: DatasetsOption = None,
    registry: RegistryOption = None,
) -> None:
    """Bring the weights and data of a recipe, or of the given lists, ahead of time."""
    from benchmark.plan.fetching import fetch_backbone, fetch_dataset
    from benchmark.plan.grid import expand
    from benchmark.registry import load_registry

    sweep = find_sweep(recipe, grid_options(context.params), AD_HOC_SWEEP)
    cells = expand(sweep, load_registry(registry or ()))
    wants_backbones = recipe is not None or backbones is not None or datasets is None
    wants_datasets = recipe is not None or datasets is not None or backbones is None
    if wants_datasets:
        for request in dict.fromkeys(cell.dataset for cell in cells):
            typer.echo(f"{request.name}: {fetch_dataset(request)}")
    if wants_backbones:
        for backbone, size_px in dict.fromkeys((cell.backbone, cell.input_size_px) for cell in cells):
            typer.echo(f"{backbone.name}: {fetch_backbone(backbone, size_px)}")


def params(
    context: typer.Context,
    recipe: RecipeArgument = None,
    backbones: BackbonesOption = None,
    datasets: DatasetsOption = None,
    strategies: StrategiesOption = None,
    heads: HeadsOption = None,
    input_size: InputSizeOption = None,
    classes: ClassesOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the parameters of a recipe's cells; neither weights nor data are needed."""
    from benchmark import console
    from benchmark.plan.grid import expand
    from benchmark.registry import load_registry
    from benchmark.work.counting import count_params

    sweep = find_sweep(recipe, grid_options(context.params), AD_HOC_SWEEP)
    records = count_params(expand(sweep, load_registry(registry or ())))
    if as_json:
        typer.echo(json.dumps(records, indent=2))
    else:
        console.show_table(list(records[0]), ([cell_text(value) for value in record.values()] for record in records))
