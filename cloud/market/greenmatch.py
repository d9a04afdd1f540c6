"""Green energy of a month: which part of every green contract was generated and used. Pure.

Quantity = min(contract, generation − mechanism energy, use) (1656号 art. 78); mechanism energy earns nothing twice
(art. 77). What one contract has taken of a generation or a use is gone for the next, so nothing is claimed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from cloud.contracts.terms import ContractKind
from cloud.errors import NotFound
from cloud.market.month import ContractFacts, UnitFacts
from cloud.market.rulefile import GreenOrder


class GenerationUnknown(NotFound):
    """A green contract's seller is not metered here, and nobody entered its generation."""


@dataclass(frozen=True, slots=True)
class GreenMatch:
    """What a green contract takes: the least of what it promises, what is left of the generation, and of the use."""

    contract_id: str
    contract_kwh: int
    generation_kwh: int
    use_kwh: int
    price_yuan_per_mwh: Decimal

    @property
    def kwh(self) -> int:
        """The quantity whose environmental value is settled."""
        return min(self.contract_kwh, self.generation_kwh, self.use_kwh)


def green_kwh(contract_kwh: int, generation_kwh: int, mechanism_kwh: int, use_kwh: int) -> int:
    """Compute min(contract, generation − mechanism energy, use) of one contract by itself, not below 0."""
    return max(0, min(contract_kwh, generation_kwh - mechanism_kwh, use_kwh))


def green_matches(
    contracts: Iterable[ContractFacts],
    units: Mapping[str, UnitFacts],
    order: GreenOrder,
    named_use_kwh: Mapping[str, int],
) -> tuple[GreenMatch, ...]:
    """Serve the green contracts one after the other. Raises GenerationUnknown.

    `named_use_kwh` has the use of retail customers by account, for contracts that name their users (art. 53).
    """
    green = [each for each in contracts if each.terms.kind is ContractKind.GREEN and each.promises]
    generation = {
        seller: _generation_kwh(units[seller]) for seller in sorted({each.terms.seller for each in green})
    }
    use = {unit_id: sum(unit.actual_kwh) for unit_id, unit in units.items()} | dict(named_use_kwh)
    matches = []
    for contract in sorted(green, key=lambda each: _rank(each, order)):
        users = contract.terms.green_users or (contract.terms.buyer,)
        match = GreenMatch(
            contract.terms.contract_id,
            contract.total_kwh,
            generation[contract.terms.seller],
            sum(use.get(user, 0) for user in users),
            contract.promises[0].volume.environment_yuan_per_mwh,
        )
        generation[contract.terms.seller] -= match.kwh
        _take(use, users, match.kwh)
        matches.append(match)
    return tuple(matches)


def _rank(contract: ContractFacts, order: GreenOrder) -> tuple[Decimal, str]:
    price = contract.promises[0].volume.environment_yuan_per_mwh
    return (-price if order is GreenOrder.PRICE else Decimal(0), contract.terms.contract_id)


def _generation_kwh(unit: UnitFacts) -> int:
    if unit.is_metered:
        generated = sum(unit.actual_kwh)
    elif unit.generation_kwh is not None:
        generated = unit.generation_kwh
    else:
        raise GenerationUnknown("generation_unknown", unit=unit.unit_id)
    return max(0, generated - (unit.mechanism.kwh if unit.mechanism else 0))


def _take(use: dict[str, int], users: tuple[str, ...], kwh: int) -> None:
    for user in users:
        taken = min(kwh, use.get(user, 0))
        use[user] = use.get(user, 0) - taken
        kwh -= taken
