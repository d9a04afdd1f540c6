"""Room 3: from sealed bytes to intervals that may be charged. Pure files, `store` (SQL) and `run` (shells)."""
