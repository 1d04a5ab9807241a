"""The centres of a guide's distributions: one vector for each datapoint."""

from collections.abc import Sequence

import torch
from pyro import poutine
from pyro.distributions import Distribution
from torch import Tensor, nn

from pyvae.batching.batches import Data, batches_for, inspect_data
from pyvae.batching.order import check_order
from pyvae.core.random_streams import isolated_rng, seeded_rng
from pyvae.errors import PairError
from pyvae.inspection.elements import marked
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import as_matrix, check_latents, is_discrete, stochastic_sites, unwrapped

__all__ = ["centre", "centres", "continuous_sites", "draws_of", "mean_of", "posterior_means", "robust_moments"]

_ROWS = 1024
_DRAWS = 1000


def centre(name: str, fn: Distribution) -> Tensor:
    """The mean of a site's distribution, or of a discrete one the most likely value.

    Raises:
        PairError: if it is discrete and cannot tell that.
    """
    if not is_discrete(fn):
        return mean_of(fn)
    try:
        return fn.mode
    except NotImplementedError as error:
        raise PairError(f"site {name!r} is {type(unwrapped(fn)).__name__}, which cannot tell its mode") from error


def mean_of(fn: Distribution) -> Tensor:
    """The mean of a distribution; where it has no closed form, that of 1,000 samples, up to an error of about σ/32."""
    try:
        return fn.mean
    except NotImplementedError:
        return draws_of(fn).mean(0)


def draws_of(fn: Distribution) -> Tensor:
    """A thousand samples, (1000, …), the same each time, of a random stream of their own."""
    with isolated_rng(seed=0), torch.no_grad():
        return torch.cat([fn.sample((_DRAWS // 10,)) for _ in range(10)])  # in parts, as networks may make them


def robust_moments(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Median and scaled interquartile range of samples, (S, …), without NaN: robust substitutes of mean and sd.

    Of a normal distribution they are mean and standard deviation.
    """
    from scipy.stats import iqr  # not before it is needed: to import it takes long

    spread = iqr(draws.detach().double().cpu().numpy(), axis=0, scale="normal", nan_policy="omit")
    return draws.nanmedian(0).values, torch.as_tensor(spread).to(draws)


def centres(inspection: Inspection) -> dict[str, Tensor]:
    """The means E[z | x] under q, or for codes the most likely, by the name of the latent site.

    Raises:
        PairError: if guide and model have not the same latents, or one of codes cannot tell its mode.
    """
    check_latents(stochastic_sites(inspection.guide), stochastic_sites(inspection.model))
    return {name: centre(name, inspection.guide.nodes[name]["fn"]) for name in inspection.latents}


def continuous_sites(inspection: Inspection) -> list[str]:
    """The latent sites of guide and model whose values are no codes, in the model's order."""
    guide = stochastic_sites(inspection.guide)
    found = [name for name in inspection.latents if name in guide]
    return [n for n in found if not any(is_discrete(t.nodes[n]["fn"]) for t in (inspection.guide, inspection.model))]


def posterior_means(
    pair: nn.Module, data: Data, sites: str | Sequence[str] | None = None, seed: int | None = None
) -> dict[str, Tensor]:
    r"""The posterior means E[z | x_n] under q(z | x_n) as a matrix, on which most measures of representations act.

    For a site that q draws given another, it is the mean given one sample of that one.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`; a ``DataLoader`` must keep their order.
        sites: of this latent site, or of these; by default of all that are continuous.
        seed: of the draws; without one, as for :func:`pyvae.fit`.

    Returns:
        By site, (N, D), the dimensions of z flattened; NaN for elements that are masked.

    Raises:
        PairError: if the pair has no continuous latent, none of a name in ``sites``, or one without a mean; if a site
            lies outside of the plate over the data.
        DataError: if there are no data, or a ``DataLoader`` gives its rows in an order of its own.
        ArgumentError: if ``seed`` is no seed.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> posterior_means(vae, torch.rand(7, 5))["z"].shape
        torch.Size([7, 2])
    """
    check_order(data, "posterior means")
    batches = batches_for(pair, data, _ROWS)
    inspection = inspect_data(pair, batches)
    with seeded_rng(seed), inspection.at_rest():
        found = continuous_sites(inspection)
        wanted = found if sites is None else [sites] if isinstance(sites, str) else list(sites)
        if not wanted or not set(wanted) <= set(found):
            expected = f"one or more of {', '.join(found)}" if found else "a pair with one, which this is not"
            raise PairError(f"no continuous latent sites {wanted} in {type(pair).__name__}; expected {expected}")
        _, dim = inspection.plate
        parts: dict[str, list[Tensor]] = {name: [] for name in wanted}
        for batch in batches.in_order():
            trace = poutine.trace(pair.guide).get_trace(*batch)
            for name, means in parts.items():
                site = trace.nodes[name]
                means_of = marked(centre(name, site["fn"]).expand_as(site["value"]), site)
                means.append(as_matrix(means_of, site, dim))
    return {name: torch.cat(means) for name, means in parts.items()}
