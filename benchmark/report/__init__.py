"""The report: ledgers as one HTML file that opens from disk and loads nothing from elsewhere."""
