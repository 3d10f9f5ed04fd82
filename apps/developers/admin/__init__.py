"""The administration's pages of applications. What they write goes through the rules and services of the portal."""

from apps.developers.admin.application_admin import ApplicationAdmin
from apps.developers.admin.records import SubmissionAdmin, TermsVersionAdmin

__all__ = ["ApplicationAdmin", "SubmissionAdmin", "TermsVersionAdmin"]
