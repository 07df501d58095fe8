"""The report: ledgers as one HTML file that opens from disk and loads nothing from elsewhere."""

from collections.abc import Sequence
from pathlib import Path


def make_report(paths: Sequence[Path]) -> str:
    """Everything that ledgers say, as one HTML document.

    Args:
        paths: Ledger folders, or folders of them.

    Raises:
        LedgerError: There is no ledger, or one cannot be read.
        BenchmarkError: The extra `report` is not installed, or the ledgers have no row.
    """
    from benchmark.charts import Evidence
    from benchmark.report.page import check_extra, render_page

    check_extra()
    return render_page(Evidence.load(paths))
