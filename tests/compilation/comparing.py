"""Pyro's own result, and that of the compiled pair, side by side."""

import copy

import pyro
import torch

import pyvae


def eager_results(pair, objective, *args, seed=0):
    """Loss and gradients as Pyro gives them."""
    pair.zero_grad()
    pyro.clear_param_store()

    def guide(*args):
        pyro.module("pair", pair)  # Pyro runs no backward pass for programs that register no parameters
        return pair.guide(*args)

    pyro.set_rng_seed(seed)
    loss = objective.loss_and_grads(pair.model, guide, *args)
    return torch.as_tensor(loss), _gradients(pair)


def compiled_results(compiled, *args, seed=0):
    """Loss and gradients of a compiled pair."""
    compiled.pair.zero_grad()
    pyro.set_rng_seed(seed)
    loss = compiled(*args)
    loss.backward()
    return loss.detach(), _gradients(compiled.pair)


def _gradients(pair):
    return {n: None if p.grad is None else p.grad.clone() for n, p in pair.named_parameters()}


def assert_same(results, expected, tolerance=1e-6):
    """Losses and gradients agree, relative to the largest element of each tensor."""
    (loss, gradients), (expected_loss, expected_gradients) = results, expected
    torch.testing.assert_close(loss.double(), expected_loss.double(), rtol=tolerance, atol=0)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert (gradient is None) == (gradients[name] is None), name
        if gradient is not None:
            largest = float(gradient.abs().max())
            torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=tolerance * largest + 1e-30)


def assert_equal_to_eager(pair, objective, *args, eager_objective=None, calls=2, tolerance=1e-6):
    """The compiled pair does in several calls, on a seed each, what Pyro does; buffers too."""
    twin, compiled = copy.deepcopy(pair), pyvae.compile(pair, objective)
    eager_objective = eager_objective or copy.copy(objective)
    for seed in range(calls):
        results = compiled_results(compiled, *args, seed=seed)
        assert_same(results, eager_results(twin, eager_objective, *args, seed=seed), tolerance)
    buffers = dict(twin.named_buffers())
    for name, buffer in pair.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=tolerance, atol=0)
    return compiled
