"""Claims: what a run says about an item of the sources, asserted where it was computed and recorded for the ledger."""

from dlopt.claims.box import anchor, format_interval, format_number
from dlopt.claims.items import ITEMS, SOURCES, Item
from dlopt.claims.record import MIME, VERDICTS, Claim, claim, forget, recorded

__all__ = ["ITEMS", "MIME", "SOURCES", "VERDICTS", "Claim", "Item", "anchor", "claim", "forget",
           "format_interval", "format_number", "recorded"]
