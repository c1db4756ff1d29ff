"""Arrays of a stored catalog: shape and type of each array are checked."""

import numpy as np
import pytest

from sidestep.catalog import stored


@pytest.mark.parametrize(
    "array",
    [np.zeros(3, dtype=np.float32), np.zeros(2, dtype=np.int32), np.zeros((3, 1), np.int32)],
)
def test_an_array_of_another_shape_or_type_is_refused(array):
    stored._check_shape("popularity", np.zeros(3, dtype=np.int32), (3,), "iu")
    with pytest.raises(ValueError, match=r"popularity is .* instead of"):
        stored._check_shape("popularity", array, (3,), "iu")
