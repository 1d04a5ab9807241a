"""VAEs whose latents are codes: entries of a learned table of vectors."""

import pyro
import torch
from torch import Tensor, nn

from pyvae.core.modules import evaluation_mode
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import PairError
from pyvae.models.arguments import check_given, check_numbers, count_data, embed
from pyvae.models.checks import check_modules, check_programs, named_failures
from pyvae.models.code_programs import observe_codes, sample_codes, token_vectors
from pyvae.models.registration import register

__all__ = ["VQVAE", "CodePrior"]


class VQVAE(nn.Module):
    r"""A vector-quantized VAE, whose guide puts all its mass on the codes nearest to the encoder's output.

    .. math:: p(x, k) = p(k) \, p(x \mid e_k), \qquad q(k \mid x) = 1 \text{ for the codes nearest to } f(x)

    k is a grid of integer codes, e_k their vectors. ELBO(x) = log p(x | e_k) + log p(k) for k = k(x): the second term
    is minus the length of the codes under the prior, in nats. Sites: ``k``; ``z``, the vectors, through which the
    gradient reaches the encoder as if quantization were the identity (straight through); ``x``. In training mode the
    guide adds the factor ``vq_loss``, ‖sg[f(x)] − e_k‖² + β ‖f(x) − sg[e_k]‖², which moves codes and encoder towards
    each other and is no part of the ELBO; the codebook's exponential moving averages (EMA), if any, are updated once
    per step.

    ``Trace_ELBO`` and ``TraceMeanField_ELBO`` train it, with a uniform prior at first; then :class:`CodePrior` fits a
    prior to the codes. Importance weights of a guide without spread mean nothing and are refused.

    A ``distance`` d, such as one of spectra, joins the likelihood in training, as the model's factor ``distance``,
    −d(E[x | e_k], x); training figures of the reconstruction contain it, those of validation and evaluation do not.

    Args:
        prior: p(k), called as ``prior(*context)``; of the event shape of k.
        likelihood: p(x | z), called as ``likelihood(z, *context)`` with z of shape (…, dim, \*positions).
        encoder: f, called as ``encoder(x, *context)``; gives (…, dim, \*positions), such as feature maps.
        quantizer: a :class:`pyvae.quantizers.Quantizer` of vectors of length dim.
        context: c, from labels or attributes y to vectors.
        distance: d, called with two batches of data, gives one number, in nats, for each datapoint; None for none.

    Raises:
        PairError: if a component fails, or shapes do not fit each other.
        DataError: when run with labels but no context, or with a context but no labels.

    References:
        van den Oord, Vinyals and Kavukcuoglu, *Neural discrete representation learning*, 2017, equations 1 to 3.

    Example:
        >>> from pyvae import likelihoods, priors, quantizers
        >>> pair = VQVAE(
        ...     prior=priors.FactorizedCodes((4,), num_codes=8),
        ...     likelihood=likelihoods.Normal(nn.Sequential(nn.Flatten(-2), nn.Linear(12, 5)), event_shape=5),
        ...     encoder=nn.Sequential(nn.Linear(5, 12), nn.Unflatten(-1, (3, 4))),
        ...     quantizer=quantizers.VectorQuantizer(num_codes=8, dim=3),
        ... )
        >>> tokens = pair.encode(torch.randn(7, 5))
        >>> tokens.shape, pair.decode(tokens).shape
        (torch.Size([7, 4]), torch.Size([7, 5]))
    """

    #: the sites of the codes, in the order of :meth:`encode`
    code_sites = ("k",)

    def __init__(
        self,
        prior: nn.Module,
        likelihood: nn.Module,
        encoder: nn.Module,
        quantizer: nn.Module,
        context: nn.Module | None = None,
        distance: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.likelihood = likelihood
        self.encoder = encoder
        self.quantizer = quantizer
        self.context = context
        self.distance = distance
        check_modules(self, "prior", "likelihood", "encoder", "quantizer", "context")
        if distance is not None:
            check_modules(self, "distance")
        x = check_programs(VQVAE, self, context)
        if distance is not None and x is not None:
            with evaluation_mode(self), isolated_rng(), named_failures(self):
                self._distances(x, x)

    def model(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The generative program p(x, k | y), which returns x, drawn or as given."""
        register(self)
        count = count_data(x, y, size)
        c = embed(self.context, y)
        with pyro.plate("data", count):
            z = sample_codes("", self.quantizer, self.prior(*c))
            p_x = self.likelihood(z, *c)
            if self.training and self.distance is not None and x is not None:
                pyro.factor("distance", -self._distances(p_x.mean, x))
            return pyro.sample("x", p_x, obs=x)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The codes of x."""
        check_given(x)
        register(self)
        maps = self.encoder(x, *embed(self.context, y))
        with pyro.plate("data", len(x)):
            k, _ = observe_codes("", self.quantizer, maps, self.parameters())
            return k

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The codes of data: int64, of the event shape of k.

        Raises:
            DataError: if the data are not finite, or not as many as the labels.
        """
        check_numbers(self, x, y)
        with evaluation_mode(self):
            return self.quantizer(self.encoder(x, *embed(self.context, y)).movedim(1, -1)).codes

    @torch.no_grad()
    def decode(self, tokens: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x | e_k) of codes.

        Raises:
            DataError: if the codes are no integers, of another shape, out of range, or not as many as the labels.
        """
        c = embed(self.context, y)
        with evaluation_mode(self):
            z = token_vectors(self.quantizer, tokens, self.prior(*c))
            count_data(tokens, y, 1)
            return self.likelihood(z, *c).mean

    def _distances(self, mean: Tensor, x: Tensor) -> Tensor:
        """d(E[x | e_k], x), one number for each datapoint."""
        d, shape = self.distance(mean, x), torch.broadcast_shapes(mean.shape, x.shape)
        expected = tuple(shape[: len(shape) - x.dim() + 1])
        if not isinstance(d, Tensor) or d.shape != expected:
            got = f"shape {tuple(d.shape)}" if isinstance(d, Tensor) else f"a {type(d).__name__}"
            raise PairError(f"distance: gave {got} for {len(x)} datapoints; expected a tensor of shape {expected}")
        return d


class CodePrior(nn.Module):
    r"""The second stage of a VQ-VAE: its prior p(k), fitted to codes by maximum likelihood.

    A pair without latents over the prior of another pair, of the same parameters: ``pyvae.fit(CodePrior(vqvae),
    vqvae.encode(x))``. Its ELBO is log p(k), minus the length of the codes in nats.

    Args:
        pair: a pair with a ``prior`` over codes, and its ``context``.

    References:
        van den Oord, Vinyals and Kavukcuoglu, *Neural discrete representation learning*, 2017, section 3.3.
    """

    def __init__(self, pair: nn.Module) -> None:
        super().__init__()
        self.prior, self.context = pair.prior, pair.context

    def model(self, k: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The generative program p(k | y), which returns k, drawn or as given."""
        register(self)
        with pyro.plate("data", count_data(k, y, size)):
            return pyro.sample("k", self.prior(*embed(self.context, y)), obs=k)

    def guide(self, k: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> None:
        """Nothing: there are no latents."""
