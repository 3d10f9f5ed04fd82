"""What the two resource endpoints tell, and to whom (CONTRACT section 8)."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from apps.accounts.models import ProfileValue
from apps.developers.models import Status
from apps.organisations.models import Membership

pytestmark = pytest.mark.spec("CONTRACT", "8")

CUSTOMER, DATA_POINTS = "/oauth/user", "/open_auth/get_user_data/"
EACH = pytest.mark.parametrize(("profile", "path"), [("customer", CUSTOMER), ("portal", DATA_POINTS)])


@pytest.fixture
def customer_token(connect, make_application):
    return connect(make_application("customer"))["access_token"]


@pytest.fixture
def make_membership(member, organisation):
    def make(**fields):
        defaults = {
            "user": member,
            "organisation": organisation,
            "scheme_name": "Kuittila Plus",
            "created_at": datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
        }
        return Membership.objects.create(**{**defaults, **fields})

    return make


def test_customer_has_the_published_shape(customer_token, call_with, member):
    member.phone, member.birth_date = "+358 40 1234567", date(1990, 5, 17)
    member.created_at = datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC)
    member.save()

    assert call_with(CUSTOMER, customer_token).json() == {
        "data": {
            "id": str(member.pk),
            "first_name": "Ada",
            "last_name": "Byron",
            "email": "ada@example.com",
            "phone": "+358 40 1234567",
            "created_at": "2021-03-04 05:06:07",
            "birth_date": "1990-05-17 00:00:00",
            "verified": True,
        }
    }


def test_what_is_not_known_of_a_customer_is_null(customer_token, call_with, member):
    member.emailaddress_set.update(verified=False)

    data = call_with(CUSTOMER, customer_token).json()["data"]

    assert (data["phone"], data["birth_date"], data["verified"]) == (None, None, False)


def test_memberships_have_the_published_shape(customer_token, call_with, make_membership):
    membership = make_membership(
        points=Decimal("1234.50"),
        expiring=Decimal(20),
        current_level="Gold",
        last_transacted_at=datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
    )

    data = call_with(f"{CUSTOMER}?include=memberships", customer_token).json()["data"]

    assert data["memberships"] == {
        "data": [
            {
                "id": str(membership.pk),
                "member_id": str(membership.member_id),
                "scheme_name": "Kuittila Plus",
                "points": 1234.5,
                "expiring": 20,
                "last_transacted_at": "2024-05-06 07:08:09",
                "current_level": "Gold",
                "created_at": "2020-01-02 03:04:05",
            }
        ]
    }
    assert membership.member_id != membership.pk


def test_points_are_json_numbers_and_not_strings(customer_token, call_with, make_membership):
    make_membership(points=Decimal("0.10"), expiring=Decimal("999999999999.99"))

    raw = call_with(f"{CUSTOMER}?include=memberships", customer_token).content.decode()
    numbers = json.loads(raw, parse_float=Decimal)["data"]["memberships"]["data"][0]

    assert (numbers["points"], numbers["expiring"]) == (Decimal("0.1"), Decimal("999999999999.99"))


def test_memberships_of_other_organisations_and_other_users_are_not_told(
    customer_token, call_with, make_membership, other_organisation, make_user
):
    mine = make_membership()
    make_membership(organisation=other_organisation, scheme_name="Campus card")
    make_membership(user=make_user("bob@example.com"))

    told = call_with(f"{CUSTOMER}?include=memberships", customer_token).json()["data"]["memberships"]["data"]

    assert [membership["id"] for membership in told] == [str(mine.pk)]


@pytest.mark.parametrize(
    ("query", "has_memberships"),
    [
        ("", False),
        ("?include=", False),
        ("?include=unknown", False),
        ("?include=Memberships", False),
        ("?include=memberships", True),
        ("?include=unknown,memberships", True),
        ("?include=memberships,,unknown", True),
        ("?include=unknown&include=memberships", True),
        ("?include=memberships%00", False),
        ("?include[]=memberships", False),
    ],
)
def test_unknown_includes_are_ignored(customer_token, call_with, query, has_memberships):
    response = call_with(f"{CUSTOMER}{query}", customer_token)

    assert response.status_code == 200
    assert ("memberships" in response.json()["data"]) is has_memberships


# --- data points ----------------------------------------------------------------------------------------


@pytest.fixture
def portal_token(connect, make_application):
    """Make an application with these data points, connect it, and return its access token."""

    def call(*scopes, **parameters):
        return connect(make_application("portal", scopes=list(scopes)), **parameters)["access_token"]

    return call


def test_data_points_are_grouped_by_category_in_camel_case(portal_token, call_with, member):
    ProfileValue.objects.create(user=member, key="student.enrolment_number", value="20114001")
    ProfileValue.objects.create(user=member, key="student.current_year", value=3)
    ProfileValue.objects.create(user=member, key="social_information.links", value=[{"url": "https://a.example"}])
    token = portal_token(
        "person.full_name",
        "student.enrolment_number",
        "student.current_year",
        "contact_information.email_address_verified",
        "social_information.links",
    )

    assert call_with(DATA_POINTS, token).json() == {
        "userId": str(member.pk),
        "username": member.username,
        "person": {"fullName": "Ada Byron"},
        "student": {"enrolmentNumber": "20114001", "currentYear": 3},
        "contactInformation": {"emailAddressVerified": True},
        "socialInformation": {"links": [{"url": "https://a.example"}]},
    }


def test_data_point_that_was_not_granted_is_not_told(portal_token, call_with, member):
    ProfileValue.objects.create(user=member, key="student.branch", value="Physics")
    token = portal_token("person.full_name", "student.enrolment_number", scope="person.full_name")

    assert set(call_with(DATA_POINTS, token).json()) == {"userId", "username", "person"}


def test_username_says_nothing_about_the_person(portal_token, call_with, member):
    answer = call_with(DATA_POINTS, portal_token("person.roles")).json()

    assert "ada" not in answer["username"].lower()


def test_data_point_that_the_application_gave_up_stops_at_once(
    connect, make_application, call_with, introspect, refresh
):
    """Removing a scope takes effect at once (CONTRACT section 9)."""
    application = make_application("portal")
    tokens = connect(application)
    application.row.scopes = ["person.full_name"]
    application.row.save()

    assert set(call_with(DATA_POINTS, tokens["access_token"]).json()) == {"userId", "username", "person"}
    assert introspect(application, tokens["access_token"])["scope"] == "person.full_name"
    assert refresh(application, tokens["refresh_token"]).json()["scope"] == "person.full_name"


# --- both -----------------------------------------------------------------------------------------------


@EACH
def test_suspended_user_is_401(connect, make_application, call_with, member, profile, path):
    token = connect(make_application(profile))["access_token"]
    member.is_active = False
    member.save()

    response = call_with(path, token)

    assert (response.status_code, response.json()["error"]) == (401, "invalid_token")
    assert response["WWW-Authenticate"].startswith('Bearer error="invalid_token"')


@EACH
@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.REJECTED, Status.PENDING])
def test_suspended_application_is_401_until_it_is_approved_again(
    connect, make_application, call_with, profile, path, status
):
    application = make_application(profile)
    token = connect(application)["access_token"]
    for status_now, expected in ((status, 401), (Status.APPROVED, 200)):
        application.row.status = status_now
        application.row.save()
        assert call_with(path, token).status_code == expected


@EACH
def test_ended_connection_is_401(connect, make_application, call_with, profile, path):
    token = connect(make_application(profile))["access_token"]
    call_with("/api/oauth/revoke", token, method="delete")

    assert call_with(path, token).status_code == 401


@EACH
def test_answer_is_json_whatever_is_accepted(connect, make_application, partner, profile, path):
    token = connect(make_application(profile))["access_token"]

    for accept in ("*/*", "application/json", "text/html, */*;q=0.1"):
        response = partner.get(path, headers={"Authorization": f"Bearer {token}", "Accept": accept})
        assert (response.status_code, response["Content-Type"]) == (200, "application/json")


@EACH
def test_answer_sets_no_cookie(connect, make_application, call_with, profile, path):
    response = call_with(path, connect(make_application(profile))["access_token"])

    assert not response.cookies
