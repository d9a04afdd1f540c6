"""The electricity market: how orders clear, how green energy and demand response are counted, how a month is settled.

`auction`, `rolling`, `listing`: the three ways of clearing, in whole numbers. `green`, `response`: quantities and pay.
`settlement` and `deviation`: what clearing and metering together owe whom.
"""
