"""Room 2: everybody who can act or owe."""
