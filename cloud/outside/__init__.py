"""The rim: one adapter per foreign system."""
