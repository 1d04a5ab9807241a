"""Vector-quantized VAEs on real data. The data's place is the variable PYVAE_DATA_ROOT."""

import math
import time
from dataclasses import replace
from functools import partial

import torch
from sklearn.neural_network import MLPClassifier

import pyvae
from pyvae import datasets, recipes
from pyvae.likelihoods import Normal
from pyvae.networks import PixelCNN
from tests.clients.real_data import ROOT, on_mnist

pytestmark = on_mnist
SHAPE, EPOCHS = (1, 28, 28), 4
small = partial(PixelCNN, channels=32, layers=5)


def trained(make, data, epochs=EPOCHS, **arguments):
    """A pair after training with seed 0, and the number of its parameters without those of its prior."""
    torch.manual_seed(0)
    pair = make(SHAPE, **arguments)
    start = time.perf_counter()
    pyvae.fit(
        pair,
        data.train,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
        schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs),
        epochs=epochs,
        seed=0,
        progress=False,
    )
    size = sum(p.numel() for name, p in pair.named_parameters() if not name.startswith("prior"))
    seconds = time.perf_counter() - start
    print(f"{make.__name__}: {size:,} parameters, {seconds:.0f} s of training")
    return pair.eval(), size


def fitted_prior(pair, data, epochs=8):
    """The second stage: the prior alone goes on with the codes of the training data."""
    x, y = data.train[:]
    tokens = torch.cat([pair.encode(*rows) for rows in zip(x.split(1000), y.split(1000), strict=True)])
    pyvae.fit(
        pyvae.CodePrior(pair),
        (tokens, y),
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
        schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs),
        epochs=epochs,
        seed=0,
        progress=False,
    )


def test_codes_reconstruct_better_than_a_gaussian_and_generate_digits():
    labelled, likelihood = datasets.mnist(ROOT), partial(Normal, scale=0.2, learn_scale=True)
    arguments = {"likelihood": likelihood, "num_classes": 10, "prior_network": small}
    codes, size = trained(recipes.conditional_vqvae, labelled, **arguments)
    plain = labelled.without_labels()
    # as long as the codes and their prior, in seconds
    vae, vae_size = trained(recipes.convolutional, plain, epochs=7 * EPOCHS, latent_dim=32, likelihood=likelihood)
    test = labelled.test
    fitted_prior(codes, labelled)
    x, y = test[:]
    with torch.no_grad():
        error = (codes.decode(codes.encode(x, y), y) - x).square().sum((1, 2, 3)).mean()
        vae_error = (vae.likelihood(vae.posterior(x).mean).mean - x).square().sum((1, 2, 3)).mean()
    print(f"squared error: {error:.2f} by codes, {vae_error:.2f} by a Gaussian of {vae_size:,} parameters")
    usage = pyvae.code_usage(codes, test)["k"]
    bits = float(pyvae.elbo(codes, test, num_particles=1).kl_terms["k"].mean()) / math.log(2)
    print(f"{usage}; {bits:.1f} bits under the prior, {usage.uniform_bits:.0f} under a uniform one")
    with torch.no_grad():
        torch.manual_seed(1)
        wanted = torch.arange(10).repeat_interleave(100)
        c = codes.context(wanted)
        draws = codes.decode(codes.prior(c).sample(), wanted)
    images, labels = labelled.train[torch.arange(20_000)]
    judge = MLPClassifier(128, max_iter=10, random_state=0).fit(images.flatten(1), labels)
    assert judge.score(x.flatten(1), y) > 0.93
    recognized = judge.score(draws.flatten(1), wanted)
    print(f"recognized: {recognized:.3f}")
    assert size <= vae_size
    assert error < vae_error
    assert usage.usage >= 0.9
    assert bits <= 0.75 * usage.uniform_bits
    assert recognized >= 0.8


def test_both_levels_are_used():
    data = datasets.dynamic_binarization(datasets.mnist(ROOT)).without_labels()
    data = replace(data, train=data.train.rows(slice(0, 20_000)))
    pair, _ = trained(recipes.vqvae2, data, prior_network=small)
    (x,) = data.test.fixed()[torch.arange(2000)]
    evaluation = pyvae.evaluate(pair, x, num_particles=1, seed=0)
    top, bottom = pair.encode(x)
    kept = evaluation.elbo.reconstruction
    for site, codes in (
        ("k_top", (top[torch.randperm(2000)], bottom)),
        ("k_bottom", (top, bottom[torch.randperm(2000)])),
    ):
        usage = evaluation.codes[site]
        mean = pair.decode(*codes).clamp(1e-6, 1 - 1e-6)
        lost = kept - torch.distributions.Bernoulli(mean).log_prob(x).sum((1, 2, 3))
        error = lost.std() / math.sqrt(len(lost))
        print(f"{site}: {usage}, {evaluation.of_codes(site)['bits']:.1f} bits; exchanged, {lost.mean():.1f} nats worse")
        assert usage.perplexity > 20
        assert lost.mean() > 1 + 5 * error
