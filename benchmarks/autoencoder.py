"""The VAE with one latent vector and Bernoulli pixels, written without pyvae: by hand, and as a Pyro pair."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Autoencoder", "PlainPair"]


class Autoencoder(nn.Module):
    """Maps a batch to an estimate of the mean of −ELBO(x) = KL(q(z | x) ‖ p(z)) − E_q[log p(x | z)], KL in closed form.

    Args:
        encoder: images to means and log-variances of z, one after the other.
        decoder: z to the logits of the pixels.
    """

    def __init__(self, encoder: nn.Sequential, decoder: nn.Sequential) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """The estimate from one draw of z per datapoint."""
        loc, log_variance = self.encoder(x).chunk(2, -1)
        z = loc + (log_variance / 2).exp() * torch.randn_like(loc)
        cross_entropy = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = (loc.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        return (cross_entropy + kl) / len(x)


class PlainPair(nn.Module):
    """The same VAE as Pyro's tutorial would write it.

    Args:
        encoder: as for :class:`Autoencoder`.
        decoder: as for :class:`Autoencoder`.
    """

    def __init__(self, encoder: nn.Sequential, decoder: nn.Sequential) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = next(m for m in decoder if isinstance(m, nn.Linear)).in_features

    def model(self, x: Tensor) -> None:
        """p(z) p(x | z)."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x), dim=-1):
            loc = x.new_zeros(len(x), self.latent_dim)
            z = pyro.sample("z", dist.Normal(loc, torch.ones_like(loc)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(x.dim() - 1), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x)."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x), dim=-1):
            loc, log_variance = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, (log_variance / 2).exp()).to_event(1))
