"""A simulator of the regulator's reporting interface: its own process, its own ledger of reports."""
