"""`differline train` and `differline evaluate`: where a trainer is put together."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

    from infra.settings import Settings
    from scorer.detector import Extractor

train_app = typer.Typer(add_completion=False, help="Learn a product from pictures of defect-free parts.")
evaluate_app = typer.Typer(add_completion=False, help="Measure on labelled pictures in MVTec AD layout.")

PresetName = Annotated[str, typer.Option("--preset", help="`paper` (for a GPU) or `compact` (minutes on two cores).")]
Views = Annotated[int | None, typer.Option(min=1, max=1024, help="Views behind a score; without it, the preset's.")]
Seed = Annotated[int, typer.Option(help="Seed of split, views, initial weights and order.")]


@train_app.command()
def train(
    product: Annotated[str, typer.Option(help="What the model is for.")],
    images: Annotated[Path, typer.Option(help="Folder of pictures of defect-free parts.")],
    preset: PresetName = "compact",
    false_alarm_rate: Annotated[float, typer.Option(help="Share of good parts that may be called a defect.")] = 0.01,
    views: Views = None,
    seed: Seed = 0,
) -> None:
    """Learn a product from pictures of defect-free parts and put the model in force."""
    from infra.engines import running_engines
    from infra.settings import load_settings
    from infra.store.connect import open_database
    from infra.telemetry import configure_logging
    from trainer.bars import progress_shown
    from trainer.fit import fit
    from trainer.presets import choose_preset
    from trainer.register import register
    from trainer.summaries import fit_summary

    settings = load_settings()
    configure_logging(settings.log_level)
    chosen = choose_preset(preset)
    with _detector_errors():
        extractor, device = _extractor_and_device(settings)
    with running_engines(settings) as engines:
        with progress_shown() as progress:
            fitted = fit(
                images,
                product,
                chosen,
                extractor,
                false_alarm_rate=false_alarm_rate,
                views=views,
                seed=seed,
                device=device,
                max_pixels=settings.max_pixels,
                progress=progress,
            )
        database = open_database(engines.database_url, pool_size=1)
        registered = register(database, settings.models_folder, fitted, settings.user)
        database.dispose()
    for warning in fitted.report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(fit_summary(fitted.report))
    typer.echo(f"{registered.product} version {registered.version} is in force")


@evaluate_app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with train/good, test/good and test/<defect>.")],
    preset: PresetName = "compact",
    views: Views = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; fractions from 0 to 1.")] = False,
) -> None:
    """Fit on train/good, score test/*, and print how well defects are told from good parts; the last epoch counts."""
    from infra.settings import load_settings
    from infra.telemetry import configure_logging
    from trainer.bars import progress_shown
    from trainer.evaluate import evaluate as run_evaluation
    from trainer.presets import choose_preset
    from trainer.summaries import evaluation_table

    settings = load_settings()
    configure_logging(settings.log_level)
    chosen = choose_preset(preset)
    with _detector_errors():
        extractor, device = _extractor_and_device(settings)
    with progress_shown() as progress:
        report = run_evaluation(
            folder,
            chosen,
            extractor,
            views=views,
            seed=seed,
            device=device,
            max_pixels=settings.max_pixels,
            progress=progress,
        )
    typer.echo(report.model_dump_json(indent=2) if as_json else evaluation_table(report))


def _extractor_and_device(settings: "Settings") -> "tuple[Extractor, torch.device]":
    import torch

    from scorer.detector import choose_device, load_extractor

    if settings.cpu_threads:
        torch.set_num_threads(settings.cpu_threads)
    return load_extractor(settings.extractor, settings.extractor_seed), choose_device(settings.device)


@contextmanager
def _detector_errors() -> Iterator[None]:
    """The detector knows no errors of ours: what it refuses of the settings is a settings error."""
    from infra.errors import SettingsError
    from scorer.detector import DetectorError

    try:
        yield
    except DetectorError as error:
        raise SettingsError(str(error)) from error
