"""VAEs of counts, whose totals are a matter of their own."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int, check_positive
from pyvae.errors import ArgumentError
from pyvae.models.arguments import check_given, count_data, embed
from pyvae.models.checks import check_modules, check_programs
from pyvae.models.registration import register

__all__ = ["CountVAE"]


class CountVAE(nn.Module):
    r"""A VAE of counts x with a library size l, the expected total of a datapoint, beside what z explains.

    .. math:: p(x, z, l \mid y) = p(z) \, \mathcal{LN}(l; m, s^2) \, p(x \mid z, l, y), \qquad
        E[x \mid z, l, y] = l \operatorname{softmax}(f(z, y))

    With a guide of its own, log l is a latent, site ``log_l``, with learned m and s. Without one, l is the observed
    total of x, on which all densities are conditional; where there is no x, it is drawn by m and s, which stay as they
    are.

    Args:
        prior: p(z), called as ``prior(*context)``.
        likelihood: p(x | z, l, y) with ``library=True``, called as ``likelihood(z, *context, log_l)``.
        posterior: q(z | x, y), called as ``posterior(x, *context)``.
        library_posterior: q(log l | x, y) with event shape (1,), called likewise; None where l is observed.
        library_size: e^m, where m starts; a typical total.
        context: c, from the batches y to vectors, such as :class:`pyvae.networks.OneHot`.

    Raises:
        PairError: if a component does not return a distribution, or the event shapes do not fit each other.
        ArgumentError: if the likelihood knows no library size, or ``library_size`` is not positive.
        DataError: when run with labels but no context, or with a context but no labels.

    References:
        Lopez, Regier, Cole, Jordan and Yosef, *Deep generative modeling for single-cell transcriptomics*, 2018.

    Example:
        >>> import pyvae
        >>> pair = pyvae.recipes.counts(shape=(5,), latent_dim=2, library_size=100.0)
        >>> pair.model(size=3).shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        prior: nn.Module,
        likelihood: nn.Module,
        posterior: nn.Module,
        library_posterior: nn.Module | None = None,
        library_size: float = 1000.0,
        context: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_positive("library_size", library_size)
        if not getattr(likelihood, "library", False):
            raise ArgumentError(
                f"the likelihood is a {type(likelihood).__name__} without a library size; expected one of counts with "
                "library=True, such as likelihoods.NegativeBinomial(network, event_shape, library=True)"
            )
        self.prior, self.likelihood, self.posterior = prior, likelihood, posterior
        self.library_posterior, self.context = library_posterior, context
        learned = library_posterior is not None
        for name, value in (("library_loc", math.log(library_size)), ("library_log_scale", math.log(0.5))):
            tensor = torch.tensor([value])
            self.register_parameter(name, nn.Parameter(tensor)) if learned else self.register_buffer(name, tensor)
        check_modules(self, "prior", "likelihood", "posterior", "context", *["library_posterior"] * learned)
        check_programs(CountVAE, self, context)

    def model(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The generative program p(x, z, l | y), which returns x, drawn or as given."""
        register(self)
        count = count_data(x, y, size)
        c = embed(self.context, y)
        with pyro.plate("data", count):
            z = pyro.sample("z", self.prior(*c))
            library = dist.Normal(self.library_loc, self.library_log_scale.exp()).to_event(1)
            if self.library_posterior is not None:
                log_l = pyro.sample("log_l", library)
            elif x is not None:
                log_l = self.log_total(x)
            else:
                log_l = library.sample((count,))
            return pyro.sample("x", self.likelihood(z, *c, log_l), obs=x)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The inference program q(z | x, y) q(log l | x, y), which returns a sample of z."""
        check_given(x)
        register(self)
        c = embed(self.context, y)
        with pyro.plate("data", len(x)):
            if self.library_posterior is not None:
                pyro.sample("log_l", self.library_posterior(x, *c))
            return pyro.sample("z", self.posterior(x, *c))

    def log_total(self, x: Tensor) -> Tensor:
        """The log totals of data, (…, 1); a total of 0 counts as 1."""
        return x.flatten(-len(self.likelihood.event_shape)).sum(-1, keepdim=True).clamp(min=1).log()

    @torch.no_grad()
    def expression(
        self, x: Tensor, y: Tensor | None = None, library_size: float = 1.0, num_samples: int = 100
    ) -> Tensor:
        r"""Denoised expression: the expected counts of a datapoint, had it this library size, without added zeros.

        .. math:: l \, E_{q(z \mid x, y)}[\operatorname{softmax}(f(z, y))]

        Args:
            x: counts, (N, …).
            y: their batches, if the pair has a context; those of others ask what x would be there.
            library_size: l; 1 gives shares.
            num_samples: draws of z.

        Returns:
            Of the shape of x.

        Raises:
            DataError: if labels are missing, or there are too many.
            ArgumentError: if ``library_size`` or ``num_samples`` is not positive.
        """
        check_positive("library_size", library_size)
        check_int("num_samples", num_samples)
        c = embed(self.context, y)
        log_l = torch.full_like(self.log_total(x), math.log(library_size))
        q = self.posterior(x, *c)
        return sum(self.likelihood.log_mean(q.sample(), *c, log_l).exp() for _ in range(num_samples)) / num_samples
