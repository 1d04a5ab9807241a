"""The recipe of VAEs of counts, such as those of molecules in cells."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import nn

from pyvae.core.arguments import check_choice
from pyvae.datasets import Kind
from pyvae.guides import DiagonalNormal
from pyvae.likelihoods import NegativeBinomial
from pyvae.models import CountVAE
from pyvae.networks import MLP, LogCounts, LogTotal, OneHot, WithoutTotal
from pyvae.networks.shapes import as_shape
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

__all__ = ["counts"]


@recipe(
    takes=[Kind.COUNTS],
    data="cells",
    likelihood={"class_path": "pyvae.likelihoods.NegativeBinomial"},
    library_size=None,  # which is that of the data
)
def counts(
    shape: Sequence[int],
    num_classes: int | None = None,
    latent_dim: int = 10,
    hidden: list[int] = [128],  # noqa: B006 (jsonargparse shows it; nothing changes it)
    library: Literal["observed", "learned"] = "observed",
    library_size: float = 1000.0,
    likelihood: MakeLikelihood = NegativeBinomial,
    prior: MakePrior = StandardNormal,
    posterior: MakeGuide = DiagonalNormal,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> CountVAE:
    r"""The VAE of counts, such as those of molecules in cells, with library sizes and, if there are labels, batches.

    .. math:: p(x, z \mid l, y) = p(z) \, p(x \mid z, l, y), \qquad
        E[x \mid z, l, y] = l \operatorname{softmax}(f(z, y))

    The encoder sees log(1 + x). :meth:`pyvae.CountVAE.expression` gives denoised expression.

    Args:
        shape: event shape of x.
        num_classes: the number of batches y, or None; encoder and decoder are given the batch.
        latent_dim: length of z.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        library: whether the library size l is the total of x or a latent.
        library_size: a typical total, at which a learned one starts; on the command line that of the data.
        likelihood: makes p(x | z, l, y) from the decoder: NegativeBinomial, ZeroInflatedNegativeBinomial or Poisson.
        prior: makes p(z) from the length of z.
        posterior: makes q(z | x, y) from the encoder.
        activation: makes the nonlinearity.

    Example:
        >>> counts(shape=(50,), latent_dim=2).model(size=3).shape
        torch.Size([3, 50])
    """
    shape = as_shape(shape, "shape")
    check_choice("library", library, ("observed", "learned"))
    network = partial(MLP, context_dim=num_classes or 0, activation=activation)

    def encoder(out: int | torch.Size) -> nn.Module:
        return LogCounts(network(shape, out, hidden))

    q = make_posterior(posterior, encoder, latent_dim)
    return CountVAE(
        prior=told_of(made_prior(prior, latent_dim), q, shape),
        likelihood=decoded(
            partial(likelihood, library=True), lambda out: WithoutTotal(network(latent_dim, out, hidden[::-1])), shape
        ),
        posterior=q,
        library_posterior=_of_total(encoder(2), len(shape)) if library == "learned" else None,
        library_size=library_size,
        context=OneHot(num_classes) if num_classes else None,
    )


def _of_total(encoder: LogCounts, dims: int) -> DiagonalNormal:
    """q(log l | x), which begins close to what is seen."""
    nn.init.constant_(encoder.network.layers[-1].bias[1:], -4.0)
    return DiagonalNormal(LogTotal(encoder, dims), 1)
