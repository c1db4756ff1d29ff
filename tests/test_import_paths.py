"""Names of what goes by import path."""

import pytest

from sidestep.evaluation.results import check_method
from sidestep.import_paths import imported, is_own_file, own_name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("GruFour", "own-gru-four"),
        ("SASRec2", "own-sasrec2"),
        ("My_Own", "own-my-own"),
        ("Ü", "own"),
    ],
)
def test_the_name_of_ones_own_class_is_one_that_results_take(name, told):
    assert check_method(own_name(name)) == told


def test_files_belong_to_a_user_once_an_import_path_led_there(tmp_path, monkeypatch):
    """A module owns its file, and a package its folder; a neighbour of a module is not known."""
    (tmp_path / "alone_x.py").write_text("A = 1")
    (tmp_path / "beside_x.py").write_text("A = 1")
    (tmp_path / "package_x").mkdir()
    (tmp_path / "package_x" / "__init__.py").write_text("")
    (tmp_path / "package_x" / "part.py").write_text("A = 1")
    monkeypatch.chdir(tmp_path)
    files = [
        tmp_path / "alone_x.py",
        tmp_path / "beside_x.py",
        tmp_path / "package_x" / "__init__.py",
    ]
    assert not any(is_own_file(str(file)) for file in files)
    assert imported("alone_x:A") == imported("package_x.part:A") == 1
    assert [is_own_file(str(file)) for file in files] == [True, False, True]
