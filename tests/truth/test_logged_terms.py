"""The terms that a training run logs are those of its loss."""

import pytest
import torch
from pyro.infer import TraceMeanField_ELBO

import pyvae
from pyvae import recipes
from pyvae.objectives import WeightedELBO


@pytest.mark.parametrize("objective", [WeightedELBO(), TraceMeanField_ELBO()], ids=["weighted", "mean field"])
def test_the_logged_kl_is_the_closed_form_that_the_loss_has(objective):
    """With β = 1 and one particle the loss is −reconstruction + KL to the last digits; a sampled KL is far from it."""
    pair = recipes.gaussian((16,), 3, [8])
    pair.posterior.network.layers[-1].bias.data[3:] = 2.0  # wide, so that log q − log p of samples varies much
    row = pyvae.fit(
        pair, torch.rand(64, 16).round(), objective=objective, epochs=1, batch_size=64, seed=0, progress=False
    ).history[0]
    assert row["train_kl"] > 1
    assert row["train_loss"] == pytest.approx(row["train_kl"] - row["train_reconstruction"], rel=1e-6)
