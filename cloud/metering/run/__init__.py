"""Shells of the metering room: load, compute, save; the caller commits."""
