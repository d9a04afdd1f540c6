"""Shells of room 2: deeds of parties and of staff about them."""
