"""One instance of every component of a kind, built from the conventions of its constructor."""

import inspect

import pyro.distributions as dist
import torch
from torch import nn

from pyvae import guides, likelihoods, networks, priors, quantizers

LATENTS, PIXELS, CONTEXT = 3, 4, 2
GRID, CODES = (2, 2), 3
LEVELS_OF_GREY = 4


def _concrete(folder, base, *other_bases):
    """The components of a kind in a folder, by its __all__; what is of no kind is caught by a test of its own."""
    classes = [getattr(folder, name) for name in folder.__all__]
    return [c for c in classes if c is not base and not issubclass(c, other_bases)]


class Joined(nn.Module):
    """A linear map of all inputs, so that a context is used if it is given."""

    def __init__(self, width, outputs):
        super().__init__()
        self.linear = nn.Linear(width, outputs)

    def forward(self, *inputs):
        leading = torch.broadcast_shapes(*(i.shape[:-1] for i in inputs))
        return self.linear(torch.cat([i.expand(leading + i.shape[-1:]) for i in inputs], -1))


def make_prior(cls, context=False):
    takes = inspect.signature(cls).parameters
    if "num_codes" in takes:
        return cls(GRID, CODES), ()
    if "upper" in takes:
        network = networks.PixelCNN(GRID, CODES, channels=4, layers=2, context_channels=1)
        upper = nn.Sequential(nn.Linear(CONTEXT, 4), nn.Unflatten(-1, (1, *GRID)))
        return cls(network, upper), (torch.randn(5, CONTEXT),)
    if "event_shape" not in takes:  # the network says of which grid and codes
        network = networks.PixelCNN(GRID, CODES, channels=4, layers=2, context_dim=CONTEXT)
        return cls(network), (torch.randn(5, CONTEXT),)
    if "network" in takes:
        return over(cls, CONTEXT, LATENTS), (torch.randn(5, CONTEXT),)
    if "posterior" in takes:
        return BesideItsGuide(cls, context), (torch.randn(5, CONTEXT),) * context
    if context:
        return cls(LATENTS, context_dim=CONTEXT), (torch.randn(5, CONTEXT),)
    return cls(LATENTS), ()


class BesideItsGuide(nn.Module):
    """A prior that reads the pair's guide, which moves and is saved with the pair, not with the prior."""

    def __init__(self, cls, context):
        super().__init__()
        self.posterior = make_guide(guides.DiagonalNormal, context)
        self.prior = cls(LATENTS, num_components=5, posterior=self.posterior, shape=PIXELS)

    def forward(self, *context):
        return self.prior(*context)


def over(cls, width, shape, **options):
    """A component over a linear map with as many outputs as it needs."""
    (outputs,) = cls(nn.Identity(), shape, **options).output_shape
    return cls(Joined(width, outputs), shape, **options)


def make_likelihood(cls, context=False, pixels=PIXELS):
    """A likelihood, of few grey levels if it has levels, so that images can be enumerated."""
    width = LATENTS + (CONTEXT if context else 0)
    options = {"levels": LEVELS_OF_GREY} if "levels" in inspect.signature(cls).parameters else {}
    return over(cls, width, pixels, **options)


def make_guide(cls, context=False):
    return over(cls, PIXELS + (CONTEXT if context else 0), LATENTS)


class OnItsLevel(nn.Module):
    """A level of a top-down guide, under a model whose prediction is fixed."""

    def __init__(self, level):
        super().__init__()
        self.level = level

    def forward(self, x):
        p = dist.Normal(torch.full((LATENTS,), 0.5, dtype=x.dtype, device=x.device), 2.0).to_event(1)
        return self.level(x, p.expand(x.shape[:-1]))


def make_level(cls):
    width = PIXELS + cls.moments_per_element * LATENTS
    return OnItsLevel(cls(Joined(width, 2 * LATENTS), LATENTS))


PRIORS = _concrete(priors, priors.Prior)
WITH_CONTEXT = [cls for cls in PRIORS if {"context_dim", "posterior"} & set(inspect.signature(cls).parameters)]
LIKELIHOODS = _concrete(likelihoods, likelihoods.Likelihood)
# SemiAmortized is over other components, and its distribution depends on a draw: it has tests of its own
GUIDES = _concrete(guides, guides.Guide, guides.LevelGuide, guides.SemiAmortized)
LEVELS = _concrete(guides, guides.LevelGuide, guides.Guide)
QUANTIZERS = _concrete(quantizers, quantizers.Quantizer, quantizers.Quantized)
