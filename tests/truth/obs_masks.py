"""A model with an ``obs_mask``, which Pyro splits into what is observed and what is not."""

import pyro
import pyro.distributions as dist
import torch


class ObsMasked:
    """z ~ N(0, 1), x_t ~ N(z, 1), of which those with a mask are observed; the guide is a subclass's."""

    def model(self, x, mask):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0))
            with pyro.plate("time", x.shape[1], dim=-1):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x, obs_mask=mask)
