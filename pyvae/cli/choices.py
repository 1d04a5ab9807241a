"""What ``fit`` chooses by the data where nobody has: a preprocessing, a likelihood, and what goes with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

from pyvae import likelihoods
from pyvae.cli.data import absolute_paths, load_data
from pyvae.cli.options import FROM_DATA
from pyvae.cli.parser import parameters_of
from pyvae.datasets import DataSplits, Kind, Values, values_of
from pyvae.datasets import preprocessing as preprocessings
from pyvae.errors import DataError
from pyvae.recipes.choices import likelihood_for, preprocessing_for, starting_at, takes_of

__all__ = ["Chosen", "chosen_by_data"]


@dataclass(frozen=True)
class Chosen:
    """What a run is made of.

    Attributes:
        data: the data, preprocessed.
        given: the arguments of :func:`~pyvae.cli.data.load_data` that give them.
        arguments: of the recipe.
        note: a line that says what was chosen, and why; empty if nothing was.
    """

    data: DataSplits
    given: dict[str, Any]
    arguments: dict[str, Any]
    note: str


def chosen_by_data(name: str, recipe: Callable[..., object], plain: Mapping[str, Any]) -> Chosen:
    """Load the data, and complete what the command line leaves open by what they are.

    Args:
        name: of the recipe.
        recipe: the recipe itself.
        plain: all options of the command line, as JSON.

    Raises:
        DataError: if the recipe cannot take the data; it names one that can.
    """
    given = {n: plain[n] for n in parameters_of(load_data)}
    given |= absolute_paths(given["data"], given["data_root"])
    data = load_data(**given)
    arguments = {n: plain[n] for n in parameters_of(recipe, FROM_DATA)}
    values, chosen = values_of(data), {}
    if values.missing and not getattr(recipe, "missing", True):
        raise DataError(
            f"{data.name} has missing values (NaN), which recipe {name!r} does not take: clean the data, or use the "
            "recipe 'incomplete'"
        )
    if given["preprocessing"] is None:
        given["preprocessing"] = chosen["preprocessing"] = _preprocessing(name, recipe, data, values, arguments)
        data = getattr(preprocessings, given["preprocessing"])(data)
    made = values_of(data)
    if "likelihood" in arguments:
        if arguments["likelihood"] is None:
            arguments["likelihood"] = likelihood_for(made)
            chosen["likelihood"] = arguments["likelihood"]["class_path"].rpartition(".")[2]
        arguments["likelihood"] = starting_at(arguments["likelihood"], made)
    from_data = {"levels": made.levels, "library_size": made.total, "log_input": _takes_logarithms(arguments)}
    arguments |= {n: value for n, value in from_data.items() if n in arguments and arguments[n] is None}
    arguments = {"shape": list(data.shape), **arguments, **_classes(name, recipe, data)}
    return Chosen(data, given, arguments, _note(values, chosen))


def _preprocessing(
    name: str, recipe: Callable[..., object], data: DataSplits, values: Values, arguments: Mapping[str, Any]
) -> str:
    """The preprocessing that suits the data, the recipe and the likelihood if one is asked for."""
    asked = _kind_of(arguments.get("likelihood"))
    if asked is Kind.COUNTS and Kind.COUNTS not in takes_of(recipe):
        raise DataError(
            f"recipe {name!r} gives its encoder counts as they are, which may be thousands: use 'counts' or "
            "'gaussian'; if they are small, --preprocessing no_preprocessing says that you mean it"
        )
    said = getattr(recipe, "takes", ())
    takes = {asked} if asked and (asked in said or not said) else takes_of(recipe)
    chosen = preprocessing_for(values, takes)
    if chosen is None and preprocessing_for(values, takes_of(recipe)):
        raise DataError(
            f"the data {data.name} are {values}, but the likelihood is of {asked}: leave out --likelihood, "
            "which then follows from the data, or choose a --preprocessing"
        )
    if chosen is None:
        other = "counts" if values.kind is Kind.COUNTS else "gaussian"
        wanted = " or ".join(sorted(takes_of(recipe)))
        raise DataError(f"the data {data.name} are {values}, but recipe {name!r} takes {wanted}: use {other!r}")
    return chosen


def _kind_of(likelihood: Any) -> Kind | None:
    """Of what a likelihood of ours is a distribution; None if it does not say."""
    path = likelihood.get("class_path", "") if isinstance(likelihood, dict) else ""
    folder, _, cls = path.rpartition(".")
    return getattr(getattr(likelihoods, cls, None), "values", None) if folder == likelihoods.__name__ else None


def _takes_logarithms(arguments: Mapping[str, Any]) -> bool:
    """Whether the encoder sees the logarithms of counts."""
    return _kind_of(arguments.get("likelihood")) is Kind.COUNTS


def _classes(name: str, recipe: Callable[..., object], data: DataSplits) -> dict[str, int | None]:
    if "num_classes" not in parameters_of(recipe):
        return {}
    if not data.num_classes and signature(recipe).parameters["num_classes"].default is Parameter.empty:
        raise DataError(
            f"recipe {name!r} is conditional, but {data.name} has no labels: add y, or use a recipe without labels, "
            "such as 'gaussian' or 'vqvae'"
        )
    return {"num_classes": data.num_classes or None}


def _note(values: Values, chosen: Mapping[str, str]) -> str:
    if not chosen:
        return ""
    what = ", ".join(f"{option}: {name}" for option, name in chosen.items())
    change = " and ".join(f"--{option}" for option in chosen)
    return f"{what}, since the data are {values}; change with {change}"
