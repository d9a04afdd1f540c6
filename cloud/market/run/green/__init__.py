"""Shells: issue certificates of a month, sell them once, use them up with a proof, and let the old ones expire.

Every deed is one entry of the ledger in the caller's transaction, made once by its key; who comes second finds the
certificates gone.
"""

from cloud.market.run.green.allot import Allotted as Allotted
from cloud.market.run.green.allot import allot_month as allot_month
from cloud.market.run.green.holder import NotAdmitted as NotAdmitted
from cloud.market.run.green.issue import MonthNotOver as MonthNotOver
from cloud.market.run.green.issue import NoGeneration as NoGeneration
from cloud.market.run.green.issue import NoPlant as NoPlant
from cloud.market.run.green.issue import enter_plant as enter_plant
from cloud.market.run.green.issue import issue_month as issue_month
from cloud.market.run.green.issue import issue_plant as issue_plant
from cloud.market.run.green.sell import OwnSale as OwnSale
from cloud.market.run.green.sell import SaleOver as SaleOver
from cloud.market.run.green.sell import lapse as lapse
from cloud.market.run.green.sell import offer as offer
from cloud.market.run.green.sell import take as take
from cloud.market.run.green.sell import withdraw as withdraw
from cloud.market.run.green.use import BadUse as BadUse
from cloud.market.run.green.use import Use as Use
from cloud.market.run.green.use import expire as expire
from cloud.market.run.green.use import retire as retire
