"""Market settlement: contracts, energy and prices -> lines of every unit. Pure."""

from __future__ import annotations

from cloud.market.line import Derivation as Derivation
from cloud.market.line import Input as Input
from cloud.market.line import Item as Item
from cloud.market.line import SettlementLine as SettlementLine
from cloud.market.line import Side as Side
