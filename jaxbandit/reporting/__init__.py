"""What a person sees of a run or a sweep: summary, files, pictures, TensorBoard and console. Simulates nothing.

matplotlib and scipy are slow to import, so only the functions that need them import them, when called.
"""

from jaxbandit.reporting.console import print_error, print_list, print_rows, print_table
from jaxbandit.reporting.files import read_metrics_csv, write_metrics_csv
from jaxbandit.reporting.leaderboard import print_leaderboard
from jaxbandit.reporting.numbers import format_estimate, format_setting, name_settings, setting_text
from jaxbandit.reporting.plots import plot_curves
from jaxbandit.reporting.progress import Progress, phase, progress_bar, say
from jaxbandit.reporting.results import METRICS, tabulate, write_results
from jaxbandit.reporting.series import Series, named_curves, series_of
from jaxbandit.reporting.summary import final_lanes, summarize
from jaxbandit.reporting.sweep_plot import plot_sweep
from jaxbandit.reporting.tensorboard import EventLog
from jaxbandit.reporting.trials_plot import plot_trials

__all__ = [
    "EventLog",
    "METRICS",
    "Progress",
    "Series",
    "final_lanes",
    "format_estimate",
    "format_setting",
    "name_settings",
    "named_curves",
    "phase",
    "plot_curves",
    "plot_sweep",
    "plot_trials",
    "print_error",
    "print_leaderboard",
    "print_list",
    "print_rows",
    "print_table",
    "progress_bar",
    "read_metrics_csv",
    "say",
    "series_of",
    "setting_text",
    "summarize",
    "tabulate",
    "write_metrics_csv",
    "write_results",
]
