"""Sections of diffusions: their terms step by step, and how they sample."""

import math

import torch

from pyvae.cli.report_sections.trained import Section, Trained, charted
from pyvae.core.random_streams import isolated_rng
from pyvae.latent_space.decoding import decode, shown
from pyvae.models.denoising import denoise
from pyvae.pages.charts import Chart
from pyvae.pages.generated import PER_ROW, draw_columns
from pyvae.pages.plots import draw_rows

__all__ = ["denoising", "diffusion_terms", "numbers_of_steps"]

_SHOWN = 10  # times
_COUNTS = (1, 2, 5, 10, 25, 50, 100, 250)


def diffusion_terms(trained: Trained) -> Section | None:
    """The terms of the ELBO in bits per dimension by t."""
    if not trained.diffuses:
        return None
    elbo, bit = trained.evaluation.elbo, math.log(2) * trained.evaluation.dimensions
    times = range(1, trained.pair.process().steps + 1)
    nats = [-elbo.reconstruction, *(elbo.kl_terms[f"x_{t - 1}"] for t in times[1:])]
    bits = [float(term.mean()) / bit for term in nats]
    last = float(elbo.kl_terms[f"x_{times[-1]}"].mean()) / bit
    meaning = (
        "What each denoising step costs: at t = 1, −log₂ p(x₀ | x₁); at t > 1, KL(q(xₜ₋₁ | xₜ, x₀) ‖ p(xₜ₋₁ | xₜ)). "
        f"With the {last:.2g} bits of the noise, which should be near 0, they sum to {-elbo.value / bit:.3f} bits per "
        "dimension, the negative ELBO. Point at the curve to read it."
    )
    chart = Chart("Cost of a step", "bits per dimension", "t", times, {"test data": bits})
    return charted("terms", "Terms of the ELBO by t", meaning, [chart])


def denoising(trained: Trained) -> Section | None:
    """Samples on their way from noise to data."""
    if not trained.diffuses:
        return None
    steps = trained.pair.process().steps
    trace = decode(trained.pair, {}, None, _SHOWN // 2)
    times = sorted({round(t) for t in torch.linspace(1, steps, _SHOWN - 1).tolist()}, reverse=True)
    noisy = [trace.nodes[f"x_{t}"]["value"] for t in times]
    if trained.pair.levels is not None:  # they lie around [−1, 1], the data in [0, 1]
        noisy = [((x + 1) / 2).clamp(0, 1) for x in noisy]
    parts = [trained.run.original_units(x) for x in (*noisy, shown(trace, "x_0", mean=True))]
    meaning = "Ancestral sampling from noise (left) to data (right): a row for each sample."
    return Section("denoising", "Denoising", meaning, draw_columns(parts, [f"t = {t}" for t in (*times, 0)]))


def numbers_of_steps(trained: Trained) -> Section | None:
    """Samples by the number of denoising steps."""
    if not trained.diffuses:
        return None
    steps = trained.pair.process().steps
    counts = [*(c for c in _COUNTS if c < steps), steps]
    rows = []
    for count in counts:
        with isolated_rng(0), torch.no_grad():
            rows.append(trained.run.original_units(denoise(trained.pair, PER_ROW, steps=count)))
    meaning = (
        "Deterministic sampling (DDIM) from the same noise in fewer and in all of the steps: once the rows no longer "
        "change, more steps are not worth their time."
    )
    labels = [f"{count} step{'s' * (count > 1)}" for count in counts]
    return Section("steps", "Samples by number of steps", meaning, draw_rows(rows, labels))
