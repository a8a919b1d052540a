"""Policies: one file each."""

from runtime.policies.budget import BudgetPolicy
from runtime.policies.fixed import FixedPolicy

__all__ = ["BudgetPolicy", "FixedPolicy"]
