"""Imputation of missing values, given the observed ones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.core.random_streams import seeded_rng
from pyvae.core.rows import example_rows, rows_of
from pyvae.core.tensors import check_tensors
from pyvae.errors import DataError, PairError
from pyvae.evaluation.evaluate import require_weights
from pyvae.evaluation.particles import repeated_run
from pyvae.inspection.checks import check_data
from pyvae.inspection.enumeration import refuse_summed_out
from pyvae.inspection.inspection import device_of, inspect_pair, takes_missing
from pyvae.latent_space.posterior_means import mean_of

__all__ = ["impute"]

_NUMBERS = 2**22  # of the model's means for a batch of samples; the networks make more of them


def impute(pair: nn.Module, x: Tensor, *args: Tensor, num_particles: int = 1000, seed: int | None = None) -> Tensor:
    r"""Fill in missing values by their posterior means given the observed values of the same datapoint.

    .. math:: E[x_i \mid x_o] \approx \sum_k \tilde w_k E[x_i \mid z_k], \quad z_k \sim q(z \mid x_o), \qquad
        w_k = \frac{p(x_o, z_k)}{q(z_k \mid x_o)}, \quad \tilde w_k = \frac{w_k}{\sum_j w_j}

    Every NaN is replaced; x_o is the observed part.

    As K → ∞ this is the estimate of least squared error, whatever the guide. For a binary x_i it is the probability of
    1.

    Args:
        pair: a pair that takes NaN for missing values, such as one with :class:`pyvae.likelihoods.MissingAtRandom`,
            with one observed site.
        x: data, (N, …), with NaN.
        args: the other arguments of both programs, such as labels, with N rows; or numbers, tensors without rows.
        num_particles: K.
        seed: of the draws; without one, as for :func:`pyvae.fit`.

    Returns:
        x without NaN; observed values are unchanged.

    Raises:
        PairError: if the pair does not take NaN, observes several sites, or has no importance weights.
        DataError: if the data do not fit the pair.
        ArgumentError: if ``num_particles`` is not positive.

    References:
        Mattei and Frellsen, *MIWAE*, 2019, equations 11 to 13.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.incomplete(shape=(5,), latent_dim=2, hidden=[8])
        >>> impute(vae, torch.tensor([[1.0, torch.nan, 0.5, 2.0, torch.nan]])).isnan().any()
        tensor(False)
    """
    check_int("num_particles", num_particles)
    if not isinstance(x, Tensor):
        raise DataError(f"got a {type(x).__name__}; expected a tensor with one row per datapoint")
    if not takes_missing(pair):
        raise PairError(
            f"no component of the {type(pair).__name__} takes NaN for missing values; expected a likelihood such as "
            "likelihoods.MissingAtRandom, for the guide a network such as networks.ObservedOnly"
        )
    data = [a.to(device_of(pair)) for a in (x, *args)]
    columns = [i for i, a in enumerate(data) if not isinstance(a, Tensor) or a.dim()]
    check_tensors([data[i] for i in columns], "data", missing=True)
    inspection = inspect_pair(pair, rows_of(data, example_rows([data[i] for i in columns]), columns), columns)
    check_data(inspection)
    require_weights(inspection)
    refuse_summed_out(inspection, "an imputation")
    _, dim = inspection.plate
    sites = [inspection.model.nodes[name] for name in inspection.observed]
    if len(sites) != 1 or sites[0]["value"].shape[1:] != inspection.datapoint_shape:
        raise PairError(f"the model observes {list(inspection.observed)}; expected one site, which observes x")
    rows = max(1, _NUMBERS // (x[0].numel() * num_particles))
    batches = [rows_of(data, slice(start, start + rows), columns) for start in range(0, len(x), rows)]
    with seeded_rng(seed), inspection.at_rest():
        name = inspection.observed[0]
        expected = torch.cat([_expected(pair, batch, columns, name, dim, num_particles) for batch in batches])
    filled = torch.where(x.isnan(), expected.to(x), x)
    if not filled.isfinite().all():
        raise PairError(
            f"site {inspection.observed[0]!r} has no finite mean, by which missing values could be filled in"
        )
    return filled


def _expected(
    pair: nn.Module, batch: Sequence[Tensor], columns: Sequence[int], name: str, dim: int, num_particles: int
) -> Tensor:
    """E[x | x_o] of a batch, from so many particles at a time as are allowed."""
    x = batch[0]
    at_once = max(1, min(num_particles, _NUMBERS // x.numel()))
    weights, means = [], []
    for start in range(0, num_particles, at_once):
        terms, model = repeated_run(pair, batch, min(at_once, num_particles - start), dim, columns)
        mean = mean_of(model.nodes[name]["fn"]).expand(-1, *x.shape[1:]).unflatten(0, terms.log_weight.shape)
        share = terms.log_weight.softmax(0).to(mean)
        weights.append(terms.log_weight.logsumexp(0))
        means.append((share.reshape(*share.shape, *[1] * (x.dim() - 1)) * mean).sum(0))
    share = torch.stack(weights).softmax(0).to(x)
    return (share.reshape(*share.shape, *[1] * (x.dim() - 1)) * torch.stack(means)).sum(0)
