"""Contracts: who buys what from whom, when, and at which agreed conditions. May look at metering and parties."""
