"""The recipe of VAEs of data with few labels."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from pyvae.guides import DiagonalNormal
from pyvae.likelihoods import Bernoulli
from pyvae.models import SemiSupervisedVAE
from pyvae.networks import MLP, OneHot
from pyvae.priors import StandardNormal
from pyvae.recipes.recipe import (
    MakeGuide,
    MakeLikelihood,
    MakePrior,
    decoded,
    made_prior,
    make_posterior,
    recipe,
    told_of,
)

__all__ = ["semi_supervised"]


@recipe(epochs=100, labelled=100)
def semi_supervised(
    shape: Sequence[int],
    num_classes: int,
    latent_dim: int = 50,
    hidden: list[int] = [256],  # noqa: B006 (jsonargparse shows it; nothing changes it)
    classification_weight: float = 50.0,
    likelihood: MakeLikelihood = Bernoulli,
    prior: MakePrior = StandardNormal,
    posterior: MakeGuide = DiagonalNormal,
    enumerated: bool = True,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> SemiSupervisedVAE:
    r"""The semi-supervised VAE (M2), for data of which only some have labels.

    .. math:: p(x, y, z) = p(y) \, p(z) \, p(x \mid y, z), \qquad q(y, z \mid x) = q(y \mid x) \, q(z \mid x, y)

    Args:
        shape: event shape of x.
        num_classes: the number of classes y; −1 stands for a label that is not known.
        latent_dim: length of z.
        hidden: widths of the hidden layers of encoder and classifier; the decoder has them in reverse.
        classification_weight: of log q(y | x) of the labels in training.
        likelihood: makes p(x | y, z) from the decoder.
        prior: makes p(z) from the length of z.
        posterior: makes q(z | x, y) from the encoder.
        enumerated: whether labels that are not known are summed over, else drawn.
        activation: makes the nonlinearity.

    Example:
        >>> import torch
        >>> pair = semi_supervised(shape=(1, 8, 8), num_classes=10, latent_dim=2)
        >>> pair.model(y=torch.tensor([3, 7])).shape
        torch.Size([2, 1, 8, 8])
    """
    network = partial(MLP, activation=activation)
    q = make_posterior(posterior, lambda out: network(shape, out, hidden, num_classes), latent_dim)
    return SemiSupervisedVAE(
        prior=told_of(made_prior(prior, latent_dim), q, shape),
        likelihood=decoded(likelihood, lambda out: network(latent_dim, out, hidden[::-1], num_classes), shape),
        posterior=q,
        classifier=network(shape, num_classes, hidden),
        context=OneHot(num_classes),
        num_classes=num_classes,
        classification_weight=classification_weight,
        enumerated=enumerated,
    )
