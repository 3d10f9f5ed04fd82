from apps.developers.models.application import Application, Profile, RequestedScope, Status
from apps.developers.models.drafts import Draft, EndedForm
from apps.developers.models.review import HistoryEntry, HistoryKind, Outcome, Submission
from apps.developers.models.team import Invitation, Role, TeamMember
from apps.developers.models.terms import TermsAgreement, TermsVersion

__all__ = [
    "Application",
    "Draft",
    "EndedForm",
    "HistoryEntry",
    "HistoryKind",
    "Invitation",
    "Outcome",
    "Profile",
    "RequestedScope",
    "Role",
    "Status",
    "Submission",
    "TeamMember",
    "TermsAgreement",
    "TermsVersion",
]
