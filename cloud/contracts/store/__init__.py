"""SQL of the contracts room."""
