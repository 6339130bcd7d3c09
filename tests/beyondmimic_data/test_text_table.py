from beyondmimic_data.text_table import aligned


def test_columns_fit_their_widest_cell_and_free_text_stands_outside_of_them() -> None:
    rows = [["clip", "speed", "verdict"], ["a", "1.25", "yes"], ["longer", "no steady walking steps"]]
    assert aligned(rows, left=(0, 2)) == [
        "clip    speed  verdict",
        "a        1.25  yes",
        "longer  no steady walking steps",
    ]
    assert aligned([["a", "bbb"], ["aa", "b"]]) == ["a   bbb", "aa    b"]
