"""Trainer: fits a detector to defect-free pictures, calibrates its threshold, and evaluates it on labelled ones."""
