"""Actions: what the commands do, for the command line and for Python alike. Progress is shown on standard error."""
