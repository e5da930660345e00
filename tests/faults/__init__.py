"""Faults in every task and every thread of the product."""
