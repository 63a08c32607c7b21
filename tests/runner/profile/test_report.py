"""A profile's text and page, and which changes it names."""

from __future__ import annotations

from runner.bench.figures import Spread
from runner.profile import notes
from runner.profile.render.page import page
from runner.profile.render.text import text
from runner.profile.render.words import alike, short
from runner.profile.report import Profile, Tried
from runner.profile.tree import Branch
from runner.profile.trying import why_refused
from tests.runner.bench.pages import Tags
from tests.runner.profile.made import RANGE, entry, made, padded

MODEL = {"name": "m", "version": "1.0", "device": "cpu", "threads": 1, "lines": ["as loaded"]}


def change(name, *gain, refused=None, bound=None):
    spread = Spread(*gain) if gain else None
    return Tried(name=name, why="why", yaml=f"{name}: 1", bound=bound, gain=spread, refused=refused)


def profiled(*tried, figures=None, **fields):
    plain = {
        "made": "2026-11-21T08:00:00+00:00",
        "tool": "torch-archive 0.1.0",
        "machine": {"processor": "CPU", "cores": 8, "loadAverage": 0.1},
        "model": MODEL,
        "input": "sample.json",
    }
    return Profile(**{**plain, **fields}, figures=figures or made(), tried=list(tried))


def test_the_three_best_that_were_faster_in_every_round_are_named():
    report = profiled(
        change("slower", 0.9, 0.8, 0.95),
        change("good", 1.3, 1.2, 1.4),
        change("unsure", 1.3, 0.98, 1.5),
        change("best", 2.0, 1.9, 2.1),
        change("hardly", 1.03, 1.01, 1.05),
        change("third", 1.2, 1.1, 1.3),
        change("fourth", 1.1, 1.08, 1.2),
    )
    assert [each.name for each in report.promising] == ["best", "good", "third"]
    assert [each.name for each in report.useless] == ["slower", "unsure", "hardly"]


def test_what_was_not_measured_comes_after_what_was_and_is_called_estimated():
    report = profiled(change("guess", bound=9.0), change("good", 1.3, 1.2, 1.4))
    assert [each.name for each in report.promising] == ["good", "guess"]
    shown = text(report)
    assert "good: 1.30 × the rows a second (measured, rounds 1.20 to 1.40)" in shown
    assert "guess: at most 9.00 × (estimated" in shown


def test_a_change_beyond_verify_is_not_named_but_told():
    report = profiled(change("int8", refused="cosine 0.98 is below 0.999"))
    assert report.promising == []
    assert "Nothing that was tried makes it faster." in text(report)
    assert "no gain from int8: cosine 0.98" in text(report)


def test_a_step_that_was_not_applied_refuses_the_change_with_its_reason():
    row = {"name": "precision", "status": "fallback", "reason": "cosine too low"}
    assert why_refused({"steps": [row]}, ["precision"]) == "cosine too low"
    applied = {**row, "status": "applied"}
    assert why_refused({"steps": [applied], "verify": {"passed": True}}, ["precision"]) is None
    assert why_refused({"steps": [applied], "verify": {"passed": False}}, ["precision"]) is not None
    assert why_refused({"steps": []}, []) is None


def test_the_text_says_how_padding_was_measured_and_what_eager_answered():
    shown = text(profiled(figures=made(unfit=3, **padded(100, 60, came=2.0, without=1.0))))
    assert "60% of the tokens; 0.80 of 2.00 ms (measured against batches of equally long rows)" in shown
    assert "answered 3 calls that nothing compiled fits" in shown


def test_no_fact_and_no_operator_is_wider_than_a_hundred_columns():
    long = entry("aten::" + "x" * 40, 1000, 99, **{"Input Dims": [[8, 12, 134, 32]] * 4})
    shown = text(
        profiled(figures=made(entry("batch", 1000, 99, RANGE), long), model={**MODEL, "lines": ["word " * 40]})
    )
    assert "8×12×134×32" in shown and "…" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_batches_that_were_recorded_on_a_disturbed_machine_are_told():
    quiet = {"cores": 2, "loadAverage": 0.1}
    assert list(notes.of(quiet, made())) == []
    assert "0.2 times as long" in next(notes.of(quiet, made(milliseconds={"batch": 5.0, "forward": 4.0})))


def test_layers_that_are_alike_are_one_in_the_text():
    layers = [
        Branch(f"enc.layer.{n} L", False, 1, 0.3, [Branch(f"enc.layer.{n}.fc Linear", False, 2, 0.2)]) for n in (0, 1)
    ]
    (merged,) = alike(Branch("forward", False, 1, 1.0, layers)).branches
    assert (merged.name, merged.calls, merged.share) == ("enc.layer.* L", 2, 0.6)
    assert [(each.name, each.share) for each in merged.branches] == [("enc.layer.*.fc Linear", 0.4)]
    assert short("enc.layer.*.fc Linear", "enc.layer.* L") == "fc Linear"
    assert short("encoder X", "forward") == "encoder X"


def test_the_page_is_whole_and_needs_nothing_beside_it():
    shown = page(profiled(change("good", 1.3, 1.2, 1.4), change("bad", 0.9, 0.8, 1.0)))
    found = Tags(shown).found
    assert not [attributes for _, attributes in found if {"src", "href"} & attributes.keys()]
    assert len([1 for _, attributes in found if "data-w" in attributes]) == 9
    assert "good: 1" in shown and "Tried without gain" in shown


def test_names_of_others_stay_text():
    flame = made()
    flame.flame.branches[0].name = "<script>alert(1)</script>"
    shown = page(profiled(change("<b>"), figures=flame, stopped="<i>"))
    assert shown.count("<script") == 1 and "<b><b>" not in shown and "<i>" not in shown.replace('<i class="', "")
