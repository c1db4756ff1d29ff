"""Operations that wait for the device, found also where the device is the processor itself."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {
    "_local_scalar_dense",  # int(x), x.item(), if x:
    "is_nonzero",
    "nonzero",
    "masked_select",
    "unique_dim",
    "_unique2",
    "unique_consecutive",
    "repeat_interleave",
    "equal",
}
"""Operations whose answer, or the shape of it, a processor must wait for."""


class NothingWaits(TorchDispatchMode):
    """Fails at every operation that waits for the device; also at indices that are masks."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in WAITING, f"{name} waits for the device"
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            masks = [i for i in args[1] if i is not None and i.dtype == torch.bool]
            assert not masks, f"{name} by a mask waits for the device"
        return func(*args, **(kwargs or {}))
