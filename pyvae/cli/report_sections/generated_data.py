"""Sections of data that the pair makes."""

import torch
from torch import Tensor

from pyvae.cli.report_sections.trained import Section, Trained
from pyvae.core.random_streams import isolated_rng
from pyvae.evaluation import impute
from pyvae.inspection.inspection import takes_missing
from pyvae.latent_space.decoding import class_labels, generate, reconstruct
from pyvae.pages.generated import PER_ROW, draw_columns, draw_reconstructions, draw_samples
from pyvae.pages.players import players
from pyvae.pages.plots import draw_rows

__all__ = ["imputations", "reconstructions", "samples", "transfer"]

_HEARD = 3
_IMPUTED = 100
_AVERAGED = 10_000
_PARTICLES = 200
_HIDDEN, _HIDDEN_BESIDE_GAPS = 0.5, 0.2  # shares of the observed values


def samples(trained: Trained) -> Section:
    """Means of p(x | z) for z from the prior."""
    run, conditional = trained.run, trained.run.conditional
    labels = class_labels(trained.data.num_classes, PER_ROW, trained.some[0].device) if conditional else None
    x = run.original_units(generate(trained.pair, PER_ROW**2 if labels is None else len(labels), labels))
    what = "p(x₀ | x₁), by ancestral sampling" if trained.diffuses else "p(x | z) for z drawn from the prior"
    meaning = f"Means of {what}{', a row for each class' if conditional else ''}."
    return Section(
        "samples", "Samples", meaning, draw_samples(x, labels, trained.names), below=_heard(trained, sample=x)
    )


def reconstructions(trained: Trained) -> Section | None:
    """Test data, and their reconstructions."""
    if trained.diffuses:
        return None
    x, originals = map(trained.run.original_units, (reconstruct(trained.pair, trained.some), trained.some[0]))
    meaning = "Test data above, their reconstructions below: the means of p(x | z) at the mean of q(z | x)."
    below = _heard(trained, data=originals, reconstruction=x)
    return Section("reconstructions", "Reconstructions", meaning, draw_reconstructions(x, originals), below=below)


def transfer(trained: Trained) -> Section | None:
    """Test data decoded with every label."""
    if not trained.run.conditional:
        return None
    args = trained.some
    decoded = [reconstruct(trained.pair, args, torch.full_like(args[1], c)) for c in range(trained.data.num_classes)]
    originals, *parts = map(trained.run.original_units, (args[0], *decoded))
    meaning = "Test data, encoded with their own label and decoded with each: z keeps the style."
    return Section("transfer", "Style transfer", meaning, draw_columns([originals, *parts], ["data", *trained.names]))


def _heard(trained: Trained, **recordings: Tensor) -> str:
    """Players of the first recordings, if the data are some."""
    if trained.rate is None:
        return ""
    return players({name: x[:_HEARD] for name, x in recordings.items()}, trained.rate)


def imputations(trained: Trained) -> Section | None:
    """Values that were hidden, and what the pair fills in for them, if it takes missing values."""
    if not takes_missing(trained.pair):
        return None
    x, *others = trained.rows(_IMPUTED)
    with isolated_rng(0):
        share = _HIDDEN_BESIDE_GAPS if x.isnan().any() else _HIDDEN
        hidden = (torch.rand_like(x) < share) & ~x.isnan()
        train = trained.data.train
        means = train[torch.arange(min(len(train), _AVERAGED))][0].nanmean(0).to(x)
    given = x.masked_fill(hidden, torch.nan)
    filled = impute(trained.pair, given, *others, num_particles=_PARTICLES, seed=0)
    truth, shown, guess, naive = map(trained.run.original_units, (x, given, filled, means.expand_as(x)))

    def error(values: Tensor) -> float:
        return float((values - truth)[hidden].square().mean().sqrt())

    meaning = (
        f"{share:.0%} of the observed values of {len(x)} test datapoints were hidden, and filled in by their posterior "
        f"means given the others. Root mean squared error: {error(guess):.3g}; with the training means of each element "
        f"in their place, {error(naive):.3g}."
    )
    rows = [part[:PER_ROW] for part in (truth, shown, guess)]
    return Section("imputations", "Imputations", meaning, draw_rows(rows, ["truth", "given", "filled in"]))
