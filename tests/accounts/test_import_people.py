"""manage.py import_people: all of a file or, if a row is bad, nothing."""

import json
from decimal import Decimal

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command

from apps.accounts.models import ProfileValue, User
from apps.organisations.models import Membership


@pytest.fixture
def load(manage, organisation, tmp_path):
    """Import a file with this content (CSV text or bytes, or a list for JSON)."""

    def call(content, *arguments, name="people.csv"):
        if isinstance(content, list):
            content, name = json.dumps(content), "people.json"
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return manage("import_people", str(path), *arguments)

    return call


@pytest.fixture
def refuse(load, capsys):
    """Import a file that is refused; return the lines on standard error and the message at the end."""

    def call(content, *arguments, **options):
        with pytest.raises(CommandError) as refusal:
            load(content, *arguments, **options)
        assert not User.objects.filter(email__endswith="@new.example").exists(), "something was changed"
        assert "\n" not in str(refusal.value)
        return capsys.readouterr().err.splitlines(), str(refusal.value)

    return call


PEOPLE = """\
email,first_name,last_name,phone,birth_date,username,membership.scheme_name,membership.points,student.current_year,person.roles
Ada@new.example,Ada,Byron,+44 1,1815-12-10,ada-b,Beans,548.30,3,student;tutor
bob@new.example,Bob,,,,,,,,
"""


def test_users_memberships_and_data_points_are_made(load, organisation):
    assert load(PEOPLE) == {"created": 2, "updated": 0, "unchanged": 0, "skipped": 0}

    ada = User.objects.get(email="ada@new.example")
    membership = ada.memberships.get()
    assert (ada.first_name, ada.phone, ada.username, str(ada.birth_date)) == ("Ada", "+44 1", "ada-b", "1815-12-10")
    assert (membership.organisation, membership.points) == (organisation, Decimal("548.30"))
    assert dict(ada.profile_values.values_list("key", "value")) == {
        "student.current_year": 3,
        "person.roles": ["student", "tutor"],
    }
    assert not Membership.objects.exclude(user=ada).exists()


def test_same_file_again_changes_nothing(load):
    load(PEOPLE)
    before = list(User.objects.order_by("email").values()), list(ProfileValue.objects.order_by("id").values())

    assert load(PEOPLE) == {"created": 0, "updated": 0, "unchanged": 2, "skipped": 0}
    assert before == (list(User.objects.order_by("email").values()), list(ProfileValue.objects.order_by("id").values()))


def test_what_differs_is_updated_and_what_is_not_given_stays(load):
    load(PEOPLE)
    row = "email,last_name,phone,membership.scheme_name,membership.points,student.current_year\n"

    assert load(row + "ada@new.example,King,,Beans,12,4\n")["updated"] == 1
    ada = User.objects.get(email="ada@new.example")
    assert (ada.first_name, ada.last_name, ada.phone) == ("Ada", "King", "+44 1")
    assert ada.memberships.get().points == 12
    assert ada.profile_values.get(key="student.current_year").value == 4


def test_nobody_can_log_in_with_what_was_imported(load):
    load(PEOPLE)

    assert not any(user.has_usable_password() for user in User.objects.all())


def test_address_is_proved_only_if_the_operator_says_so(load):
    load("email\na@new.example\n")
    load("email\na@new.example\nb@new.example\n", "--verified")

    assert dict(EmailAddress.objects.values_list("email", "verified")) == {
        "a@new.example": False,
        "b@new.example": True,
    }


def test_memberships_go_to_the_organisation_named(load, other_organisation):
    load("email,membership.scheme_name\na@new.example,Campus card\n", "--organisation", "campus")

    assert Membership.objects.get().organisation == other_organisation


@pytest.mark.parametrize(
    "content",
    [
        "email,first_name\na@new.example,Zoë\n".encode(),
        "email,first_name\na@new.example,Zoë\n".encode("utf-8-sig"),
        "email;first_name\r\na@new.example;Zoë\r\n".encode(),
        "email\tfirst_name\na@new.example\tZoë".encode(),
        'email,first_name\n"a@new.example","Zoë"\n\n,\n'.encode(),
    ],
    ids=["plain", "byte order mark", "spreadsheet", "tabs, no last line break", "quotes and empty lines"],
)
def test_csv_is_read_as_spreadsheets_write_it(load, content):
    assert load(content)["created"] == 1
    assert User.objects.get().first_name == "Zoë"


def test_json_values_have_their_own_types_and_may_be_nested(load):
    load(
        [
            {
                "email": "a@new.example",
                "first_name": None,
                "membership": {"scheme_name": "Beans", "points": 548.3},
                "student": {"current_year": 3},
                "contact_information.email_address_verified": True,
            }
        ]
    )

    assert Membership.objects.get().points == Decimal("548.30")
    assert dict(ProfileValue.objects.values_list("key", "value")) == {
        "student.current_year": 3,
        "contact_information.email_address_verified": True,
    }


BAD_ROWS = [
    ("email,first_name\n,Ada\n", "line 2: email: is missing"),
    ("email\nnobody\n", "line 2: email: is not an e-mail address"),
    ("email\na@new.example\nA@NEW.example\n", "line 3: email: a@new.example stands in line 2 too"),
    ("email,username\na@new.example,x\nb@new.example,x\n", "line 3: username: x stands in line 2 too"),
    ("email,username\na@new.example,taken\n", "line 2: username: taken is somebody else's"),
    ("email,username\na@new.example,a b\n", "line 2: username: must not have spaces"),
    ("email\nsecond@old.example\n", "line 2: email: it is another account's second address"),
    ("email,first_name\na@new.example,A\x00da\n", "line 2: first_name: has a NUL character"),
    (b"email,first_name\na@new.example,Zo\xeb\n", "line 2: first_name: is not UTF-8"),
    (f"email,first_name\na@new.example,{'n' * 101}\n", "line 2: first_name: must have at most 100 characters"),
    ("email,birth_date\na@new.example,1990-02-30\n", "line 2: birth_date: must be a day"),
    ("email,birth_date\na@new.example,2999-01-01\n", "line 2: birth_date: is in the future"),
    ("email,student.current_year\na@new.example,third\n", "line 2: student.current_year: must be a number"),
    ("email,membership.points\na@new.example,5\n", "line 2: membership.scheme_name: is missing"),
    ("email,membership.scheme_name,membership.points\na@new.example,S,1.234\n", "at most two decimals"),
    ("email,membership.scheme_name,membership.points\na@new.example,S,NaN\n", "membership.points: must be a number"),
    ("email,membership.scheme_name,membership.member_id\na@new.example,S,7\n", "must be a UUID"),
    ("email,first_name\na@new.example\n", "line 2: has 1 cells where the first line has 2"),
    ('email,person.full_name\na@new.example,"Ada\nByron"\nnobody,x\n', "line 4: email: is not an e-mail address"),
    ([{"email": "a@new.example"}, {"email": 5}], "entry 2 (line 1): email: must be a text"),
    ([{"email": "a@new.example", "student.current_year": "3rd"}], "student.current_year: must be a number"),
    ([{"email": "a@new.example", "student.current_year": True}], "student.current_year: must be a number"),
    ([{"email": "a@new.example", "person.full_name": "\ud800"}], "person.full_name: is not UTF-8"),
    ([{"email": "a@new.example", "person.full_name": "a\x00"}], "person.full_name: has a NUL character"),
    ([{"email": "a@new.example", "pasword": "x"}], "entry 1 (line 1): unknown columns: 'pasword'"),
    ([{"email": "a@new.example"}, "b@new.example"], "entry 2 (line 1): must be an object"),
]


@pytest.mark.parametrize(("content", "message"), BAD_ROWS, ids=[message[:40] for _content, message in BAD_ROWS])
def test_bad_row_is_named_and_nothing_is_changed(refuse, make_user, content, message):
    other = make_user("old@old.example", username="taken")
    EmailAddress.objects.create(user=other, email="second@old.example", verified=True)

    lines, refusal = refuse(content)

    assert any(message in line for line in lines), lines
    assert refusal.startswith("Nothing was changed: 1 bad row (see above).")


def test_every_bad_row_is_told_with_everything_that_is_wrong_in_it(refuse):
    lines, refusal = refuse("email,birth_date\nx,y\na@new.example,\nz,1990-01-01\n")

    assert [line.partition(": ")[0] for line in lines] == ["line 2", "line 4"]
    assert "email: " in lines[0]
    assert "birth_date: " in lines[0]
    assert "2 bad rows" in refusal


def test_good_rows_are_loaded_when_the_bad_ones_are_to_be_skipped(load, capsys):
    answer = load("email\na@new.example\nnobody\nb@new.example\n", "--skip-bad")

    assert answer == {"created": 2, "updated": 0, "unchanged": 0, "skipped": 1}
    assert "line 3: email" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--skip-bad"]])
@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "p.csv", "the file is empty"),
        ("first_name\nAda\n", "p.csv", "there must be a column email"),
        ("email,pasword,person.shoe_size\n", "p.csv", "unknown columns: 'pasword', 'person.shoe_size'"),
        ("email,phone,phone\n", "p.csv", "columns named twice: phone"),
        ('email\na@new.example\n"b@new.example\n', "p.csv", "line 3: unexpected end of data"),
        ("", "p.json", "line 1: the file must be a JSON array"),
        ('{"email": "a@new.example"}', "p.json", "the file must be a JSON array"),
        ('[{"email": "a@new.example"},\n\n {"email": }]', "p.json", "line 3: not JSON"),
        ('[{"email": "a@new.example"}', "p.json", "a comma or ] is missing"),
        ('[{"email": "a@new.example", "student.current_year": NaN}]', "p.json", "NaN is not a JSON number"),
        ("[" * 100_000, "p.json", "not JSON"),
        ("email\n", "p.xlsx", "must end in .csv or .json"),
    ],
)
def test_file_that_cannot_be_understood_is_refused_as_a_whole(refuse, content, name, message, arguments):
    _lines, refusal = refuse(content, *arguments, name=name)

    assert message in refusal


def test_missing_file_is_told(organisation, tmp_path):
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_people", str(tmp_path / "nowhere.csv"))


def test_more_rows_than_a_batch_are_loaded_with_few_statements(load, django_assert_max_num_queries, tmp_path):
    rows = "".join(f"p{n}@new.example,P,{n},x\n" for n in range(2500))

    with django_assert_max_num_queries(80):
        answer = load("email,membership.scheme_name,membership.points,person.full_name\n" + rows)

    assert answer["created"] == 2500


def test_bad_row_of_a_later_batch_undoes_the_earlier_ones(refuse):
    lines, _refusal = refuse("email\n" + "".join(f"p{n}@new.example\n" for n in range(1500)) + "nobody\n")

    assert lines == ["line 1502: email: is not an e-mail address"]


def test_help_names_every_column(capsys):
    from apps.accounts.importing import COLUMNS

    with pytest.raises(SystemExit):
        call_command("import_people", "--help")

    text = capsys.readouterr().out
    assert all(f"  {column}: " in text for column in COLUMNS)
    assert "password" not in COLUMNS
