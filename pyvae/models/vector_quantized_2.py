"""VAEs with two levels of codes: a coarse grid for structure, a fine one for texture."""

import pyro
import torch
from torch import Tensor, nn

from pyvae.core.modules import evaluation_mode
from pyvae.errors import DataError
from pyvae.models.arguments import check_given, check_numbers, count_data, embed
from pyvae.models.checks import check_modules, check_programs
from pyvae.models.code_programs import observe_codes, sample_codes, token_vectors
from pyvae.models.registration import register

__all__ = ["VQVAE2"]


class VQVAE2(nn.Module):
    r"""VQ-VAE-2: a vector-quantized VAE with a coarse and a fine grid of codes.

    .. math:: p(x, k) = p(k_{\mathrm{top}}) \, p(k_{\mathrm{bottom}} \mid z_{\mathrm{top}}) \,
        p(x \mid z_{\mathrm{bottom}}, z_{\mathrm{top}})

    The guide takes the nearest codes.

    The guide takes the top codes from coarse features of x, and the bottom codes from fine features and the top's
    vectors. Sites ``k_top``, ``z_top``, ``k_bottom``, ``z_bottom`` and ``x``, and in training ``vq_loss_top`` and
    ``vq_loss_bottom``, each as in :class:`VQVAE`.

    Args:
        prior_top: p(k_top), called as ``prior(*context)``.
        prior_bottom: p(k_bottom | z_top), called as ``prior(z_top, *context)``; such as an ``nn.Sequential`` of layers
            that bring z_top to the grid of the bottom, and of :class:`pyvae.priors.AutoregressiveCodes`.
        likelihood: p(x | z_bottom, z_top), called as ``likelihood(z_bottom, z_top, *context)``.
        features: x to (h_top, h_bottom), called as ``features(x, *context)``; such as
            :class:`pyvae.networks.Features`. h_top is (…, dim, \*grid), as the top's quantizer takes it.
        condition: (h_bottom, z_top) to what the bottom's quantizer takes.
        quantizer_top: a :class:`pyvae.quantizers.Quantizer`.
        quantizer_bottom: another.
        context: c, from labels or attributes y to vectors.

    Raises:
        PairError: if a component fails, or shapes do not fit each other.
        DataError: when run with labels but no context, or with a context but no labels.

    References:
        Razavi, van den Oord and Vinyals, *Generating diverse high-fidelity images with VQ-VAE-2*, 2019, algorithm 1.

    Example:
        >>> from pyvae import likelihoods, networks, priors, quantizers
        >>> class Joined(nn.Module):
        ...     def __init__(self, inputs: int, outputs: int) -> None:
        ...         super().__init__()
        ...         self.linear = nn.Linear(inputs, outputs)
        ...
        ...     def forward(self, one: Tensor, other: Tensor) -> Tensor:
        ...         return self.linear(torch.cat([one, other], -1))
        >>> pair = VQVAE2(
        ...     prior_top=priors.FactorizedCodes((4,), num_codes=8),
        ...     prior_bottom=nn.Sequential(nn.Flatten(-2), priors.FactorizedCodes((4,), num_codes=8)),
        ...     likelihood=likelihoods.Normal(Joined(8, 5), event_shape=(3, 5)),
        ...     features=networks.Features([nn.Linear(5, 4), nn.Linear(4, 4)]),
        ...     condition=Joined(8, 4),
        ...     quantizer_top=quantizers.VectorQuantizer(num_codes=8, dim=3),
        ...     quantizer_bottom=quantizers.VectorQuantizer(num_codes=8, dim=3),
        ... )
        >>> [k.shape for k in pair.encode(torch.randn(7, 3, 5))]
        [torch.Size([7, 4]), torch.Size([7, 4])]
    """

    #: the sites of the codes, in the order of :meth:`encode`
    code_sites = ("k_top", "k_bottom")

    def __init__(
        self,
        prior_top: nn.Module,
        prior_bottom: nn.Module,
        likelihood: nn.Module,
        features: nn.Module,
        condition: nn.Module,
        quantizer_top: nn.Module,
        quantizer_bottom: nn.Module,
        context: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.prior_top, self.prior_bottom = prior_top, prior_bottom
        self.likelihood = likelihood
        self.features, self.condition = features, condition
        self.quantizer_top, self.quantizer_bottom = quantizer_top, quantizer_bottom
        self.context = context
        check_modules(self, "prior_top", "prior_bottom", "likelihood", "features", "condition", "context")
        check_modules(self, "quantizer_top", "quantizer_bottom")
        check_programs(VQVAE2, self, context)

    def model(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The generative program p(x, k | y), which returns x, drawn or as given."""
        register(self)
        count = count_data(x, y, size)
        c = embed(self.context, y)
        with pyro.plate("data", count):
            z_top = sample_codes("_top", self.quantizer_top, self.prior_top(*c))
            # the prior sees integers: what goes straight through to the encoder is not for it; drawn codes have no such
            p_bottom = self.prior_bottom(z_top if self.quantizer_top.stochastic else z_top.detach(), *c)
            z_bottom = sample_codes("_bottom", self.quantizer_bottom, p_bottom)
            return pyro.sample("x", self.likelihood(z_bottom, z_top, *c), obs=x)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> tuple[Tensor, Tensor]:
        """The codes of x, of the top and of the bottom."""
        check_given(x)
        register(self)
        h_top, h_bottom = self.features(x, *embed(self.context, y))
        with pyro.plate("data", len(x)):
            k_top, z_top = observe_codes("_top", self.quantizer_top, h_top, self.parameters())
            maps = self.condition(h_bottom, z_top)
            k_bottom, _ = observe_codes("_bottom", self.quantizer_bottom, maps, self.parameters())
            return k_top, k_bottom

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The codes of data, of the top and of the bottom: int64.

        Raises:
            DataError: if the data are not finite, or not as many as the labels.
        """
        check_numbers(self, x, y)
        with evaluation_mode(self):
            h_top, h_bottom = self.features(x, *embed(self.context, y))
            top = self.quantizer_top(h_top.movedim(1, -1))
            maps = self.condition(h_bottom, top.vectors.movedim(-1, 1))
            return top.codes, self.quantizer_bottom(maps.movedim(1, -1)).codes

    @torch.no_grad()
    def decode(self, top: Tensor, bottom: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x | z_bottom, z_top) of codes.

        Raises:
            DataError: if the codes are no integers, of another shape, out of range, or not as many as each other or
                the labels.
        """
        c = embed(self.context, y)
        with evaluation_mode(self):
            z_top = token_vectors(self.quantizer_top, top, self.prior_top(*c))
            z_bottom = token_vectors(self.quantizer_bottom, bottom, self.prior_bottom(z_top, *c))
            if len(top) != len(bottom):
                raise DataError(
                    f"got {len(top)} codes of the top and {len(bottom)} of the bottom; expected equally many"
                )
            count_data(top, y, 1)
            return self.likelihood(z_bottom, z_top, *c).mean
