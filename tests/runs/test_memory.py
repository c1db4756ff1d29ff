import pytest

from sidestep.model.config import T5Config
from sidestep.runs import memory


def test_the_layers_of_a_decoder_count_beside_those_of_its_encoder(monkeypatch):
    model = T5Config(dim=8, num_heads=2, num_layers=1, num_decoder_layers=3)
    # 4 layers of 12 · 8² weights and 5 items of 8, 16 bytes each.
    needed = (4 * 12 * 64 + 5 * 8) * 16
    monkeypatch.setattr(memory, "memory_bytes", lambda: needed)
    memory.refuse_beyond_memory(model, 5)
    monkeypatch.setattr(memory, "memory_bytes", lambda: needed - 1)
    with pytest.raises(ValueError, match=r"dim 8 with 5 items"):
        memory.refuse_beyond_memory(model, 5)
