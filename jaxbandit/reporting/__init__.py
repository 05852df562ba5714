"""What a person sees of a run: summary, files, pictures, TensorBoard and console. Simulates nothing.

matplotlib and tensorboardX are slow to import, so only the functions that need them do, and when they are called.
"""

from jaxbandit.reporting.console import print_error, print_list, print_table
from jaxbandit.reporting.files import write_bytes, write_json, write_metrics_csv, writing
from jaxbandit.reporting.live import Progress, phase, progress
from jaxbandit.reporting.named_series import series
from jaxbandit.reporting.plots import plot_curves
from jaxbandit.reporting.summary import summarize
from jaxbandit.reporting.tensorboard import EventLog

__all__ = [
    "EventLog",
    "Progress",
    "phase",
    "plot_curves",
    "print_error",
    "print_list",
    "print_table",
    "progress",
    "series",
    "summarize",
    "write_bytes",
    "write_json",
    "write_metrics_csv",
    "writing",
]
