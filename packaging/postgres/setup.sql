-- The ledger's database, its roles and its guard. A superuser runs it once, with psql, in an empty database:
--
--     createdb tenantry && psql -X -v ON_ERROR_STOP=1 -d tenantry -f setup.sql
--     psql -d tenantry -c '\password meter_owner' -c '\password meter_writer' -c '\password billing_reader'
--     tenantry-server migrate --password-file FILE        (as meter_owner: makes and updates the tables)
--
-- It may be run again: nothing is lost by it.

SELECT format('CREATE ROLE %I %s', name, attributes)
FROM (VALUES ('meter_owner', 'LOGIN NOINHERIT'),     -- migrations, and nothing else
             ('meter_writer', 'LOGIN NOINHERIT'),    -- tenantry-server: takes blocks by functions
             ('billing_reader', 'LOGIN NOINHERIT'),  -- tenantry-server and billing: reads all
             ('meter_tenant', 'NOLOGIN NOINHERIT'))  -- what tenants' logins are members of
     AS wanted (name, attributes)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- Nobody has a thing by being here.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO meter_owner, meter_writer, billing_reader, meter_tenant',
              current_database()) \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
GRANT USAGE ON LANGUAGE plpgsql TO meter_owner;

-- What any role may call by default and none here needs: large objects, locks that stop others, messages in the log.
DO $$
DECLARE
    called regprocedure;
BEGIN
    FOR called IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
          AND (proname ~ '^(lo_|lowrite$|loread$|pg_advisory_|pg_try_advisory_)'
               OR proname IN ('pg_logical_emit_message', 'pg_notify', 'pg_export_snapshot',
                              'query_to_xml',
                              'cursor_to_xml', 'database_to_xml', 'schema_to_xml', 'table_to_xml'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', called);
    END LOOP;
    FOR called IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO meter_owner', called);
    END LOOP;
END $$;

CREATE SCHEMA IF NOT EXISTS meter AUTHORIZATION meter_owner;
COMMENT ON SCHEMA meter IS 'The ledger: tables and the functions that write them. Nobody reads or writes here but by those.';
CREATE SCHEMA IF NOT EXISTS billing AUTHORIZATION meter_owner;
COMMENT ON SCHEMA billing IS 'Views of the ledger: all of it for billing_reader, its own usage for each tenant.';
GRANT USAGE ON SCHEMA meter TO meter_writer, billing_reader;
GRANT USAGE ON SCHEMA billing TO billing_reader, meter_tenant;

-- DDL is a migration's, and a superuser's. It stops accidents and whoever has the owner's password without knowing
-- the ledger; the owner can get by it on purpose, and PostgreSQL's log says so.
CREATE SCHEMA IF NOT EXISTS guard;
CREATE OR REPLACE FUNCTION guard.refuse_ddl() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_user = 'meter_owner' AND current_setting('tenantry.migration', true) = 'on' THEN
        RETURN;
    END IF;
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN
        RETURN;
    END IF;
    RAISE EXCEPTION '% is refused: the ledger''s schema is changed by tenantry-server migrate only', tg_tag
        USING ERRCODE = 'insufficient_privilege';
END $$;
DROP EVENT TRIGGER IF EXISTS tenantry_refuse_ddl;
CREATE EVENT TRIGGER tenantry_refuse_ddl ON ddl_command_start EXECUTE FUNCTION guard.refuse_ddl();

-- A refusal is an event somebody should see: PostgreSQL's log has the statement that was refused, and whose it was.
ALTER ROLE meter_owner SET log_min_error_statement = 'error';
ALTER ROLE meter_owner SET log_statement = 'ddl';
ALTER ROLE meter_writer SET log_min_error_statement = 'error';
ALTER ROLE billing_reader SET log_min_error_statement = 'error';
ALTER ROLE meter_writer SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE billing_reader SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE billing_reader SET default_transaction_read_only = on;
