"""A simulator of a trading platform: its own process, its own books, the project's own clearing kernel."""
