"""pyarrow is kept from importing pandas, in processes of their own: an import cannot be undone."""

import json

from tests.commands import run_python

ROUND_TRIP = """
import json, sys
from jobs.storage.without_pandas import keep_pandas_out
{before}
keep_pandas_out()
import io
import numpy, pyarrow, pyarrow.parquet
columns = {{"a": [1, None], "b": [[1.5], []], "c": numpy.arange(2.0)}}
table = pyarrow.table({{name: pyarrow.array(values) for name, values in columns.items()}})
file = io.BytesIO()
pyarrow.parquet.write_table(table, file)
is_equal = pyarrow.parquet.read_table(io.BytesIO(file.getvalue())).equals(table)
is_imported = "pandas" in sys.modules
import pandas
print(json.dumps([is_equal, is_imported, len(pandas.Series([1, 2]))]))
"""


def answer_of(before: str) -> list[object]:
    answer = run_python("-W", "error", "-c", ROUND_TRIP.format(before=before))
    assert answer.code == 0, answer.stderr
    return json.loads(answer.stdout)


def test_pyarrow_writes_and_reads_without_pandas_and_others_may_import_it_later() -> None:
    assert answer_of("") == [True, False, 2]


def test_pandas_that_is_imported_already_stays() -> None:
    assert answer_of("import pandas") == [True, True, 2]


def test_without_this_module_pyarrow_imports_pandas() -> None:
    code = "import sys, pyarrow; pyarrow.array([0]); sys.exit('pandas' not in sys.modules)"
    assert run_python("-c", code).code == 0
