"""The VAE and the conditional VAE, made from any components."""

import pyro
from torch import Tensor, nn

from pyvae.models.arguments import check_given, count_data, embed
from pyvae.models.checks import check_modules, check_programs
from pyvae.models.registration import register

__all__ = ["VAE"]


class VAE(nn.Module):
    r"""A variational auto-encoder of a prior, a likelihood and a guide, optionally conditional on labels.

    .. math:: p(x, z) = p(z) \, p(x \mid z) \text{ is approximated by } q(z \mid x)

    With a context c(y), these are p(z | c) p(x | z, c) and q(z | x, c).

    ELBO(x) = E_{q(z|x)}[log p(x | z)] − KL(q(z | x) ‖ p(z)) ≤ log p(x).

    ``model`` and ``guide`` are Pyro programs of one signature: sites ``z`` and ``x`` in the plate ``"data"``. Without
    x the model generates ``size`` data (as many as there are labels, with a context).

    Args:
        prior: p(z), called as ``prior(*context)``.
        likelihood: p(x | z), called as ``likelihood(z, *context)``.
        posterior: q(z | x), called as ``posterior(x, *context)``.
        context: c, from labels or attributes y to vectors; :class:`pyvae.networks.OneHot`, ``nn.Embedding``, any
            network.

    Raises:
        PairError: if a component does not return a distribution, or the event shapes do not fit each other.
        DataError: when run with labels but no context, or with a context but no labels.

    References:
        Kingma and Welling, *Auto-encoding variational Bayes*, 2014, equation 3; Sohn, Lee and Yan, *Learning
        structured output representation using deep conditional generative models*, 2015.

    Example:
        >>> import torch
        >>> from pyro.infer import SVI, Trace_ELBO
        >>> from pyvae import guides, likelihoods, priors
        >>> vae = VAE(
        ...     prior=priors.StandardNormal(2),
        ...     likelihood=likelihoods.Normal(nn.Linear(2, 5), event_shape=5),
        ...     posterior=guides.DiagonalNormal(nn.Linear(5, 4), event_shape=2),
        ... )
        >>> loss = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(torch.zeros(8, 5))
        >>> vae.model(size=3).shape
        torch.Size([3, 5])
    """

    def __init__(
        self, prior: nn.Module, likelihood: nn.Module, posterior: nn.Module, context: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior
        self.context = context
        check_modules(self, "prior", "likelihood", "posterior", "context")
        check_programs(VAE, self, context)

    def model(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The generative program p(x, z | y), which returns x, drawn or as given."""
        register(self)
        count = count_data(x, y, size)
        c = embed(self.context, y)
        with pyro.plate("data", count):
            z = pyro.sample("z", self.prior(*c))
            return pyro.sample("x", self.likelihood(z, *c), obs=x)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The inference program q(z | x, y), which returns a sample of z."""
        check_given(x)
        register(self)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.posterior(x, *embed(self.context, y)))
