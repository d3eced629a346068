"""Variants of a configuration, and the table that compares them."""

import numpy as np

from bench.training import UNCHANGED, apply_change, format_table


def test_a_change_sets_keys_of_sections_and_leaves_the_original():
    document = {"model": {"kind": "small_cnn", "blocks": [[4]]}, "seed": 1}

    changed = apply_change(document, "model.kind=squeezenet augmentation.flip=true training.transfer.frozen_epochs=3")

    assert changed == {
        "model": {"kind": "squeezenet", "blocks": [[4]]},
        "seed": 1,
        "augmentation": {"flip": True},
        "training": {"transfer": {"frozen_epochs": 3}},
    }
    assert document == {"model": {"kind": "small_cnn", "blocks": [[4]]}, "seed": 1}


def test_the_table_has_means_errors_and_paired_differences():
    table = {UNCHANGED: np.array([[0.5], [0.7]]), "a=1": np.array([[0.6], [0.8]])}

    assert format_table(table, ["accuracy"]).splitlines() == [
        "| change | accuracy |",
        "|---|---|",
        "| as it is | 0.600 ± 0.100 |",
        "| a=1 | 0.700 ± 0.100 (+0.100 ± 0.000) |",
    ]


def test_one_seed_has_no_error():
    assert "| as it is | 0.500 |" in format_table({UNCHANGED: np.array([[0.5]])}, ["accuracy"])
