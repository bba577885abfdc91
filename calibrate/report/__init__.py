"""The report of a calibration: what int8 cost, as a page, as figures, and in Markdown. One door: `write_report`."""

from __future__ import annotations

from calibrate.report.write import write_report

__all__ = ["write_report"]
