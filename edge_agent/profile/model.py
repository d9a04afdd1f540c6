"""What a profile says: frozen values, no file format. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from edge_agent.wire.batch import CHANNELS

REGISTERS_BY_TYPE = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4}


@dataclass(frozen=True, slots=True)
class Link:
    """How to talk on the meter's line."""

    baud: tuple[int, ...]
    parity: str
    stop_bits: int
    preamble_fe: int
    timeout_ms: int  # longest wait for a reply to begin and end
    retries: int  # further tries after the first
    gap_ms: int  # pause between two transactions
    byte_gap_ms: int  # a frame that stands still this long is broken off
    late_ms: int  # after a timeout the line stays closed this long: a late reply must not answer the next
    max_unanswered: int
    backoff_s: tuple[int, ...]
    registers_max: int  # Modbus: registers one request may ask for
    register_gap_max: int  # Modbus: unwanted registers worth reading along
    forbidden: tuple[tuple[int, int], ...]  # Modbus: [first, end) registers that must not be touched


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity of the meter's face: where it stands and how it is written.

    `decimals` are those of the face: 123456.78 kWh with 2 decimals is 12345678 ticks.
    """

    code: str
    unit: str
    decimals: int
    kind: str  # "counter" | "gauge"
    billing: bool
    rollover_ticks: int | None  # the counter's first impossible value
    low_ticks: int
    high_ticks: int  # allowed: low <= ticks <= high
    di: str  # DL/T 645, most significant first
    format: str
    reply_bytes: int  # DL/T 645: bytes behind the DI; the item stands first
    fc: int  # Modbus
    address: int  # Modbus: PDU address, 0-based
    type: str
    word_order: str
    scale: Decimal  # Modbus: raw x scale = value in `unit`
    missing: tuple[int, ...]  # Modbus: raw patterns that mean "no value"

    @property
    def item_bytes(self) -> int:
        """The size of the item itself on the wire."""
        return int(self.format[-1]) if self.format else 2 * REGISTERS_BY_TYPE[self.type]

    @property
    def signed(self) -> bool:
        """DL/T 645: the top bit of the last byte is a minus sign."""
        return self.format.startswith("s")


@dataclass(frozen=True, slots=True)
class Block:
    """DL/T 645: one DI that answers several channels, in this order; `items` = 0 means any number."""

    di: str
    gives: tuple[str, ...]
    items: int


@dataclass(frozen=True, slots=True)
class PollGroup:
    """Channels that are read together; aligned = on the wall clock's multiples of `every_s`."""

    name: str
    every_s: int
    aligned: bool
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Caveat:
    """What the profile's author learnt the hard way, and where it is written."""

    zh: str
    en: str
    evidence: str


@dataclass(frozen=True, slots=True)
class GoldenFrame:
    """A request, its answer, and the values a reader of the meter's face would write down."""

    source: str
    tx: bytes
    rx: bytes
    expect: tuple[tuple[str, Decimal | None], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """One meter model as data."""

    id: str
    version: str
    protocol: str
    vendor_zh: str
    vendor_en: str
    models: tuple[str, ...]
    link: Link
    channels: tuple[Channel, ...]  # in catalogue order
    blocks: tuple[Block, ...]
    groups: tuple[PollGroup, ...]
    caveats: tuple[Caveat, ...]
    frames: tuple[GoldenFrame, ...]
    sha256: str  # of the text: a wrong scale can be found and recomputed

    def channel(self, code: str) -> Channel:
        """Give the channel of this code. Raises KeyError."""
        for channel in self.channels:
            if channel.code == code:
                return channel
        raise KeyError(code)

    @property
    def codes(self) -> tuple[str, ...]:
        """The channels this meter has."""
        return tuple(channel.code for channel in self.channels)

    @property
    def decimals(self) -> tuple[int, ...]:
        """The face's decimals for every column of the wire catalogue; 0 where the meter has no channel."""
        by_code = {channel.code: channel.decimals for channel in self.channels}
        return tuple(by_code.get(channel.code, 0) for channel in CHANNELS)

    def group(self, name: str) -> PollGroup:
        """Give the poll group of this name. Raises KeyError."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)
