"""Hierarchies beside the VAE on real data. The data's place is the variable PYVAE_DATA_ROOT."""

import math

import torch
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.nn import functional as F

import pyvae
from pyvae import SingleStep, datasets, recipes
from pyvae.networks import CosineNoise
from pyvae.objectives import WarmUp, WeightedELBO
from tests.clients.real_data import ROOT, on_mnist

pytestmark = on_mnist
SHAPE, EPOCHS = (1, 28, 28), 30


def _trained(name, make, objective=None, **arguments):
    """L_500 of the first 1,000 test images, and the KL of each latent, after training with seed 0."""
    torch.manual_seed(0)
    pair = make(SHAPE, activation=nn.SiLU, **arguments)
    data = datasets.dynamic_binarization(datasets.mnist(ROOT)).without_labels()
    pyvae.fit(
        pair,
        data.train,
        objective=objective,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
        schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS),
        clip_norm=20.0,
        epochs=EPOCHS,
        seed=0,
        progress=False,
    )
    (images,) = data.test.fixed()[torch.arange(1000)]
    evaluation = pyvae.evaluate(pair, images, num_particles=500, seed=0)
    terms = {name: float(term.mean()) for name, term in evaluation.elbo.kl_terms.items()}
    size = sum(p.numel() for p in pair.parameters())
    print(f"{name}: {size:,} parameters, {evaluation}, KL { {n: round(t, 2) for n, t in terms.items()} }")
    return evaluation.log_likelihood.value, terms, size


def test_a_ladder_is_better_than_a_vae_of_its_size_and_uses_its_levels():
    warm_up, latents = WeightedELBO(beta=WarmUp(epochs=15), free_bits=0.5), [8, 16, 32]
    ladder, terms, size = _trained("ladder", recipes.ladder, warm_up, latent_dims=latents)
    vae, _, vae_size = _trained("VAE", recipes.gaussian, latent_dim=32, hidden=[440, 440])
    _trained("bottom-up chain", recipes.hierarchical, latent_dims=latents, hidden=[256, 256])
    assert vae_size >= size
    assert ladder > vae
    assert min(terms.values()) > 0.1
    assert len(terms) == 3


def _small(images):
    """Images of 14 × 14 pixels and 256 grey levels."""
    return (F.avg_pool2d(images, 2) * 255).round() / 255


def test_diffusion_draws_digits_that_a_classifier_knows():
    data = datasets.mnist(ROOT)
    (x, y), (x_test, y_test) = (split[torch.arange(len(split))] for split in (data.train, data.test))
    x, x_test = _small(x), _small(x_test)
    torch.manual_seed(0)
    diffusion = recipes.diffusion(
        (1, 14, 14), steps=100, channels=[32, 64], levels=256, prediction="velocity", noise=CosineNoise
    )
    pyvae.fit(
        SingleStep(diffusion, weighting="simple"),
        x,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
        schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 8),
        epochs=8,
        seed=0,
        progress=False,
    )
    bound = pyvae.elbo(diffusion, x_test[:200], num_particles=2, seed=0)
    judge = MLPClassifier(256, max_iter=20, random_state=0).fit(x.flatten(1), y)
    assert judge.score(x_test.flatten(1), y_test) > 0.97
    torch.manual_seed(1)
    with torch.no_grad():
        draws = diffusion.model(size=500)
    confident, of_real = ((judge.predict_proba(i.flatten(1)).max(1) > 0.8).mean() for i in (draws, x_test))
    bits = -bound.value / (196 * math.log(2))
    print(f"confident of {confident:.3f} of the draws and {of_real:.3f} of real digits")
    print(f"ELBO {bound}, {bits:.3f} bits per dimension")
    assert confident >= 0.8
