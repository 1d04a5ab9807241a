"""Hierarchies beside the VAE on real data. The data's place is the variable PYVAE_DATA_ROOT."""

import os
from pathlib import Path

import pytest
import torch

import pyvae
from pyvae import datasets, recipes
from pyvae.objectives import WarmUp, WeightedELBO

ROOT = os.environ.get("PYVAE_DATA_ROOT", "data")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (Path(ROOT) / "MNIST" / "raw").is_dir(),
        reason=f"MNIST is not under {ROOT!r}: set PYVAE_DATA_ROOT",
    ),
]
SHAPE, EPOCHS = (1, 28, 28), 30


def _trained(name, pair, objective=None):
    """L_500 of the first 1,000 test images, and the KL of each latent, after training with seed 0."""
    data = datasets.dynamic_binarization(datasets.mnist(ROOT)).without_labels()
    pyvae.fit(pair, data.train, objective=objective, epochs=EPOCHS, seed=0, progress=False)
    (images,) = data.test.fixed()[torch.arange(1000)]
    evaluation = pyvae.evaluate(pair, images, num_particles=500, seed=0)
    terms = {name: float(term.mean()) for name, term in evaluation.elbo.kl_terms.items()}
    size = sum(p.numel() for p in pair.parameters())
    print(f"{name}: {size:,} parameters, {evaluation}, KL { {n: round(t, 2) for n, t in terms.items()} }")
    return evaluation.log_likelihood.value, terms, size


def test_a_ladder_is_better_than_a_vae_of_its_size_and_uses_its_levels():
    torch.manual_seed(0)
    warm_up = WeightedELBO(beta=WarmUp(epochs=10), free_bits=0.5)
    ladder, terms, size = _trained("ladder", recipes.ladder(SHAPE, latent_dims=[8, 16, 32]), warm_up)
    vae, _, vae_size = _trained("VAE", recipes.gaussian(SHAPE, latent_dim=32, hidden=[640]))
    _trained("bottom-up chain", recipes.hierarchical(SHAPE, latent_dims=[8, 16, 32]))
    _trained("bottom-up chain, warmed up", recipes.hierarchical(SHAPE, latent_dims=[8, 16, 32]), warm_up)
    assert vae_size >= 0.98 * size
    assert ladder > vae
    assert min(terms.values()) > 0.1
    assert len(terms) == 3
