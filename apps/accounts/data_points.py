"""The catalogue of data points: the pieces of user information a portal application may ask for.

One table. A self-hoster adds a line here; everything else (the scope, the words on the consent screen,
the import, the answer of the resource endpoint) follows from it.
"""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class DataPoint:
    """One piece of user information. Its `key` is its scope, e.g. `person.full_name`."""

    category: str
    name: str
    label: str | Promise
    #: What the stored JSON value must be: "text", "date" (YYYY-MM-DD), "number", "flag", "texts" or "links".
    kind: str = "text"

    @property
    def key(self) -> str:
        return f"{self.category}.{self.name}"


CATEGORIES: dict[str, str | Promise] = {
    "person": _("About you"),
    "student": _("Your studies"),
    "faculty_member": _("Your work at the faculty"),
    "biological_information": _("Biological information"),
    "contact_information": _("How to reach you"),
    "residential_information": _("Where you live"),
    "social_information": _("Your links"),
}

CATALOGUE: tuple[DataPoint, ...] = (
    DataPoint("person", "short_name", _("Your short name")),
    DataPoint("person", "full_name", _("Your full name")),
    DataPoint("person", "display_picture", _("Your picture")),
    DataPoint("person", "roles", _("Your roles, e.g. student or faculty member"), "texts"),
    DataPoint("student", "start_date", _("When your studies began"), "date"),
    DataPoint("student", "end_date", _("When your studies end"), "date"),
    DataPoint("student", "enrolment_number", _("Your enrolment number")),
    DataPoint("student", "branch", _("Your branch of study")),
    DataPoint("student", "degree", _("The degree you study for")),
    DataPoint("student", "department", _("The department you study at")),
    DataPoint("student", "current_year", _("Your current year"), "number"),
    DataPoint("student", "current_semester", _("Your current semester"), "number"),
    DataPoint("faculty_member", "start_date", _("When your employment began"), "date"),
    DataPoint("faculty_member", "end_date", _("When your employment ends"), "date"),
    DataPoint("faculty_member", "designation", _("Your designation")),
    DataPoint("faculty_member", "department", _("The department you work at")),
    DataPoint("faculty_member", "employee_id", _("Your employee number")),
    DataPoint("biological_information", "date_of_birth", _("Your date of birth"), "date"),
    DataPoint("biological_information", "blood_group", _("Your blood group")),
    DataPoint("biological_information", "sex", _("Your sex")),
    DataPoint("biological_information", "gender", _("Your gender")),
    DataPoint("contact_information", "email_address", _("Your e-mail address")),
    DataPoint("contact_information", "email_address_verified", _("Whether your e-mail address is verified"), "flag"),
    DataPoint("contact_information", "institute_webmail_address", _("Your institute e-mail address")),
    DataPoint("contact_information", "primary_phone_number", _("Your phone number")),
    DataPoint("contact_information", "secondary_phone_number", _("Your second phone number")),
    DataPoint("residential_information", "residence", _("Your residence")),
    DataPoint("residential_information", "room_number", _("Your room number")),
    DataPoint("social_information", "links", _("Links to your profiles elsewhere"), "links"),
)

BY_KEY: dict[str, DataPoint] = {point.key: point for point in CATALOGUE}
