"""The recorded Adam is torch's, and is used for nothing else."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, NAdam
from torch.optim.optimizer import register_optimizer_step_post_hook

from pyvae.compilation import RecordableAdam


def parameters(*shapes):
    return [nn.Parameter(torch.randn(shape)) for shape in shapes or ((3, 2), (4,))]


def stepped(optimizer):
    """The optimizer after a step, as the state is made by the first one."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return optimizer


class Changed(Adam):
    def step(self, closure=None):
        return super().step(closure)


def hooked(register):
    optimizer = Adam(parameters())
    getattr(optimizer, register)(lambda *_: None)
    return optimizer


SUPPORTED = {
    "Adam": lambda: Adam(parameters()),
    "AdamW": lambda: AdamW(parameters(), weight_decay=0.1),
    "fused": lambda: Adam(parameters(), fused=True),
    "foreach": lambda: Adam(parameters(), foreach=True),
    "tensor as rate": lambda: Adam(parameters(), torch.tensor(1e-2)),
}
REFUSED = {
    "SGD": lambda: SGD(parameters(), 0.1),
    "NAdam": lambda: NAdam(parameters()),
    "a subclass": lambda: Changed(parameters()),
    "AMSGrad": lambda: Adam(parameters(), amsgrad=True),
    "maximize": lambda: AdamW(parameters(), maximize=True),
    "maximize in one group": lambda: Adam([{"params": parameters()}, {"params": parameters(), "maximize": True}]),
    "differentiable": lambda: Adam(parameters(), differentiable=True),
    "hook before": lambda: hooked("register_step_pre_hook"),
    "hook after": lambda: hooked("register_step_post_hook"),
    "complex parameters": lambda: Adam([nn.Parameter(torch.zeros(2, dtype=torch.complex64))]),
    "tensors as betas": lambda: Adam(
        parameters(), torch.tensor(1e-2), betas=(torch.tensor(0.9), torch.tensor(0.9)), capturable=True
    ),
}


@pytest.mark.parametrize("make", SUPPORTED.values(), ids=SUPPORTED.keys())
def test_supported(make):
    assert RecordableAdam.supports(stepped(make()))


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_refused(make):
    assert not RecordableAdam.supports(make())


def test_parameters_of_unequal_age_are_refused():
    optimizer = Adam(parameters())
    stepped(optimizer)
    first, second = optimizer.param_groups[0]["params"]
    first.grad, second.grad = torch.ones_like(first), None
    optimizer.step()
    assert not RecordableAdam.supports(optimizer)


def test_a_hook_of_all_optimizers_is_refused():
    handle = register_optimizer_step_post_hook(lambda *_: None)
    try:
        assert not RecordableAdam.supports(Adam(parameters()))
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.3}, {"betas": (0.1, 0.2), "eps": 0.5, "lr": 0.3}])
def test_steps_and_state_are_those_of_torch(kind, settings):
    """Over steps with a changing rate, to and fro between the two: the state is one."""
    mine = parameters()
    theirs = copy.deepcopy(mine)
    optimizer, reference = kind(mine, **settings), kind(theirs, **settings)
    for made in (optimizer, reference):
        torch.manual_seed(0)
        stepped(made)
    recordable = RecordableAdam(optimizer, mine)
    for step in range(6):
        for made in (optimizer, reference):
            made.param_groups[0]["lr"] *= 0.9
        gradients = [torch.randn_like(p) for p in mine]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        reference.step()
        if step == 3:  # a batch of another size
            recordable.store()
            for parameter, gradient in zip(mine, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
            recordable.load()
        else:
            recordable.advance()
            recordable.update(mine, gradients, recordable.inputs)
    recordable.store()
    for parameter, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-7)
        state, expected_state = optimizer.state[parameter], reference.state[expected]
        assert state.keys() == expected_state.keys()
        assert state["step"] == expected_state["step"] == 7
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(state[name], expected_state[name], rtol=1e-5, atol=1e-8)


def test_an_element_whose_gradient_is_not_finite_is_left():
    mine = parameters((3,))
    optimizer = stepped(Adam(mine, 0.1))
    recordable = RecordableAdam(optimizer, mine)
    state = optimizer.state[mine[0]]
    before = [t.detach().clone() for t in (mine[0], state["exp_avg"], state["exp_avg_sq"])]
    recordable.advance()
    recordable.update(mine, [torch.tensor([torch.nan, 1.0, torch.inf])], recordable.inputs)
    for tensor, kept in zip((mine[0], state["exp_avg"], state["exp_avg_sq"]), before, strict=True):
        assert (tensor == kept).tolist() == [True, False, True]
