"""Evaluation of a pair on data: ELBO and importance-weighted log likelihood."""

from collections.abc import Callable, Sequence

import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor, nn

from pyvae.batching.batches import Batches, Data, batches_for, inspect_data
from pyvae.core.random_streams import seeded_rng
from pyvae.errors import PairError
from pyvae.evaluation.classification import ConfusionCounts
from pyvae.evaluation.code_usage import count_codes, sizes_of_codes
from pyvae.evaluation.estimates import ELBOEstimate, Estimate, Evaluation, elbo_estimate, likelihood_estimate
from pyvae.evaluation.log_weights import DEFAULT_MEMORY, LogTermsMap, T
from pyvae.evaluation.observed import ObservedNumbers
from pyvae.evaluation.particles import check_weights
from pyvae.inspection.densities import LogTerms
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import unwrapped

__all__ = ["elbo", "evaluate", "has_weights", "inspected_elbo", "log_likelihood", "over_data", "require_weights"]

_ROWS = 4096


def elbo(
    pair: nn.Module,
    data: Data,
    num_particles: int = 10,
    seed: int | None = None,
    max_memory: int = DEFAULT_MEMORY,
) -> ELBOEstimate:
    r"""The evidence lower bound of a pair on data, by Monte Carlo, with its standard error.

    .. math:: \mathrm{ELBO}(x_n) = E_{q(z \mid x_n)}[\log p(x_n \mid z) + \log p(z) - \log q(z \mid x_n)]
        \le \log p(x_n)

    Works on any pair whose sites lie in one data plate; ignores scales (annealing, mini-batch factors). The error is
    that of the samples of z: data with a random transform, such as a dynamic binarization, are drawn anew by each call;
    fix them, ``data.test.fixed()``, to compare.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`.
        num_particles: draws per datapoint; at least 2 for a standard error.
        seed: of the draws; without one, as for :func:`pyvae.fit`.
        max_memory: about how many bytes the intermediate results may take.

    Returns:
        The estimate in nats per datapoint: ``value``, Monte Carlo ``standard_error``, ``per_datapoint``,
        ``reconstruction``, ``kl``, and ``kl_terms``, its part of each latent site.

    Raises:
        PairError, DataError, ArgumentError: as :func:`pyvae.log_weights`.
        NonFiniteError: if the density of a draw is not finite; it names the site, the row and the value.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> estimate = elbo(vae, torch.rand(7, 5).round(), num_particles=100, seed=0)
        >>> estimate.value < 0 < estimate.standard_error
        True
    """
    batches = batches_for(pair, data, _ROWS)
    return inspected_elbo(inspect_data(pair, batches), batches, num_particles, seed, max_memory)


def log_likelihood(
    pair: nn.Module,
    data: Data,
    num_particles: int = 100,
    seed: int | None = None,
    max_memory: int = DEFAULT_MEMORY,
) -> Estimate:
    r"""The importance-weighted bound on the log likelihood of a pair on data, with its standard error.

    .. math:: L_K(x_n) = E \log \frac 1K \sum_k \frac{p(x_n, z_k)}{q(z_k \mid x_n)}, \quad z_k \sim q(z \mid x_n),
        \qquad \mathrm{ELBO} \le L_K \le L_{K+1} \le \log p(x_n)

    One sample of the average per datapoint. Its error is the jackknife's, from what the bound is without each draw: it
    covers the expectation L_K whatever the tail of the weights, and says "at least" where fewer than 10 draws make all
    of it, as for a few datapoints of a narrow guide, or a small K. What no draw has hit, no error can tell. The bound's
    own gap from log p(x) shrinks as K grows and is not part of it.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`.
        num_particles: the number K of importance samples per datapoint.
        seed: of the draws; without one, as for :func:`pyvae.fit`.
        max_memory: about how many bytes the intermediate results may take.

    Returns:
        The estimate in nats per datapoint: ``value``, Monte Carlo ``standard_error``, whether that is
        ``error_is_at_least``, ``per_datapoint``.

    Raises:
        PairError: also if a guide's site is a Delta: its density is no importance weight.
        DataError, ArgumentError: as :func:`pyvae.log_weights`.

    References:
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016, equation 8 and theorem 1; Efron and
        Stein, *The jackknife estimate of variance*, 1981.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> log_likelihood(vae, torch.rand(7, 5).round(), num_particles=50).per_datapoint.shape
        torch.Size([7])
    """
    batches = batches_for(pair, data, _ROWS)
    inspection = inspect_data(pair, batches)
    require_weights(inspection)

    def reduce(terms: LogTerms) -> Estimate:
        return likelihood_estimate(terms.log_weight)

    return joined(over_data(reduce, inspection, batches, num_particles, seed, max_memory, bounded=False))


def evaluate(
    pair: nn.Module,
    data: Data,
    num_particles: int = 100,
    seed: int | None = None,
    max_memory: int = DEFAULT_MEMORY,
) -> Evaluation:
    r"""Evaluate a pair by :func:`elbo` and :func:`log_likelihood` from the same samples, so that ELBO ≤ L_K exactly.

    A guide that puts all its mass on one code, such as that of a vector-quantized VAE, has an ELBO alone. The usage of
    codes (:func:`pyvae.code_usage`) is reported with it, and the accuracy of a pair that infers labels
    (:func:`pyvae.classification`) where the data know them.

    Bits per dimension are −log₂ p̂(x) over the number of elements of x that count: those that are neither masked nor
    missing. Nats are of the data that the pair is given; the bits, of data of :mod:`pyvae.datasets`, are of x in its
    own units, before a standardization or a dequantization. The attribute ``bits_of`` says of what.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`.
        num_particles: draws per datapoint.
        seed: of the draws; without one, as for :func:`pyvae.fit`.
        max_memory: about how many bytes the intermediate results may take.

    Raises:
        PairError: also if a guide's site is a Delta where the model has a density: there is no bound then.
        DataError, ArgumentError: as :func:`pyvae.log_weights`.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> evaluation = evaluate(vae, torch.rand(7, 5).round())
        >>> evaluation.elbo.value <= evaluation.log_likelihood.value
        True
    """
    batches = batches_for(pair, data, _ROWS)
    inspection = inspect_data(pair, batches)
    check_bound(inspection)
    weighted, observed, labels = has_weights(inspection), ObservedNumbers(inspection, data), ConfusionCounts(inspection)

    def reduce(terms: LogTerms) -> tuple[ELBOEstimate, Estimate | None]:
        bound = likelihood_estimate(terms.log_weight) if weighted else None
        return elbo_estimate(terms.reconstruction, terms.latents), bound

    infers_labels = labels.apply

    def beside(batch: Sequence[Tensor]) -> None:
        observed.add(batch)
        if infers_labels:
            labels.add(batch)

    with seeded_rng(seed) as seed:
        parts = over_data(reduce, inspection, batches, num_particles, seed, max_memory, beside=beside)
        codes = count_codes(inspection, batches, seed) if sizes_of_codes(inspection) else {}
    bound = joined([p[1] for p in parts]) if weighted else None
    return observed.evaluation(_join_elbo([p[0] for p in parts]), bound, codes, labels.result())


def inspected_elbo(
    inspection: Inspection, batches: Batches, num_particles: int, seed: int | None, max_memory: int = DEFAULT_MEMORY
) -> ELBOEstimate:
    """The :func:`elbo` of a pair that has been inspected."""

    def reduce(terms: LogTerms) -> ELBOEstimate:
        return elbo_estimate(terms.reconstruction, terms.latents)

    return _join_elbo(over_data(reduce, inspection, batches, num_particles, seed, max_memory))


def require_weights(inspection: Inspection) -> None:
    """Refuse a pair whose densities are no importance weights.

    Raises:
        PairError: naming the site.
    """
    check_weights(inspection)
    _refuse(_point_masses(inspection))


def over_data(
    reduce: Callable[[LogTerms], T],
    inspection: Inspection,
    batches: Batches,
    num_particles: int,
    seed: int | None,
    max_memory: int,
    *,
    bounded: bool = True,
    beside: Callable[[Sequence[Tensor]], None] = lambda batch: None,
) -> list[T]:
    """``reduce`` of the log terms of every slice of the data; ``beside`` sees each batch in the same pass."""
    parts: list[T] = []
    with seeded_rng(seed):
        terms = LogTermsMap(inspection, num_particles, max_memory, batches.size(), batches.in_memory, bounded)
        for batch in batches.in_order():
            beside(batch)
            parts += terms(reduce, batch)
    return parts


def has_weights(inspection: Inspection) -> bool:
    """Whether the guide has importance weights: no point masses stand against densities."""
    return not _point_masses(inspection)


def check_bound(inspection: Inspection) -> None:
    """Refuse pairs without a bound on log p(x).

    Those are pairs whose densities are estimates, and guides that put all their mass on one point where the model has
    a density.

    Raises:
        PairError: naming the site.
    """
    check_weights(inspection)
    points = _point_masses(inspection)
    _refuse([n for n in points if not inspection.model.nodes[n]["fn"].support.is_discrete])


def _point_masses(inspection: Inspection) -> list[str]:
    """The latent sites that are a Delta in the guide and none in the model, which leaves nothing to weigh.

    A function of auxiliary latents is a Delta too, with the density of the function's value.
    """
    guide, model = inspection.guide.nodes, inspection.model.nodes
    points = [n for n in inspection.latents if n in guide and _is_point(guide[n]) and not _is_point(model[n])]
    if not points or not inspection.auxiliary:
        return points
    with inspection.at_rest():
        one, other = (poutine.trace(inspection.pair.guide).get_trace(*inspection.arguments).nodes for _ in range(2))
    return [name for name in points if torch.equal(one[name]["value"], other[name]["value"])]


def _is_point(site: dict) -> bool:
    return isinstance(unwrapped(site["fn"]), Delta)


def _refuse(points: Sequence[str]) -> None:
    if points:
        raise PairError(
            f"site {points[0]!r} of the guide is a Delta, whose density is no importance weight: log_likelihood and "
            "evaluate are undefined for it; use elbo"
        )


def joined(parts: Sequence[Estimate]) -> Estimate:
    """The estimates of slices of the data as one of all data."""
    behind = [p.draws_behind for p in parts if p.draws_behind is not None]
    return Estimate(
        torch.cat([p.per_datapoint for p in parts]),
        torch.cat([p.standard_errors for p in parts]),
        parts[0].num_particles,
        draws_behind=torch.cat(behind) if behind else None,
    )


def _join_elbo(parts: Sequence[ELBOEstimate]) -> ELBOEstimate:
    whole = joined(parts)
    reconstruction: Tensor = torch.cat([p.reconstruction for p in parts])
    return ELBOEstimate(
        whole.per_datapoint,
        whole.standard_errors,
        whole.num_particles,
        reconstruction,
        {name: torch.cat([p.kl_terms[name] for p in parts]) for name in parts[0].kl_terms},
    )
