"""The key figures of an evaluation, each with its meaning in one sentence, and warnings."""

from collections.abc import Sequence

from pyvae.evaluation import Classification, Evaluation

__all__ = ["all_warnings", "key_figures"]


def key_figures(evaluation: Evaluation, conditional: bool) -> list[dict[str, str]]:
    """Names, values and meanings of the figures of an evaluation."""
    elbo, likelihood = evaluation.elbo, evaluation.log_likelihood
    figures = evaluation.figures()
    given = " | y" if conditional else ""
    weighted = likelihood and {
        "name": f"log p̂(x{given}), K = {likelihood.num_particles}",
        "value": f"{likelihood.value:.2f} nats",
        "meaning": "importance-weighted, a tighter lower bound: at least "
        f"{likelihood.value - elbo.value:.2f} nats of the ELBO's gap are the guide's. ± {likelihood.error_text()} "
        f"Monte Carlo error, ± {likelihood.dataset_standard_error:.2f} from the choice of data",
    }
    return [
        {
            "name": "ELBO",
            "value": f"{elbo.value:.2f} nats",
            "meaning": f"per test datapoint; a lower bound on log p(x{given}). ± {elbo.standard_error:.3f} Monte Carlo "
            f"error, ± {elbo.dataset_standard_error:.2f} from the choice of data",
        },
        *([weighted] if weighted else []),
        {
            "name": "Reconstruction",
            "value": f"{figures['reconstruction']:.2f} nats",
            "meaning": "E[log p(x | z)] under q(z | x): how well z predicts x",
        },
        {
            "name": "KL",
            "value": f"{figures['kl']:.2f} nats",
            "meaning": "from prior to posterior: how much information z has on x; near 0, the latents are not used",
        },
        {
            "name": "Bits per dimension",
            "value": f"{figures['bits_per_dimension']:.3f}",
            "meaning": f"{'−log₂ p̂(x)' if weighted else '−ELBO / log 2'} per observed element of {evaluation.bits_of}",
        },
        *(figure for site in evaluation.codes for figure in _code_figures(site, evaluation)),
        *([_accuracy(evaluation.classification)] if evaluation.classification else []),
    ]


def _accuracy(labels: Classification) -> dict[str, str]:
    return {
        "name": "Accuracy",
        "value": f"{labels.accuracy:.1%}",
        "meaning": f"of the labels that the pair infers from x alone, on {labels.num_labels:,} labelled test data. "
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
        [f"The KL is {kl:.3f} nats: the posterior has collapsed onto the prior and the latents carry nothing."]
        if kl < 0.1
        else []
    )
    unused = [
        f"{usage.dead} of {usage.num_codes} codes of {site} never occur in the test data: {usage.advice}."
        for site, usage in evaluation.codes.items()
        if usage.advice
    ]
    likelihood = evaluation.log_likelihood
    uncertain = [f"log p̂(x): {likelihood.caution}."] if likelihood and likelihood.caution else []
    return [*collapse, *unused, *uncertain, *noticed]
