"""Hierarchies of three latents z_1, z_2, z_3 over vectors, and of feature maps over images."""

import torch
from torch import nn

import pyvae
from pyvae import guides, likelihoods, networks, priors

DIM = 6  # of x; the latents have 2, 3 and 4


def mlp(inputs, outputs, context=0):
    return networks.MLP(inputs, outputs, [16], context_dim=context, activation=nn.Tanh)


class Both(nn.Module):
    """A network of x, z and perhaps a context."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        leading = torch.broadcast_shapes(*(i.shape[:-1] for i in inputs))
        return self.network(torch.cat([i.expand(*leading, -1) for i in inputs], -1))


def of_model(c=0):
    return {
        "prior": priors.ConditionalNormal(mlp(c, 4), 2) if c else priors.StandardNormal(2),
        "transitions": [priors.ConditionalNormal(mlp(2, 6, c), 3), priors.ConditionalNormal(mlp(3, 8, c), 4)],
        "likelihood": likelihoods.Normal(mlp(4, DIM, c), DIM),
        "context": networks.OneHot(c) if c else None,
    }


def markov(c=0, **changes):
    up = [guides.DiagonalNormal(mlp(3, 4, c), 2), guides.DiagonalNormal(mlp(4, 6, c), 3)]
    posterior = guides.DiagonalNormal(mlp(DIM, 8, c), 4)
    return pyvae.MarkovVAE(**of_model(c) | {"posterior": posterior, "reverse_transitions": up} | changes)


def seeing(c=0):
    up = [(3, 2), (4, 3)]
    up = [guides.DiagonalNormal(Both(mlp(DIM + n + c, 2 * m)), m) for n, m in up]
    return markov(c, reverse_transitions=up, sees_data=True)


def ladder(c=0, **changes):
    stages = networks.Features([mlp(DIM, 10, c), mlp(10, 9, c), mlp(9, 8, c)])
    levels = [guides.PrecisionWeighted(nn.Linear(8 + t, 2 * (2 + t)), 2 + t) for t in range(3)]
    return pyvae.LadderVAE(**of_model(c) | {"features": stages, "posteriors": levels} | changes)


def one_layer():
    return pyvae.VAE(
        priors.StandardNormal(2), likelihoods.Normal(mlp(2, DIM), DIM), guides.DiagonalNormal(mlp(DIM, 4), 2)
    )


def conv(*layers):
    return networks.AnyLeadingDims(nn.Sequential(*layers), [3])


def maps(cls):
    """Feature maps as latents: z_1 of 4 × 4 × 4, z_2 of 2 × 8 × 8, images of 16 × 16."""
    components = {
        "prior": priors.StandardNormal((4, 4, 4)),
        "transitions": [priors.ConditionalNormal(conv(nn.ConvTranspose2d(4, 4, 4, 2, 1)), (2, 8, 8))],
        "likelihood": likelihoods.Bernoulli(conv(nn.ConvTranspose2d(2, 1, 4, 2, 1)), (1, 16, 16)),
    }
    if cls is pyvae.LadderVAE:
        stages = [conv(nn.Conv2d(1, 6, 4, 2, 1), nn.Tanh()), conv(nn.Conv2d(6, 5, 4, 2, 1))]
        levels = [(nn.Conv2d(5, 8, 1), (4, 4, 4)), (nn.Conv2d(6, 4, 3, padding=1), (2, 8, 8))]
        levels = [guides.PrecisionWeighted(conv(network), shape) for network, shape in levels]
        return cls(**components, features=networks.Features(stages), posteriors=levels)
    return cls(
        **components,
        posterior=guides.DiagonalNormal(conv(nn.Conv2d(1, 4, 4, 2, 1)), (2, 8, 8)),
        reverse_transitions=[guides.DiagonalNormal(conv(nn.Conv2d(2, 8, 4, 2, 1)), (4, 4, 4))],
    )
