"""Pairs after Pyro's tutorials, written by hand, and containers of either version of ArviZ."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn


def groups(tree):
    """The names of the groups of an InferenceData or a DataTree."""
    names = tree.groups() if callable(tree.groups) else tree.groups
    return {name.strip("/") for name in names} - {""}


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, outputs))


class DeepMarkovModel(nn.Module):
    """As pyro.ai/examples/dmm: the sites z_1 … z_T, a plate "z_minibatch", and masks for sequences that end early."""

    def __init__(self, x_dim=3, z_dim=2):
        super().__init__()
        self.z_dim = z_dim
        self.emitter, self.transition = mlp(z_dim, x_dim), mlp(z_dim, z_dim)
        self.rnn, self.combiner = nn.RNN(x_dim, 8, batch_first=True), mlp(8 + z_dim, 2 * z_dim)
        self.z_0 = nn.Parameter(torch.zeros(z_dim))

    def model(self, mini_batch, mini_batch_mask, annealing_factor=1.0):
        pyro.module("dmm", self)
        z = self.z_0.expand(len(mini_batch), -1)
        with pyro.plate("z_minibatch", len(mini_batch)):
            for t in pyro.markov(range(1, mini_batch.shape[1] + 1)):
                mask = mini_batch_mask[:, t - 1 : t]
                with poutine.scale(None, annealing_factor):
                    z = pyro.sample(f"z_{t}", dist.Normal(self.transition(z), 0.5).mask(mask).to_event(1))
                emission = dist.Bernoulli(logits=self.emitter(z)).mask(mask).to_event(1)
                pyro.sample(f"obs_x_{t}", emission, obs=mini_batch[:, t - 1])

    def guide(self, mini_batch, mini_batch_mask, annealing_factor=1.0):
        pyro.module("dmm", self)
        hidden = self.rnn(mini_batch.flip(1))[0].flip(1)
        z = self.z_0.expand(len(mini_batch), -1)
        with pyro.plate("z_minibatch", len(mini_batch)):
            for t in pyro.markov(range(1, mini_batch.shape[1] + 1)):
                loc, scale = self.combiner(torch.cat([hidden[:, t - 1], z], -1)).chunk(2, -1)
                q = dist.Normal(loc, scale.exp()).mask(mini_batch_mask[:, t - 1 : t]).to_event(1)
                with poutine.scale(None, annealing_factor):
                    z = pyro.sample(f"z_{t}", q)


class SSVAE(nn.Module):
    """As pyro.ai/examples/ss-vae: labels as one-hot vectors, which are observed if they are given."""

    def __init__(self, pixels=12, classes=3, z_dim=2):
        super().__init__()
        self.pixels, self.classes, self.z_dim = pixels, classes, z_dim
        self.encoder_y, self.encoder_z = mlp(pixels, classes), mlp(pixels + classes, 2 * z_dim)
        self.decoder = mlp(z_dim + classes, pixels)

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        with pyro.plate("data", len(xs)):
            z = pyro.sample("z", dist.Normal(xs.new_zeros(self.z_dim), 1.0).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(xs.new_ones(self.classes) / self.classes), obs=ys)
            logits = self.decoder(torch.cat([z, y], -1))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=xs)

    def guide(self, xs, ys=None):
        with pyro.plate("data", len(xs)):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(logits=self.encoder_y(xs)))
            loc, scale = self.encoder_z(torch.cat([xs, ys], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


class Line(nn.Module):
    """x = w z almost exactly, on pixels in a plate of their own; the data plate is at dim −2."""

    def __init__(self, pixels=4):
        super().__init__()
        self.w = nn.Parameter(torch.arange(1.0, pixels + 1))

    def model(self, x):
        with pyro.plate("rows", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0))
            pyro.deterministic("twice", 2 * z)
            pyro.factor("bonus", torch.zeros(len(x), 1))
            with pyro.plate("pixels", len(self.w), dim=-1):
                pyro.sample("x", dist.Normal(self.w * z, 1e-3), obs=x)

    def guide(self, x):
        with pyro.plate("rows", len(x), dim=-2):
            pyro.sample("z", dist.Normal((x / self.w).mean(-1, keepdim=True), 0.1))
