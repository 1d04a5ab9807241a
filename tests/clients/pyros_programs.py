"""Pyro's example VAEs, with their plates, masks, scales and parameters as there, and small networks and data."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib.cevae import Guide as EffectGuide
from pyro.contrib.cevae import Model as EffectModel
from pyro.distributions import constraints
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex
from torch import nn
from torch.nn import functional as F

from tests.clients.test_pyro_tutorial_vae import HandWritten

N = 24  # datapoints


def halves(network, x):
    loc, scale = network(x).chunk(2, -1)
    return loc, F.softplus(scale) + 0.05


class SemiSupervised(nn.Module):
    """M2, with a plate that has no size; the labels may be given, sampled, or enumerated."""

    CLASSES, PIXELS = 3, 6

    def __init__(self, enumerated=False):
        super().__init__()
        self.decoder = nn.Linear(2 + self.CLASSES, self.PIXELS)
        self.encoder_y, self.encoder_z = nn.Linear(self.PIXELS, self.CLASSES), nn.Linear(self.PIXELS + self.CLASSES, 4)
        if enumerated:
            self.guide = config_enumerate(self.guide, "parallel", expand=True)

    @staticmethod
    def joined(*parts):
        shape = torch.broadcast_shapes(*(p.shape[:-1] for p in parts))
        return torch.cat([p.expand(*shape, p.shape[-1]) for p in parts], -1)

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        with pyro.plate("data"):
            zs = pyro.sample("z", dist.Normal(xs.new_zeros(len(xs), 2), xs.new_ones(len(xs), 2)).to_event(1))
            ys = pyro.sample("y", dist.OneHotCategorical(xs.new_ones(len(xs), self.CLASSES) / self.CLASSES), obs=ys)
            probs = torch.sigmoid(self.decoder(self.joined(zs, ys)))
            pyro.sample("x", dist.Bernoulli(probs, validate_args=False).to_event(1), obs=xs)

    def guide(self, xs, ys=None):
        with pyro.plate("data"):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(self.encoder_y(xs).softmax(-1)))
            pyro.sample("z", dist.Normal(*halves(self.encoder_z, self.joined(xs, ys))).to_event(1))


class DeepMarkov(nn.Module):
    """The deep Markov model: sequences of several lengths, masked; a scale on the KL; a guide that reads backward."""

    WIDTH, DIM = 3, 2

    def __init__(self, annealing=1.0):
        super().__init__()
        self.annealing = annealing
        self.emitter, self.trans = nn.Linear(self.DIM, self.WIDTH), nn.Linear(self.DIM, 2 * self.DIM)
        self.rnn, self.combiner = nn.RNN(self.WIDTH, 4, batch_first=True), nn.Linear(self.DIM + 4, 2 * self.DIM)
        self.z_0, self.z_q_0 = nn.Parameter(torch.zeros(self.DIM)), nn.Parameter(torch.zeros(self.DIM))

    def model(self, x, reversed_x, mask, lengths):
        pyro.module("dmm", self)
        z = self.z_0.expand(len(x), self.DIM)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(1, x.shape[1] + 1)):
                now = mask[:, t - 1 : t]
                with poutine.scale(scale=self.annealing):
                    z = pyro.sample(f"z_{t}", dist.Normal(*halves(self.trans, z)).mask(now).to_event(1))
                emitted = dist.Bernoulli(logits=self.emitter(z)).mask(now).to_event(1)
                pyro.sample(f"obs_x_{t}", emitted, obs=x[:, t - 1])

    def guide(self, x, reversed_x, mask, lengths):
        pyro.module("dmm", self)
        read, _ = self.rnn(reversed_x)
        steps = (lengths[:, None] - 1 - torch.arange(x.shape[1])).clamp(min=0)
        read = read.gather(1, steps[..., None].expand_as(read))
        z = self.z_q_0.expand(len(x), self.DIM)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(1, x.shape[1] + 1)):
                loc, scale = halves(self.combiner, torch.cat([z, read[:, t - 1]], -1))
                with poutine.scale(scale=self.annealing):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, scale).mask(mask[:, t - 1 : t]).to_event(1))


class Inpainting(nn.Module):
    """The conditional VAE: a quarter of an image given, the rest observed; a baseline; a learned prior."""

    PIXELS = 8

    def __init__(self):
        super().__init__()
        self.baseline = nn.Linear(self.PIXELS, self.PIXELS)
        self.baseline.requires_grad_(False)
        self.prior, self.recognition = nn.Linear(self.PIXELS, 4), nn.Linear(self.PIXELS, 4)
        self.generation = nn.Linear(2, self.PIXELS)

    def together(self, xs, ys):
        return torch.where(xs == -1, ys, xs)

    def model(self, xs, ys=None):
        pyro.module("generation_net", self)
        with pyro.plate("data"):
            with torch.no_grad():
                guess = self.baseline(xs)
            zs = pyro.sample("z", dist.Normal(*halves(self.prior, self.together(xs, guess))).to_event(1))
            probs = torch.sigmoid(self.generation(zs))
            if ys is None:
                pyro.deterministic("y", probs.detach())
            else:
                wanted = xs[0] == -1
                y = dist.Bernoulli(probs[..., wanted], validate_args=False).to_event(1)
                pyro.sample("y", y, obs=ys[..., wanted])
            return probs

    def guide(self, xs, ys=None):
        with pyro.plate("data"):
            if ys is None:
                loc, scale = halves(self.prior, self.together(xs, self.baseline(xs)))
            else:
                loc, scale = halves(self.recognition, self.together(xs, ys))
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


class Effect(nn.Module):
    """pyro.contrib.cevae itself, whose guide scores treatment and outcome, and whose plate is of the batch."""

    def __init__(self):
        super().__init__()
        config = {"feature_dim": 4, "latent_dim": 2, "hidden_dim": 8, "num_layers": 2, "num_samples": 10}
        config["outcome_dist"] = "bernoulli"
        self.inner, self.inferred = EffectModel(config), EffectGuide(config)

    def model(self, x, t=None, y=None):
        return self.inner(x, t, y, size=len(x))

    def guide(self, x, t=None, y=None):
        return self.inferred(x, t, y, size=len(x))


class Cells(nn.Module):
    """scANVI: counts, a library size, two levels, labels with a classification loss as a factor, a pyro.param."""

    GENES, LABELS, DIM = 5, 3, 2

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale
        self.z2_decoder, self.x_decoder = nn.Linear(self.DIM + self.LABELS, 4), nn.Linear(self.DIM, 2 * self.GENES)
        self.z2l_encoder = nn.Sequential(nn.Linear(self.GENES, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6))
        self.classifier, self.z1_encoder = nn.Linear(self.DIM, self.LABELS), nn.Linear(self.DIM + self.LABELS, 4)

    def model(self, x, y=None):
        pyro.module("scanvi", self)
        theta = pyro.param("inverse_dispersion", 10.0 * x.new_ones(self.GENES), constraint=constraints.positive)
        with pyro.plate("batch", len(x)), poutine.scale(scale=self.scale):
            z1 = pyro.sample("z1", dist.Normal(0, x.new_ones(self.DIM)).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(self.LABELS)), obs=y)
            z2 = pyro.sample("z2", dist.Normal(*halves(self.z2_decoder, torch.cat([z1, y], -1))).to_event(1))
            size = pyro.sample("l", dist.LogNormal(2.0, x.new_ones(1)).to_event(1))
            gate, mu = self.x_decoder(z2).chunk(2, -1)
            logits = (size * mu.softmax(-1) + 5e-3).log() - (theta + 5e-3).log()
            counts = dist.ZeroInflatedNegativeBinomial(gate_logits=gate, total_count=theta, logits=logits)
            pyro.sample("x", counts.to_event(1), obs=x)

    def guide(self, x, y=None):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)), poutine.scale(scale=self.scale):
            loc, scale = halves(self.z2l_encoder, x.log1p())
            pyro.sample("l", dist.LogNormal(loc[..., -1:], scale[..., -1:]).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(loc[..., :-1], scale[..., :-1]).to_event(1))
            label = dist.OneHotCategorical(logits=self.classifier(z2))
            if y is None:
                y = pyro.sample("y", label)
            else:
                pyro.factor("classification_loss", -0.1 * label.log_prob(y), has_rsample=False)
            pyro.sample("z1", dist.Normal(*halves(self.z1_encoder, torch.cat([z2, y], -1))).to_event(1))


class OwnCells(Cells):
    """The same with its dispersion as a parameter of the module."""

    def __init__(self):
        super().__init__()
        self.log_dispersion = nn.Parameter(torch.full((self.GENES,), 2.3))

    def model(self, x, y=None):
        with poutine.condition(data={}), poutine.substitute(data={"inverse_dispersion": self.log_dispersion.exp()}):
            return super().model(x, y)


class Topics(nn.Module):
    """ProdLDA: documents as counts of words, batch norm, and a Multinomial whose total is the batch's largest."""

    WORDS, TOPICS = 12, 3

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(self.WORDS, 2 * self.TOPICS)
        self.norm = nn.BatchNorm1d(2 * self.TOPICS, affine=False)
        self.beta, self.drop = nn.Linear(self.TOPICS, self.WORDS, bias=False), nn.Dropout(0.2)
        self.word_norm = nn.BatchNorm1d(self.WORDS, affine=False)

    def model(self, docs):
        pyro.module("decoder", self.beta)
        with pyro.plate("documents", docs.shape[0]):
            zeros = docs.new_zeros(docs.shape[0], self.TOPICS)
            theta = pyro.sample("logtheta", dist.Normal(zeros, zeros + 1).to_event(1)).softmax(-1)
            probs = self.word_norm(self.beta(self.drop(theta))).softmax(1)
            pyro.sample("obs", dist.Multinomial(int(docs.sum(-1).max()), probs), obs=docs)

    def guide(self, docs):
        pyro.module("encoder", self.encoder)
        with pyro.plate("documents", docs.shape[0]):
            loc, logvar = self.norm(self.encoder(docs)).chunk(2, -1)
            pyro.sample("logtheta", dist.Normal(loc, (logvar / 2).exp()).to_event(1))


class GammaFamily(nn.Module):
    """The sparse gamma deep exponential family: weights of all data, parameters of the guide for each datapoint."""

    TOP, PIXELS = 3, 4

    def model(self, x):
        with pyro.plate("w_plate", self.TOP * self.PIXELS):
            w = pyro.sample("w", dist.Gamma(0.3, 0.3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(torch.tensor(0.3), 0.3).expand([self.TOP]).to_event(1))
            pyro.sample("obs", dist.Poisson(z @ w.view(self.TOP, self.PIXELS) + 1e-3).to_event(1), obs=x)

    def guide(self, x):
        def drawn(name, shape):
            alpha = F.softplus(pyro.param(f"alpha_{name}", lambda: torch.full(shape, 0.5)))
            mean = F.softplus(pyro.param(f"mean_{name}", lambda: torch.zeros(shape)))
            return dist.Gamma(alpha, alpha / mean)

        with pyro.plate("w_plate", self.TOP * self.PIXELS):
            pyro.sample("w", drawn("w", (self.TOP * self.PIXELS,)))
        with pyro.plate("data", len(x)):
            pyro.sample("z", drawn("z", (len(x), self.TOP)).to_event(1))


class HiddenMarkov(nn.Module):
    """A hidden Markov model whose states are summed out in the model; the guide has nothing to draw."""

    STATES, TONES = 3, 4

    def __init__(self):
        super().__init__()
        self.moves = nn.Parameter(torch.randn(self.STATES, self.STATES))
        self.tones = nn.Parameter(torch.randn(self.STATES, self.TONES))

    def model(self, sequences, lengths):
        tones = pyro.plate("tones", self.TONES, dim=-1)
        with pyro.plate("sequences", len(sequences), dim=-2):
            x = torch.tensor(0)
            for t in pyro.markov(range(sequences.shape[1])):
                with poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                    moves = dist.Categorical(logits=Vindex(self.moves)[x])
                    x = pyro.sample(f"x_{t}", moves, infer={"enumerate": "parallel"})
                    with tones:
                        heard = dist.Bernoulli(logits=Vindex(self.tones)[x.squeeze(-1)])
                        pyro.sample(f"y_{t}", heard, obs=sequences[:, t])

    def guide(self, sequences, lengths):
        pass


class Objects(nn.Module):
    """AIR: an image of objects that are there or not, one after the other; masks by what was drawn; subsampling."""

    SIDE, STEPS = 6, 2

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTMCell(self.SIDE**2 + 3, 8)
        self.predict, self.decode = nn.Linear(8, 5), nn.Linear(2, self.SIDE**2)
        self.baseline = nn.Linear(self.SIDE**2, 1)

    def model(self, data):
        pyro.module("decode", self.decode)
        with pyro.plate("data", len(data)) as ix:
            batch = data[ix]
            there, image = batch.new_ones(len(batch), 1), 0.0
            for t in range(self.STEPS):
                there = pyro.sample(f"z_pres_{t}", dist.Bernoulli(0.5 * there).to_event(1))
                zeros = batch.new_zeros(len(batch), 2)
                z = pyro.sample(f"z_what_{t}", dist.Normal(zeros, zeros + 1).mask(there).to_event(1))
                image = image + self.decode(z) * there
            pyro.sample("obs", dist.Normal(image, 0.3).to_event(1), obs=batch.flatten(1))

    def guide(self, data):
        pyro.module("rnn", self.rnn)
        with pyro.plate("data", len(data)) as ix:
            flat = data[ix].flatten(1)
            there, z, state = flat.new_ones(len(flat), 1), flat.new_zeros(len(flat), 2), None
            for t in range(self.STEPS):
                state = self.rnn(torch.cat([flat, z, there], 1), state)
                p, *_ = parts = self.predict(state[0]).split([1, 4], 1)
                baseline = {"baseline": {"nn_baseline": self.baseline, "nn_baseline_input": flat}}
                there = pyro.sample(f"z_pres_{t}", dist.Bernoulli(p.sigmoid() * there).to_event(1), infer=baseline)
                loc, scale = parts[1].chunk(2, 1)
                z = dist.Normal(loc, F.softplus(scale) + 0.05).mask(there).to_event(1)
                z = pyro.sample(f"z_what_{t}", z)


def images(*shape):
    return torch.rand(N, *shape).round()


def sequences(width):
    lengths = torch.arange(N) % 3 + 2
    mask = torch.arange(4) < lengths[:, None]
    x = images(4, width) * mask[..., None]
    backward = torch.stack([torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(x, lengths, strict=True)])
    return x, backward, mask, lengths


def inpainted():
    y = images(Inpainting.PIXELS)
    x = y.clone()
    x[:, 2:] = -1
    return x, y


def labels(classes):
    return F.one_hot(torch.arange(N) % classes, classes).float()


def programs():
    """By name: the pair, its data, and whether its latents are summed out by Pyro's enumeration."""
    counts = torch.poisson(torch.full((N, Cells.GENES), 3.0))
    return {
        "vae": (HandWritten(pixels=9), (images(9),)),
        "ss_vae_M2, unlabelled": (SemiSupervised(), (images(SemiSupervised.PIXELS),)),
        "ss_vae_M2, labelled": (SemiSupervised(), (images(SemiSupervised.PIXELS), labels(SemiSupervised.CLASSES))),
        "ss_vae_M2, enumerated": (SemiSupervised(enumerated=True), (images(SemiSupervised.PIXELS),)),
        "dmm": (DeepMarkov(), sequences(DeepMarkov.WIDTH)),
        "dmm, annealed": (DeepMarkov(annealing=0.2), sequences(DeepMarkov.WIDTH)),
        "cvae": (Inpainting(), inpainted()),
        "contrib.cevae": (Effect(), (torch.randn(N, 4), *torch.rand(2, N).round())),
        "scanvi": (Cells(), (counts, labels(Cells.LABELS))),
        "scanvi, own parameter": (OwnCells(), (counts, labels(Cells.LABELS))),
        "prodlda": (Topics(), (torch.poisson(torch.full((N, Topics.WORDS), 2.0)),)),
        "sparse_gamma_def": (GammaFamily(), (torch.poisson(torch.full((N, GammaFamily.PIXELS), 2.0)),)),
        "hmm": (HiddenMarkov(), sequences(HiddenMarkov.TONES)[::3]),
        "air": (Objects(), (images(Objects.SIDE, Objects.SIDE),)),
    }
