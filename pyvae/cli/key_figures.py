"""The key figures of an evaluation, each with its meaning in one sentence, and warnings."""

import math
from collections.abc import Sequence

from pyvae.evaluation import Classification, CodeUsage, Estimate, Evaluation

__all__ = ["all_warnings", "key_figures", "learned_codes"]


def key_figures(evaluation: Evaluation, conditional: bool, diffuses: bool = False) -> list[dict[str, str]]:
    """Names, values and meanings of the figures of an evaluation.

    Args:
        evaluation: the figures.
        conditional: whether the pair is given labels.
        diffuses: whether it is a diffusion, whose reconstruction and KL say nothing: its latents are noisy data.
    """
    likelihood, given = evaluation.log_likelihood, " | y" if conditional else ""
    bound = "−log₂ p̂(x)" if likelihood else "−ELBO / log 2"
    return [
        {
            "name": "ELBO",
            "value": _nats(evaluation.elbo.value),
            "meaning": f"per test datapoint: a lower bound on log p(x{given}). {_errors(evaluation.elbo)}",
        },
        *([_weighted(evaluation, given)] if likelihood else []),
        *([] if diffuses else _parts(evaluation)),
        {
            "name": "Bits per dimension",
            "value": f"{evaluation.bits_per_dimension:z.3f}",
            "meaning": f"{bound} per observed element of {evaluation.bits_of}",
        },
        *(figure for site in learned_codes(evaluation) for figure in _code_figures(site, evaluation)),
        *([_accuracy(evaluation.classification)] if evaluation.classification else []),
    ]


def learned_codes(evaluation: Evaluation) -> dict[str, CodeUsage]:
    """The usage of codes by site, but of labels, which are given and none of a codebook."""
    return {} if evaluation.classification else evaluation.codes


def _nats(value: float) -> str:
    return f"{value:z,.2f} nats".replace("-", "−")


def _errors(estimate: Estimate) -> str:
    """The errors of an estimate; a single datapoint has no sampling error, a single sample no Monte Carlo error."""
    errors = []
    if math.isfinite(estimate.standard_error):
        errors.append(f"± {estimate.error_text()} Monte Carlo error")
    if math.isfinite(estimate.dataset_standard_error):
        errors.append(f"± {estimate.dataset_standard_error:.2f} test-set sampling error")
    return ", ".join(errors)


def _weighted(evaluation: Evaluation, given: str) -> dict[str, str]:
    likelihood = evaluation.log_likelihood
    return {
        "name": f"log p̂(x{given}), K = {likelihood.num_particles}",
        "value": _nats(likelihood.value),
        "meaning": "the importance-weighted bound, which is tighter: at least "
        f"{likelihood.value - evaluation.elbo.value:z.2f} nats of the ELBO's gap are due to the guide. "
        f"{_errors(likelihood)}",
    }


def _parts(evaluation: Evaluation) -> list[dict[str, str]]:
    figures = evaluation.figures()
    return [
        {
            "name": "Reconstruction",
            "value": _nats(figures["reconstruction"]),
            "meaning": "E[log p(x | z)] under q(z | x): how well z predicts x",
        },
        {
            "name": "KL",
            "value": _nats(figures["kl"]),
            "meaning": "from prior to posterior: the information in z about x; near 0, the latents are unused",
        },
    ]


def _accuracy(labels: Classification) -> dict[str, str]:
    return {
        "name": "Accuracy",
        "value": f"{labels.accuracy:.1%}",
        "meaning": f"of the labels inferred from x alone, on {labels.num_labels:,} labelled test datapoints. "
        f"± {labels.standard_error:.1%} test-set sampling error",
    }


def _code_figures(site: str, evaluation: Evaluation) -> list[dict[str, str]]:
    figures, usage = evaluation.of_codes(site), evaluation.codes[site]
    return [
        {
            "name": f"Perplexity of {site}",
            "value": f"{usage.perplexity:.1f}",
            "meaning": f"the effective number of codes in use, of {usage.num_codes}. "
            f"{usage.usage:.0%} of them occur in the test data",
        },
        {
            "name": f"Bits of {site}",
            "value": f"{figures['bits']:.1f} bits",
            "meaning": usage.meaning_of_bits,
        },
    ]


def all_warnings(evaluation: Evaluation, noticed: Sequence[str]) -> list[str]:
    """What was noticed on the way, a collapse of the posterior, and errors that are lower limits only."""
    kl = float(evaluation.elbo.kl.mean())
    collapse = (
        [f"The KL is {kl:z.3f} nats: the posterior has collapsed onto the prior, and the latents carry no information."]
        if kl < 0.1
        else []
    )
    unused = [
        f"{usage.dead} of {usage.num_codes} codes of {site} never occur in the test data: {usage.advice}."
        for site, usage in learned_codes(evaluation).items()
        if usage.advice
    ]
    likelihood = evaluation.log_likelihood
    uncertain = [f"log p̂(x): {likelihood.caution}."] if likelihood and likelihood.caution else []
    return [*collapse, *unused, *uncertain, *noticed]
