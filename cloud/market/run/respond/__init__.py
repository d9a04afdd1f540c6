"""Shells: enrol, call an event, answer it, freeze baselines, measure, dispute, settle, split and pay for capacity.

The clock moves what needs nobody (start, end, assess, silence); every other move is a person's. A baseline is frozen
when the event is notified, from days that are over, so nothing done afterwards can change it.
"""

from cloud.market.run.respond.call import BadEvent as BadEvent
from cloud.market.run.respond.call import NewEvent as NewEvent
from cloud.market.run.respond.call import TooLateToCall as TooLateToCall
from cloud.market.run.respond.call import answer as answer
from cloud.market.run.respond.call import cancel as cancel
from cloud.market.run.respond.call import notify as notify
from cloud.market.run.respond.call import plan as plan
from cloud.market.run.respond.enrol import BadEnrolment as BadEnrolment
from cloud.market.run.respond.enrol import enrol as enrol
from cloud.market.run.respond.enrol import enter_programme as enter_programme
from cloud.market.run.respond.enrol import enter_split as enter_split
from cloud.market.run.respond.enrol import leave as leave
from cloud.market.run.respond.measure import NotMeasured as NotMeasured
from cloud.market.run.respond.measure import Seen as Seen
from cloud.market.run.respond.measure import assess as assess
from cloud.market.run.respond.measure import seen as seen
from cloud.market.run.respond.month import pay_capacity as pay_capacity
from cloud.market.run.respond.statement import confirm as confirm
from cloud.market.run.respond.statement import decide as decide
from cloud.market.run.respond.statement import object_to as object_to
from cloud.market.run.respond.statement import settle as settle
from cloud.market.run.respond.telling import ReasonMissing as ReasonMissing
from cloud.market.run.respond.turn import look as look
