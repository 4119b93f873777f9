"""Tables as CSV, LaTeX and Markdown, and with confidence intervals."""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from cl_sr.evaluation import ForgettingMatrix
from cl_sr.evaluation.matrix import FORGETTING, FROM_BEST
from cl_sr.reporting.tables import Table, forgetting_table, matrix_table, metric_name

TABLE = Table(
    "PSNR (dB): by 100 % & more",
    ["strategy", "gain_1", "±"],
    [["replay:size=16", "-0.15 ± 0.03", "-"], ["a, \"b\" {c} ^~\\", "#1 $2", "3 ×"]],
)  # fmt: skip


def test_csv_reads_back() -> None:
    assert list(csv.reader(io.StringIO(TABLE.csv()))) == [TABLE.head, *TABLE.rows]


def test_latex_escapes_what_is_special() -> None:
    text = TABLE.latex()
    assert r"strategy & gain\_1 & $\pm$ \\" in text
    assert r"replay:size=16 & $-$0.15 $\pm$ 0.03 & - \\" in text
    assert r"\{c\} \textasciicircum{}\textasciitilde{}\textbackslash{} & \#1 \$2" in text
    assert r"\begin{tabular}{lrr}" in text
    assert text.count("\\\\\n") == 3


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "t.tex").write_text(f"{head}\n{TABLE.latex()}\n\\end{{document}}\n")
    subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


def test_a_file_is_called_by_the_short_title() -> None:
    assert TABLE.slug == "psnr-by-100-more"
    long = [Table(f"Over the iterations of {'x' * 70}=on={last}", [], []) for last in "ab"]
    assert len({table.slug for table in long}) == 2
    assert all(len(table.slug) == 80 for table in long)


def test_a_terminal_without_the_sign_gets_ascii() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    TABLE.show(Console(file=out, width=100))
    out.seek(0)
    assert "-0.15 +/- 0.03" in out.read()


def test_names_of_metrics() -> None:
    assert metric_name("psnr") == "PSNR (dB)"
    assert metric_name("colour_error") == "colour error (of 255)"
    assert metric_name("sharpness") == "sharpness (original: 1)"
    assert metric_name("lpips") == "LPIPS"


def matrix() -> ForgettingMatrix:
    found = ForgettingMatrix("psnr")
    for after, values in {"celeba": (24.0, 15.0), "animef": (22.0, 18.0)}.items():
        for domain, value in zip(("celeba", "animef"), values, strict=True):
            found.record(after, domain, value)
    return found


def test_intervals_where_the_images_are_known() -> None:
    images = {
        ("celeba", "celeba"): {"psnr": [23.0, 25.0]},
        ("animef", "celeba"): {"psnr": [21.5, 22.5]},
    }
    rows = matrix_table(matrix(), {}, images=images).rows
    assert rows == [["after celeba", "24.00 ± 1.00", "15.00"],
                    ["after animef", "22.00 ± 0.50", "18.00"]]  # fmt: skip
    first, second = forgetting_table([matrix()], {}, images).rows
    # Paired: the two images lost 1.5 and 2.5 dB.
    assert first == ["celeba", "PSNR", "-", "+2.00 ± 0.50", "+2.00 ± 0.50", "-"]
    assert second == ["animef", "PSNR", "+3.00", "-", "-", "-"]
    assert matrix().forgetting("celeba") == matrix().mean(FORGETTING) == 2.0


def test_from_best_differs_where_a_domain_was_best_at_another_time() -> None:
    """Here celeba became better while animef was learnt, and had been best before the end."""
    found = matrix()
    for domain, value in (("celeba", 23.0), ("animef", 17.0), ("df2k-ost", 20.0)):
        found.record("df2k-ost", domain, value)
    found.record("animef", "celeba", 25.5)
    images = {("animef", "celeba"): {"psnr": [25.0, 26.0]},
              ("celeba", "celeba"): {"psnr": [23.0, 25.0]},
              ("df2k-ost", "celeba"): {"psnr": [22.5, 23.5]}}  # fmt: skip
    table = forgetting_table([found], {}, images)
    assert table.head == ["domain", "metric", "gain", "forgetting", "from best", "vs bicubic"]
    celeba, animef, last, mean = table.rows
    assert celeba[3:5] == ["+1.00 ± 0.50", "+2.50 ± 0.00"]
    assert animef[3:5] == ["+1.00", "+1.00"]
    assert last[3:5] == ["-", "-"]
    assert mean == ["mean of previous", "PSNR", "-", "+1.00", "+1.75", "-"]
    assert (found.mean(FORGETTING), found.mean(FROM_BEST)) == (1.0, 1.75)


def test_where_nothing_can_be_forgotten_there_are_gains_alone() -> None:
    found = ForgettingMatrix("psnr")
    for after, value in (("bicubic", 20.0), ("init", 10.0), ("celeba+animef", 23.0)):
        found.record(after, "celeba", value)
    table = forgetting_table([found], {})
    assert table.title == "Gains"
    assert table.head == ["domain", "metric", "gain", "vs bicubic"]
    assert table.rows == [["celeba", "PSNR", "+13.00", "+3.00"]]
