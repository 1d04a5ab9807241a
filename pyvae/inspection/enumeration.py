"""Latents that the model sums out by enumeration, which the guide does not draw."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from pyro import poutine
from pyro.ops.contract import contract_tensor_tree
from pyro.ops.packed import pack, unpack
from pyro.poutine import Trace
from torch import Tensor, nn

from pyvae.errors import PairError
from pyvae.inspection.densities import LogTerms, density, log_density
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import guide_terms, stochastic_sites, summed_but

__all__ = ["enumerated_traces", "marginal_terms", "refuse_summed_out"]


def refuse_summed_out(inspection: Inspection, what: str) -> None:
    """Refuse a pair whose model sums latents out, for what needs a draw of each latent.

    Raises:
        PairError: naming the sites, and what can be had.
    """
    if inspection.summed_out:
        raise PairError(
            f"the model sums {list(inspection.summed_out)} out, of which {what} would need draws: fit, elbo, "
            "log_likelihood, evaluate, compare and log_weights sum them out; for draws let the guide sample them, or "
            "take them from pyro.infer.infer_discrete"
        )


def enumerated_traces(pair: nn.Module, args: Sequence[object], nesting: int) -> tuple[Trace, Trace]:
    """A run of the guide, and of the model with its latents, and with all values of those that are summed out.

    Args:
        pair: a module with ``model`` and ``guide``.
        args: of both programs.
        nesting: the number of dimensions that plates take; values are to the left of them.
    """
    guide = poutine.trace(pair.guide).get_trace(*args)
    model = poutine.enum(pair.model, first_available_dim=-1 - nesting)
    return guide, poutine.trace(poutine.replay(model, trace=guide)).get_trace(*args)


def marginal_terms(guide: Trace, model: Trace, dim: int) -> LogTerms:
    r"""The terms of log weights, (1, N), with the enumerated latents c of the model summed out exactly.

    .. math:: \log p(x, z) = \log \sum_c p(x, z, c) = \log p(x \mid z) + \sum_i \log p(z_i \mid z_{<i})

    in which each is a difference of such sums, over the sites up to z_i.

    Args:
        guide: the guide's trace.
        model: the model's, as :func:`enumerated_traces` gives it.
        dim: that of the plate over the data.
    """
    model.symbolize_dims()
    sites = stochastic_sites(model)
    latents = [n for n, s in sites.items() if not s["is_observed"] and "_enumerate_dim" not in s["infer"]]
    terms, before = {}, torch.zeros((), dtype=torch.float64)
    for name in latents:
        earlier = list(sites)[: list(sites).index(name) + 1]
        now = _marginal(model, lambda n, kept=earlier: n in kept and not sites[n]["is_observed"], dim)
        terms[name], before = now - before, now
    joint = _marginal(model, lambda n: True, dim)
    for name in [*latents, *guide_terms(guide, model)]:
        terms[name] = terms.get(name, 0.0) - density(guide.nodes[name], (dim,))
    return LogTerms(joint - before, terms)


def _marginal(model: Trace, wanted: Callable[[str], bool], dim: int) -> Tensor:
    """The log of the sum, over all values of enumerated sites, of the product of the densities of some sites, (N,)."""
    factors: dict[frozenset, list[Tensor]] = OrderedDict()
    symbols: set[str] = set()
    for name, site in stochastic_sites(model).items():
        if not wanted(name):
            continue
        enumerated = "_enumerate_dim" in site["infer"]
        if enumerated:
            symbols.add(site["infer"]["_enumerate_symbol"])
        # a masked latent is summed over all of its values, of which the probabilities add up to one
        factor = log_density({**site, "mask": None} if enumerated else site)
        plates = frozenset(model.plate_to_symbol[f.name] for f in site["cond_indep_stack"] if f.vectorized)
        factors.setdefault(plates, []).append(pack(factor, site["infer"]["_dim_to_symbol"]))
    contracted = contract_tensor_tree(factors, symbols, cache={})
    parts = [unpack(term, model.symbol_to_dim) for terms in contracted.values() for term in terms]
    return sum((summed_but(part, (dim,)) for part in parts), torch.zeros((), dtype=torch.float64))
