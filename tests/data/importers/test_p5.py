import pytest

from sidestep.data.importers.p5 import import_p5

SEQUENCES = "1 1 2 3\n2 3 1\n3 2 3 1 3\n"
TERMS = '{"1":["road-bike","55psi"],"2":["saddle"],"3":["brake-lever","cable"]}'


def shop(folder, sequences=SEQUENCES, terms=TERMS):
    paths = folder / "sequential_data.txt", folder / "item_terms.json"
    for path, text in zip(paths, (sequences, terms), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_numbers_stay_as_ids_and_indices_start_at_zero(tmp_path):
    dataset = import_p5(*shop(tmp_path), name="sports")
    histories = dataset.histories()
    assert histories.user_ids == ("1", "2", "3")
    assert [histories.of(row).tolist() for row in range(3)] == [[0, 1, 2], [2, 0], [1, 2, 0, 2]]
    assert dataset.items.texts(["terms"])[2] == "brake-lever, cable"
    assert sorted(dataset.sources) == ["item_terms.json", "sequential_data.txt"]


def test_the_folder_names_the_dataset_and_blank_lines_are_passed_over(tmp_path):
    path, _ = shop(tmp_path, sequences="1 12 4\r\n\n 2\t4\n\n")
    dataset = import_p5(path)
    assert dataset.name == tmp_path.name
    assert dataset.items.item_ids == ("4", "12")


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ("1 1 2\n2 1 B00X\n", "line 2: 'B00X' is not a whole number"),
        ("1 1 2\n2 1 -3\n", "line 2: '-3' is not a whole number"),
        ("1 1 2\n\n1 3\n", "line 3: user 1 stands already in line 1"),
        ("1 1 2\n2\n", "line 2: user 2 has no items"),
        ("1 1 2\n2 3 99 98\n", r"line 2: item '99' has no entry in .*item_terms\.json \(2 such"),
        ("\n\n", "the file is empty"),
    ],
)
def test_bad_lines_are_refused_with_their_number(tmp_path, sequences, message):
    paths = shop(tmp_path, sequences)
    with pytest.raises(ValueError, match=message) as refusal:
        import_p5(*paths)
    assert str(paths[0]) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "num_users", "num_items", "num_interactions"),
    [("sports", 35_598, 18_357, 296_337), ("toys", 19_412, 11_924, 167_597)],
)
def test_real_data_have_their_published_size(
    real_data, name, num_users, num_items, num_interactions
):
    folder = real_data / name
    stats = import_p5(folder / "sequential_data.txt", folder / "item_terms.json").stats()
    assert (stats.users, stats.items, stats.interactions) == (
        num_users,
        num_items,
        num_interactions,
    )
