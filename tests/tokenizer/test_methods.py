import pytest

from sidestep.tokenizer.methods import METHODS, config_class, make_tokenizer
from sidestep.tokenizer.residual_kmeans import ResidualKMeans
from sidestep.tokenizer.tokenizer import Tokenizer


class MyTokenizer(ResidualKMeans):
    """A user's own tokenizer."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_protocol(method):
    assert isinstance(make_tokenizer(method, config_class(method)()), Tokenizer)


def test_a_users_own_class_is_found_by_its_import_path():
    method = f"{__name__}:MyTokenizer"
    assert isinstance(make_tokenizer(method, config_class(method)()), MyTokenizer)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("kmeans", "no tokenizer 'kmeans'; there are residual-kmeans, balanced, rq-vae, opq"),
        ("nowhere.at_all:Thing", "cannot be imported .* install the package"),
        ("json:nothing", ".json:nothing. cannot be imported"),
        (":MyTokenizer", "cannot be imported"),
        ("json:dumps", "is no class"),
        ("json:JSONDecoder", "is no tokenizer; it needs a Config and a fit"),
    ],
)
def test_what_is_no_tokenizer_is_refused(method, words):
    with pytest.raises(ValueError, match=words):
        config_class(method)
