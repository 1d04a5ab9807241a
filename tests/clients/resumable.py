"""A training script to be killed: ``python resumable.py DIRECTORY EPOCHS``."""

import functools
import sys

import pyro
import torch

import pyvae


def train(directory, epochs, **changes):
    pyro.set_rng_seed(3)
    vae = pyvae.recipes.gaussian(shape=(1, 8, 8), latent_dim=4, hidden=[32])
    vae.posterior.network.layers.append(torch.nn.Dropout(0.1))  # draws in training mode only
    vae.recipe = None
    data = pyvae.datasets.dynamic_binarization(pyvae.datasets.digits()).without_labels()
    arguments = {
        "optimizer": functools.partial(torch.optim.Adam, lr=3e-3),
        "schedule": functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.01, total_steps=epochs + 1),
        "epochs": epochs,
        "batch_size": 100,
        "clip_norm": 5.0,
        "seed": 7,
        "checkpoint_dir": directory,
        "resume": True,
        "progress": False,
    }
    return vae, pyvae.fit(vae, data.train, validation=data.test, **arguments | changes)


if __name__ == "__main__":
    print("started", flush=True)
    train(sys.argv[1], int(sys.argv[2]))
