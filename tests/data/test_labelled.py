import bz2
import gzip
import lzma
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
        ("1,0.5,2.5\n2,0.1,2.2\n", "1", "row 1: 1, 0.5, 2.5 are numbers, and no header; allowed: column:1"),
        ("no,1,2\nyes,3,4\nno,5,6\n", "no", "'no' is in row 1 and again below, so it is a value and no name"),
        ("1,0.5,2.5\n2,0.1,2.2\n", None, "column:3 has 2 different values, and seems to be no label; allowed: --label"),
        ("a,b,y\n" + "".join(f"1,2,{n}.5\n" for n in range(90)), None, "y has 90 different values"),
        ("a,b,y\n" + "".join(f"1,2,{n}\n" for n in range(9000)), "y", "y has 9,000 different values"),
        ("0,1,2\n3,4,1\n5,6,0\n", None, "row 1: 0, 1, 2 may be names or a row"),
        ("x,2,a\n3,4,b\n5,6,a\n", None, "row 1: x, 2, a may be names or a row"),
        ("a,b,y\nred,2,0\n7,4,1\n", None, "row 2: a is 'red'; allowed: a finite number"),
        ("a,b,y\nred,2,0\nNA,4,1\n", None, "row 3: a is 'NA'; allowed: a word"),
        ("a,b,y\n" + "".join(f"w{n},2,{n % 2}\n" for n in range(101)), None, "a has 101 different words"),
        ("1,2,a\n3,4,b\n", "column:4", "no column 'column:4': allowed: column:1 to column:3"),
        (b"a,b,y\n1,2,caf\xe9\n3,4,b\n", None, "row 2: bytes that are no UTF-8"),
        ("", None, "is empty; allowed: digits"),
        (b"\0\1\2", None, "binary content"),
        ("1\n2\n", None, "row 1: one field"),
        ("a,b,label\n", None, "no rows"),
        ("1,2,a\n3,x,b\n", None, "row 2: column:2 is 'x'; allowed: a finite number"),
        ("a,b,y\n1,2,a\n3,nan,b\n", None, "row 3: b is 'nan'; allowed: a finite number"),
        ("a,b,y\n1,1e99,a\n3,1,b\n", None, "row 2: b is '1e99'"),
        ("a,b,y\n1,2,a\n,4,b\n", None, "row 3: a is missing"),
        ("a,b,y\n1,2,a\n3,4\n", None, "row 3: y is missing; allowed: a label"),
        ("a,b,y\n1,2,0\n3,4,1\n5,6,nan\n", None, "row 4: y is 'nan'; allowed: a label"),
        ("1,2,0\n3,4,-inf\n5,6,1\n", None, "row 2: column:3 is '-inf'; allowed: a label"),
        ("a,b,y\n1,2,no\n3,4,NaN\n5,6,yes\n", None, "row 3: y is 'NaN'; allowed: a label"),
        ("a,b,y\n1,2,nan\n3,4,\n5,6,1\n", None, "row 2: y is 'nan'; allowed: a label"),
        ("a,b,y\n1,2,a\n3,4,b,5\n", None, "row 3: more fields than in row 1: allowed: 3"),
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


def test_columns_of_words_become_a_feature_for_each_word(tmp_path):
    rows = load_labelled(written(tmp_path, "colour,size,buy\nred,1,yes\nblue,2,no\nred,3,no\n"))
    assert rows.features.tolist() == [[0, 1, 1], [1, 0, 2], [0, 1, 3]]
    without_header = load_labelled(written(tmp_path, "red,small,yes\nblue,small,no\nred,large,no\n"))
    assert without_header.features.tolist() == [[0, 1, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]]
    assert without_header.label.tolist() == [1, 0, 0]


@pytest.mark.parametrize("text", ["1,2,no\n3,4,yes\n5,6.5,no\n", "a,b,kind\n1,2,no\n3,4,yes\n5,6.5,no\n"])
def test_the_label_is_chosen_by_place(tmp_path, text):
    assert load_labelled(written(tmp_path, text), "column:3").label.tolist() == [0, 1, 0]
    assert load_labelled(written(tmp_path, text), "column:1").label.tolist() == [0, 1, 2]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_blanks_comments_stray_quotes_and_packing_are_understood(tmp_path, pack):
    text = '# made by hand\n1,2,the 5" disk\n\n3,4,the 3" disk\n5,6.5,the 5" disk\n'
    rows = load_labelled(written(tmp_path, pack(text.encode())))
    assert rows.features.tolist() == [[1, 2], [3, 4], [5, 6.5]]
    assert rows.label.tolist() == [1, 0, 1]
    assert load_labelled(written(tmp_path, "1  2 no\r3 4  yes\r5 6.5 no\r")).label.tolist() == [0, 1, 0]
