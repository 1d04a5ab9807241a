"""Recipes of hierarchies: Markov chains of latents."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from pyvae.errors import ArgumentError
from pyvae.guides import DiagonalNormal, TopDownNormal
from pyvae.likelihoods import Bernoulli
from pyvae.models import LadderVAE, MarkovVAE
from pyvae.networks import MLP, Features
from pyvae.networks.shapes import as_shape
from pyvae.priors import ConditionalNormal, StandardNormal
from pyvae.recipes.recipe import MakeLikelihood, decoded, recipe

__all__ = ["hierarchical", "ladder"]


@recipe(epochs=50)
def hierarchical(
    shape: Sequence[int],
    latent_dims: list[int] = [8, 16, 32],  # noqa: B006 (jsonargparse shows it; nothing changes it)
    hidden: list[int] = [256],  # noqa: B006
    sees_data: bool = False,
    likelihood: MakeLikelihood = Bernoulli,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> MarkovVAE:
    r"""The hierarchical VAE whose guide goes from the data up.

    .. math:: q(z_{1:T} \mid x) = q(z_T \mid x) \prod_t q(z_t \mid z_{t+1})

    Args:
        shape: event shape of x.
        latent_dims: lengths of z_1 (the top) … z_T (next to x).
        hidden: widths of the hidden layers of every perceptron.
        sees_data: whether every step of the guide sees x: q(z_t | z_{t+1}, x).
        likelihood: makes p(x | z_T) from the decoder.
        activation: makes the nonlinearity.

    Example:
        >>> hierarchical(shape=(1, 8, 8), latent_dims=[2, 4]).model(size=3).shape
        torch.Size([3, 1, 8, 8])
    """

    def network(start: int | Sequence[int], end: int | Sequence[int], context_dim: int = 0) -> MLP:
        return MLP(start, end, hidden, context_dim, activation)

    _check_depth(latent_dims)
    ways = list(pairwise(latent_dims))
    return MarkovVAE(
        prior=StandardNormal(latent_dims[0]),
        transitions=[ConditionalNormal(network(up, 2 * down), down) for up, down in ways],
        likelihood=decoded(likelihood, lambda out: network(latent_dims[-1], out), shape),
        posterior=DiagonalNormal(network(shape, 2 * latent_dims[-1]), latent_dims[-1]),
        reverse_transitions=[
            DiagonalNormal(network(shape, 2 * up, down) if sees_data else network(down, 2 * up), up)
            for up, down in ways
        ],
        sees_data=sees_data,
    )


@recipe(
    epochs=50,
    clip_norm=20.0,
    objective={
        "class_path": "pyvae.objectives.WeightedELBO",
        "init_args": {
            "beta": {"class_path": "pyvae.objectives.WarmUp", "init_args": {"epochs": 0.3}},
            "free_bits": 0.5,
        },
    },
)
def ladder(
    shape: Sequence[int],
    latent_dims: list[int] = [8, 16, 32],  # noqa: B006
    hidden: list[int] = [256],  # noqa: B006
    decoder_hidden: list[int] = [256, 256],  # noqa: B006
    likelihood: MakeLikelihood = Bernoulli,
    activation: Callable[[], nn.Module] = nn.SiLU,
) -> LadderVAE:
    r"""The ladder VAE, whose guide runs with the model, from the top down.

    .. math:: q(z_{1:T} \mid x) = q(z_1 \mid x) \prod_t q(z_{t+1} \mid z_t, x)

    The command line trains it with a warm-up of the KL over 0.3 of the epochs and half a nat of free bits for each
    level, by which upper levels stay active; in Python, pass such an objective to :func:`pyvae.fit`.

    Args:
        shape: event shape of x.
        latent_dims: lengths of z_1 (the top) … z_T (next to x).
        hidden: widths of the hidden layers of the guide's perceptrons and of the transitions; the last is that of the
            features, too.
        decoder_hidden: widths of the decoder's hidden layers.
        likelihood: makes p(x | z_T) from the decoder.
        activation: makes the nonlinearity.

    Raises:
        ArgumentError: if there are no latents, or no hidden layers.

    Example:
        >>> ladder(shape=(1, 8, 8), latent_dims=[2, 4]).model(size=3).shape
        torch.Size([3, 1, 8, 8])
    """

    def network(start: int | Sequence[int], end: int | Sequence[int], context_dim: int = 0) -> MLP:
        return MLP(start, end, hidden, context_dim, activation)

    _check_depth(latent_dims)
    if not hidden:
        raise ArgumentError("hidden is empty; expected at least one width, which the features have")
    width = hidden[-1]
    starts = [as_shape(shape, "shape"), *[width] * (len(latent_dims) - 1)]
    return LadderVAE(
        prior=StandardNormal(latent_dims[0]),
        transitions=[ConditionalNormal(network(up, 2 * down), down) for up, down in pairwise(latent_dims)],
        likelihood=decoded(
            likelihood, lambda out: MLP(latent_dims[-1], out, decoder_hidden, activation=activation), shape
        ),
        features=Features([nn.Sequential(network(start, width), activation()) for start in starts]),
        posteriors=[TopDownNormal(network(width, 2 * dim, 2 * dim), dim) for dim in latent_dims],
    )


def _check_depth(latent_dims: list[int]) -> None:
    if not latent_dims:
        raise ArgumentError("latent_dims is empty; expected the lengths of z_1 … z_T, such as [8, 16, 32]")
