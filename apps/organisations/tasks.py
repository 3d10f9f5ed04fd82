"""What the background worker does for this app: sending mail, and keeping its own queue tidy."""

import logging
import smtplib

from cryptography.fernet import InvalidToken
from django.core.mail import EmailMultiAlternatives
from procrastinate import JobContext, RetryDecision, RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException, JobAborted, UniqueViolation
from procrastinate.jobs import Job
from procrastinate.jobs import Status as JobStatus

from apps.organisations.letters import Letter, unseal
from apps.telemetry import metrics

logger = logging.getLogger(__name__)

#: Of a mail that its recipient's server has put off: the others come first, and it says nothing of our own server.
PUT_OFF_PRIORITY = -1


class _Retry(RetryStrategy):
    """Tries as its base does, and marks what is put off: from then on the queue can tell it from the others."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        decision = super().get_retry_decision(exception=exception, job=job)
        if decision is not None and _is_put_off(exception):
            decision.priority = PUT_OFF_PRIORITY
        return decision


#: Ten times, after 3, 9, 27 … seconds; the last time is a day and half an hour after the first.
_RETRY = _Retry(max_attempts=10, exponential_wait=3)
#: Finished jobs are kept so long, in hours: mails are in them.
KEPT_HOURS = 24
#: A worker gives a sign of life every 10 seconds; after so long without one it is taken for dead.
STALLED_SECONDS = 60


@app.task(queue="mail", retry=_RETRY, pass_context=True)
def send_mail(context: JobContext, *, template: str, sealed: str) -> None:
    """Send one letter (`Letter.seal`); `template` names it in the log.

    What fails is tried again for about a day, unless it cannot get better: an address that its server refuses for
    good (RFC 5321 4.2.1), a header that is none, a letter of another deployment secret. Giving up is logged here and
    raised as JobAborted, because the queue's own line about a failed job would have its arguments in it.
    """
    try:
        _send(unseal(sealed))
    except Exception as error:
        is_last = context.job.attempts >= (_RETRY.max_attempts or 0)
        what = f"Mail {template} (job {context.job.id}, attempt {context.job.attempts + 1}): {_describe(error)}"
        is_tried_again = not is_last and not _is_final(error)
        outcome = "put_off" if _is_put_off(error) else "tried_again"
        metrics.mails.labels(outcome if is_tried_again else "given_up").inc()
        if is_tried_again:
            logger.warning("%s; it is tried again", what)
            raise
        logger.error("%s; it is not sent", what)
        raise JobAborted from error
    metrics.mails.labels("sent").inc()


def _send(letter: Letter) -> None:
    message = EmailMultiAlternatives(
        letter.subject,
        letter.text,
        letter.sender,
        [letter.to],
        reply_to=[letter.reply_to] if letter.reply_to else None,
        headers={"Auto-Submitted": "auto-generated"},  # RFC 3834 5: no out-of-office answers
    )
    if letter.html:
        message.attach_alternative(letter.html, "text/html")
    message.send()


def _is_final(error: Exception) -> bool:
    """Say whether trying again is no use."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _answer in error.recipients.values())
    # ValueError is Django's and Python's word for a header or an address that is none.
    return isinstance(error, (ValueError, InvalidToken))


def _is_put_off(error: BaseException) -> bool:
    """Say, of what is tried again, whether its recipient is the reason: a full mailbox does not mean no mail leaves."""
    return isinstance(error, smtplib.SMTPRecipientsRefused)


def _describe(error: Exception) -> str:
    """Name the error without what it says: that may quote the address or the mail."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({code for code, _answer in error.recipients.values()})
        return f"address refused with {', '.join(map(str, codes))}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{type(error).__name__} {error.smtp_code}"
    if isinstance(error, InvalidToken):
        return "queued with another SECRET_KEY"
    return type(error).__name__


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="resume-jobs", pass_context=True)
async def resume_jobs(context: JobContext, timestamp: int) -> None:
    """Queue the jobs again, of all queues, whose worker was killed while it had them: it shows no sign of life.

    A job of which only one may wait is given up when the next one waits already.
    """
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
        try:
            try:
                await manager.retry_job(job)
            except UniqueViolation:
                await manager.finish_job(job, status=JobStatus.FAILED, delete_job=False)
        except ConnectorException:
            # Another worker was faster, or this one was alive after all and has ended it. If not: in a minute again.
            logger.warning("Job %s of a worker without a sign of life was not queued again.", job.id)


@app.periodic(cron="7 * * * *")
@app.task(queueing_lock="remove-old-jobs", pass_context=True)
async def remove_old_jobs(context: JobContext, timestamp: int) -> None:
    """Delete the jobs of every queue that ended, well or not, more than `KEPT_HOURS` ago."""
    await context.app.job_manager.delete_old_jobs(
        nb_hours=KEPT_HOURS, include_failed=True, include_cancelled=True, include_aborted=True
    )
