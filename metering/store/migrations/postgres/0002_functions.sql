-- The only ways into the ledger, and out of it.

-- The blocks of a boot after one of them, in their order.
CREATE FUNCTION meter.blocks_since(p_boot integer, p_sequence bigint) RETURNS bytea[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(block.payload ORDER BY name.sequence)
    FROM meter.block_name name
         JOIN meter.block ON block.boot = name.boot AND block.sequence = name.sequence
                         AND block.received_unix_usec = name.received_unix_usec
    WHERE name.boot = p_boot AND name.sequence > p_sequence
$$;

-- What the ledger has about a block, in one snapshot, and the version of its node's row at that moment. take() of
-- an older version does nothing: so no lock is held while the server plans, and several servers share one ledger.
CREATE FUNCTION meter.facts(
    p_node text, p_boot_id uuid, p_sequence bigint,
    p_before_boot uuid, p_before_sequence bigint, p_boots uuid[],
    p_job_ids bigint[], p_nodes text[], p_boot_ids uuid[], p_began bigint[], p_clusters text[],
    OUT version bigint, OUT known bytea, OUT trusted bytea[],
    OUT before_sequence bigint, OUT before_sha256 bytea, OUT before_closed bigint,
    OUT boot_before_sha256 bytea, OUT foreign_boots uuid[], OUT revisions jsonb, OUT last_sequence bigint,
    OUT state bytea, OUT state_boot_id uuid, OUT state_sequence bigint, OUT state_window_minutes integer, OUT since bytea[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_boot integer;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'this is a standby' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    SELECT n.version INTO version FROM meter.node n WHERE n.node = p_node;
    version := coalesce(version, 0);
    SELECT b.boot INTO v_boot FROM meter.boot b WHERE b.node = p_node AND b.boot_id = p_boot_id;
    IF v_boot IS NOT NULL THEN
        SELECT b.payload_sha256 INTO known FROM meter.block_name b WHERE b.boot = v_boot AND b.sequence = p_sequence;
        IF known IS NOT NULL THEN
            RETURN;
        END IF;
        SELECT b.sequence, b.payload_sha256, b.closed_unix_usec
            INTO before_sequence, before_sha256, before_closed
            FROM meter.block_name b WHERE b.boot = v_boot AND b.sequence < p_sequence
            ORDER BY b.sequence DESC LIMIT 1;
        SELECT max(b.sequence) INTO last_sequence FROM meter.block_name b WHERE b.boot = v_boot;
    END IF;
    SELECT array_agg(k.public_key) INTO trusted FROM meter.node_key k WHERE k.node = p_node;
    IF p_before_boot IS NOT NULL THEN
        SELECT b.payload_sha256 INTO boot_before_sha256
            FROM meter.block_name b JOIN meter.boot USING (boot)
            WHERE boot.node = p_node AND boot.boot_id = p_before_boot AND b.sequence = p_before_sequence;
    END IF;
    IF cardinality(p_boots) > 0 THEN
        SELECT array_agg(DISTINCT b.boot_id) INTO foreign_boots FROM meter.boot b
            WHERE b.boot_id = ANY (p_boots)
              AND NOT EXISTS (SELECT FROM meter.boot own WHERE own.node = p_node AND own.boot_id = b.boot_id);
    END IF;
    SELECT r.state, b.boot_id, r.sequence, r.window_minutes, meter.blocks_since(r.boot, r.sequence)
        INTO state, state_boot_id, state_sequence, state_window_minutes, since
        FROM meter.node_running r LEFT JOIN meter.boot b USING (boot) WHERE r.node = p_node;
    IF cardinality(p_job_ids) > 0 THEN
        SELECT jsonb_agg(jsonb_build_array(w.place, latest.record)) INTO revisions
            FROM unnest(p_job_ids, p_nodes, p_boot_ids, p_began, p_clusters) WITH ORDINALITY
                 AS w (job_id, node, boot_id, began, cluster, place)
            CROSS JOIN LATERAL (
                SELECT to_jsonb(u) AS record
                FROM meter.usage_name n JOIN meter.usage u USING (job_id, received_unix_usec, node, boot_id, began_unix_usec, revision)
                WHERE n.job_id = w.job_id AND n.node = w.node AND n.boot_id = w.boot_id
                  AND n.began_unix_usec = w.began AND n.cluster IS NOT DISTINCT FROM w.cluster
                  AND u.cluster IS NOT DISTINCT FROM w.cluster
                ORDER BY n.revision DESC LIMIT 1) AS latest;
    END IF;
END $$;
COMMENT ON FUNCTION meter.facts IS 'What the ledger has about a block';

-- What is acknowledged must be on two disks, as far as a session can tell.
CREATE FUNCTION meter.demand_standby() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('synchronous_standby_names') = '' THEN
        RAISE EXCEPTION 'the database has no synchronous standby'
            USING ERRCODE = 'TN001', HINT = 'set synchronous_standby_names, or postgres.standby = "optional"';
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        RAISE EXCEPTION 'synchronous_commit is %, and a commit would not wait for the standby', current_setting('synchronous_commit')
            USING ERRCODE = 'TN001', HINT = 'set synchronous_commit = on, or postgres.standby = "optional"';
    END IF;
END $$;

-- One row of the node's is changed by each acknowledgement: a duplicate's, too. So its commit waits for the standby,
-- and with it whatever the first one's commit may not have waited for. False where the version is not the node's.
CREATE FUNCTION meter.acknowledge(p_node text, p_version bigint, p_received bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meter.node SET version = version + 1, acknowledged_unix_usec = p_received
        WHERE node = p_node AND version = p_version;
    IF FOUND THEN
        RETURN true;
    END IF;
    IF p_version <> 0 THEN
        RETURN false;
    END IF;
    INSERT INTO meter.node (node, version, acknowledged_unix_usec) VALUES (p_node, 1, p_received)
        ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

CREATE FUNCTION meter.write_audit(p_audit jsonb) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO meter.audit_event (at_unix_usec, kind, uid, correlation_id, subject, detail)
    SELECT at_unix_usec, kind, uid, correlation_id, subject, detail
    FROM jsonb_to_recordset(p_audit)
         AS e (at_unix_usec bigint, kind text, uid bigint, correlation_id text, subject text, detail text)
$$;

-- Blocks of different nodes and all that follows from them, in one transaction; for each, whether it was taken. It was
-- not where the facts are no longer those that it was planned on: the node's version, or that a run of it (fresh) has
-- no record yet. A run names its block, a record and a window's row name their run, by their places from 1. What is of
-- each block comes as arrays, which cost a fraction of what JSON does.
-- Each row is looked for by its key: the tables are larger than what the planner knows of them.
CREATE FUNCTION meter.take(
    p_standby boolean, p_nodes text[], p_versions bigint[], p_received bigint[],
    p_boot_ids uuid[], p_sequences bigint[], p_sha256s bytea[], p_payloads bytea[],
    p_previous bytea[], p_signers bytea[], p_closed bigint[], p_correlation_ids text[],
    p_trust boolean[], p_states bytea[], p_state_sequences bigint[], p_window_minutes integer[],
    p_run_blocks integer[], p_run_job_ids bigint[], p_run_nodes text[], p_run_boot_ids uuid[], p_run_began bigint[],
    p_run_clusters text[], p_run_fresh boolean[], p_run_kept boolean[], p_run_gone boolean[],
    p_run_tenants text[], p_run_uids bigint[],
    p_usage_runs integer[], p_usage_revisions bigint[], p_usage_records meter.usage_record[],
    p_window_runs integer[], p_window_revisions bigint[], p_window_numbers bigint[], p_window_begins bigint[],
    p_window_records meter.window_record[],
    p_gaps jsonb, p_tenants jsonb, p_audit jsonb)
RETURNS boolean[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_stale bigint[] := '{}';
    v_taken bigint[];
    -- By the block's place; NULL where it is not taken.
    v_boots integer[];
BEGIN
    IF p_standby THEN
        PERFORM meter.demand_standby();
    END IF;
    IF true = ANY (p_run_fresh) THEN
        SELECT coalesce(array_agg(r.block), '{}') INTO v_stale
            FROM unnest(p_run_blocks, p_run_job_ids, p_run_nodes, p_run_boot_ids, p_run_began, p_run_clusters, p_run_fresh)
                 AS r (block, job_id, node, boot_id, began, cluster, fresh)
            WHERE fresh
              AND EXISTS (SELECT FROM meter.usage_name n
                          WHERE n.job_id = r.job_id AND n.node = r.node AND n.boot_id = r.boot_id
                            AND n.began_unix_usec = r.began AND n.cluster IS NOT DISTINCT FROM r.cluster);
    END IF;
    WITH sent AS (
        SELECT * FROM unnest(p_nodes, p_versions, p_received) WITH ORDINALITY AS b (node, version, received, place)
        WHERE place <> ALL (v_stale)
    ), changed AS (
        UPDATE meter.node n SET version = n.version + 1, acknowledged_unix_usec = sent.received
            FROM sent WHERE n.node = sent.node AND n.version = sent.version
            RETURNING sent.place
    ), made AS (
        INSERT INTO meter.node (node, version, acknowledged_unix_usec)
            SELECT node, 1, received FROM sent WHERE version = 0
            ON CONFLICT DO NOTHING RETURNING node
    )
    SELECT array_agg(place) INTO v_taken
        FROM (SELECT place FROM changed UNION ALL SELECT place FROM sent JOIN made USING (node)) AS all_of_them;
    IF v_taken IS NULL THEN
        RETURN array_fill(false, ARRAY[cardinality(p_nodes)]);
    END IF;
    IF true = ANY (p_trust) THEN
        INSERT INTO meter.node_key (node, public_key, trusted_unix_usec)
            SELECT node, signer, received
            FROM unnest(p_nodes, p_signers, p_received, p_trust) WITH ORDINALITY AS b (node, signer, received, trust, place)
            WHERE trust AND place = ANY (v_taken);
    END IF;
    IF EXISTS (SELECT FROM unnest(p_nodes, p_signers) WITH ORDINALITY AS b (node, signer, place)
               WHERE place = ANY (v_taken)
                 AND NOT EXISTS (SELECT FROM meter.node_key k WHERE k.node = b.node AND k.public_key = b.signer)) THEN
        RAISE EXCEPTION 'a node is not trusted with the key of its block' USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOR v_round IN 1 .. 2 LOOP
        SELECT array_agg(CASE WHEN place = ANY (v_taken) THEN boot.boot END ORDER BY place) INTO v_boots
            FROM unnest(p_nodes, p_boot_ids) WITH ORDINALITY AS b (node, boot_id, place)
                 LEFT JOIN meter.boot ON boot.node = b.node AND boot.boot_id = b.boot_id;
        EXIT WHEN cardinality(v_taken) = cardinality(array_remove(v_boots, NULL));
        INSERT INTO meter.boot (node, boot_id, received_unix_usec)
            SELECT node, boot_id, received
            FROM unnest(p_nodes, p_boot_ids, p_received) WITH ORDINALITY AS b (node, boot_id, received, place)
            WHERE place = ANY (v_taken) AND v_boots[place] IS NULL;
    END LOOP;
    INSERT INTO meter.block_name (boot, sequence, received_unix_usec, closed_unix_usec, payload_sha256)
        SELECT v_boots[place], sequence, received, closed, sha256
        FROM unnest(p_sequences, p_received, p_closed, p_sha256s) WITH ORDINALITY AS b (sequence, received, closed, sha256, place)
        WHERE v_boots[place] IS NOT NULL;
    INSERT INTO meter.block (boot, sequence, received_unix_usec, correlation_id, previous_sha256, signer, payload)
        SELECT v_boots[place], sequence, received, correlation_id, previous, signer, payload
        FROM unnest(p_sequences, p_received, p_correlation_ids, p_previous, p_signers, p_payloads) WITH ORDINALITY
             AS b (sequence, received, correlation_id, previous, signer, payload, place)
        WHERE v_boots[place] IS NOT NULL;
    IF cardinality(array_remove(p_states, NULL)) > 0 THEN
        INSERT INTO meter.node_running (node, state, boot, sequence, window_minutes)
            SELECT node, state, v_boots[place], sequence, minutes
            FROM unnest(p_nodes, p_states, p_state_sequences, p_window_minutes) WITH ORDINALITY
                 AS b (node, state, sequence, minutes, place)
            WHERE v_boots[place] IS NOT NULL AND state IS NOT NULL
            ON CONFLICT (node) DO UPDATE
                SET state = excluded.state, boot = excluded.boot, sequence = excluded.sequence,
                    window_minutes = excluded.window_minutes;
    END IF;
    IF true = ANY (p_run_gone) THEN
        DELETE FROM meter.running_job j
            USING unnest(p_run_blocks, p_run_job_ids, p_run_nodes, p_run_boot_ids, p_run_began, p_run_clusters, p_run_gone)
                  AS r (block, job_id, node, boot_id, began, cluster, gone)
            WHERE gone AND v_boots[r.block] IS NOT NULL AND j.job_id = r.job_id AND j.node = r.node AND j.boot_id = r.boot_id
              AND j.began_unix_usec = r.began AND j.cluster IS NOT DISTINCT FROM r.cluster;
    END IF;
    IF true = ANY (p_run_kept) THEN
        INSERT INTO meter.running_job (job_id, node, boot_id, began_unix_usec, cluster, daemon_node, tenant, uid)
            SELECT job_id, node, boot_id, began, cluster, p_nodes[block], tenant, uid
            FROM unnest(p_run_blocks, p_run_job_ids, p_run_nodes, p_run_boot_ids, p_run_began, p_run_clusters, p_run_kept,
                        p_run_tenants, p_run_uids)
                 AS r (block, job_id, node, boot_id, began, cluster, kept, tenant, uid)
            WHERE kept AND v_boots[block] IS NOT NULL
            ON CONFLICT (job_id, node, boot_id, began_unix_usec, cluster)
                DO UPDATE SET daemon_node = excluded.daemon_node, tenant = excluded.tenant, uid = excluded.uid;
    END IF;
    IF cardinality(p_usage_runs) > 0 THEN
        INSERT INTO meter.usage_name (job_id, node, boot_id, began_unix_usec, cluster, revision, received_unix_usec)
            SELECT p_run_job_ids[run], p_run_nodes[run], p_run_boot_ids[run], p_run_began[run], p_run_clusters[run],
                   revision, p_received[p_run_blocks[run]]
            FROM unnest(p_usage_runs, p_usage_revisions) AS u (run, revision)
            WHERE v_boots[p_run_blocks[run]] IS NOT NULL;
        -- Column by column in the table's order. Arrays that are unnested beside each other in a SELECT go on in step, and leave a
        -- record whole.
        INSERT INTO meter.usage
            SELECT p_run_job_ids[run], p_run_began[run], revision, p_received[p_run_blocks[run]], p_sequences[p_run_blocks[run]],
                   (record).*, v_boots[p_run_blocks[run]], p_run_nodes[run], p_run_boot_ids[run], p_run_clusters[run]
            FROM (SELECT unnest(p_usage_runs) AS run, unnest(p_usage_revisions) AS revision, unnest(p_usage_records) AS record) AS ended
            WHERE v_boots[p_run_blocks[run]] IS NOT NULL;
    END IF;
    IF cardinality(p_window_runs) > 0 THEN
        INSERT INTO meter.usage_window
            SELECT nextval('meter.usage_window_id'), p_run_job_ids[run], p_run_began[run], revision, number, begins,
                   p_received[p_run_blocks[run]], p_sequences[p_run_blocks[run]],
                   (record).*, v_boots[p_run_blocks[run]], p_run_nodes[run], p_run_boot_ids[run], p_run_clusters[run]
            FROM (SELECT unnest(p_window_runs) AS run, unnest(p_window_revisions) AS revision, unnest(p_window_numbers) AS number,
                         unnest(p_window_begins) AS begins, unnest(p_window_records) AS record) AS due
            WHERE v_boots[p_run_blocks[run]] IS NOT NULL;
    END IF;
    IF p_gaps IS NOT NULL THEN
        INSERT INTO meter.gap (node, boot_id, reason, from_unix_usec, to_unix_usec, from_boottime_usec, to_boottime_usec,
                               first_sequence, last_sequence, block_boot, block_sequence)
            SELECT p_nodes[block], boot_id, reason, from_unix_usec, to_unix_usec, from_boottime_usec, to_boottime_usec,
                   first_sequence, last_sequence, v_boots[block], p_sequences[block]
            FROM jsonb_to_recordset(p_gaps)
                 AS g (block bigint, boot_id uuid, reason text, from_unix_usec bigint, to_unix_usec bigint, from_boottime_usec bigint,
                       to_boottime_usec bigint, first_sequence bigint, last_sequence bigint)
            WHERE v_boots[block] IS NOT NULL;
    END IF;
    IF p_tenants IS NOT NULL THEN
        INSERT INTO meter.tenant_counter AS kept (node, boot_id, tenant, boottime_usec, read_unix_usec, cpu_usage_usec)
            SELECT DISTINCT ON (node, p_boot_ids[block], tenant) node, p_boot_ids[block], tenant, boottime_usec, read_unix_usec, cpu_usage_usec
            FROM jsonb_to_recordset(p_tenants)
                 AS t (block bigint, node text, tenant text, boottime_usec bigint, read_unix_usec bigint, cpu_usage_usec bigint)
            WHERE v_boots[block] IS NOT NULL
            ORDER BY node, p_boot_ids[block], tenant, boottime_usec DESC
            ON CONFLICT (node, boot_id, tenant) DO UPDATE
                SET boottime_usec = excluded.boottime_usec, read_unix_usec = excluded.read_unix_usec,
                    cpu_usage_usec = excluded.cpu_usage_usec
                WHERE excluded.boottime_usec > kept.boottime_usec;
    END IF;
    IF p_audit IS NOT NULL THEN
        INSERT INTO meter.audit_event (at_unix_usec, kind, uid, correlation_id, subject, detail)
            SELECT at_unix_usec, kind, uid, correlation_id, subject, detail
            FROM jsonb_to_recordset(p_audit)
                 AS e (block bigint, at_unix_usec bigint, kind text, uid bigint, correlation_id text, subject text, detail text)
            WHERE v_boots[block] IS NOT NULL;
    END IF;
    RETURN (SELECT array_agg(v_boots[place] IS NOT NULL ORDER BY place) FROM generate_subscripts(p_nodes, 1) AS place);
END $$;
COMMENT ON FUNCTION meter.take IS 'Takes blocks and all that follows from them';

-- A block that changes nothing: the same again, another one under a name that is taken, one by a strange key.
CREATE FUNCTION meter.answer(
    p_standby boolean, p_node text, p_version bigint, p_received bigint, p_audit jsonb)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_standby THEN
        PERFORM meter.demand_standby();
    END IF;
    IF NOT meter.acknowledge(p_node, p_version, p_received) THEN
        RETURN false;
    END IF;
    IF p_audit IS NOT NULL THEN
        PERFORM meter.write_audit(p_audit);
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION meter.answer IS 'Acknowledges a block that changes nothing but the audit';

CREATE FUNCTION meter.audit(p_audit jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT meter.write_audit(p_audit)
$$;
COMMENT ON FUNCTION meter.audit IS 'Writes down what a person should look at';

CREATE FUNCTION meter.trust_key(p_node text, p_key bytea, p_now bigint, p_audit jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO meter.node_key (node, public_key, trusted_unix_usec) VALUES (p_node, p_key, p_now)
        ON CONFLICT DO NOTHING;
    -- What was planned before is planned again.
    UPDATE meter.node SET version = version + 1 WHERE node = p_node;
    PERFORM meter.write_audit(p_audit);
END $$;
COMMENT ON FUNCTION meter.trust_key IS 'Trusts a node with a key beside those it has';

-- Partitions for p_days from the UTC day of p_from on, of block and of usage; how many were made.
CREATE FUNCTION meter.make_partitions(p_from bigint, p_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' SET client_min_messages = 'warning' AS $$
DECLARE
    v_day bigint := p_from - p_from % 86400000000;
    v_made integer := 0;
    v_table text;
    v_name text;
BEGIN
    IF p_days NOT BETWEEN 1 AND 400 THEN
        RAISE EXCEPTION 'partitions are made for 1 to 400 days, not for %', p_days USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM set_config('tenantry.migration', 'on', true);
    FOR v_i IN 1 .. p_days LOOP
        FOREACH v_table IN ARRAY ARRAY['block', 'usage', 'usage_window'] LOOP
            v_name := v_table || to_char(to_timestamp(v_day / 1000000) AT TIME ZONE 'UTC', '_YYYYMMDD');
            IF to_regclass('meter.' || v_name) IS NULL
               AND NOT EXISTS (SELECT FROM meter.block_default WHERE v_table = 'block'
                               AND received_unix_usec >= v_day AND received_unix_usec < v_day + 86400000000)
               AND NOT EXISTS (SELECT FROM meter.usage_default WHERE v_table = 'usage'
                               AND received_unix_usec >= v_day AND received_unix_usec < v_day + 86400000000)
               AND NOT EXISTS (SELECT FROM meter.usage_window_default WHERE v_table = 'usage_window'
                               AND received_unix_usec >= v_day AND received_unix_usec < v_day + 86400000000)
            THEN
                EXECUTE format('CREATE TABLE meter.%I PARTITION OF meter.%I FOR VALUES FROM (%s) TO (%s)',
                               v_name, v_table, v_day, v_day + 86400000000);
                EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON meter.%I FOR EACH STATEMENT EXECUTE FUNCTION meter.refuse_change()',
                               v_name || '_is_not_emptied', v_name);
                v_made := v_made + 1;
            END IF;
        END LOOP;
        v_day := v_day + 86400000000;
    END LOOP;
    PERFORM set_config('tenantry.migration', 'off', true);
    RETURN v_made;
END $$;
COMMENT ON FUNCTION meter.make_partitions IS 'Makes days'' partitions ahead';

-- What a program asks before it goes on.
CREATE FUNCTION meter.schema_version() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT max(version) FROM meter._sqlx_migrations WHERE success
$$;
COMMENT ON FUNCTION meter.schema_version IS 'The last migration';

-- A warning, so that a client can prove that it hears warnings: a commit whose wait for the standby is cancelled
-- succeeds with no more than one.
CREATE FUNCTION meter.warn(p_text text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE WARNING '%', p_text;
END $$;
COMMENT ON FUNCTION meter.warn IS 'Says a warning';

-- Out of it -----------------------------------------------------------------------------------------------

CREATE VIEW billing.block AS
    SELECT boot.node, boot.boot_id, name.sequence, name.payload_sha256, name.received_unix_usec, name.closed_unix_usec,
           block.correlation_id, block.previous_sha256, block.signer, block.payload
    FROM meter.block_name name JOIN meter.boot USING (boot)
         LEFT JOIN meter.block ON block.boot = name.boot AND block.sequence = name.sequence
                              AND block.received_unix_usec = name.received_unix_usec;
COMMENT ON VIEW billing.block IS 'What nodes sent';

CREATE VIEW billing.usage_revision AS SELECT * FROM meter.usage;
COMMENT ON VIEW billing.usage_revision IS 'Ended runs, every revision; names end with the unit, NULL where nothing was measured';

CREATE VIEW billing.usage AS
    SELECT latest.* FROM billing.usage_revision latest
    WHERE NOT EXISTS (
        SELECT FROM meter.usage_name later
        WHERE later.job_id = latest.job_id AND later.node = latest.node AND later.boot_id = latest.boot_id
          AND later.began_unix_usec = latest.began_unix_usec AND later.cluster IS NOT DISTINCT FROM latest.cluster
          AND later.revision > latest.revision);
COMMENT ON VIEW billing.usage IS 'Ended runs by their latest revision; names end with the unit, NULL where nothing was measured';

CREATE VIEW billing.usage_window AS SELECT * FROM meter.usage_window;
COMMENT ON VIEW billing.usage_window IS 'Usage by windows of time; names end with the unit, NULL where nothing was measured';

-- Made of the rows each time it is asked, and nothing of its own.
CREATE VIEW billing.usage_by_tenant_and_day AS
    SELECT tenant, (to_timestamp(window_unix_usec / 1000000) AT TIME ZONE 'UTC')::date AS day, count(*) AS windows,
           sum(elapsed_usec) AS elapsed_usec, sum(cpu_usage_usec) AS cpu_usage_usec,
           sum(memory_byte_seconds) AS memory_byte_seconds,
           sum(io_read_bytes) AS io_read_bytes, sum(io_write_bytes) AS io_write_bytes,
           sum(network_receive_bytes) AS network_receive_bytes, sum(network_transmit_bytes) AS network_transmit_bytes,
           sum(allocated_cpu_usec) AS allocated_cpu_usec,
           sum(allocated_memory_byte_seconds) AS allocated_memory_byte_seconds
    FROM billing.usage_window GROUP BY tenant, day;
COMMENT ON VIEW billing.usage_by_tenant_and_day IS 'Sums of windows'' rows, per tenant and UTC day';

CREATE VIEW billing.running_job AS SELECT * FROM meter.running_job;
COMMENT ON VIEW billing.running_job IS 'Running jobs, and which node''s state has their figures';
CREATE VIEW billing.node_running AS
    SELECT running.node, running.state, running.window_minutes,
           (SELECT array_agg(block.payload ORDER BY name.sequence)
            FROM meter.block_name name
                 JOIN meter.block ON block.boot = name.boot AND block.sequence = name.sequence
                                 AND block.received_unix_usec = name.received_unix_usec
            WHERE name.boot = running.boot AND name.sequence > running.sequence) AS since
    FROM meter.node_running running;
COMMENT ON VIEW billing.node_running IS 'The nodes'' states: MessagePack, by zlib; and the blocks that came since';

CREATE VIEW billing.tenant_counter AS SELECT * FROM meter.tenant_counter;
COMMENT ON VIEW billing.tenant_counter IS 'The tenants'' own groups, the latest reading of each boot';

CREATE VIEW billing.gap AS
    SELECT gap.* FROM meter.gap
    WHERE first_sequence IS NULL OR (
        SELECT count(*) FROM meter.block_name name JOIN meter.boot USING (boot)
        WHERE boot.node = gap.node AND boot.boot_id = gap.boot_id
          AND name.sequence BETWEEN gap.first_sequence AND gap.last_sequence)
        <= gap.last_sequence - gap.first_sequence;
COMMENT ON VIEW billing.gap IS 'What is missing of the nodes'' records; blocks that came late after all are not';

CREATE VIEW billing.audit_event AS SELECT * FROM meter.audit_event;
COMMENT ON VIEW billing.audit_event IS 'What a person should look at';

-- A tenant's login sees its tenant's rows whatever it asks: conditions of its own are looked at after this one.
CREATE VIEW billing.my_usage WITH (security_barrier) AS
    SELECT usage.cluster, usage.node, usage.job_id, usage.restart_count, usage.tenant, usage.account, usage.partition, usage.uid,
           usage.user_name, usage.quality, usage.began_unix_usec, usage.ended_unix_usec, usage.elapsed_usec, usage.cpu_usage_usec,
           usage.cpu_user_usec, usage.cpu_system_usec, usage.steps_cpu_usec, usage.slurm_overhead_usec, usage.memory_peak_bytes,
           usage.memory_mib_seconds, usage.memory_mib_seconds_bound, usage.interpolated_usec, usage.unmeasured_usec,
           usage.memory_oom_kills, usage.pids_peak, usage.io_read_bytes, usage.io_write_bytes, usage.network_receive_bytes,
           usage.network_transmit_bytes, usage.allocated_cpus, usage.allocated_cpu_usec, usage.allocated_memory_bytes,
           usage.allocated_memory_mib_seconds, usage.cpu_energy_mj, usage.gpu_energy_mj, usage.gpu_energy_known_usec,
           usage.gpu_busy_usec, usage.gpu_busy_known_usec, usage.gpu_memory_peak_bytes, usage.allocated_gpus,
           usage.allocated_gpu_usec
    FROM billing.usage
    JOIN meter.tenant_login login
      ON login.role = session_user
     AND (usage.tenant = login.tenant OR starts_with(usage.tenant, login.tenant || '/'));
COMMENT ON VIEW billing.my_usage IS 'Ended runs of the tenant that the login is mapped to, and of those in it; names end with the unit';

-- A view's column is commented as the table's that it shows, or by its unit; and so is a record's in its table.
DO $$
DECLARE
    col record;
BEGIN
    FOR col IN
        SELECT c.table_schema, c.table_name, c.column_name,
               coalesce(CASE WHEN c.column_name = 'uid' AND c.table_name <> 'audit_event' THEN 'The job''s owner' END,
                        CASE WHEN c.column_name = 'cpu_usage_usec' THEN 'CPU time, in microseconds; NULL where it was not measured' END,
                        (SELECT min(col_description(format('meter.%I', t.table_name)::regclass, t.ordinal_position::integer))
                         FROM information_schema.columns t
                         WHERE t.table_schema = 'meter' AND t.column_name = c.column_name
                           AND t.table_name IN ('usage', 'usage_window', 'block', 'block_name', 'boot', 'gap', 'audit_event', 'running_job',
                                                'node_running', 'tenant_counter')),
                        CASE WHEN c.column_name = 'ended_unix_usec' THEN 'When its epilog had read the counters, by the node''s clock, in microseconds since 1970'
                             WHEN c.column_name = 'window_to_unix_usec' THEN 'Where the window ends, in microseconds since 1970'
                             WHEN c.column_name ~ '_byte_seconds$' THEN 'In bytes x seconds; NULL where it was not measured'
                             WHEN c.column_name ~ '_mib_seconds' THEN 'In MiB x seconds; NULL where it was not measured'
                             WHEN c.column_name ~ '_usec$' THEN 'In microseconds; NULL where it was not measured'
                             WHEN c.column_name ~ '_bytes$' THEN 'In bytes; NULL where it was not measured'
                             WHEN c.column_name ~ '_mj$' THEN 'In millijoules; NULL where it was not measured'
                             WHEN c.column_name ~ '_sequence$' THEN 'The first, or the last, of the run''s boot''s blocks that the figures came from'
                             WHEN c.column_name = 'memory_oom_kills' THEN 'How often the kernel ended a process of it for want of memory'
                             WHEN c.column_name = 'pids_peak' THEN 'The most processes and threads at once'
                             WHEN c.column_name = 'restart_count' THEN 'Slurm''s count of the job''s restarts'
                             WHEN c.column_name = 'allocated_gpus' THEN 'GPUs and MIG devices that Slurm allocated on the node'
                             WHEN c.column_name = 'allocated_cpus' THEN 'CPUs that Slurm allocated on the node'
                             WHEN c.column_name = 'quality' THEN 'exact, interpolated, estimated, gap'
                             WHEN c.column_name = 'correction' THEN 'Whether the row is a difference to earlier ones'
                             WHEN c.column_name = 'since' THEN 'The blocks that are to be added to the state, in their order'
                             WHEN c.column_name = 'day' THEN 'In UTC'
                             WHEN c.column_name = 'windows' THEN 'How many rows'
                             WHEN c.column_name = 'user_name' THEN 'The owner''s name'
                             ELSE 'Slurm''s ' || c.column_name END) AS text
        FROM information_schema.columns c
        WHERE c.table_schema = 'billing'
           OR c.table_schema = 'meter' AND c.table_name IN ('usage', 'usage_window')
              AND col_description(format('meter.%I', c.table_name)::regclass, c.ordinal_position::integer) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I.%I IS %L', col.table_schema, col.table_name, col.column_name, col.text);
    END LOOP;
END $$;

-- Rights --------------------------------------------------------------------------------------------------

REVOKE ALL ON ALL TABLES IN SCHEMA meter, billing FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA meter FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA meter REVOKE ALL ON TABLES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

GRANT EXECUTE ON FUNCTION meter.facts, meter.take, meter.answer, meter.audit, meter.trust_key, meter.make_partitions,
    meter.schema_version, meter.warn TO meter_writer;
GRANT EXECUTE ON FUNCTION meter.schema_version TO billing_reader;
GRANT SELECT ON billing.block, billing.usage_revision, billing.usage, billing.running_job, billing.node_running,
    billing.usage_window, billing.usage_by_tenant_and_day, billing.tenant_counter, billing.gap, billing.audit_event TO billing_reader;
GRANT SELECT ON billing.my_usage TO meter_tenant;
