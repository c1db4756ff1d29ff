"""Functions that all searches share."""

from sidestep.search.beam import BeamSearch
from sidestep.search.policy import redrawn
from sidestep.search.sampling import Sampling


def test_what_draws_draws_anew_at_every_step():
    assert redrawn(Sampling(num_samples=3, seed=5), 2) == Sampling(num_samples=3, seed=7)


def test_what_draws_nothing_stays_itself():
    class Own:
        """A user's own search, which is no dataclass."""

        name, seed = "own", 3

        def search(self, model, histories, scope):
            raise NotImplementedError

    beam, own = BeamSearch(num_beams=3), Own()
    assert redrawn(beam, 2) is beam
    assert redrawn(own, 2) is own
