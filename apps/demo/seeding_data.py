"""The demo's organisations, people and applications, as data. Nobody and nothing in it exists."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

#: Everybody's. Demo mode is off in production, and the command refuses to run there.
PASSWORD = "correct-horse-7"

RECEIPTS, LOYALTY, CAMPUS = "receipts", "loyalty", "campus"
#: Owns the applications, so that the developer portal has something to show.
DEVELOPER = "developer@example.com"


@dataclass(frozen=True)
class DemoOrganisation:
    """A brand. Its logo is logos/organisations/<slug>.png."""

    slug: str
    name: str
    domain: str
    tagline: str
    brand_colour: str
    website_url: str
    privacy_policy_url: str
    support_email: str


@dataclass(frozen=True)
class DemoMembership:
    """What somebody has at an organisation's loyalty scheme."""

    organisation: str
    scheme_name: str
    points: Decimal
    expiring: Decimal
    current_level: str
    created_at: datetime
    last_transacted_at: datetime


@dataclass(frozen=True)
class DemoUser:
    """A person; `organisation` is where they belong, and where a reviewer decides."""

    email: str
    username: str
    first_name: str
    last_name: str
    phone: str
    birth_date: date
    organisation: str
    is_reviewer: bool = False
    is_administrator: bool = False
    memberships: tuple[DemoMembership, ...] = ()
    profile_values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DemoComment:
    """Something said on an application's timeline; by a reviewer, or by somebody of the team."""

    author: str
    text: str
    age: timedelta


@dataclass(frozen=True)
class DemoUpdate:
    """A version of an approved application that waits for the review."""

    description: str
    reasons: dict[str, str]
    optional_scopes: tuple[str, ...]
    age: timedelta


@dataclass(frozen=True)
class DemoApplication:
    """An application. Its logo is logos/applications/<client_id>.png, if there is one."""

    client_id: str
    name: str
    profile: str
    organisation: str
    #: Where it lives; website, privacy policy, terms and one redirect URI follow from it. Empty for a service.
    domain: str = ""
    #: The path of the demo partner that plays it.
    demo_path: str = ""
    description: str = ""
    #: Why each scope is asked for.
    reasons: dict[str, str] = field(default_factory=dict)
    optional_scopes: tuple[str, ...] = ()
    is_trusted: bool = False
    is_approved: bool = True
    #: Who registered it: the e-mail address of a DemoUser. Empty for a service, which is the host's own.
    owner: str = ""
    #: Who else is on its team, and as what.
    team: tuple[tuple[str, str], ...] = ()
    #: How long ago it was sent for review.
    age: timedelta = timedelta(days=90)
    comments: tuple[DemoComment, ...] = ()
    update: DemoUpdate | None = None

    @property
    def redirect_uris(self) -> list[str]:
        """The demo partner first: the port of a loopback IP is free (RFC 8252 7.3)."""
        uris = [f"http://127.0.0.1{self.demo_path}"] if self.demo_path else []
        return [*uris, f"https://{self.domain}/callback"] if self.domain else uris

    def page(self, path: str) -> str:
        """Return the URL of a page of the application's website, "" if it has none."""
        return f"https://{self.domain}{path}" if self.domain else ""


ORGANISATIONS = (
    DemoOrganisation(
        slug=RECEIPTS,
        name="Kuittila",
        domain="receipts.localhost",
        tagline="Every receipt you ever get, in one place.",
        brand_colour="#0f766e",
        website_url="https://kuittila.example/",
        privacy_policy_url="https://kuittila.example/privacy",
        support_email="help@kuittila.example",
    ),
    DemoOrganisation(
        slug=LOYALTY,
        name="Northwind Coffee",
        domain="loyalty.localhost",
        tagline="The tenth cup is on the house.",
        brand_colour="#9a3412",
        website_url="https://northwind-coffee.example/",
        privacy_policy_url="https://northwind-coffee.example/privacy",
        support_email="hello@northwind-coffee.example",
    ),
    DemoOrganisation(
        slug=CAMPUS,
        name="Aldermoor Institute",
        domain="campus.localhost",
        tagline="One account for everything on campus.",
        brand_colour="#3730a3",
        website_url="https://aldermoor.example/",
        privacy_policy_url="https://aldermoor.example/privacy",
        support_email="it-desk@aldermoor.example",
    ),
)


def _membership(
    organisation: str, scheme_name: str, points: str, expiring: str, level: str, since: date, used: date
) -> DemoMembership:
    return DemoMembership(
        organisation=organisation,
        scheme_name=scheme_name,
        points=Decimal(points),
        expiring=Decimal(expiring),
        current_level=level,
        created_at=datetime(since.year, since.month, since.day, 9, 30, tzinfo=UTC),
        last_transacted_at=datetime(used.year, used.month, used.day, 17, 45, tzinfo=UTC),
    )


_PLUS, _BEANS = "Kuittila Plus", "Northwind Beans"

USERS = (
    DemoUser(
        email="aino@example.com",
        username="aino-virtanen",
        first_name="Aino",
        last_name="Virtanen",
        phone="+358 40 555 0142",
        birth_date=date(1991, 4, 23),
        organisation=RECEIPTS,
        memberships=(
            _membership(RECEIPTS, _PLUS, "1284.50", "120", "Gold", date(2021, 3, 8), date(2026, 10, 30)),
            _membership(LOYALTY, _BEANS, "412.25", "60", "Regular", date(2023, 9, 1), date(2026, 11, 12)),
        ),
        profile_values={
            "person.short_name": "Aino",
            "person.full_name": "Aino Maria Virtanen",
            "person.roles": ["alumna"],
            "student.start_date": "2010-09-01",
            "student.end_date": "2015-05-29",
            "student.enrolment_number": "AI-10-0387",
            "student.branch": "Interaction Design",
            "student.degree": "Master of Arts",
            "student.department": "Design",
            "biological_information.date_of_birth": "1991-04-23",
            "contact_information.institute_webmail_address": "a.virtanen@alumni.aldermoor.example",
            "contact_information.primary_phone_number": "+358 40 555 0142",
            "social_information.links": [{"site": "Portfolio", "url": "https://aino-virtanen.example/"}],
        },
    ),
    DemoUser(
        email="leo@example.com",
        username="leo-marsh",
        first_name="Leo",
        last_name="Marsh",
        phone="+44 20 7946 0318",
        birth_date=date(1984, 11, 2),
        organisation=LOYALTY,
        memberships=(
            _membership(LOYALTY, _BEANS, "2310.75", "480.50", "Roaster", date(2019, 1, 15), date(2026, 11, 18)),
            _membership(LOYALTY, "Northwind at Work", "96", "0", "", date(2025, 2, 3), date(2026, 11, 6)),
            _membership(RECEIPTS, _PLUS, "58.20", "0", "Basic", date(2026, 1, 20), date(2026, 9, 14)),
        ),
    ),
    DemoUser(
        email="priya@example.com",
        username="priya-raman",
        first_name="Priya",
        last_name="Raman",
        phone="+91 80 5550 1187",
        birth_date=date(2004, 7, 19),
        organisation=CAMPUS,
        memberships=(_membership(RECEIPTS, _PLUS, "203", "15", "Basic", date(2024, 10, 2), date(2026, 11, 1)),),
        profile_values={
            "person.short_name": "Priya",
            "person.full_name": "Priya Lakshmi Raman",
            "person.display_picture": "https://aldermoor.example/people/AI-23-1146.jpg",
            "person.roles": ["student", "library assistant"],
            "student.start_date": "2023-09-04",
            "student.end_date": "2027-06-30",
            "student.enrolment_number": "AI-23-1146",
            "student.branch": "Computer Science",
            "student.degree": "Bachelor of Science",
            "student.department": "Computing",
            "student.current_year": 4,
            "student.current_semester": 7,
            "biological_information.date_of_birth": "2004-07-19",
            "biological_information.blood_group": "B+",
            "biological_information.sex": "female",
            "biological_information.gender": "woman",
            "contact_information.email_address": "priya@example.com",
            "contact_information.email_address_verified": True,
            "contact_information.institute_webmail_address": "p.raman@aldermoor.example",
            "contact_information.primary_phone_number": "+91 80 5550 1187",
            "contact_information.secondary_phone_number": "+44 161 496 0733",
            "residential_information.residence": "Lakeside Hall",
            "residential_information.room_number": "B-214",
            "social_information.links": [
                {"site": "Code", "url": "https://code.example/priya-raman"},
                {"site": "Blog", "url": "https://priya.example/"},
            ],
        },
    ),
    DemoUser(
        email="thomas@example.com",
        username="thomas-okafor",
        first_name="Thomas",
        last_name="Okafor",
        phone="+44 161 496 0120",
        birth_date=date(1972, 2, 9),
        organisation=CAMPUS,
        profile_values={
            "person.short_name": "Thomas",
            "person.full_name": "Professor Thomas Okafor",
            "person.display_picture": "https://aldermoor.example/people/E-00482.jpg",
            "person.roles": ["faculty member", "warden"],
            "faculty_member.start_date": "2008-01-14",
            "faculty_member.end_date": "2037-09-30",
            "faculty_member.designation": "Professor",
            "faculty_member.department": "Computing",
            "faculty_member.employee_id": "E-00482",
            "biological_information.date_of_birth": "1972-02-09",
            "contact_information.institute_webmail_address": "t.okafor@aldermoor.example",
            "contact_information.primary_phone_number": "+44 161 496 0120",
            "residential_information.residence": "Warden's Lodge, Lakeside Hall",
            "residential_information.room_number": "1",
            "social_information.links": [{"site": "Homepage", "url": "https://aldermoor.example/~okafor"}],
        },
    ),
    DemoUser(
        email=DEVELOPER,
        username="noor-haddad",
        first_name="Noor",
        last_name="Haddad",
        phone="+358 40 555 0163",
        birth_date=date(1994, 9, 30),
        organisation=RECEIPTS,
    ),
    DemoUser(
        email="reviewer@receipts.example",
        username="kaisa-niemi",
        first_name="Kaisa",
        last_name="Niemi",
        phone="+358 9 555 0177",
        birth_date=date(1979, 12, 12),
        organisation=RECEIPTS,
        is_reviewer=True,
    ),
    DemoUser(
        email="reviewer@loyalty.example",
        username="grace-whitlock",
        first_name="Grace",
        last_name="Whitlock",
        phone="+44 20 7946 0555",
        birth_date=date(1988, 6, 30),
        organisation=LOYALTY,
        is_reviewer=True,
    ),
    DemoUser(
        email="reviewer@campus.example",
        username="samuel-ostrow",
        first_name="Samuel",
        last_name="Ostrow",
        phone="+44 161 496 0101",
        birth_date=date(1969, 3, 27),
        organisation=CAMPUS,
        is_reviewer=True,
    ),
    DemoUser(
        email="admin@example.com",
        username="mirja-salo",
        first_name="Mirja",
        last_name="Salo",
        phone="+358 9 555 0100",
        birth_date=date(1976, 8, 5),
        organisation=RECEIPTS,
        is_administrator=True,
    ),
)

_PENNI_DESCRIPTION = """\
Penni Budget is a household budget that fills itself in. Instead of typing in what was spent, people connect their
receipts once and from then on see every week how much went to food, the home, travel, children and everything else,
down to the single product. Receipts from shops that print only on paper can be photographed in Penni; the picture is
read, checked by the person who bought the things, and sent to the receipts service, so that it is kept with all the
others and is there when something has to be returned. Penni never sells what it knows, shows no advertising and earns
its living from a small monthly fee. Everything is stored in Finland, encrypted, and is deleted within a day when
somebody ends the connection or closes the account. Families can share one budget, and each member decides which
receipts the others may see."""

_TORILLA_DESCRIPTION = """\
Torilla gathers loyalty cards. People who shop in ten places have ten cards, ten apps and ten balances, and most points
are lost because nobody remembers in time that they are about to expire. Torilla shows all balances on one page, says
which points run out next, and reminds people a fortnight before. To do so it reads the name of the customer, the
membership number, the points and the points that expire, once a day and never more often. It cannot spend points, it
cannot order anything, and it does not see what was bought. The reminder goes out by e-mail or to the phone, as people
prefer. Torilla is made by a cooperative of eleven people, all code is public, and the accounts are published each
spring. Whoever leaves takes everything along: their data can be downloaded as one file, and after that nothing remains
with us."""

_HARVEST_DESCRIPTION = """\
Harvest Ledger does the books of market gardens and small farms. Growers buy seed, tools, feed, fuel and packaging in
many places, often on the way and often in cash, and at the end of the year a shoebox of receipts has to become a tax
return. Harvest Ledger reads the receipts that a grower has allowed it to read, recognises what belongs to the business
and what does not, proposes an account and a tax rate for every line, and leaves the decision to the grower. Nothing is
booked without a person having looked at it. Private purchases are put aside at once and are not stored. An accountant
can be invited to see the books, never the receipts that are not in them. We ask for reading only: Harvest Ledger sends
no receipts of its own. The service is used by some three hundred growers in Finland and Estonia, and is run by their
own association."""

_PARCELBIRD_DESCRIPTION = """\
Parcelbird brings coffee to the door. It is the delivery partner of Northwind Coffee: whoever orders beans, filters or
a birthday box at Parcelbird and is a member of Northwind Beans collects the same points as at the counter, and can use
them for the next order. For that Parcelbird has to know which member an order belongs to. It reads the name, the
e-mail address, the membership number and the balance, shows the balance on the order page, and sends the number of the
membership along with each order. Delivery addresses are asked for separately and are not shared with anybody, not even
with Northwind. Riders see a first name and an address, nothing else, and only for the day of the delivery. The
contract between the two companies is public, and either side deletes what it holds within thirty days when a customer
ends the connection."""

_STUDY_CIRCLE_DESCRIPTION = """\
Study Circle helps people who take the same course to find each other and to plan time together. A student opens the
site, signs in with the account they already have, and is shown the circles of their own department: small groups of
four to eight people who meet once a week, in the library or online, to work through problem sheets, compare notes and
explain to each other what the lecture left open. Circles are made anew each semester, so the site has to know which
department and which semester somebody is in; it uses the full name so that members recognise each other at the first
meeting, and the institute address to send the weekly agenda. A phone number is optional and is shown only to the
members of one's own circle, in case somebody is late or cannot find the room. Study Circle is run by four volunteers
and is free of charge. We show no advertising, we pass nothing on to anybody, and when a student leaves or removes the
connection everything we hold about them is deleted within one day."""

#: What is new in the version that waits: pictures, and mails about rooms.
_STUDY_CIRCLE_NEW_DESCRIPTION = _STUDY_CIRCLE_DESCRIPTION.replace(
    "it uses the full name so that", "it uses the full name and, if they like, the picture so that"
).replace("to send the weekly agenda.", "to send the weekly agenda and word of a changed room.")

_TIMETABLE_DESCRIPTION = """\
Aldermoor Timetable puts the lectures, tutorials, laboratory hours and examinations of the institute into the calendar
that a student or teacher already uses. After signing in, the right timetable appears without any choosing, because the
site knows the department, the degree and the current semester; teachers see the hours they teach, found by their
employee number. When a room changes or a lecture is cancelled, the calendar follows within five minutes, and on the
evening before an examination a short reminder goes to the institute address. For residents of the halls it also works
out when to leave, from the distance between their residence and the lecture room; that part is optional and the site
works just as well without it. Aldermoor Timetable is made by the computing department together with students of the
third year, is open source, and is reviewed every spring by the data protection officer. Calendars are private by
default, links to them can be withdrawn at any moment, and all personal information is deleted when a course of study
ends or when access is taken back."""

APPLICATIONS = (
    DemoApplication(
        client_id="demo-receipts",
        name="Penni Budget",
        profile="connection",
        organisation=RECEIPTS,
        domain="penni-budget.example",
        demo_path="/demo/receipts/callback",
        description=_PENNI_DESCRIPTION,
        reasons={
            "receipt:write": "Penni files the receipts of shops that only send paper, so that they are not lost.",
            "receipt:read": "Penni sorts what you bought into your budget: food, home, travel and the rest.",
        },
        owner=DEVELOPER,
    ),
    DemoApplication(
        client_id="demo-loyalty",
        name="Torilla",
        profile="customer",
        organisation=RECEIPTS,
        domain="torilla.example",
        demo_path="/demo/loyalty/callback",
        description=_TORILLA_DESCRIPTION,
        owner=DEVELOPER,
        team=(("leo@example.com", "owner"),),
    ),
    DemoApplication(
        client_id="demo-campus",
        name="Study Circle",
        profile="portal",
        organisation=RECEIPTS,
        domain="study-circle.example",
        demo_path="/demo/campus/callback",
        description=_STUDY_CIRCLE_DESCRIPTION,
        reasons={
            "person.full_name": "The members of your circle see your name before you meet for the first time.",
            "student.department": "You are shown the circles of your own department.",
            "student.current_semester": "Circles are made anew each semester, for people at the same point.",
            "contact_information.institute_webmail_address": "The agenda of the week is sent to this address.",
            "contact_information.primary_phone_number": "Your circle can reach you when somebody is late.",
        },
        optional_scopes=("contact_information.primary_phone_number",),
        owner=DEVELOPER,
        team=(("priya@example.com", "developer"), ("thomas@example.com", "viewer")),
        update=DemoUpdate(
            description=_STUDY_CIRCLE_NEW_DESCRIPTION,
            reasons={
                "person.full_name": "The members of your circle see your name before you meet for the first time.",
                "person.display_picture": "Members of your circle recognise you when you come into the library.",
                "student.department": "You are shown the circles of your own department.",
                "student.current_semester": "Circles are made anew each semester, for people at the same point.",
                "contact_information.institute_webmail_address": (
                    "The agenda of the week, and changes of the room, are sent to this address."
                ),
                "contact_information.primary_phone_number": "Your circle can reach you when somebody is late.",
            },
            optional_scopes=("person.display_picture", "contact_information.primary_phone_number"),
            age=timedelta(hours=5),
        ),
    ),
    DemoApplication(
        client_id="demo-service",
        name="Kuittila receipt pipeline",
        profile="service",
        organisation=RECEIPTS,
        description="Takes receipts in, and tells the partners of connected users that one has arrived.",
        reasons={
            "notification:send": "Partners are told when a receipt of one of their users has arrived.",
            "introspect": "The pipeline checks the access token of each receipt that is sent to it.",
        },
    ),
    DemoApplication(
        client_id="demo-pending",
        name="Harvest Ledger",
        profile="connection",
        organisation=RECEIPTS,
        domain="harvest-ledger.example",
        demo_path="/demo/receipts/callback",
        description=_HARVEST_DESCRIPTION,
        reasons={"receipt:read": "Each receipt becomes an entry in your books, with its tax worked out."},
        is_approved=False,
        owner=DEVELOPER,
        team=(("aino@example.com", "developer"),),
        age=timedelta(days=3, hours=2),
        comments=(
            DemoComment(
                author="reviewer@receipts.example",
                text="Growers and accountants both: who decides which receipts an accountant may see?",
                age=timedelta(days=2),
            ),
            DemoComment(
                author="aino@example.com",
                text="The grower does, one by one. An accountant sees what has been booked and nothing else.",
                age=timedelta(days=1, hours=20),
            ),
        ),
    ),
    DemoApplication(
        client_id="demo-northwind",
        name="Parcelbird",
        profile="customer",
        organisation=LOYALTY,
        domain="parcelbird.example",
        demo_path="/demo/loyalty/callback",
        description=_PARCELBIRD_DESCRIPTION,
        is_trusted=True,
        owner=DEVELOPER,
    ),
    DemoApplication(
        client_id="demo-aldermoor",
        name="Aldermoor Timetable",
        profile="portal",
        organisation=CAMPUS,
        domain="timetable.aldermoor.example",
        demo_path="/demo/campus/callback",
        description=_TIMETABLE_DESCRIPTION,
        reasons={
            "person.full_name": "Your name stands on the calendar, so that you know whose it is.",
            "person.roles": "Students see what they attend, teachers what they teach.",
            "student.department": "Your department decides which lectures are yours.",
            "student.degree": "Some lectures are only for some degrees.",
            "student.current_semester": "You get the timetable of the semester you are in.",
            "faculty_member.employee_id": "Teachers are found in the teaching plan by their employee number.",
            "contact_information.institute_webmail_address": "A reminder goes there before an examination.",
            "residential_information.residence": "The walk from your hall is added, so that you leave in time.",
        },
        optional_scopes=("residential_information.residence",),
        owner=DEVELOPER,
    ),
)
