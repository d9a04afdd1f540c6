"""Room 1: who may do what, and who did."""
