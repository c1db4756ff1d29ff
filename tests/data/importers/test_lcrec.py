import json

import pytest

from sidestep.data.importers.lcrec import import_lcrec, lcrec_files

# The forms of the public data sets: compact interactions, indented items.
INTERACTIONS = '{"0": [0, 1, 2], "1": [2, 0], "2": [1, 2, 0, 2]}'
ITEMS = json.dumps(
    {
        str(item): {
            "title": f"Title {item}",
            "description": "“Quoted”, with a comma.",
            "brand": "Norvik",
            "categories": "Industrial & Scientific,Fasteners",
        }
        for item in range(3)
    },
    indent=2,
    ensure_ascii=False,
)
TERMS = '{"0":["nail","lacquer"],"1":["bb-cream"],"2":["concealer","neutral"]}'


def shop(folder, interactions=INTERACTIONS, items=ITEMS, suffix="item"):
    paths = folder / "Shop.inter.json", folder / f"Shop.{suffix}.json"
    for path, text in zip(paths, (interactions, items), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_users_and_items_keep_their_numbers(tmp_path):
    dataset = import_lcrec(*shop(tmp_path))
    histories = dataset.histories()
    assert dataset.name == "Shop"
    assert histories.user_ids == ("0", "1", "2")
    assert [histories.of(row).tolist() for row in range(3)] == [[0, 1, 2], [2, 0], [1, 2, 0, 2]]
    assert dataset.items.text_columns == ("title", "description", "brand", "categories")
    assert sorted(dataset.sources) == ["Shop.inter.json", "Shop.item.json"]


def test_terms_are_items_too(tmp_path):
    dataset = import_lcrec(*shop(tmp_path, items=TERMS, suffix="terms"))
    assert dataset.items.texts(["terms"])[0] == "nail, lacquer"


def test_without_texts_the_items_are_those_that_occur(tmp_path):
    path, _ = shop(tmp_path, interactions='{"u": [10, 9], "v": [9, 2]}')
    assert import_lcrec(path).items.item_ids == ("2", "9", "10")
    path.write_text('{"u": ["b", "a"]}')
    assert import_lcrec(path).items.item_ids == ("b", "a")


def test_a_folder_is_searched_for_its_files(tmp_path):
    with pytest.raises(ValueError, match=r"no \*\.inter\.json"):
        lcrec_files(tmp_path)
    shop(tmp_path, items=TERMS, suffix="terms")
    assert lcrec_files(tmp_path) == (tmp_path / "Shop.inter.json", tmp_path / "Shop.terms.json")
    shop(tmp_path)
    assert lcrec_files(tmp_path)[1] == tmp_path / "Shop.item.json"
    (tmp_path / "Other.inter.json").write_text("{}")
    with pytest.raises(ValueError, match="several"):
        lcrec_files(tmp_path)


@pytest.mark.parametrize(
    ("interactions", "message"),
    [
        ('{"0": [0],\n"1": []}', "line 2, entry '1': the user has no items"),
        ('{"0": [0],\n"1": 5}', "line 2, entry '1': the user has a int instead of a list"),
        ('{"0": [0],\n"1": [1, "2"]}', "line 2, entry '1': item '2' is a str"),
        ('{"0": ["0"],\n"1": [1]}', "line 2, entry '1': item 1 is a int"),
        ('{"0": [0, true]}', "line 1, entry '0': item True is a bool"),
        ('{"0": [0, 1.0]}', "item 1.0 is a float"),
        ('{"0": [0, null]}', "item None is a NoneType"),
        ('{"0": [0, -1]}', "-1 cannot be an item"),
        ('{"0": ["0", ""]}', "'' cannot be an item"),
        ('{"": [0]}', "the user ID is empty"),
        ('{"0": [0],\n"1": [1, 7, 8]}', "line 2, entry '1': item '7' has no entry in .* .2 such"),
        ('{"0": [0],\n"0": [1]}', "line 2: the key '0' stands twice"),
        ("", "the file is empty"),
    ],
)  # fmt: skip
def test_bad_interactions_are_refused_with_file_and_line(tmp_path, interactions, message):
    paths = shop(tmp_path, interactions)
    with pytest.raises(ValueError, match=message) as refusal:
        import_lcrec(*paths)
    assert str(paths[0]) in str(refusal.value)


def test_every_cut_of_a_file_is_refused(tmp_path):
    paths = shop(tmp_path)
    for path in paths:
        whole = path.read_bytes()
        for size in range(0, len(whole) - 1, 5):
            path.write_bytes(whole[:size])
            with pytest.raises(ValueError, match=path.name):
                import_lcrec(*paths)
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "num_users", "num_items", "num_interactions"),
    [("scientific", 8_317, 4_344, 58_492), ("beauty", 22_363, 12_101, 198_502)],
)
def test_real_data_have_their_published_size(
    real_data, name, num_users, num_items, num_interactions
):
    dataset = import_lcrec(*lcrec_files(real_data / name))
    stats = dataset.stats()
    assert (stats.users, stats.items, stats.interactions) == (
        num_users,
        num_items,
        num_interactions,
    )
    assert len(dataset.k_core(5).interactions) == num_interactions  # they are published as 5-cores
