"""The training step as a GPU wants it: nothing waits for the device, and bfloat16 leaves the statistics in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ibray.rundata import build_run_data
from ibray.training import Trainer

CPU = torch.device("cpu")


class NoWaiting(TorchDispatchMode):
    """Refuses what makes a host wait for its GPU: a value as a Python number, or a shape that depends on values.

    On a CPU it cannot see tolist and copies to the host; the test that needs a GPU does.
    """

    waits = frozenset({"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"})

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        indices = args[1] if name.startswith(("aten::index", "aten::_index")) else []
        by_mask = any(torch.is_tensor(each) and each.dtype == torch.bool for each in tree_leaves(indices))
        if name in self.waits or by_mask:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def trainer(tiny, data_dir, tmp_path):
    """Make a trainer of a tiny cell with these training settings."""

    def make(device=CPU, **training):
        settings = {"epochs": 2, "snapshots": [2], "batch_size": 64, "lr": 0.05, **training}
        cell = tiny(attack="badnets", training=settings).cells()[0]
        torch.set_num_threads(1)
        return Trainer(cell, build_run_data(cell, data_dir), device, tmp_path, compile_model=False)

    return make


@pytest.mark.parametrize("training", [{}, {"precision": "bfloat16"}, {"adversarial_epsilon": 8.0}], ids=str)
def test_no_step_of_an_epoch_waits_for_the_device(trainer, training):
    chosen = trainer(**training)
    with NoWaiting():
        chosen._train_epoch(1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_waits_for_a_gpu(trainer):
    chosen = trainer(device=torch.device("cuda"))
    chosen._train_epoch(1)  # libraries may wait while they warm up
    torch.cuda.set_sync_debug_mode("error")
    try:
        chosen._train_epoch(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_guard_against_waiting_sees_what_it_should():
    for wait in (lambda x: x.item(), lambda x: x[x > 0], bool):
        with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
            wait(torch.ones(1))


def test_bfloat16_keeps_weights_momentum_and_batch_norm_statistics_in_float32(trainer):
    chosen = trainer(precision="bfloat16")
    norms = [module for module in chosen.model.modules() if isinstance(module, nn.BatchNorm2d)]
    seen = {}

    def remember(module, inputs, output):
        seen[module] = inputs[0].detach()

    for norm in norms:
        norm.register_forward_hook(remember)
        norm.momentum = 1.0  # the running statistics are then the last batch's
    chosen._train_epoch(1)
    assert {tensor.dtype for tensor in chosen.model.state_dict().values()} == {torch.float32, torch.int64}
    momenta = [state["momentum_buffer"].dtype for state in chosen.optimizer.state.values()]
    assert set(momenta) == {torch.float32}
    chosen.model.train()
    chosen._logits(torch.rand(32, 3, 16, 16))
    assert {inputs.dtype for inputs in seen.values()} == {torch.bfloat16}
    for norm in norms:  # bfloat16 sums would be off by 4e-3
        torch.testing.assert_close(norm.running_mean, seen[norm].float().mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, seen[norm].float().var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_weights_momentum_and_inputs_are_channels_last(trainer):
    chosen = trainer()
    chosen._train_epoch(1)
    seen = []
    chosen.model.stages[-1].conv2.register_forward_hook(lambda module, inputs, output: seen.extend([*inputs, output]))
    chosen._evaluate(1)
    convolutions = [p for p in chosen.model.parameters() if p.ndim == 4]
    momenta = [chosen.optimizer.state[p]["momentum_buffer"] for p in convolutions]
    for tensor in [*convolutions, *momenta, *seen]:
        assert tensor.is_contiguous(memory_format=torch.channels_last)
