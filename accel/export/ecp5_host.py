"""Fills the board's driver with the numbers of one design; the driver is `serial_board.py`, whose source is copied."""

from __future__ import annotations

from pathlib import Path

__all__ = ["serial_source"]

_BEGIN, _END = "# --- numbers of the design: begin ---\n", "# --- numbers of the design: end ---\n"


def serial_source(baud: int, ram_bytes: int) -> str:
    """Returns `serial_board.py` for a design, as Python text."""
    text = Path(__file__).with_name("serial_board.py").read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}BAUD = {baud}\nRAM_BYTES = {ram_bytes}\n{_END}{after}"
