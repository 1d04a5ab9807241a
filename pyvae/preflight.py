"""Checks made before any long work starts."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from pyro.infer import ELBO
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from pyvae.batches import Batches
from pyvae.errors import ArgumentError, DataError, PairError
from pyvae.inspection import Inspection, inspect_pair, stochastic_sites

__all__ = ["check_arguments", "check_pair", "make_optimizer"]


def check_arguments(
    objective: ELBO | None,
    epochs: int,
    clip_norm: float | None,
    patience: int | None,
    has_validation: bool,
    seed: int | None,
    checkpoint_dir: str | Path | None,
    needs_directory: bool,
) -> None:
    """Refuse arguments of :func:`pyvae.fit` that are out of range.

    Raises:
        ArgumentError: naming the argument, what came and what was expected.
    """
    if objective is not None and not isinstance(objective, ELBO):
        hint = f"; pass an instance: {objective.__name__}()" if isinstance(objective, type) else ""
        raise ArgumentError(f"objective is {objective!r}; expected a Pyro ELBO such as Trace_ELBO(){hint}")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ArgumentError(f"epochs is {epochs!r}; expected a positive int")
    if clip_norm is not None and not 0 < clip_norm < float("inf"):
        raise ArgumentError(f"clip_norm is {clip_norm!r}; expected a positive number, or None for no clipping")
    if patience is not None and (not isinstance(patience, int) or patience < 1):
        raise ArgumentError(f"patience is {patience!r}; expected a positive int, or None")
    if patience is not None and not has_validation:
        raise ArgumentError("patience needs validation data, whose ELBO it watches: pass validation=…")
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**63):
        raise ArgumentError(f"seed is {seed!r}; expected an int in [0, 2**63), or None for a fresh one")
    if checkpoint_dir is None and needs_directory:
        raise ArgumentError("resume and tensorboard need a place on disk: pass checkpoint_dir=…")


def make_optimizer(optimizer: object, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimizer that a factory makes over all parameters.

    Raises:
        ArgumentError: if it is not a factory of torch optimizers.
    """
    advice = (
        "expected a function from parameters to a torch.optim.Optimizer, such as "
        "functools.partial(torch.optim.Adam, lr=1e-3)"
    )
    if isinstance(optimizer, torch.optim.Optimizer) or not callable(optimizer):
        raise ArgumentError(f"optimizer is a {type(optimizer).__name__}; {advice}")
    try:
        made = optimizer(parameters)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"the optimizer cannot be built: {error}; {advice}") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise ArgumentError(f"optimizer makes a {type(made).__name__}; {advice} (pyro.optim works with SVI)")
    if isinstance(made, torch.optim.LBFGS):
        raise ArgumentError("LBFGS needs a closure that runs the batch again; use a first-order optimizer")
    return made


def check_pair(pair: nn.Module, batches: Batches) -> Inspection:
    """Run the pair on the first batch and refuse what would fail, or silently go wrong, later.

    Raises:
        PairError: if the pair fails, has nothing to train or to observe, keeps parameters that cannot be found, or
            if guide and model do not have the same latent sites.
        DataError: if observed data lie outside of the support of their distribution.
    """
    inspection = inspect_pair(pair, batches.first())
    if inspection.stray:
        raise PairError(
            f"the parameters {list(inspection.stray)} live in Pyro's param store alone, where fit does not see them; "
            "make them attributes of the pair: nn.Parameter, or pyro.nn.PyroParam for constrained ones"
        )
    if not any(p.requires_grad for p in pair.parameters()):
        raise PairError(f"{type(pair).__name__} has no parameters that require gradients; there is nothing to train")
    if not inspection.observed:
        raise PairError("the model observes nothing when it is given data; expected a sample site with obs=x")
    guide = {n: s for n, s in stochastic_sites(inspection.guide).items() if not s["is_observed"]}
    missing = set(inspection.latents) - set(guide)
    extra = {n for n, s in guide.items() if not s["infer"].get("is_auxiliary")} - set(inspection.latents)
    if missing or extra:
        raise PairError(
            f"guide and model differ in their latent sites: {sorted(missing)} are in the model alone, "
            f"{sorted(extra)} in the guide alone; give them the same names"
        )
    _check_support(inspection, batches)
    return inspection


def _check_support(inspection: Inspection, batches: Batches) -> None:
    """Compare the data with the support of the site that observes them; all of them if they are in memory."""
    for name in inspection.observed:
        site = inspection.model.nodes[name]
        for index, argument in enumerate(inspection.arguments):
            if argument is site["value"]:
                _check_values(name, site["fn"], index, batches)


def _check_values(name: str, distribution: Distribution, index: int, batches: Batches) -> None:
    low, high, grey = float("inf"), float("-inf"), False
    while isinstance(distribution, torch.distributions.Independent):
        distribution = distribution.base_dist
    support = distribution.support
    if support not in (constraints.boolean, constraints.unit_interval, constraints.positive, constraints.nonnegative):
        return
    for batch in batches.in_order() if batches.in_memory else [batches.first()]:
        values = batch[index]
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        grey = grey or bool(((values > 0) & (values < 1)).any())
        if not bool(support.check(values).all()):
            kind = type(distribution).__name__
            raise DataError(
                f"the data lie in [{low:g}, {high:g}], outside of the support of site {name!r}, which is {kind} with "
                f"{support}; rescale or binarize them, or choose another likelihood"
            )
    if grey and isinstance(distribution, torch.distributions.Bernoulli):
        warnings.warn(
            f"site {name!r} is Bernoulli but the data hold values strictly between 0 and 1: the bound is minus a "
            "cross-entropy, no log density, and cannot be compared with that of other likelihoods. Binarize the data, "
            "or use another likelihood",
            stacklevel=3,
        )
