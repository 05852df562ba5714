import io

import pytest
from rich.console import Console

from jaxbandit.reporting import phase, print_error, print_list, print_table, progress_bar, summarize
from jaxbandit.reporting.console import UNKNOWN
from jaxbandit.reporting.numbers import format_duration, format_estimate, format_number


def pipe(width=40):
    return Console(file=io.StringIO(), width=width, force_terminal=False)


def terminal(width=100):
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def lines_of(console):
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]


def test_the_final_table_has_agent_uniform_and_optimal(curves):
    console = pipe()
    print_table(
        summarize(curves, compile_seconds=1.5, run_seconds=4.0), agent="linucb", directory="runs/[b]x", console=console
    )
    assert lines_of(console) == [
        "average suboptimal cumulative",
        "return regret arms regret",
        lines_of(console)[2],  # the rule
        "linucb 4.500 0.5 ± 0.5 12 ± 12 % 25 ± 5",
        f"uniform 2.000 3.0 ± 1.0 {UNKNOWN} 42 ± 2",
        "optimal 5.0 ± 1.0 0 0 % 0",
        "mean ± standard error over 2 seeds",
        "cumulative regret: over the whole run; the others: per interaction, in its final tenth",
        "40 interactions in 0:04, 10 interactions/s, after 1.5 s of compilation",
        "results in runs/[b]x",
    ]


def test_the_final_table_of_one_seed_shows_no_errors(make_curves):
    console = pipe()
    summary = summarize(make_curves(lanes=1), compile_seconds=1.5, run_seconds=0.0)
    print_table(summary, agent="linucb", directory="runs/x", console=console)
    assert "±" not in console.file.getvalue()
    assert "linucb 4.500 0 0 % 30.00" in lines_of(console)


@pytest.mark.parametrize("width", [30, 80])
def test_a_narrow_terminal_loses_no_digit_of_the_table(curves, width):
    console = terminal(width)
    print_table(summarize(curves, compile_seconds=1.5, run_seconds=4.0), agent="linucb", directory="x", console=console)
    assert "…" not in console.file.getvalue()


def test_a_list_in_a_pipe_is_one_line_a_row_whatever_its_length():
    console = pipe(width=20)
    print_list([("linucb", "upper [bold] confidence " + "bound " * 20), ("x", "y")], console=console)
    assert [line[:24] for line in lines_of(console)] == ["name description", "linucb upper [bold] conf", "x y"]


def test_an_error_is_one_line_without_markup_or_wrapping():
    for console in (pipe(20), terminal(20)):
        print_error("unknown agent '[red]x'\n  allowed: :smile: " + "a" * 50, console=console)
        assert console.file.getvalue() == f"jaxbandit: error: unknown agent '[red]x' allowed: :smile: {'a' * 50}\n"


def test_errors_and_progress_go_to_stderr(capsys):
    print_error("no")
    with phase("compiling"), progress_bar(10) as bar:
        bar.update(10)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jaxbandit: error: no\ncompiling ...\nsimulating 100%")


def test_progress_off_a_terminal_is_a_few_plain_lines_with_speed_regret_and_time_left():
    now, console = [0.0], pipe()
    with progress_bar(1_000_000, console=console, clock=lambda: now[0]) as bar:
        for done in range(1000, 1_000_001, 1000):
            now[0] = done / 10_000
            bar.update(done, regret=0.01234)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "simulating   0%  1,000 of 1,000,000  10,000 interactions/s  regret 0.01234  1:40 left"
    assert lines[5] == "simulating  50%  500,000 of 1,000,000  10,000 interactions/s  regret 0.01234  0:50 left"
    assert lines[10].endswith("regret 0.01234  done in 1:40")


def test_the_speed_of_a_resumed_run_leaves_out_what_was_done_before():
    now, console = [0.0], pipe()
    with progress_bar(1000, done=800, console=console, clock=lambda: now[0]) as bar:
        now[0] = 10.0
        bar.update(900)
    assert lines_of(console) == ["simulating 90% 900 of 1,000 10 interactions/s 0:10 left"]


def test_progress_on_a_terminal_is_a_bar_that_ends_at_100_percent():
    now, console = [0.0], terminal()
    with progress_bar(1000, console=console, clock=lambda: now[0]) as bar:
        now[0] = 2.0
        bar.update(1000, regret=0.5)
    last = next(line for line in reversed(lines_of(console)) if "100%" in line)
    assert "progress." not in last
    assert last.endswith("500 interactions/s regret 0.5000 done in 0:02")


@pytest.mark.parametrize(
    ("mean", "stderr", "text"),
    [
        (3.91234, 0.01399, "3.912 ± 0.014"),
        (3.91234, 0.0399, "3.91 ± 0.04"),
        (3.91234, 0.00971, "3.912 ± 0.010"),
        (12345.6, 678.9, "12,346 ± 679"),
        (0.5, 0.0, "0.5000"),
        (0.5, None, "0.5000"),
        (-0.25, 0.03, "-0.25 ± 0.03"),
        (0.5, 1e-11, "0.5000 ± 1e-11"),
        (None, None, "not finite"),
    ],
)
def test_an_estimate_shows_the_digits_that_its_error_allows(mean, stderr, text):
    assert format_estimate({"mean": mean, "stderr": stderr}) == text


def test_numbers_and_durations_are_short_and_readable():
    assert format_estimate({"mean": 0.12345, "stderr": 0.0012}, scale=100.0, unit=" %") == "12.35 ± 0.12 %"
    assert [format_number(x) for x in (0.0, 1234567.8, 0.00123456, 1e-12, float("nan"))] == [
        "0",
        "1,234,568",
        "0.001235",
        "1e-12",
        "not finite",
    ]
    assert [format_duration(x) for x in (0.4, 59.6, 3723.0)] == ["0:00", "1:00", "1:02:03"]
