"""Who did something is deleted only when their account is closed, and a signed note of that stays.

As in 0002, whoever may change the schema can undo it; then the missing note shows.
"""

from django.db import migrations, models

GUARDS = """
-- Who is in an event goes with a pruned seal, or when a note says why; the note goes with a pruned seal.
CREATE FUNCTION audit_refuse_unless_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM audit_sealedevent m JOIN audit_auditseal s ON s.id = m.seal_id
                   WHERE m.event_id = OLD.event_id AND s.pruned_at IS NOT NULL)
        AND (TG_TABLE_NAME <> 'audit_auditperson' OR NOT EXISTS (
             SELECT FROM audit_anonymisedperson n WHERE n.event_id = OLD.event_id AND n.part = OLD.part)) THEN
        RAISE EXCEPTION 'the audit trail is append-only: no % of %', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit_anonymisedperson FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit_anonymisedperson
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_unless_forgotten();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit_anonymisedperson EXECUTE FUNCTION audit_refuse();
ALTER TABLE audit_anonymisedperson ENABLE ALWAYS TRIGGER audit_no_update;
ALTER TABLE audit_anonymisedperson ENABLE ALWAYS TRIGGER audit_no_delete;
ALTER TABLE audit_anonymisedperson ENABLE ALWAYS TRIGGER audit_no_truncate;

-- Anonymising: notes down each part, then deletes it. Of an event in which the person is, somebody without an account
-- goes as well. The caller signs, because the database does not have the secret.
CREATE FUNCTION audit_anonymise(person uuid, events bigint[], parts varchar[], signatures bytea[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    deleted bigint;
BEGIN
    -- The lock of whoever changes seals ("audit" as a number): two that lend themselves privileges at once are refused.
    PERFORM pg_advisory_xact_lock(418581342580);
    IF NOT EXISTS (SELECT FROM audit_anonymisation WHERE user_id = person AND due_at <= clock_timestamp()) THEN
        RAISE EXCEPTION 'the audit trail is append-only: nobody is to be made anonymous by that id'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('GRANT DELETE ON audit_auditperson TO %I', current_user);
    INSERT INTO audit_anonymisedperson (event_id, part, signature)
    SELECT p.event_id, p.part, given.signature
    FROM unnest(events, parts, signatures) AS given (event_id, part, signature)
    JOIN audit_auditperson p ON p.event_id = given.event_id AND p.part = given.part
    WHERE p.user_id = person OR (p.user_id IS NULL AND EXISTS (
        SELECT FROM audit_auditperson o WHERE o.event_id = p.event_id AND o.user_id = person))
    ON CONFLICT DO NOTHING;
    DELETE FROM audit_auditperson p USING unnest(events, parts) AS given (event_id, part)
    WHERE p.event_id = given.event_id AND p.part = given.part
      AND (p.user_id = person OR (p.user_id IS NULL AND EXISTS (
        SELECT FROM audit_auditperson o WHERE o.event_id = p.event_id AND o.user_id = person)));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    EXECUTE format('REVOKE DELETE ON audit_auditperson FROM %I', current_user);
    RETURN deleted;
END $$;
REVOKE EXECUTE ON FUNCTION audit_anonymise FROM PUBLIC;

-- As in 0002, for the notes as well.
CREATE OR REPLACE FUNCTION audit_prune(seal bigint, pruned timestamptz, signed bytea) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    deleted bigint;
BEGIN
    IF EXISTS (SELECT FROM audit_auditseal WHERE id < seal AND pruned_at IS NULL) THEN
        RAISE EXCEPTION 'older seals come first';
    END IF;
    EXECUTE format('GRANT UPDATE ON audit_auditseal TO %I', current_user);
    EXECUTE format('GRANT DELETE ON audit_auditevent, audit_sealedevent, audit_auditperson, audit_anonymisedperson'
                   ' TO %I', current_user);
    UPDATE audit_auditseal SET pruned_at = pruned, pruned_signature = signed WHERE id = seal;
    DELETE FROM audit_auditperson p USING audit_sealedevent m WHERE m.seal_id = seal AND p.event_id = m.event_id;
    DELETE FROM audit_anonymisedperson n USING audit_sealedevent m WHERE m.seal_id = seal AND n.event_id = m.event_id;
    DELETE FROM audit_auditevent e USING audit_sealedevent m WHERE m.seal_id = seal AND e.id = m.event_id;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    DELETE FROM audit_sealedevent WHERE seal_id = seal;
    EXECUTE format('REVOKE UPDATE ON audit_auditseal FROM %I', current_user);
    EXECUTE format('REVOKE DELETE ON audit_auditevent, audit_sealedevent, audit_auditperson, audit_anonymisedperson'
                   ' FROM %I', current_user);
    RETURN deleted;
END $$;

REVOKE UPDATE, DELETE, TRUNCATE ON audit_anonymisedperson FROM CURRENT_USER;

-- Last, because inserting waits for it.
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit_auditperson
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_unless_forgotten();
ALTER TABLE audit_auditperson ENABLE ALWAYS TRIGGER audit_no_delete;
REVOKE DELETE ON audit_auditperson FROM CURRENT_USER;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_named_database_of_a_seal")]

    operations = [
        migrations.CreateModel(
            name="AnonymisedPerson",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "event_id", "part", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("event_id", models.BigIntegerField()),
                (
                    "part",
                    models.CharField(
                        choices=[("actor", "who did it"), ("about", "whom it was done to")], max_length=5
                    ),
                ),
                ("signature", models.BinaryField()),
            ],
            options={
                "verbose_name": "anonymised person",
                "verbose_name_plural": "anonymised people",
                "default_permissions": (),
            },
        ),
        migrations.RunSQL(GUARDS),
    ]
