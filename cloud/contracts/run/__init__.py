"""Shells of the contracts room."""
