import torch

from sidestep.training.placement import forward_precision


def test_precision_is_what_was_asked_for_and_plain_on_a_cpu():
    cpu = torch.device("cpu")
    assert forward_precision(cpu, "auto") == "fp32"
    assert forward_precision(cpu, "bf16") == "bf16"
    assert forward_precision(torch.device("cuda"), "fp32") == "fp32"
