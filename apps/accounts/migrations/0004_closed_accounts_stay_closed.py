"""The database itself lets no closed account come back, and nothing be attached to one.

Most of what writes users is not ours: the administration's forms and allauth save whole rows that they have read a
moment ago. A trigger is made under a lock of an instant; if a table is too busy for that, this fails and can be run again.
"""

from django.db import migrations

#: What is deleted when an account is closed, and written by others than our services.
ATTACHED = [
    "account_emailaddress",
    "accounts_profilevalue",
    "accounts_user_groups",
    "accounts_user_user_permissions",
    "mfa_authenticator",
    "organisations_membership",
    "organisations_reviewer",
]

STAYS_CLOSED = """
SET LOCAL lock_timeout = '5s';

CREATE FUNCTION accounts_refuse_closed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this account is closed for good'
        USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = 'closed_account_stays_closed';
END $$;
CREATE TRIGGER closed_account_stays_closed BEFORE UPDATE ON accounts_user FOR EACH ROW
    WHEN (OLD.closed_at IS NOT NULL AND OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION accounts_refuse_closed();

-- The lock is that of the foreign key: it waits for a closing that is under way, and then sees what came of it.
CREATE FUNCTION accounts_refuse_attaching() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    closed timestamptz;
BEGIN
    SELECT closed_at INTO closed FROM accounts_user WHERE id = NEW.user_id FOR KEY SHARE;
    IF closed IS NOT NULL THEN
        RAISE EXCEPTION 'this account is closed for good'
            USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = 'closed_account_stays_closed';
    END IF;
    RETURN NEW;
END $$;
"""

NOTHING_ATTACHED = """
CREATE TRIGGER closed_account_stays_closed BEFORE INSERT OR UPDATE OF user_id ON {table}
    FOR EACH ROW EXECUTE FUNCTION accounts_refuse_attaching();
"""

NO_GUARDS = """
DROP FUNCTION accounts_refuse_closed() CASCADE;
DROP FUNCTION accounts_refuse_attaching() CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_closed_accounts"),
        ("account", "0001_initial"),
        ("mfa", "0001_initial"),
        ("organisations", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(
            STAYS_CLOSED + "".join(NOTHING_ATTACHED.format(table=table) for table in ATTACHED), NO_GUARDS
        )
    ]
