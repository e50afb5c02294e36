"""`differline train`, `evaluate`, `guarantee`, `pretrain` and `bench`: where a trainer is put together."""

from pathlib import Path
from typing import Annotated

import typer

train_app = typer.Typer(add_completion=False, help="Learn a product from pictures of defect-free parts.")
evaluate_app = typer.Typer(add_completion=False, help="Measure on labelled pictures in MVTec AD layout.")
guarantee_app = typer.Typer(add_completion=False, help="Measure the false-alarm rate against its bound.")
pretrain_app = typer.Typer(add_completion=False, help="Train the extractor's weights on pictures drawn by programs.")
bench_app = typer.Typer(add_completion=False, help="Measure what this machine does, as ratios.")

PresetName = Annotated[str, typer.Option("--preset", help="`paper` (for a GPU) or `compact` (minutes on two cores).")]
Views = Annotated[int | None, typer.Option(min=1, max=1024, help="Views behind a score; without it, the preset's.")]
Seed = Annotated[int, typer.Option(help="Seed of split, views, initial weights and order.")]


Adapt = Annotated[
    str, typer.Option(metavar="MINUTES|auto|off", help="Tune the extractor to the product first; kept if it pays.")
]
ExtractorName = Annotated[
    str | None, typer.Option(help="`auto` takes the best of those at hand; without it, the setting's.")
]


@train_app.command()
def train(
    product: Annotated[list[str], typer.Option(help="What the model is for; several for one flow of all of them.")],
    images: Annotated[list[Path], typer.Option(help="Folder of pictures of defect-free parts, one for each product.")],
    groups: Annotated[
        list[Path] | None,
        typer.Option(
            help="CSV of file and part or run, one for each product: they stay together when pictures are held out."
        ),
    ] = None,
    preset: PresetName = "compact",
    false_alarm_rate: Annotated[float, typer.Option(help="Share of good parts that may be called a defect.")] = 0.01,
    views: Views = None,
    seed: Seed = 0,
    adapt: Adapt = "off",
    extractor: ExtractorName = None,
) -> None:
    """Learn a product from pictures of defect-free parts, put the model in force, and keep them as released for a refit."""
    from infra.archive import open_archive
    from infra.engines import running_engines
    from infra.errors import SettingsError
    from infra.settings import load_settings
    from infra.store.connect import open_database
    from infra.telemetry import configure_logging
    from trainer.adaptation import minutes_of_adaptation
    from trainer.bars import progress_shown
    from trainer.equipment import extractors_and_device
    from trainer.fit import fit_together
    from trainer.groups import with_runs
    from trainer.images import read_folder
    from trainer.life.curation import Curator
    from trainer.presets import choose_preset
    from trainer.register import register
    from trainer.summaries import fit_summary

    settings = load_settings()
    configure_logging(settings.log_level)
    chosen, adapt_minutes = choose_preset(preset), minutes_of_adaptation(adapt)
    folders = dict(zip(product, images, strict=False))
    if not len(product) == len(images) == len(folders):
        raise SettingsError(
            f"{len(product)} --product and {len(images)} --images: name each product once, and a folder for it"
        )
    extractors, device = extractors_and_device(settings, extractor)
    with running_engines(settings) as engines:
        database = open_database(engines.database_url, pool_size=1)
        archive = open_archive(settings.archive_location)
        archive.prepare()
        with progress_shown() as progress:
            sets = {name: read_folder(folder, settings.max_pixels, progress) for name, folder in folders.items()}
            for name, file in zip(product if groups else (), groups or (), strict=True):
                sets[name] = with_runs(sets[name], file, folders[name])
            for name, pictures in sets.items():
                Curator(database, archive, name, settings.user, settings.max_pixels).release_training(pictures)
            fitted = fit_together(
                sets,
                chosen,
                extractors,
                adapt_minutes=adapt_minutes,
                false_alarm_rate=false_alarm_rate,
                views=views,
                seed=seed,
                device=device,
                max_pixels=settings.max_pixels,
                progress=progress,
            )
        for name, model in fitted.items():
            registered = register(database, settings.models_folder, model, settings.user)
            for warning in model.report.warnings:
                typer.echo(f"warning: {warning}", err=True)
            typer.echo(fit_summary(model.report))
            typer.echo(f"{name} version {registered.version} is in force")
        database.dispose()


@evaluate_app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with train/good, test/good and test/<defect>.")],
    preset: PresetName = "compact",
    views: Views = None,
    seed: Seed = 0,
    adapt: Adapt = "off",
    extractor: ExtractorName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; fractions from 0 to 1.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="The paper's tables and figures, as a report.")] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Report to write (FILE.md); plots beside it.")
    ] = None,
    groups: Annotated[Path | None, typer.Option(help="CSV of file and group: which pictures show one part.")] = None,
    splits: Annotated[int, typer.Option(min=1, max=5, help="Splits by group.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Seeds of each flow of the report.")] = 5,
    training_views: Annotated[int | None, typer.Option(min=1, max=1024, help="Views of a training picture.")] = None,
    views_max: Annotated[int, typer.Option(min=1, max=64, help="Most test views of table 3: 1, 4, 16, 64.")] = 16,
    heatmap_splits: Annotated[int, typer.Option(min=0, max=5, help="Splits whose heatmaps are measured.")] = 1,
    photometry: Annotated[
        bool, typer.Option("--photometry", help="Measure photometric choices; thrice the time.")
    ] = False,
    together: Annotated[list[Path] | None, typer.Option(help="Folder of another product, for one flow of all.")] = None,
    ganomaly: Annotated[
        bool, typer.Option("--ganomaly", help="Train GANomaly beside; needs the extra differline[ganomaly].")
    ] = False,
    photographs: Annotated[bool, typer.Option(help="Show pictures beside their heatmaps.")] = True,
) -> None:
    """Fit on train/good, score test/*, and print how well defects are told from good parts; the last epoch counts."""
    from infra.errors import SettingsError
    from infra.settings import load_settings
    from infra.telemetry import configure_logging
    from trainer.adaptation import minutes_of_adaptation
    from trainer.bars import progress_shown
    from trainer.equipment import extractors_and_device
    from trainer.evaluate import evaluate as run_evaluation
    from trainer.presets import choose_preset
    from trainer.summaries import evaluation_table

    settings = load_settings()
    configure_logging(settings.log_level)
    chosen = choose_preset(preset)
    if paper != (report_file is not None):
        raise SettingsError("--paper and --report FILE.md go together")
    adapt_minutes = minutes_of_adaptation(adapt)
    if paper and extractor == "auto":
        raise SettingsError("a report is of one extractor: --paper does not go with --extractor auto")
    extractors, device = extractors_and_device(settings, extractor)
    if report_file is not None:
        from trainer.paper.run import Order, paper_report, reduced

        with progress_shown() as progress:
            written = paper_report(
                folder,
                report_file,
                reduced(chosen, views, training_views),
                extractors[0],
                Order(
                    groups=groups,
                    splits=splits,
                    seeds=seeds,
                    views_max=views_max,
                    photometry=photometry,
                    heatmaps=heatmap_splits,
                    others=tuple(together or ()),
                    photographs=photographs,
                    ganomaly=ganomaly,
                    adapt_minutes=adapt_minutes,
                ),
                kept=settings.data_dir.resolve() / "evaluations",
                device=device,
                max_pixels=settings.max_pixels,
                progress=progress,
            )
        typer.echo(written.model_dump_json(indent=2) if as_json else f"{report_file} is written")
        return
    with progress_shown() as progress:
        report = run_evaluation(
            folder,
            chosen,
            extractors,
            adapt_minutes=adapt_minutes,
            views=views,
            seed=seed,
            device=device,
            max_pixels=settings.max_pixels,
            progress=progress,
        )
    typer.echo(report.model_dump_json(indent=2) if as_json else evaluation_table(report))


@guarantee_app.command()
def guarantee(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders with pictures in folders called `good`, at any depth."),
    ],
    groups: Annotated[
        list[Path] | None,
        typer.Option(help="CSV of file and group, one for each DIR: which pictures show one part, or are of one run."),
    ] = None,
    cameras: Annotated[
        list[Path] | None,
        typer.Option(
            help="CSV of file and camera, one for each DIR: thresholds of all cameras and of each are compared."
        ),
    ] = None,
    splits: Annotated[int, typer.Option(min=1, help="Random splits into calibration and test.")] = 200,
    rates: Annotated[str, typer.Option(metavar="RATE,...", help="False-alarm rates.")] = "0.1,0.05,0.01",
    fits: Annotated[int, typer.Option(min=1, max=100, help="Detectors to fit; the splits are shared out.")] = 4,
    learned: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Share of the pictures that a fit learns from.")
    ] = 0.5,
    mixed: Annotated[
        bool,
        typer.Option("--mixed", help="Measure learning from and calibrating on the same groups too; twice the fits."),
    ] = False,
    preset: PresetName = "compact",
    views: Views = None,
    training_views: Annotated[int | None, typer.Option(min=1, max=1024, help="Views of a training picture.")] = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; fractions from 0 to 1.")] = False,
) -> None:
    """Fit, calibrate on defect-free pictures again and again, and print the share of others that is called a defect.

    Scores are kept in `.differline/evaluations/`: what was interrupted goes on where it was.
    """
    from infra.errors import SettingsError
    from infra.settings import load_settings
    from infra.telemetry import configure_logging
    from trainer.bars import progress_shown
    from trainer.equipment import extractors_and_device
    from trainer.guarantee.pictures import GuaranteeOrder, read_good
    from trainer.guarantee.run import Bench
    from trainer.guarantee.table import guarantee_markdown
    from trainer.paper.run import reduced
    from trainer.paper.store import ArrayStore
    from trainer.presets import choose_preset

    settings = load_settings()
    configure_logging(settings.log_level)
    chosen = reduced(choose_preset(preset), views, training_views)
    if mixed and not groups:
        raise SettingsError("--mixed needs --groups: which pictures show the same part?")
    of_groups = _one_for_each(folders, groups, "groups")
    of_cameras = _one_for_each(folders, cameras, "cameras")
    order = GuaranteeOrder(_rates(rates), splits, fits, learned=learned, seed=seed, mixed=mixed)
    (extractor,), device = extractors_and_device(settings)
    store = ArrayStore(settings.data_dir.resolve() / "evaluations" / extractor.sha256[:16])
    with progress_shown() as progress:
        bench = Bench(chosen, extractor, device, store, progress)
        sets = [
            read_good(folder, named, settings.max_pixels, progress, cameras=seen_by)
            for folder, named, seen_by in zip(folders, of_groups, of_cameras, strict=True)
        ]
        report = bench.report(sets, order)
    typer.echo(report.model_dump_json(indent=2) if as_json else guarantee_markdown(report), nl=as_json)


@pretrain_app.command()
def pretrain(
    minutes: Annotated[float, typer.Option(min=0, help="Minutes of training in all, over all continuations.")] = 60.0,
    device: Annotated[str | None, typer.Option(help="Where to compute; without it, the setting's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Folder of the drawn pictures (2 GB) and the checkpoint.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the weights go; without it, into the folder.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of pictures, steps and initial weights.")] = 0,
    measure: Annotated[
        str | None,
        typer.Option(metavar="WEIGHTS", help="Train nothing; measure `random` or a file on families never trained on."),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Measure with the whole detector, in minutes.")] = False,
) -> None:
    """Train the extractor's weights on pictures drawn by programs; killed at any time, it goes on with --resume."""
    import torch

    from infra.settings import load_settings
    from scorer.detector import choose_device, load_extractor
    from trainer.equipment import detector_errors
    from trainer.pretrain.pretrain import pretrain as run_pretraining
    from trainer.pretrain.reports import Lines
    from trainer.pretrain.run import Budget
    from trainer.pretrain.validation import measured_lines

    settings = load_settings()
    if settings.cpu_threads:
        torch.set_num_threads(settings.cpu_threads)
    with detector_errors():
        chosen = choose_device(device or settings.device)
        extractor = None if measure is None else load_extractor(measure, settings.extractor_seed)
    if extractor is not None:
        for line in measured_lines(extractor, chosen, whole=whole):
            typer.echo(line)
        return
    finished = run_pretraining(
        folder or settings.data_dir / "pretrain",
        Budget(60 * minutes),
        out=out,
        resume=resume,
        seed=seed,
        device=chosen,
        report=Lines(),
    )
    typer.echo(f"{finished.path}: {finished.state.pictures} pictures in {finished.state.step} steps")


@bench_app.command()
def bench(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of Markdown.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Just enough to see that it works.")] = False,
    only: Annotated[str | None, typer.Option(metavar="P1,P4", help="These rows; without it, all.")] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder in MVTec AD layout; without it, pictures are drawn.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.md", help="Write the Markdown there as well.")] = None,
) -> None:
    """Measure against plain loops, the floor and other detectors, in turns, on encoded pictures; asserts nothing.

    `differline ingest simulate --to-folder DIR` writes pictures of the simulator for --images. Rows of a device that is not
    the setting's say that they were not measured.
    """
    from infra.errors import SettingsError
    from infra.settings import load_settings
    from infra.telemetry import configure_logging
    from trainer.bench.run import bench as run_bench
    from trainer.bench.run import chosen_rows
    from trainer.bench.sizes import FULL, QUICK
    from trainer.equipment import extractors_and_device

    settings = load_settings()
    configure_logging("warning")
    rows = chosen_rows(only)
    if out is not None and not out.resolve().parent.is_dir():
        raise SettingsError(f"--out {out}: its folder is not there")
    (extractor,), device = extractors_and_device(settings)
    report = run_bench(QUICK if quick else FULL, extractor, device, images, rows)
    if out is not None:
        out.write_text(report.as_markdown())
    typer.echo(report.as_json() if as_json else report.as_markdown(), nl=as_json)


def _one_for_each(folders: list[Path], files: list[Path] | None, what: str) -> list[Path | None]:
    from infra.errors import SettingsError

    if not files:
        return [None] * len(folders)
    if len(files) != len(folders):
        raise SettingsError(f"{len(files)} files of {what} for {len(folders)} folders: name one for each, or none")
    return [*files]


def _rates(text: str) -> tuple[float, ...]:
    """Read `0.1,0.05,0.01`.

    Raises:
        SettingsError: Something is not a number between 0 and 1.
    """
    from infra.errors import SettingsError

    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"--rates {text}: numbers with commas between, such as 0.1,0.01") from error
    if not all(0 < rate < 1 for rate in rates):
        raise SettingsError(f"--rates {text}: a false-alarm rate lies between 0 and 1")
    return rates
