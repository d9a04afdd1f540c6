"""Shells: a contract drawn up, signed, disputed, changed and ended by people; and what the clock does to it."""
