"""The semi-supervised VAE and the deep Markov model of Pyro's tutorials, at their smallest."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn


class SSVAE(nn.Module):
    """p(y) p(z) p(x | y, z) with q(y | x) q(z | x, y), as in the tutorial ss-vae: labels are one-hot, or not given."""

    def __init__(self, pixels=16, classes=3, z_dim=2):
        super().__init__()
        self.classes, self.z_dim = classes, z_dim
        self.encoder_y = nn.Sequential(nn.Linear(pixels, classes), nn.Softmax(-1))
        self.encoder_z = nn.Linear(pixels + classes, 2 * z_dim)
        self.decoder = nn.Sequential(nn.Linear(z_dim + classes, pixels), nn.Sigmoid())

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        with pyro.plate("data", xs.size(0)):
            loc, scale = xs.new_zeros(xs.size(0), self.z_dim), xs.new_ones(xs.size(0), self.z_dim)
            zs = pyro.sample("z", dist.Normal(loc, scale).to_event(1))
            prior = xs.new_ones(xs.size(0), self.classes) / self.classes
            ys = pyro.sample("y", dist.OneHotCategorical(prior), obs=ys)
            pyro.sample("x", dist.Bernoulli(self.decoder(torch.cat([zs, ys], -1))).to_event(1), obs=xs)

    def guide(self, xs, ys=None):
        with pyro.plate("data", xs.size(0)):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(self.encoder_y(xs)))
            loc, log_scale = self.encoder_z(torch.cat([xs, ys], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class DMM(nn.Module):
    """p(z_t | z_{t−1}) p(x_t | z_t), with a recurrent guide that runs backwards, masks and an annealing factor."""

    def __init__(self, input_dim=4, z_dim=2, hidden=5):
        super().__init__()
        self.trans, self.emitter = nn.Linear(z_dim, 2 * z_dim), nn.Linear(z_dim, input_dim)
        self.rnn = nn.RNN(input_dim, hidden, batch_first=True)
        self.combiner = nn.Linear(z_dim + hidden, 2 * z_dim)
        self.z_0, self.z_q_0 = nn.Parameter(torch.zeros(z_dim)), nn.Parameter(torch.zeros(z_dim))

    def model(self, mini_batch, mini_batch_mask, annealing_factor=1.0):
        pyro.module("dmm", self)
        z_prev = self.z_0.expand(len(mini_batch), -1)
        with pyro.plate("z_minibatch", len(mini_batch)):
            for t in pyro.markov(range(1, mini_batch.size(1) + 1)):
                loc, log_scale = self.trans(z_prev).chunk(2, -1)
                mask = mini_batch_mask[:, t - 1 : t]
                with poutine.scale(None, annealing_factor):
                    z_prev = pyro.sample(f"z_{t}", dist.Normal(loc, log_scale.exp()).mask(mask).to_event(1))
                emission = dist.Bernoulli(logits=self.emitter(z_prev)).mask(mask).to_event(1)
                pyro.sample(f"obs_x_{t}", emission, obs=mini_batch[:, t - 1, :])

    def guide(self, mini_batch, mini_batch_mask, annealing_factor=1.0):
        pyro.module("dmm", self)
        hidden = self.rnn(mini_batch.flip(1))[0].flip(1)
        z_prev = self.z_q_0.expand(len(mini_batch), -1)
        with pyro.plate("z_minibatch", len(mini_batch)):
            for t in pyro.markov(range(1, mini_batch.size(1) + 1)):
                loc, log_scale = self.combiner(torch.cat([z_prev, hidden[:, t - 1]], -1)).chunk(2, -1)
                with poutine.scale(None, annealing_factor):
                    q = dist.Normal(loc, log_scale.exp()).mask(mini_batch_mask[:, t - 1 : t]).to_event(1)
                    z_prev = pyro.sample(f"z_{t}", q)
