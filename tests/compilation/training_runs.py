"""The same training run with and without compilation."""

import warnings

import torch

import pyvae


def run(make, data, compile, **arguments):
    """A pair made and trained on fixed seeds, its history, and the warnings about compilation."""
    torch.manual_seed(0)
    pair = make()
    settings = {"epochs": 6, "batch_size": 8, "seed": 1, "progress": False} | arguments
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = pyvae.fit(pair, data, compile=compile, **settings)
    return pair, result.history, [str(w.message) for w in caught if "without compilation" in str(w.message)]


def assert_trains_alike(make, data, tolerance=1e-5, **arguments):
    """Weights, buffers and history agree; relative to the largest element of each tensor."""
    eager, history, _ = run(make, data, False, **arguments)
    traced, traced_history, said = run(make, data, True, **arguments)
    assert not said  # else the comparison is of eager with eager
    assert_close(traced, eager, tolerance)
    assert len(history) == len(traced_history)
    for row, traced_row in zip(history, traced_history, strict=True):
        assert row.keys() == traced_row.keys()
        for name, value in row.items():
            assert abs(traced_row[name] - value) <= tolerance * max(abs(value), 1e-3), name


def assert_close(pair, expected, tolerance=1e-5):
    state, expected_state = pair.state_dict(), expected.state_dict()
    assert state.keys() == expected_state.keys()
    for name, tensor in expected_state.items():
        largest = float(tensor.abs().max()) if tensor.numel() else 0.0
        torch.testing.assert_close(
            state[name], tensor, rtol=0, atol=tolerance * largest, msg=lambda m, n=name: f"{n}: {m}"
        )
