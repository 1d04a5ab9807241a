"""Priors over grids of integer codes: independent, or each code given those before it."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import as_shape, check_int, check_module
from pyvae.distributions import Autoregressive
from pyvae.errors import ArgumentError
from pyvae.priors.prior import Prior

__all__ = ["AutoregressiveCodes", "FactorizedCodes", "LowerCodes"]


class FactorizedCodes(Prior):
    r"""A prior of independent codes with learned probabilities, whatever the context.

    .. math:: P(k) = \prod_i \pi_{i, k_i}

    At first, every π_{i, k} is 1/K.

    Args:
        shape: that of the grid k, such as (7, 7).
        num_codes: K.
        uniform: whether every π_{i, k} stays 1/K, as in a vector-quantized VAE before its prior is trained.

    Raises:
        ArgumentError: if ``shape`` or ``num_codes`` is not positive.

    References:
        Van den Oord, Vinyals and Kavukcuoglu, *Neural discrete representation learning*, 2017, section 3.1 (uniform).

    Example:
        >>> prior = FactorizedCodes((2, 3), num_codes=8)
        >>> round(prior().log_prob(torch.zeros(2, 3, dtype=torch.long)).item() / torch.tensor(2.0).log().item())
        -18
    """

    def __init__(self, shape: int | Sequence[int], num_codes: int, uniform: bool = False) -> None:
        super().__init__()
        self.event_shape = as_shape(shape, "shape")
        check_int("num_codes", num_codes)
        logits = torch.zeros(*self.event_shape, num_codes)
        if uniform:
            self.register_buffer("logits", logits, persistent=False)
        else:
            self.logits = nn.Parameter(logits)

    def extra_repr(self) -> str:
        """The shape of the grid and the number of codes."""
        return f"shape={tuple(self.event_shape)}, num_codes={self.logits.shape[-1]}"

    def forward(self, *context: Tensor) -> dist.Distribution:
        """The distribution of the grid, with batch shape ()."""
        return dist.Categorical(logits=self.logits).to_event(len(self.event_shape))


class AutoregressiveCodes(Prior):
    r"""An autoregressive prior of a grid of codes, with the logits of all factors from one network.

    .. math:: P(k \mid c) = \prod_i P(k_i \mid k_1, \dots, k_{i-1}, c)

    Args:
        network: from codes and context to logits, with the attributes ``shape``, that of the grid, and ``num_codes``:
            a :class:`~pyvae.networks.PixelCNN`, a :class:`~pyvae.networks.CausalTransformer`, or one of your own;
            see :class:`~pyvae.distributions.Autoregressive` for how it is called.

    Raises:
        ArgumentError: if ``network`` is no module with these attributes; when called, if the context has other
            dimensions than the network takes.

    References:
        Van den Oord, Vinyals and Kavukcuoglu, *Neural discrete representation learning*, 2017, section 3.3.

    Example:
        >>> from pyvae.networks import PixelCNN
        >>> prior = AutoregressiveCodes(PixelCNN((4, 4), num_codes=3, channels=8, layers=2, context_dim=10))
        >>> prior(torch.zeros(5, 10)).sample().shape
        torch.Size([5, 4, 4])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        check_module("network", network)
        missing = [name for name in ("shape", "num_codes") if not hasattr(network, name)]
        if missing:
            raise ArgumentError(
                f"network is a {type(network).__name__} without {' and '.join(missing)}; expected a network with the "
                "attributes shape, that of the grid, and num_codes, such as PixelCNN"
            )
        self.network = network

    def forward(self, *context: Tensor) -> dist.Distribution:
        """The distribution P(k | c), with the context's batch shape."""
        return Autoregressive(self.network, self.network.shape, self.network.num_codes, context)


class LowerCodes(Prior):
    r"""An autoregressive prior of the codes of one level, given the level above.

    .. math:: P(k \mid z_{\mathrm{top}}, c) = \prod_i P(k_i \mid k_1, \dots, k_{i-1}, g(z_{\mathrm{top}}), c)

    Args:
        network: from codes, context and maps to logits, called as ``network(k, *context, g(z_top))``; such as a
            :class:`~pyvae.networks.PixelCNN` with ``context_channels``.
        upper: g, from the vectors of the level above to maps on the grid of k, such as ``nn.Upsample``.

    Raises:
        ArgumentError: as for :class:`AutoregressiveCodes`.

    References:
        Razavi, van den Oord and Vinyals, *Generating diverse high-fidelity images with VQ-VAE-2*, 2019, section 3.2.

    Example:
        >>> from pyvae.networks import PixelCNN
        >>> network = PixelCNN((4, 4), num_codes=3, channels=8, layers=2, context_channels=5)
        >>> prior = LowerCodes(network, upper=nn.Upsample(scale_factor=2))
        >>> prior(torch.zeros(7, 5, 2, 2)).sample().shape
        torch.Size([7, 4, 4])
    """

    def __init__(self, network: nn.Module, upper: nn.Module) -> None:
        super().__init__()
        self.codes = AutoregressiveCodes(network)
        check_module("upper", upper)
        self.upper = upper

    def forward(self, z_top: Tensor, *context: Tensor) -> dist.Distribution:
        """The distribution P(k | z_top, c), with the batch shape of z_top and c."""
        return self.codes(*context, self.upper(z_top))
