from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.developers.models import Application, HistoryEntry, Submission


class RefusedError(Exception):
    """Something that a service does not do; `message` tells the person who asked why, and what to do next."""

    message: str | Promise = ""

    def __init__(self, message: str | Promise = "") -> None:
        self.message = message or self.message
        super().__init__(str(self.message))


class AlreadyDecidedError(RefusedError):
    """Another reviewer, or the team, was faster. Nothing has been changed."""

    message = _("Somebody else was faster. Nothing was changed by you; look at what is there now.")

    def __init__(self, *, submission: Submission | None = None, latest: HistoryEntry | None = None) -> None:
        super().__init__()
        self.submission = submission
        #: What happened instead, if it is known.
        self.latest = latest


class OwnApplicationError(RefusedError):
    """A reviewer does not decide on an application whose team they are on, nor on what they have sent themselves."""

    message = _("You are on the team of this application, or have sent it for review: another reviewer has to decide.")


class StaleVersionError(RefusedError):
    """The version was written beside a page that shows what is not so any more. Nothing has been changed."""

    message = _(
        "This application has changed since you opened the page, so nothing was sent. What you wrote is still here: "
        "look at what is there now, and at what would happen, then send it again."
    )


class FormOverError(RefusedError):
    """What was typed came after its form was sent, or its draft thrown away. Nothing has been kept."""

    message = _(
        "Not kept as a draft: you have sent this form, or begun afresh, since you opened this page. If you want to go "
        "on with this text, press “Save draft” once more."
    )


class LastOwnerError(RefusedError):
    """A team always has an owner."""

    message = _("The last owner cannot go. Make somebody else an owner first.")


class AlreadyRegisteredError(RefusedError):
    """The same form was sent twice; `application` is what came of it the first time."""

    message = _("You have registered an application with this form already.")

    def __init__(self, application: Application) -> None:
        super().__init__()
        self.application = application
