"""Bisection over lengths: where a variant breaks even, with few cells."""
