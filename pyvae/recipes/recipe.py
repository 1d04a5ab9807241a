"""The decorator that makes a function a recipe."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from pyvae.core.arguments import check_int, check_maker
from pyvae.errors import ArgumentError
from pyvae.guides import Guide
from pyvae.likelihoods import Likelihood
from pyvae.models import VAE
from pyvae.networks.shapes import as_shape, as_widths
from pyvae.priors import Prior, VampPrior

__all__ = [
    "MakeGuide",
    "MakeLikelihood",
    "MakePrior",
    "autoencoder",
    "decoded",
    "made_prior",
    "make_posterior",
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
    trains: Callable[[nn.Module], nn.Module] = lambda pair: pair, **training: object
) -> Callable[[Recipe], Recipe]:
    """Make a function a recipe: its pairs remember how they were made, and it knows how to train them.

    Args:
        trains: what the command line trains in place of the pair, over the same parameters.
        training: defaults of the command line's arguments, for this recipe.
    """

    def decorate(function: Recipe) -> Recipe:
        @functools.wraps(function)
        def make(*args: object, **kwargs: object) -> nn.Module:
            bound = inspect.signature(function).bind(*args, **kwargs)
            _check_numbers(function, bound.arguments)
            pair = function(*args, **kwargs)
            pair.recipe = recorded(function, bound)
            return pair

        make.trains, make.training = trains, training
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

    Those that were left out are recorded as well: another version's defaults may be others. A recipe that is not ours
    goes by its module and name.
    """
    bound.apply_defaults()

    def plain(value: object) -> object:
        if inspect.isclass(value):
            return {"class_path": _path(value)}
        if isinstance(value, functools.partial) and inspect.isclass(value.func) and not value.args:
            return {**plain(value.func), "init_args": dict(value.keywords)}
        raise TypeError

    try:
        return json.loads(json.dumps({"name": _name(function), "arguments": bound.arguments}, default=plain))
    except TypeError:
        return None


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
