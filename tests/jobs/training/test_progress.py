import io

from jobs.progress import ProgressReport
from jobs.training.progress import show_step


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(step: int, **more: float) -> dict[str, float]:
    losses = {"classification": 1.0, "box": 0.5, "centerness": 0.25, "total": 1.75}
    return {"step": step, **losses, **more}


def report(stream: io.StringIO, clock=lambda: 0.0) -> ProgressReport:
    return ProgressReport(
        100, 40, job="train", unit="steps", images_per_row=4, stream=stream, clock=clock
    )


def test_a_line_has_step_losses_rate_and_time_left_and_every_evaluation_has_its_own():
    stream, now = io.StringIO(), [0.0]
    with report(stream, clock=lambda: now[0]) as progress:
        for step in range(41, 81):
            now[0] += 0.5
            show_step(progress, record(step, **({"AP": 0.25, "AR1": 0.5} if step == 50 else {})))
    assert stream.getvalue().splitlines() == [
        "train: evaluation at step 50: AP 0.2500, AR1 0.5000",
        "train: 80/100 steps (80 %), loss 1.750 (class 1.000, box 0.500, centre 0.250), "
        "8 images/s, 10s left, 20s elapsed",
    ]


def test_a_terminal_shows_steps_and_loss_in_a_bar_and_evaluations_above_it():
    stream = Terminal()
    with report(stream) as progress:
        show_step(progress, record(50, AP=0.25))
    assert "50/100" in stream.getvalue()
    assert "loss 1.750, starting" in stream.getvalue()
    assert "evaluation at step 50: AP 0.2500" in stream.getvalue()
