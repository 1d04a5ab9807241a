"""The pictures and the page that a run leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyvae.cli.key_figures import key_figures
from pyvae.cli.runs import Run
from pyvae.core.files import write_atomically
from pyvae.core.random_streams import isolated_rng
from pyvae.datasets import DataSplits
from pyvae.diagnostics.sections.codebooks import draw_codes
from pyvae.evaluation import Evaluation
from pyvae.latent_space.decoding import class_labels, generate, latent_means, reconstruct
from pyvae.pages.page import embedded, render
from pyvae.pages.plots import draw_confusion, draw_curves, draw_grid, draw_latents, draw_rows, draw_terms, picture_bytes
from pyvae.training.state import Row

__all__ = ["draw_reconstructions", "draw_samples", "draw_transfer", "write_report"]

_SHOWN = 10
_SCATTERED = 2000


@dataclass(frozen=True)
class Picture:
    """A picture with its name, its title and a sentence on how to read it."""

    name: str
    title: str
    meaning: str
    figure: Figure


def draw_samples(x: Tensor, labels: Tensor | None) -> Figure:
    """Generated data, a row per class if labels are given, which are then in order."""
    if labels is None:
        return draw_grid(x, min(len(x), _SHOWN))
    classes, counts = labels.unique_consecutive(return_counts=True)
    return draw_rows(x.split(counts.tolist()), [str(int(c)) for c in classes])


def draw_reconstructions(x: Tensor, originals: Tensor, label: str = "decoded") -> Figure:
    """Data in the upper rows, their reconstructions in the lower ones."""
    columns = min(len(x), _SHOWN)
    blocks = zip(originals.split(columns), x.split(columns), strict=True)
    rows = [part for block in blocks for part in block]
    return draw_rows(rows, ["data", label] * (len(rows) // 2))


def draw_transfer(run: Run, pair: nn.Module, args: Sequence[Tensor], num_classes: int) -> Figure:
    """Each datapoint in the left column, decoded with every label to its right: its style, other classes."""
    decoded = [reconstruct(pair, args, torch.full_like(args[1], label)) for label in range(num_classes)]
    parts = [run.original_units(x) for x in (args[0], *decoded)]
    labels = ["data", *map(str, range(num_classes))]
    if parts[0].dim() != 4:
        return draw_rows(parts, labels)
    return draw_grid(torch.stack(parts, 1).flatten(0, 1), num_classes + 1, column_labels=labels)


def _data_pictures(run: Run, pair: nn.Module, some: Sequence[Tensor], num_classes: int) -> list[Picture]:
    """Samples and reconstructions, and what else becomes of some test data."""
    labels = class_labels(num_classes, _SHOWN, some[0].device) if run.conditional else None
    size = _SHOWN**2 if labels is None else len(labels)
    pictures = [
        Picture(
            "samples",
            "Samples",
            "Means of p(x | z) for z drawn from the prior" + (", by class." if run.conditional else "."),
            draw_samples(run.original_units(generate(pair, size, labels)), labels),
        ),
        Picture(
            "reconstructions",
            "Reconstructions",
            "Held-out data and their reconstructions.",
            draw_reconstructions(run.original_units(reconstruct(pair, some)), run.original_units(some[0])),
        ),
    ]
    if run.conditional:
        pictures.append(
            Picture(
                "transfer",
                "Style transfer",
                "Held-out data, encoded with their own label and decoded with each: z keeps the style.",
                draw_transfer(run, pair, some, num_classes),
            )
        )
    return pictures


def _latent_picture(run: Run, pair: nn.Module, many: Sequence[Tensor], classes: Tensor | None) -> Picture:
    means = [m.flatten(1) for m in latent_means(pair, many).values() if m.is_floating_point()]  # not the codes' numbers
    means = torch.cat(means, 1)
    return Picture(
        "latents",
        "Latent space",
        "Posterior means of held-out data"
        + (", coloured by class, which the unconditional model has never seen." if not run.conditional else "."),
        draw_latents(means, None if classes is None else classes[: len(means)]),
    )


def _pictures(
    run: Run,
    pair: nn.Module,
    data: DataSplits,
    classes: Tensor | None,
    history: Sequence[Row],
    terms: dict[str, float],
    evaluation: Evaluation,
) -> list[Picture]:
    """All pictures of a run."""
    device = next(pair.parameters()).device
    scattered = min(max(1, _SCATTERED // len(terms)), len(data.test))  # a long chain has latents enough
    with isolated_rng(0):
        some = [t.to(device) for t in data.test[torch.arange(min(_SHOWN, len(data.test)))]]
        many = [t.to(device) for t in data.test[torch.arange(scattered)]]
    pictures = [*_data_pictures(run, pair, some, data.num_classes), _latent_picture(run, pair, many, classes)]
    if len(terms) > 1:
        pictures.append(
            Picture(
                "terms",
                "Terms of the ELBO",
                "E_q[log q(z | …) − log p(z | …)] of each latent; they sum to the KL. A level at 0 carries nothing; "
                "of a diffusion's last step, and of the vectors of codes, that is as it should be.",
                draw_terms(terms, history),
            )
        )
    if evaluation.classification:
        pictures.append(
            Picture(
                "confusion",
                "Inferred labels",
                "Test data by known class, in rows, and the class inferred from x alone, in columns.",
                draw_confusion(evaluation.classification.confusion),
            )
        )
    if evaluation.codes:
        pictures.append(
            Picture(
                "codes",
                "Use of the codes",
                "The frequencies of the codes on test data, the most frequent first; the line is uniform use.",
                draw_codes(evaluation.codes),
            )
        )
    curves = Picture(
        "curves",
        "Training",
        "ELBO = reconstruction − KL, in nats per datapoint. Training figures are averages over an epoch in which "
        "the parameters move, so they lag behind those of the validation data.",
        draw_curves(history),
    )
    return [*pictures, curves]


def write_report(
    run: Run,
    pair: nn.Module,
    data: DataSplits,
    classes: Tensor | None,
    history: Sequence[Row],
    evaluation: Evaluation,
    noticed: Sequence[str] = (),
) -> Path:
    """Write a run's pictures as PNG files and ``report.html``, one page that needs nothing else.

    Args:
        run: the run.
        pair: its pair.
        data: its data, as the pair takes them.
        classes: the labels of the test data, if there are any, also for a pair that does not take them.
        history: one row of metrics per epoch.
        evaluation: its figures on test data.
        noticed: warnings that came up on the way.

    Returns:
        The page's path.
    """
    terms = {name: float(term.mean()) for name, term in evaluation.elbo.kl_terms.items()}
    pictures = _pictures(run, pair, data, classes, history, terms, evaluation)
    shown = []
    for picture in pictures:
        content = picture_bytes(picture.figure)
        write_atomically(run.directory / f"{picture.name}.png", content)
        shown.append(embedded(picture.title, picture.meaning, content))
    groups = {"recipe": run.recipe, **run.arguments, **run.data, **run.training, **run.versions}
    page = render(
        "report",
        title=f"{run.recipe} on {data.name}",
        subtitle=f"{len(data.train):,} training and {len(data.test):,} test data of shape "
        f"{' × '.join(map(str, data.shape))}, {len(history)} epochs, "
        f"{sum(p.numel() for p in pair.parameters()):,} parameters",
        warnings=noticed,
        figures=key_figures(evaluation, run.conditional),
        pictures=shown,
        settings=[(k.replace("_", " "), v) for k, v in groups.items() if v is not None],
    )
    path = run.directory / "report.html"
    write_atomically(path, page.encode())
    return path
