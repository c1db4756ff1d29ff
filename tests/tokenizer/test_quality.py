import numpy as np
import pytest

from sidestep.tokenizer.codebooks import ResidualCodebooks
from sidestep.tokenizer.quality import FitQuality
from sidestep.tokenizer.tokenizer import Fit


def test_worked_example():
    # Codes 0, 0, 1, 1 of four: half of them used. The vectors lie at 0, 2,
    # 8 and 10, the codewords at 1 and 9: 4 · 1² of 2 · (5² + 3²) is left.
    codewords = np.array([[1], [9], [50], [60]], dtype=np.float32)
    fit = Fit(
        tokenizer=ResidualCodebooks((codewords,)), semantic_ids=np.array([[0], [0], [1], [1]])
    )
    quality = FitQuality.of(fit, np.array([[0], [2], [8], [10]], dtype=np.float32))
    assert quality.num_distinct == 2
    assert quality.utilisation == (0.5,)
    assert quality.reconstruction_error == pytest.approx(4 / 68)
