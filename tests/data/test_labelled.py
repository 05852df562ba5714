import sys
import types

import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import load_labelled


def written(tmp_path, text: str | bytes) -> str:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("1,2,no\n3,4,yes\n5,6.5,no\n", None),
        ("\ufeffa,b,kind\r\n1,2,no\r\n3,4,yes\r\n5,6.5,no\r\n", None),
        ("a;Label;b\n1;no;2\n3;yes;4\n5; no;6.5\n", None),
        ('"kind, of",a,b\n"no",1,2\n"yes",3,4\n"no",5,6.5\n', "kind, of"),
        ("a\tb\ty\n1\t2\t3\n3\t4\t10\n5\t6.5\t3\n", None),
    ],
    ids=["no header", "header", "label in the middle", "named", "numbers as labels"],
)
def test_rows_of_numbers_with_a_label_are_read(tmp_path, text, column):
    rows = load_labelled(written(tmp_path, text), column)
    np.testing.assert_array_equal(rows.features, np.array([[1, 2], [3, 4], [5, 6.5]], np.float32))
    assert rows.label.tolist() == [0, 1, 0]
    assert rows.num_labels == 2


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", None, "is empty; allowed: digits"),
        (b"\0\1\2", None, "is binary"),
        ("1\n2\n", None, "row 1: one field"),
        ("a,b,label\n", None, "no rows"),
        ("1,2,a\n3,x,b\n", None, "row 2: column 2 is 'x'; allowed: a finite number"),
        ("a,b,y\n1,2,a\n3,nan,b\n", None, "row 3: b is 'nan'; allowed: a finite number"),
        ("a,b,y\n1,1e99,a\n3,1,b\n", None, "row 2: b is '1e99'"),
        ("a,b,y\n1,2,a\n,4,b\n", None, "row 3: a is missing"),
        ("a,b,y\n1,2,a\n3,4\n", None, "row 3: y is missing; allowed: a label"),
        ("a,b,y\n1,2,0\n3,4,1\n5,6,nan\n", None, "row 4: y is 'nan'; allowed: a label"),
        ("1,2,0\n3,4,-inf\n5,6,1\n", None, "row 2: column 3 is '-inf'; allowed: a label"),
        ("a,b,y\n1,2,no\n3,4,NaN\n5,6,yes\n", None, "row 3: y is 'NaN'; allowed: a label"),
        ("a,b,y\n1,2,nan\n3,4,\n5,6,1\n", None, "row 2: y is 'nan'; allowed: a label"),
        ("a,b,y\n1,2,a\n3,4,b,5\n", None, "row 3: more fields than in row 1; allowed: 3 fields"),
        ("a,b,y\n1,2,a\n3,4,a\n", None, "y is a in all rows; allowed: at least two labels"),
        ("a,b,kind\n1,2,a\n3,4,b\n", "knd", "no column 'knd': did you mean 'kind'"),
    ],
)
def test_a_table_with_a_fault_is_refused_with_the_row_named(tmp_path, text, column, words):
    with pytest.raises(InputError) as caught:
        load_labelled(written(tmp_path, text), column)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_word_among_words_may_look_like_a_number(tmp_path):
    rows = load_labelled(written(tmp_path, "a,b,y\n1,2,inf\n3,4,sup\n5,6,7\n"))
    assert (rows.label.tolist(), rows.num_labels) == ([1, 2, 0], 3)


def test_what_is_no_file_and_no_name_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"data 'digit' cannot be read .*allowed: digits \| breast-cancer"):
        load_labelled("digit")
    with pytest.raises(InputError, match="cannot be read"):
        load_labelled(str(tmp_path))


def test_a_name_of_scikit_learn_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"not installed; allowed: pip install 'jaxbandit\[sklearn\]', or the path"):
        load_labelled("wine")
    with pytest.raises(InputError, match="label_column is 'y', but wine has known labels"):
        load_labelled("wine", "y")


def test_scikit_learn_is_asked_for_the_set_of_that_name(monkeypatch):
    package, datasets = types.ModuleType("sklearn"), types.ModuleType("sklearn.datasets")
    package.datasets = datasets
    datasets.load_breast_cancer = lambda return_X_y: (np.arange(6.0).reshape(3, 2), np.array([1, 0, 1]))
    monkeypatch.setitem(sys.modules, "sklearn", package)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)
    rows = load_labelled("breast-cancer")
    assert (rows.features.dtype, rows.label.dtype, rows.num_labels) == (np.float32, np.int32, 2)
    assert rows.label.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("name", "shape", "labels"), [("digits", (1797, 64), 10), ("breast-cancer", (569, 30), 2), ("wine", (178, 13), 3)]
)
def test_the_sets_of_scikit_learn_have_their_sizes(name, shape, labels):
    pytest.importorskip("sklearn")
    rows = load_labelled(name)
    assert rows.features.shape == shape
    assert rows.num_labels == labels
