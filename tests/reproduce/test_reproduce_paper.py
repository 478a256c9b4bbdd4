"""paper.json: every number of the appendix' tables, each beside one of our lines."""

import re

from esol.reproduce.specs import TABLES
from esol.reproduce.tables import paper

TABLES_OF_PAPER = ("table1", "table2", "table3", "table4")


def numbers(name: str) -> list[float]:
    return [value for row in paper()[name]["rows"].values() for value in row.values()]


def test_numbers_are_those_of_the_appendix(shared):
    text = (shared / "paper" / "appendix.md").read_text(encoding="utf-8")
    parts = re.split(r"(?m)^Table (\d): ", text)
    for number in range(1, 5):
        # The rows stand before their caption, after the last blank-free head of the table.
        body = parts[2 * number - 2]
        table = body[body.rindex("Method\t") :]
        printed = [float(value) for value in re.findall(r"\b\d\d\.\d\b", table)]
        assert sorted(printed) == sorted(numbers(f"table{number}")), number
    assert "40.3% mIoU" in " ".join(text.split()).replace("40.3% 11", "40.3%")
    assert numbers("a11") == [40.3]


def test_it_is_complete_without_the_appendix_at_hand():
    assert [len(numbers(name)) for name in TABLES_OF_PAPER] == [8, 12, 6, 4]
    assert paper()["table1"]["rows"]["Baseline"] == {"miou": 48.4}
    shrinkage = paper()["table2"]["rows"]["Shrinkage"]
    assert shrinkage == {"precision": 67.1, "recall": 79.5, "f1_of_means": 72.7}
    for row in paper()["table2"]["rows"].values():
        p, r = row["precision"], row["recall"]
        assert abs(2 * p * r / (p + r) - row["f1_of_means"]) < 0.1


def test_every_printed_row_has_one_line_of_ours():
    for name in TABLES_OF_PAPER:
        labels = [line.label for line in TABLES[name].lines]
        assert len(set(labels)) == len(labels)
        for key in TABLES[name].printed:
            assert set(paper()[key]["rows"]) <= set(labels)
            measures = {m for row in paper()[key]["rows"].values() for m in row}
            # LPCAM's paper prints no F1, and all its measures in one table.
            columns = set(TABLES[name].columns)
            assert measures & columns if key == "lpcam" else measures == columns
