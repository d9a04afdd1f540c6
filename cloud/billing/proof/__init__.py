"""Proof of a bill: what can be checked about it, step by step, from its paper down to the signed bytes of its meters."""
