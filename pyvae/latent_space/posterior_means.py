"""The centres of a guide's distributions: one vector for each datapoint."""

from collections.abc import Sequence

import torch
from pyro import poutine
from pyro.distributions import Distribution
from torch import Tensor, nn

from pyvae.batching.batches import Data, batches_for
from pyvae.core.arguments import check_seed
from pyvae.core.modules import evaluation_mode, isolated_param_store
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import PairError
from pyvae.inspection.inspection import Inspection, inspect_pair
from pyvae.inspection.plates import check_sites
from pyvae.inspection.sites import as_matrix, check_latents, is_discrete, stochastic_sites, unwrapped

__all__ = ["centre", "centres", "continuous_sites", "posterior_means", "robust_moments"]

_ROWS = 1024
_QUARTILES = 1.349  # between those of a standard normal


def centre(name: str, fn: Distribution) -> Tensor:
    """The mean of a site's distribution, or of a discrete one the most likely value.

    Raises:
        PairError: if its mean is not known.
    """
    try:
        return fn.mode if is_discrete(fn) else fn.mean
    except NotImplementedError as error:
        raise PairError(f"site {name!r} is {type(unwrapped(fn)).__name__}, whose mean is not known") from error


def robust_moments(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Median and scaled interquartile range of samples, (S, …): robust substitutes of mean and sd.

    Of a normal distribution they are mean and standard deviation.
    """
    count = len(draws)
    low, median, high = draws.sort(0).values[[count // 4, count // 2, 3 * count // 4]]
    return median, (high - low) / _QUARTILES


def centres(inspection: Inspection) -> dict[str, Tensor]:
    """The means E[z | x] under q, or for codes the most likely, by the name of the latent site.

    Raises:
        PairError: if guide and model do not have the same latents, or the mean of one is not known.
    """
    check_latents(stochastic_sites(inspection.guide), stochastic_sites(inspection.model))
    return {name: centre(name, inspection.guide.nodes[name]["fn"]) for name in inspection.latents}


def continuous_sites(inspection: Inspection) -> list[str]:
    """The latent sites of guide and model whose values are no codes, in the model's order."""
    guide = stochastic_sites(inspection.guide)
    found = [name for name in inspection.latents if name in guide]
    return [n for n in found if not any(is_discrete(t.nodes[n]["fn"]) for t in (inspection.guide, inspection.model))]


def posterior_means(
    pair: nn.Module, data: Data, sites: str | Sequence[str] | None = None, seed: int = 0
) -> dict[str, Tensor]:
    r"""The posterior means E[z | x_n] under q(z | x_n) as a matrix, on which most measures of representations act.

    For a site that q draws given another, it is the mean given one sample of that one.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`.
        sites: of this latent site, or of these; by default of all that are continuous.
        seed: of the samples.

    Returns:
        By site, (N, D), the dimensions of z flattened.

    Raises:
        PairError: if the pair has no continuous latent, none of a name in ``sites``, or one without a mean; if a site
            lies outside of the plate over the data.
        DataError: if there are no data.
        ArgumentError: if ``seed`` is no seed.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> posterior_means(vae, torch.rand(7, 5))["z"].shape
        torch.Size([7, 2])
    """
    check_seed(seed)
    batches = batches_for(pair, data, _ROWS)
    with isolated_rng(seed):
        inspection = inspect_pair(pair, batches.first())
        found = continuous_sites(inspection)
        wanted = found if sites is None else [sites] if isinstance(sites, str) else list(sites)
        if not wanted or not set(wanted) <= set(found):
            expected = f"one or more of {', '.join(found)}" if found else "a pair with one, which this is not"
            raise PairError(f"no continuous latent sites {wanted} in {type(pair).__name__}; expected {expected}")
        _, dim = check_sites(inspection, len(inspection.arguments[0]))
        parts: dict[str, list[Tensor]] = {name: [] for name in wanted}
        with evaluation_mode(pair), isolated_param_store(inspection.stray), torch.no_grad():
            for batch in batches.in_order():
                trace = poutine.trace(pair.guide).get_trace(*batch)
                for name, means in parts.items():
                    site = trace.nodes[name]
                    means.append(as_matrix(centre(name, site["fn"]).expand_as(site["value"]), site, dim))
    return {name: torch.cat(means) for name, means in parts.items()}
