"""Worked cases (算例): a document's rule, numbers and results, tried against the code that makes bills and settlements.

Each area's file translates a case's inputs into the types of the production rooms, calls their public functions and names
their results as the cases do; nothing is priced here. Pure: the command reads the file. Format: docs/operations/tariff-cases.md.
"""
