"""The decorator that makes a function a recipe."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from pyvae.core.arguments import check_int, check_maker
from pyvae.datasets import Kind
from pyvae.errors import ArgumentError, PairError
from pyvae.guides import Guide
from pyvae.likelihoods import Likelihood
from pyvae.likelihoods.counts import Counts
from pyvae.models import VAE
from pyvae.networks import LogCounts
from pyvae.networks.shapes import as_shape, as_widths
from pyvae.priors import Prior, VampPrior

__all__ = [
    "MakeGuide",
    "MakeLikelihood",
    "MakePrior",
    "autoencoder",
    "decoded",
    "encoder_of",
    "made_prior",
    "make_posterior",
    "plain_component",
    "recipe",
    "recorded",
    "told_of",
]

MakeLikelihood = Callable[[nn.Module, Sequence[int]], Likelihood]
MakePrior = Callable[[int], Prior]
MakeGuide = Callable[[nn.Module, Sequence[int]], Guide]
MakeNetwork = Callable[[torch.Size], nn.Module]
Recipe = TypeVar("Recipe", bound=Callable[..., nn.Module])

_EXAMPLES = {
    "likelihood": "pyvae.likelihoods.Bernoulli or functools.partial(pyvae.likelihoods.Normal, scale=0.1)",
    "posterior": "pyvae.guides.DiagonalNormal",
}


def recipe(
    trains: Callable[[nn.Module], nn.Module] = lambda pair: pair,
    takes: Collection[Kind] = (),
    missing: bool = False,
    **training: object,
) -> Callable[[Recipe], Recipe]:
    """Make a function a recipe: its pairs remember how they were made, and it knows how to train them.

    Args:
        trains: what the command line trains in place of the pair, over the same parameters.
        takes: the kinds of values that it is made for; by default those of the likelihoods that are chosen for it.
        missing: whether values may be missing.
        training: defaults of the command line's arguments, for this recipe. A likelihood follows from the data there.
    """

    def decorate(function: Recipe) -> Recipe:
        from_data = {"likelihood": None} if "likelihood" in inspect.signature(function).parameters else {}

        @functools.wraps(function)
        def make(*args: object, **kwargs: object) -> nn.Module:
            bound = inspect.signature(function).bind(*args, **kwargs)
            _check_numbers(function, bound.arguments)
            pair = function(*args, **kwargs)
            if not isinstance(pair, nn.Module):
                raise PairError(f"{function.__name__} returned {type(pair).__name__}; expected a pair, an nn.Module")
            pair.recipe = recorded(function, bound)
            return pair

        make.trains, make.takes, make.missing, make.training = trains, takes, missing, {**from_data, **training}
        return make

    return decorate


def _check_numbers(function: Callable[..., nn.Module], arguments: dict[str, object]) -> None:
    """Refuse sizes that are not positive ints, by the annotations of the recipe."""
    for name, value in arguments.items():
        annotation = inspect.signature(function).parameters[name].annotation
        if annotation is int:
            check_int(name, value)
        if annotation == list[int]:
            as_widths(value, name)


def recorded(function: Callable[..., nn.Module], bound: inspect.BoundArguments) -> dict[str, Any] | None:
    """The recipe with all its arguments as JSON, or None if one has no such form.

    Those that were left out are recorded as well, of the recipe and of its components: another version's defaults may
    be others. A recipe that is not ours goes by its module and name.
    """
    bound.apply_defaults()
    try:
        arguments = json.loads(json.dumps(bound.arguments, default=plain_component))
    except TypeError:
        return None
    return {"name": _name(function), "arguments": arguments}


def plain_component(make: object) -> dict[str, Any]:
    """What makes a component, as JSON with all of its arguments, but for those that the recipe passes.

    Raises:
        TypeError: if it is no class of one, or no ``functools.partial`` with keywords.
    """
    made = functools.partial(make) if inspect.isclass(make) else make
    if not (isinstance(made, functools.partial) and inspect.isclass(made.func)) or made.args:
        raise TypeError(f"{make!r} has no form in JSON")
    arguments = {**_defaults(made.func), **made.keywords}
    return {"class_path": _path(made.func), **({"init_args": arguments} if arguments else {})}


def _defaults(cls: type) -> dict[str, object]:
    """The arguments of a class that may be left out, as they are then."""
    return {n: p.default for n, p in inspect.signature(cls).parameters.items() if p.default is not p.empty}


def _name(function: Callable[..., nn.Module]) -> str:
    ours = function.__module__.startswith("pyvae.recipes.")
    return function.__name__ if ours else f"{function.__module__}:{function.__qualname__}"


def _path(cls: type) -> str:
    """The path of a class; of ours by folder and name, so that its file may be another one tomorrow."""
    folder = cls.__module__.rpartition(".")[0]
    exported = folder.startswith("pyvae.") and getattr(sys.modules[folder], cls.__name__, None) is cls
    return f"{folder if exported else cls.__module__}.{cls.__qualname__}"


def decoded(make: MakeLikelihood, network: MakeNetwork, shape: Sequence[int]) -> Likelihood:
    """A likelihood over a network with as many outputs as it needs."""
    return _over("likelihood", make, network, as_shape(shape, "shape"))


def make_posterior(make: MakeGuide, network: MakeNetwork, latent_dim: int) -> Guide:
    """A guide over a network with as many outputs as it needs."""
    return _over("posterior", make, network, as_shape(latent_dim, "latent_dim"))


def encoder_of(network: nn.Module, likelihood: Likelihood, log_input: bool | None) -> nn.Module:
    """The network of a guide, which sees the logarithms of counts unless that is decided otherwise."""
    return LogCounts(network) if log_input or (log_input is None and isinstance(likelihood, Counts)) else network


def made_prior(make: MakePrior, latent_dim: int) -> Prior:
    """A prior of latents of this length."""
    example = "pyvae.priors.StandardNormal or functools.partial(pyvae.priors.NormalMixture, num_components=20)"
    check_maker("prior", make, "the length of z", example)
    return make(latent_dim)


def told_of(prior: Prior, posterior: Guide, shape: Sequence[int]) -> Prior:
    """The prior, given the guide if it is made of it."""
    return prior.over(posterior, shape) if isinstance(prior, VampPrior) else prior


def autoencoder(
    shape: Sequence[int], prior: Prior, likelihood: Likelihood, posterior: Guide, context: nn.Module | None = None
) -> VAE:
    """A VAE of data of this shape, whose prior is given the guide if it is made of it."""
    return VAE(prior=told_of(prior, posterior, shape), likelihood=likelihood, posterior=posterior, context=context)


def _over(role: str, make: Callable[..., nn.Module], network: MakeNetwork, shape: torch.Size) -> nn.Module:
    check_maker(role, make, "a network and a shape", _EXAMPLES[role])
    # made twice, as it alone knows what its network must give
    try:
        outputs = getattr(make(nn.Identity(), shape), "output_shape", shape)
    except TypeError as error:
        raise ArgumentError(f"{role}: {error}; expected what makes one from a network and a shape") from error
    return make(network(outputs), shape)
