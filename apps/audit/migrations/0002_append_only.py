"""The database itself refuses to change the trail.

Privileges are taken from the role that owns the tables; they do not bind superusers, triggers do. Both can be undone by
whoever may change the schema, which is why there are seals as well (docs/decisions/0011).
"""

from django.db import migrations

GUARDS = """
-- An event's time and transaction are the real ones, whatever the statement says.
CREATE FUNCTION audit_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.happened_at := clock_timestamp();
    NEW.transaction_id := pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE TRIGGER audit_stamp BEFORE INSERT ON audit_auditevent FOR EACH ROW EXECUTE FUNCTION audit_stamp();

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only: no % of %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

-- Of a seal only one thing changes, once: that its events were pruned.
CREATE FUNCTION audit_refuse_unless_pruning() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.pruned_at IS NOT NULL OR NEW.pruned_at IS NULL OR NEW.pruned_signature IS NULL
        OR to_jsonb(NEW) - '{pruned_at,pruned_signature}'::text[]
           <> to_jsonb(OLD) - '{pruned_at,pruned_signature}'::text[] THEN
        RAISE EXCEPTION 'the audit trail is append-only: no % of %', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;

-- What is in a pruned seal may go, and nothing else. Of an event the place in its seal goes last.
CREATE FUNCTION audit_refuse_unless_pruned() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    seal bigint;
BEGIN
    IF TG_TABLE_NAME = 'audit_auditevent' THEN
        SELECT seal_id INTO seal FROM audit_sealedevent WHERE event_id = OLD.id;
    ELSE
        seal := OLD.seal_id;
    END IF;
    IF NOT EXISTS (SELECT FROM audit_auditseal WHERE id = seal AND pruned_at IS NOT NULL) THEN
        RAISE EXCEPTION 'the audit trail is append-only: no % of %', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit_auditevent FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit_auditevent
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_unless_pruned();
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit_sealedevent FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit_sealedevent
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_unless_pruned();
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit_auditseal
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_unless_pruning();
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit_auditseal FOR EACH ROW EXECUTE FUNCTION audit_refuse();
-- A person may be deleted, which anonymises the event, but never exchanged.
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit_auditperson FOR EACH ROW EXECUTE FUNCTION audit_refuse();

-- Also for sessions that call themselves a replica.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_auditevent', 'audit_sealedevent', 'audit_auditseal', 'audit_auditperson'] LOOP
        EXECUTE format('CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON %I EXECUTE FUNCTION audit_refuse()', name);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER audit_no_truncate', name);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER audit_no_update', name);
        IF name <> 'audit_auditperson' THEN
            EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER audit_no_delete', name);
        END IF;
    END LOOP;
END $$;

-- Retention: marks the seal, then deletes what is in it. It lends itself the privileges, which nobody has otherwise.
CREATE FUNCTION audit_prune(seal bigint, pruned timestamptz, signed bytea) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    deleted bigint;
BEGIN
    IF EXISTS (SELECT FROM audit_auditseal WHERE id < seal AND pruned_at IS NULL) THEN
        RAISE EXCEPTION 'older seals come first';
    END IF;
    EXECUTE format('GRANT UPDATE ON audit_auditseal TO %I', current_user);
    EXECUTE format('GRANT DELETE ON audit_auditevent, audit_sealedevent TO %I', current_user);
    UPDATE audit_auditseal SET pruned_at = pruned, pruned_signature = signed WHERE id = seal;
    DELETE FROM audit_auditperson p USING audit_sealedevent m WHERE m.seal_id = seal AND p.event_id = m.event_id;
    DELETE FROM audit_auditevent e USING audit_sealedevent m WHERE m.seal_id = seal AND e.id = m.event_id;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    DELETE FROM audit_sealedevent WHERE seal_id = seal;
    EXECUTE format('REVOKE UPDATE ON audit_auditseal FROM %I', current_user);
    EXECUTE format('REVOKE DELETE ON audit_auditevent, audit_sealedevent FROM %I', current_user);
    RETURN deleted;
END $$;
REVOKE EXECUTE ON FUNCTION audit_prune FROM PUBLIC;

REVOKE UPDATE, DELETE, TRUNCATE ON audit_auditevent, audit_sealedevent, audit_auditseal FROM CURRENT_USER;
REVOKE UPDATE, TRUNCATE ON audit_auditperson FROM CURRENT_USER;
"""

NO_GUARDS = """
GRANT ALL ON audit_auditevent, audit_sealedevent, audit_auditseal, audit_auditperson TO CURRENT_USER;
DROP FUNCTION audit_prune(bigint, timestamptz, bytea);
DROP FUNCTION audit_stamp() CASCADE;
DROP FUNCTION audit_refuse() CASCADE;
DROP FUNCTION audit_refuse_unless_pruning() CASCADE;
DROP FUNCTION audit_refuse_unless_pruned() CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunSQL(GUARDS, NO_GUARDS)]
