"""A training script, started by torchrun or alone: python together.py DIRECTORY OPTIONS-AS-JSON."""

import json
import os
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pyvae

PROCESSES = int(os.environ.get("WORLD_SIZE", 1))
RANK = int(os.environ.get("RANK", 0))


class Noiseless(nn.Module):
    """A pair whose guide is a point: all that is random in its training is the order of the data."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4))
        self.decoder = nn.Linear(4, 12)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("kind", torch.ones(3, dtype=torch.int16))  # a type that gloo does not know

    def model(self, x):
        pyro.module("noiseless", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("noiseless", self)
        if self.training:
            self.seen.lerp_(x.mean(), 0.1)  # a moving average, such as a batch norm or a codebook keeps
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(self.encoder(x)).to_event(1))


def main() -> None:
    directory, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.manual_seed(RANK)  # the processes do not start from the same weights
    noisy = options.pop("noisy", False)
    pair = pyvae.recipes.gaussian(shape=(12,), latent_dim=2, hidden=[8]) if noisy else Noiseless()
    x = torch.rand(400, 12, generator=torch.Generator().manual_seed(0))
    data = x.round() if noisy else x
    loader = options.pop("loader", False)
    if loader:
        data = DataLoader(TensorDataset(data), options["batch_size"], shuffle=True)
    result = pyvae.fit(pair, data, seed=3, progress=False, **options)
    torch.save(dict(pair.state_dict()), directory / f"{RANK}-of-{PROCESSES}.pt")
    (directory / f"history-{RANK}.json").write_text(json.dumps(result.history))


if __name__ == "__main__":
    main()
