"""What pyvae takes for granted of the internals of torch (2.8 to 2.15) and Pyro (1.9.2).

Private names of torch are in pyvae/core/torch_internals.py alone. One of these tests fails: look where it says.
"""

import inspect

import pyro
import pyro.infer
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, make_fx
from torch.overrides import TorchFunctionMode


def parameters_of(function):
    return inspect.signature(function).parameters


def test_inductor_compile():
    look = "torch_internals.py hands a recording to torch._inductor.compile(graph, example_inputs, options)"
    assert list(parameters_of(torch._inductor.compile))[:3] == ["gm", "example_inputs", "options"], look
    options = torch._inductor.list_options()
    assert "fallback_random" in options, (
        "torch_internals.py: without fallback_random, draws are not those of the eager stream"
    )
    assert torch._inductor.config.fallback_random is False, (
        "torch_internals.py: the default has changed; is the option needed?"
    )


def test_make_fx_records_on_fake_tensors():
    look = "torch_internals.py: make_fx(..., tracing_mode='fake', _allow_non_fake_inputs=True)"
    assert {"tracing_mode", "_allow_non_fake_inputs"} <= parameters_of(make_fx).keys(), look
    outside, seen = torch.ones(3), []

    def function(x):
        seen.append(type(x).__name__)
        return x + outside

    graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(torch.zeros(3))
    assert seen == ["FakeTensor"], look
    (constant,) = graph.graph.find_nodes(op="get_attr")
    assert getattr(graph, constant.target).data_ptr() == outside.data_ptr(), (
        "tracing.py, _lift_constants: a tensor from outside is no attribute of the graph any more, or a copy"
    )
    assert "val" in constant.meta or "val" in next(iter(graph.graph.nodes)).meta, "products.py reads node.meta['val']"


def test_make_fx_records_draws_in_place_changes_and_gradients():
    def function(parameter, buffer):
        parameter = parameter.detach().requires_grad_()
        buffer.add_(1)
        loss = (parameter * torch.randn(3)).sum()
        loss.backward()
        return parameter.grad

    graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(torch.ones(3), torch.zeros(3))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    buffer = torch.zeros(3)
    torch.manual_seed(0)
    first, second = (graph(torch.ones(3), buffer) for _ in range(2))
    torch.manual_seed(0)
    assert torch.equal(first, torch.randn(3)), "tracing.py: draws are recorded otherwise than they are made eagerly"
    assert not torch.equal(first, second), "tracing.py: a draw has become a constant"
    assert buffer.tolist() == [2.0] * 3, "tracing.py: eliminate_dead_code has dropped a change in place"


def test_operations_without_proxies_are_not_recorded():
    def function(x):
        with disable_proxy_modes_tracing():
            torch.exp(x)
        return x + 1

    graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(torch.ones(3))
    names = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
    assert names == {"aten.add.Tensor"}, "torch_internals.py, OperationCounter: it is to stop a graph's growth"


@pytest.mark.parametrize("decide", [lambda x: bool(x.sum() > 0), lambda x: float(x.sum())])
def test_fake_tensors_have_no_values(decide):
    """The kinds of error that tracing.py takes for a decision by a value."""
    with pytest.raises((RuntimeError, NotImplementedError, ValueError, TypeError)):
        make_fx(lambda x: x * decide(x), tracing_mode="fake", _allow_non_fake_inputs=True)(torch.ones(3))


def test_items_can_be_intercepted():
    """``Tensor.item`` goes through torch functions, so that tracing.py can answer for it."""

    class Items(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return "answered" if function is torch.Tensor.item else function(*args, **(kwargs or {}))

    with Items():
        assert torch.ones(()).item() == "answered", "tracing.py, _Items"


def test_objectives_read_their_losses_with_item():
    """What ``_Number`` of tracing.py must be able to do: their arithmetic is on what item() gives."""
    for name in ("Trace_ELBO", "TraceMeanField_ELBO", "TraceGraph_ELBO", "RenyiELBO"):
        module = inspect.getmodule(getattr(pyro.infer, name))
        source = inspect.getsource(module)
        assert "torch_item" in source or ".item()" in source, f"tracing.py, _Number: {name} takes numbers otherwise"
    item = pyro.infer.util.torch_item
    assert item(torch.ones(())) == 1.0
    assert item(3.0) == 3.0, "pyro.infer.util.torch_item: tracing.py relies on what it takes for a number"
    assert "isinstance(x, numbers.Number)" in inspect.getsource(item), "tracing.py: _Number is a numbers.Number for it"


def test_pyro_objectives_take_gradients_of_param_sites_alone():
    """Why compiled.py and steps.py call pyro.module."""
    linear = nn.Linear(2, 2)

    def model():
        pyro.sample("x", pyro.distributions.Normal(linear(torch.ones(2)), 1.0).to_event(1), obs=torch.ones(2))

    pyro.infer.Trace_ELBO().loss_and_grads(model, lambda: None)
    assert linear.weight.grad is None, "compiled.py and steps.py: pyro.module is not needed any more"
    pyro.infer.Trace_ELBO().loss_and_grads(lambda: (pyro.module("pair", linear), model()), lambda: None)
    assert linear.weight.grad is not None


def test_optimizer_hooks_and_groups():
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(1))])
    for name in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        assert hasattr(optimizer, name), f"torch_internals.py looks for hooks in {name}"
        assert not getattr(optimizer, name)
    optimizer.register_step_pre_hook(lambda *_: None)
    assert len(optimizer._optimizer_step_pre_hooks) == 1
    expected = {"lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "capturable", "differentiable"}
    assert expected <= optimizer.param_groups[0].keys(), "adam.py reads these settings of a group"
    # a setting that is new in torch may be one that the recorded step knows nothing of
    known = expected | {"params", "foreach", "fused", "decoupled_weight_decay"}
    for kind in (torch.optim.Adam, torch.optim.AdamW):
        found = kind([nn.Parameter(torch.ones(1))]).param_groups[0].keys()
        assert found <= known, f"adam.py: is the step still right with {found - known}?"


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_decays_as_its_group_says(kind):
    """By this adam.py tells the two."""
    group = kind([nn.Parameter(torch.ones(1))]).param_groups[0]
    assert group["decoupled_weight_decay"] is (kind is torch.optim.AdamW), "adam.py"


def test_adam_state():
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones(1)
    optimizer.step()
    assert set(optimizer.state[parameter]) == {"step", "exp_avg", "exp_avg_sq"}, "adam.py: RecordableAdam's state"
    assert isinstance(optimizer.state[parameter]["step"], torch.Tensor), "adam.py, store: step is filled in place"


def test_onednn_linear():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    look = "torch_internals.py calls torch.ops.mkldnn._linear_pointwise(a, b.t(), None, 'none', [], '')"
    assert hasattr(torch.ops.mkldnn, "_linear_pointwise"), look
    a, b = torch.randn(4, 3), torch.randn(3, 2)
    product = torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    torch.testing.assert_close(product, a @ b, rtol=1e-5, atol=1e-5, msg=look)


def test_attributes_of_every_module():
    """python_state.py leaves these out, as they hold the module's tensors and parts, or hooks."""
    assert {"_parameters", "_buffers", "_modules", "training"} <= vars(nn.Module()).keys(), "python_state.py"
    assert all(n.startswith("_") for n in vars(nn.Module()) if n != "training"), "python_state.py, _OF_EVERY_MODULE"


def test_param_store_scope():
    """isolation.py: a recording has a store of its own."""
    store = pyro.get_param_store()
    pyro.param("kept", torch.ones(1))
    with store.scope(state={kind: {} for kind in store.get_state()}):
        assert "kept" not in store
        pyro.param("other", torch.ones(1))
    assert "kept" in store
    assert "other" not in store
