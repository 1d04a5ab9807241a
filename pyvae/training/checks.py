"""Checks made before any long work starts."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from pyro.infer import ELBO
from torch import Tensor, nn
from torch.distributions import constraints

from pyvae.batching.batches import Batches
from pyvae.core.arguments import check_int, check_positive, check_seed
from pyvae.core.files import as_path
from pyvae.core.modules import as_before_on_error
from pyvae.core.random_streams import isolated_rng
from pyvae.core.rows import rows_of
from pyvae.distributions import ContinuousBernoulli
from pyvae.errors import ArgumentError, DataError, PairError
from pyvae.inspection.base_measures import what_counts
from pyvae.inspection.checks import check_data, check_measures, check_shapes
from pyvae.inspection.elements import check_masks
from pyvae.inspection.inspection import Inspection, inspect_pair
from pyvae.inspection.own_rows import rows_explained
from pyvae.inspection.plates import check_plates, refuse_loops
from pyvae.inspection.sites import instead_of_latents, stochastic_sites
from pyvae.training.cutting import check_batches
from pyvae.training.logs import tensorboard_class
from pyvae.training.nonfinite import first_nonfinite_buffer

__all__ = ["check_arguments", "check_pair"]

Example = tuple[Sequence[Tensor], tuple[int, ...]]
_EXTREMES = 3  # rows at the start of an example for each of its columns, at most


def check_arguments(
    objective: ELBO | None,
    epochs: int,
    clip_norm: float | None,
    patience: int | None,
    has_validation: bool,
    seed: int | None,
    checkpoint_dir: str | Path | None,
    resume: bool,
    tensorboard: bool,
) -> None:
    """Refuse arguments of :func:`pyvae.fit` that are out of range.

    Raises:
        ArgumentError: naming the argument, what came and what was expected.
    """
    if objective is not None and not isinstance(objective, ELBO):
        hint = f"; pass an instance: {objective.__name__}()" if isinstance(objective, type) else ""
        raise ArgumentError(f"objective is {objective!r}; expected a Pyro ELBO such as Trace_ELBO(){hint}")
    if objective is not None and type(objective).__name__.startswith("Jit"):
        plain = type(objective).__name__.removeprefix("Jit")
        raise ArgumentError(
            f"{type(objective).__name__} does not run the pair at each step, as metrics need: use {plain}"
        )
    if objective is not None:
        check_int("the objective's num_particles", objective.num_particles)
    check_int("epochs", epochs)
    if clip_norm is not None:
        check_positive("clip_norm", clip_norm)
    if patience is not None:
        check_int("patience", patience)
    if patience is not None and not has_validation:
        raise ArgumentError("patience needs validation data, whose ELBO it watches: pass validation=…")
    if seed is not None:
        check_seed(seed)
    if checkpoint_dir is not None:
        as_path(checkpoint_dir, "checkpoint_dir")
    if checkpoint_dir is None and (resume or tensorboard):
        raise ArgumentError("resume and tensorboard need a place on disk: pass checkpoint_dir=…")
    if tensorboard:
        tensorboard_class()


def check_pair(pair: nn.Module, batches: Batches, held_out: Batches | None) -> Inspection:
    """Run the pair once on an example of the data and refuse what would fail, or silently go wrong, later.

    Args:
        pair: the pair.
        batches: the data to train on; the example is as large as a batch of them.
        held_out: the data to validate on, whose ELBO can be measured per datapoint alone.

    Raises:
        PairError: if the pair fails, has nothing to train or to observe, keeps parameters that cannot be found, or
            if guide and model do not have the same latent sites.
        DataError: if observed data lie outside of the support of their distribution.
    """
    with as_before_on_error(pair), rows_explained(pair, batches.size()):
        return _checked(pair, batches, held_out)


def _checked(pair: nn.Module, batches: Batches, held_out: Batches | None) -> Inspection:
    with isolated_rng():
        first, *others = _examples(batches, held_out)
    inspection = inspect_pair(pair, *first)
    if inspection.stray:
        raise PairError(
            f"the parameters {list(inspection.stray)} live in Pyro's param store alone, where fit does not see them; "
            "make them attributes of the pair: nn.Parameter, or pyro.nn.PyroParam for constrained ones"
            f"{_line(inspection)}"
        )
    if not any(p.requires_grad for p in pair.parameters()):
        raise PairError(f"{type(pair).__name__} has no parameters that require gradients; there is nothing to train")
    where = first_nonfinite_buffer(pair)
    if where:
        raise PairError(f"{where} of {type(pair).__name__} is not finite; give it numbers before fit")
    if not inspection.observed:
        raise PairError("the model observes nothing when it is given data; expected a sample site with obs=x")
    for program in ("guide", "model"):
        refuse_loops(program, stochastic_sites(getattr(inspection, program)), inspection.size)
    guide = {n: s for n, s in stochastic_sites(inspection.guide).items() if not s["is_observed"]}
    missing = set(inspection.latents) - set(guide)
    extra = {n for n, s in guide.items() if not s["infer"].get("is_auxiliary")} - set(inspection.latents)
    if missing or extra:
        raise PairError(
            f"guide and model differ in their latent sites: {sorted(missing)} are in the model alone, "
            f"{sorted(extra)} in the guide alone; give them the same names"
            + instead_of_latents(missing, inspection.model.nodes)
        )
    check_masks(guide, stochastic_sites(inspection.model))
    check_plates(stochastic_sites(inspection.guide), stochastic_sites(inspection.model))
    check_data(inspection)
    check_measures(inspection)
    check_shapes(inspection)
    check_batches(inspection, batches, held_out)
    for example in others:
        _check_validation(pair, *example)
    if held_out is not None:
        _ = inspection.plate
    _warn_of_kinds(inspection)
    return inspection


def _line(inspection: Inspection) -> str:
    """The line that makes an attribute of the first parameter that lives in Pyro's store alone."""
    name = inspection.stray[0]
    found = [t.nodes[name] for t in (inspection.guide, inspection.model) if name in t.nodes]
    if not found:
        return ""
    shape = tuple(found[0]["value"].shape)
    constraint = found[0]["kwargs"].get("constraint", constraints.real)
    attribute = name.split(".")[-1] if name.split(".")[-1].isidentifier() else "parameter"
    if constraint is constraints.real:
        line = f"self.{attribute} = torch.nn.Parameter(…)"
    else:
        line = f"self.{attribute} = pyro.nn.PyroParam(…, constraint={constraint}), in a pyro.nn.PyroModule,"
    return f". In __init__ write {line} with the first value, of shape {shape}; then use self.{attribute}"


def _examples(batches: Batches, held_out: Batches | None) -> list[Example]:
    """A batch of the data to train on, with their smallest and largest numbers, and those of the data to validate on.

    Where these do not fit into one batch, further ones.
    """
    example, columns = batches.example(None)
    rows = len(example[0])
    size = min(rows, batches.batch_size) if batches.in_memory else rows
    example = rows_of(example, slice(size), columns)
    if held_out is None:
        return [(example, columns)]
    others, other_columns = held_out.example(0)
    kept = size - len(others[0])
    shapes = [[(a.shape[1:], a.dtype) for a in args] for args in (example, others)]
    if kept < _EXTREMES * len(columns) or other_columns != columns or shapes[0] != shapes[1]:
        return [(example, columns), (others, other_columns)]
    first = [
        torch.cat([a[:kept], b]) if i in columns else a for i, (a, b) in enumerate(zip(example, others, strict=True))
    ]
    return [(first, columns)]


def _check_validation(pair: nn.Module, args: Sequence[Tensor], columns: tuple[int, ...]) -> None:
    """Try the pair on data that the inspection has not seen; errors say that these are meant."""
    try:
        check_data(inspect_pair(pair, args, columns))
    except (DataError, PairError) as error:
        raise type(error)(f"validation: {error}") from error


def _is_dense(distribution: torch.distributions.Distribution) -> bool:
    """Whether it has a density at 0 and 1."""
    kinds = (ContinuousBernoulli, torch.distributions.ContinuousBernoulli)
    return distribution.support is constraints.real or isinstance(distribution, kinds)


def _warn_of_kinds(inspection: Inspection) -> None:
    """Warn where a bound is no bound: intensities under a distribution of binary data, binary data under a density."""
    for name in inspection.observed:
        distribution, value = what_counts(inspection.model.nodes[name])
        if not len(value):
            continue
        binary = bool(((value == 0) | (value == 1)).all())
        message = None
        if isinstance(distribution, torch.distributions.Bernoulli) and not binary:
            message = (
                "is Bernoulli but the data hold values strictly between 0 and 1: the bound is minus a cross-entropy, "
                "no log density, and cannot be compared with that of other likelihoods. Binarize the data, or use "
                "another likelihood"
            )
        elif _is_dense(distribution) and binary and value.is_floating_point():
            message = (
                "has a density but the data are all 0 or 1: the density can grow without bound at these "
                "two values, and the figures mean little. Use a Bernoulli likelihood, or data that are not binarized"
            )
        if message:
            warnings.warn(f"site {name!r} {message}", stacklevel=5)
