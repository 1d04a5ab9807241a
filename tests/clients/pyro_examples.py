"""Pyro's own examples and tutorials, small and in our words: images and labels, with data that they take."""

import pyro
import pyro.distributions as dist
import torch
from pyro.contrib import cevae
from torch import nn

N, D, C = 24, 6, 3


class ImageVAE(nn.Module):
    """``vae``: an encoder and a decoder registered by name."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, 4), nn.Linear(2, D)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(x.shape[0], 2), 1.0).to_event(1))
            pyro.sample("obs", dist.Bernoulli(self.decoder(z).sigmoid(), validate_args=False).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = self.encoder(x).chunk(2, -1)
            pyro.sample("latent", dist.Normal(loc, scale.exp()).to_event(1))

    def data(self):
        return torch.rand(N, D).round()


class SemiSupervised(nn.Module):
    """``ss_vae_M2``: a plate without a size, labels in one-hot form that the guide enumerates where none is given."""

    def __init__(self):
        super().__init__()
        self.decode, self.classify, self.encode = nn.Linear(2 + C, D), nn.Linear(D, C), nn.Linear(D + C, 4)

    def model(self, x, y=None):
        pyro.module("ss_vae", self)
        with pyro.plate("data"):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(x.new_ones(len(x), C) / C), obs=y)
            shape = torch.broadcast_shapes(z.shape[:-1], y.shape[:-1])
            both = torch.cat([z.expand(*shape, 2), y.expand(*shape, C)], -1)
            pyro.sample("x", dist.Bernoulli(logits=self.decode(both)).to_event(1), obs=x)

    def guide(self, x, y=None):
        with pyro.plate("data"):
            if y is None:
                q = dist.OneHotCategorical(logits=self.classify(x))
                y = pyro.sample("y", q, infer={"enumerate": "parallel"})
            shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
            both = torch.cat([x.expand(*shape, D), y.expand(*shape, C)], -1)
            loc, scale = self.encode(both).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    def data(self):
        return torch.rand(N, D).round()


class Conditional(nn.Module):
    """``cvae``: p(y | x) with a prior that sees the input; the pixels to predict are those that are not −1."""

    def __init__(self):
        super().__init__()
        self.prior, self.decode, self.encode = nn.Linear(D, 4), nn.Linear(2, D), nn.Linear(2 * D, 4)

    def model(self, x, y):
        pyro.module("generation", self)
        with pyro.plate("data"):
            loc, scale = self.prior(x).chunk(2, -1)
            z = pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))
            pyro.sample("y", dist.Bernoulli(logits=self.decode(z)).to_event(1), obs=y)

    def guide(self, x, y):
        with pyro.plate("data"):
            loc, scale = self.encode(torch.cat([x, y], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    def data(self):
        return torch.rand(N, D), torch.rand(N, D).round()


class AttendInferRepeat(nn.Module):
    """``air``: one object after another, until a Bernoulli says that there is none; what follows is masked."""

    def __init__(self):
        super().__init__()
        self.decode, self.encode, self.present = nn.Linear(2, D), nn.Linear(D, 4), nn.Linear(D, 1)

    def model(self, x):
        pyro.module("air", self)
        image, here = 0.0, x.new_ones(len(x), 1)
        with pyro.plate("data", len(x)):
            for t in range(2):
                p = dist.Bernoulli(0.5 * here.expand(*here.shape[:-1], 1)).to_event(1)
                here = pyro.sample(f"z_pres_{t}", p)
                z = pyro.sample(f"z_what_{t}", dist.Normal(0.0, 1.0).expand([len(x), 2]).mask(here).to_event(1))
                image = image + here * self.decode(z)
            pyro.sample("obs", dist.Normal(image, 0.5).to_event(1), obs=x)

    def guide(self, x):
        here = x.new_ones(len(x), 1)
        loc, scale = self.encode(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            for t in range(2):
                q = dist.Bernoulli((0.01 + 0.98 * self.present(x).sigmoid()) * here).to_event(1)
                here = pyro.sample(f"z_pres_{t}", q)
                pyro.sample(f"z_what_{t}", dist.Normal(loc, scale.exp()).mask(here).to_event(1))

    def data(self):
        return torch.randn(N, D)


class CausalEffect(nn.Module):
    """``contrib.cevae``, whose guide observes treatment and outcome."""

    def __init__(self):
        super().__init__()
        config = {"feature_dim": D, "latent_dim": 2, "hidden_dim": 4, "num_layers": 2, "num_samples": 10}
        config["outcome_dist"] = "bernoulli"
        self.p, self.q = cevae.Model(config), cevae.Guide(config)

    def model(self, x, t, y):
        return self.p(x, t, y, size=len(x))

    def guide(self, x, t, y):
        return self.q(x, t, y, size=len(x))

    def data(self):
        return torch.randn(N, D), torch.rand(N).round(), torch.rand(N).round()
