//! The tables that are moved, column by column, and what a row of each is on both sides.

/// A table.
pub(super) struct Part {
    pub table: &'static str,
    /// Its rows after an id, in their order: the id, and the row as JSON.
    pub from: &'static str,
    /// What is done with a JSON array of them.
    pub into: &'static [&'static str],
    /// The same rows as one line of text each.
    pub row_of_file: &'static str,
    /// And the database's.
    pub row_of_database: &'static str,
}

/// Each after those that it needs.
pub(super) const PARTS: [Part; 7] = [
    Part {
        table: "node_key",
        from: "SELECT rowid, json_object('node', node, 'key', hex(public_key), 'at', trusted_unix_usec) \
               FROM node_key WHERE rowid > ? ORDER BY rowid LIMIT ?",
        into: &["INSERT INTO meter.node_key (node, public_key, trusted_unix_usec) \
                 SELECT node, decode(key, 'hex'), at FROM jsonb_to_recordset($1::jsonb) AS r (node text, key text, at bigint)"],
        row_of_file: "SELECT rowid, node || '|' || hex(public_key) || '|' || trusted_unix_usec \
                      FROM node_key WHERE rowid > ? ORDER BY rowid LIMIT ?",
        row_of_database: "SELECT node || '|' || upper(encode(public_key, 'hex')) || '|' || trusted_unix_usec FROM meter.node_key",
    },
    Part {
        table: "block",
        from: "SELECT id, json_object('node', node, 'boot_id', boot_id, 'sequence', sequence, 'sha256', hex(payload_sha256), \
                   'payload', CASE WHEN payload IS NOT NULL THEN hex(payload) END, 'received', received_unix_usec, \
                   'correlation_id', correlation_id, \
                   'previous', CASE WHEN previous_sha256 IS NOT NULL THEN hex(previous_sha256) END, \
                   'signer', CASE WHEN signer IS NOT NULL THEN hex(signer) END, 'closed', closed_unix_usec) \
               FROM block WHERE id > ? ORDER BY id LIMIT ?",
        into: &[
            "INSERT INTO meter.boot (node, boot_id, received_unix_usec) \
             SELECT node, boot_id, min(received) FROM jsonb_to_recordset($1::jsonb) AS r (node text, boot_id uuid, received bigint) \
             GROUP BY node, boot_id ON CONFLICT DO NOTHING",
            "INSERT INTO meter.node (node, version, acknowledged_unix_usec) \
             SELECT node, 1, max(received) FROM jsonb_to_recordset($1::jsonb) AS r (node text, received bigint) \
             GROUP BY node ON CONFLICT (node) DO UPDATE SET acknowledged_unix_usec = excluded.acknowledged_unix_usec",
            "INSERT INTO meter.block_name (boot, sequence, received_unix_usec, closed_unix_usec, payload_sha256) \
             SELECT boot, sequence, received, closed, decode(sha256, 'hex') \
             FROM jsonb_to_recordset($1::jsonb) AS r (node text, boot_id uuid, sequence bigint, received bigint, closed bigint, sha256 text) \
             JOIN meter.boot USING (node, boot_id)",
            "INSERT INTO meter.block (boot, sequence, received_unix_usec, correlation_id, previous_sha256, signer, payload) \
             SELECT boot, sequence, received, correlation_id, decode(previous, 'hex'), decode(signer, 'hex'), decode(payload, 'hex') \
             FROM jsonb_to_recordset($1::jsonb) \
                  AS r (node text, boot_id uuid, sequence bigint, received bigint, correlation_id text, previous text, signer text, payload text) \
             JOIN meter.boot USING (node, boot_id)",
        ],
        row_of_file: "SELECT id, node || '|' || boot_id || '|' || sequence || '|' || hex(payload_sha256) || '|' || \
                          coalesce(hex(payload), '') || '|' || received_unix_usec || '|' || correlation_id || '|' || \
                          coalesce(hex(previous_sha256), '') || '|' || coalesce(hex(signer), '') || '|' || coalesce(closed_unix_usec, '') \
                      FROM block WHERE id > ? ORDER BY id LIMIT ?",
        row_of_database: "SELECT node || '|' || boot_id || '|' || sequence || '|' || upper(encode(payload_sha256, 'hex')) || '|' || \
                              coalesce(upper(encode(payload, 'hex')), '') || '|' || received_unix_usec || '|' || correlation_id || '|' || \
                              coalesce(upper(encode(previous_sha256, 'hex')), '') || '|' || coalesce(upper(encode(signer, 'hex')), '') || '|' || \
                              coalesce(closed_unix_usec::text, '') FROM billing.block",
    },
    Part {
        table: "usage",
        from: "SELECT usage.id, json_object('job_id', job_id, 'node', usage.node, 'boot_id', usage.boot_id, 'began', began_unix_usec, \
                   'cluster', cluster, 'revision', revision, 'received', block.received_unix_usec, 'of_node', block.node, \
                   'of_boot', block.boot_id, 'of_sequence', block.sequence, 'record', json(record)) \
               FROM usage JOIN block ON block.id = usage.block WHERE usage.id > ? ORDER BY usage.id LIMIT ?",
        into: &[
            "INSERT INTO meter.usage_name (job_id, node, boot_id, began_unix_usec, cluster, revision, received_unix_usec) \
             SELECT job_id, node, boot_id, began, cluster, revision, received FROM jsonb_to_recordset($1::jsonb) \
                 AS r (job_id bigint, node text, boot_id uuid, began bigint, cluster text, revision bigint, received bigint)",
            "INSERT INTO meter.usage \
             SELECT job_id, began, r.revision, received, of_sequence, columns.*, boot.boot, r.node, r.boot_id, cluster \
             FROM jsonb_to_recordset($1::jsonb) \
                      AS r (job_id bigint, node text, boot_id uuid, began bigint, cluster text, revision bigint, received bigint, \
                            of_node text, of_boot uuid, of_sequence bigint, record jsonb) \
                  JOIN meter.boot ON boot.node = of_node AND boot.boot_id = of_boot, \
                  jsonb_populate_record(NULL::meter.usage_record, record || jsonb_build_object('user_name', record -> 'user', \
                      'ended_unix_usec', (extract(epoch FROM (record ->> 'ended')::timestamptz) * 1000000)::bigint)) AS columns",
        ],
        row_of_file: "SELECT usage.id, job_id || '|' || usage.node || '|' || usage.boot_id || '|' || began_unix_usec || '|' || \
                          coalesce(cluster, '') || '|' || revision || '|' || block.node || '|' || block.boot_id || '|' || block.sequence || '|' || \
                          (SELECT group_concat(name || '=' || value, '|') \
                           FROM (SELECT CASE key WHEN 'user' THEN 'user_name' WHEN 'ended' THEN 'ended_unix_usec' ELSE key END AS name, \
                                        CASE key WHEN 'ended' THEN strftime('%s', substr(value, 1, 19)) || substr(value, 21, 6) ELSE value END AS value \
                                 FROM json_each(record) WHERE type <> 'null' AND key NOT IN ('cluster', 'job_id', 'node', 'began', 'state') \
                                 ORDER BY name)) \
                      FROM usage JOIN block ON block.id = usage.block WHERE usage.id > ? ORDER BY usage.id LIMIT ?",
        row_of_database: "SELECT job_id || '|' || usage.node || '|' || usage.boot_id || '|' || began_unix_usec || '|' || \
                              coalesce(cluster, '') || '|' || revision || '|' || boot.node || '|' || boot.boot_id || '|' || block_sequence || '|' || \
                              (SELECT string_agg(key || '=' || value, '|' ORDER BY key COLLATE \"C\") \
                               FROM jsonb_each_text(to_jsonb(usage) - ARRAY['job_id', 'began_unix_usec', 'revision', 'received_unix_usec', \
                                   'block_sequence', 'block_boot', 'node', 'boot_id', 'cluster']) WHERE value IS NOT NULL) \
                          FROM meter.usage JOIN meter.boot ON boot.boot = block_boot",
    },
    Part {
        table: "usage_window",
        from: "SELECT usage_window.id, json_object('id', usage_window.id, 'job_id', job_id, 'node', usage_window.node, \
                   'boot_id', usage_window.boot_id, 'began', began_unix_usec, 'cluster', cluster, 'revision', revision, 'number', number, \
                   'begins', window_unix_usec, 'received', block.received_unix_usec, 'of_node', block.node, 'of_boot', block.boot_id, \
                   'of_sequence', block.sequence, 'record', json(record)) \
               FROM usage_window JOIN block ON block.id = usage_window.block WHERE usage_window.id > ? ORDER BY usage_window.id LIMIT ?",
        into: &["INSERT INTO meter.usage_window \
             SELECT nextval('meter.usage_window_id'), due.* \
             FROM (SELECT job_id, began, r.revision, number, begins, received, of_sequence, columns.*, boot.boot, r.node, r.boot_id, cluster \
                   FROM jsonb_to_recordset($1::jsonb) \
                            AS r (id bigint, job_id bigint, node text, boot_id uuid, began bigint, cluster text, revision bigint, number bigint, \
                                  begins bigint, received bigint, of_node text, of_boot uuid, of_sequence bigint, record jsonb) \
                        JOIN meter.boot ON boot.node = of_node AND boot.boot_id = of_boot, \
                        jsonb_populate_record(NULL::meter.window_record, record || jsonb_build_object('user_name', record -> 'user', \
                            'window_to_unix_usec', (extract(epoch FROM (record ->> 'window_to')::timestamptz) * 1000000)::bigint)) AS columns \
                   ORDER BY r.id) AS due"],
        row_of_file: "SELECT usage_window.id, job_id || '|' || usage_window.node || '|' || usage_window.boot_id || '|' || began_unix_usec || '|' || \
                          coalesce(cluster, '') || '|' || revision || '|' || number || '|' || window_unix_usec || '|' || \
                          block.node || '|' || block.boot_id || '|' || block.sequence || '|' || \
                          (SELECT group_concat(name || '=' || value, '|') \
                           FROM (SELECT CASE key WHEN 'user' THEN 'user_name' WHEN 'window_to' THEN 'window_to_unix_usec' ELSE key END AS name, \
                                        CASE WHEN key = 'window_to' THEN strftime('%s', substr(value, 1, 19)) || substr(value, 21, 6) \
                                             WHEN type IN ('true', 'false') THEN type ELSE value END AS value \
                                 FROM json_each(record) \
                                 WHERE type <> 'null' AND key NOT IN ('cluster', 'job_id', 'node', 'began', 'state', 'window_from') \
                                 ORDER BY name)) \
                      FROM usage_window JOIN block ON block.id = usage_window.block \
                      WHERE usage_window.id > ? ORDER BY usage_window.id LIMIT ?",
        row_of_database: "SELECT job_id || '|' || usage_window.node || '|' || usage_window.boot_id || '|' || began_unix_usec || '|' || \
                              coalesce(cluster, '') || '|' || revision || '|' || number || '|' || window_unix_usec || '|' || \
                              boot.node || '|' || boot.boot_id || '|' || block_sequence || '|' || \
                              (SELECT string_agg(key || '=' || value, '|' ORDER BY key COLLATE \"C\") \
                               FROM jsonb_each_text(to_jsonb(usage_window) - ARRAY['id', 'job_id', 'began_unix_usec', 'revision', 'number', \
                                   'window_unix_usec', 'received_unix_usec', 'block_sequence', 'block_boot', 'node', 'boot_id', 'cluster']) \
                               WHERE value IS NOT NULL) \
                          FROM meter.usage_window JOIN meter.boot ON boot.boot = block_boot",
    },
    Part {
        table: "gap",
        from: "SELECT gap.id, json_object('node', gap.node, 'boot_id', gap.boot_id, 'reason', reason, 'from_wall', from_unix_usec, \
                   'to_wall', to_unix_usec, 'from_boottime', from_boottime_usec, 'to_boottime', to_boottime_usec, 'first', first_sequence, \
                   'last', last_sequence, 'of_node', block.node, 'of_boot', block.boot_id, 'of_sequence', block.sequence) \
               FROM gap JOIN block ON block.id = gap.block WHERE gap.id > ? ORDER BY gap.id LIMIT ?",
        into: &[
            "INSERT INTO meter.gap (node, boot_id, reason, from_unix_usec, to_unix_usec, from_boottime_usec, to_boottime_usec, \
                     first_sequence, last_sequence, block_boot, block_sequence) \
                 SELECT r.node, r.boot_id, reason, from_wall, to_wall, from_boottime, to_boottime, first, last, boot.boot, of_sequence \
                 FROM jsonb_to_recordset($1::jsonb) \
                     AS r (node text, boot_id uuid, reason text, from_wall bigint, to_wall bigint, from_boottime bigint, to_boottime bigint, \
                           first bigint, last bigint, of_node text, of_boot uuid, of_sequence bigint) \
                 JOIN meter.boot ON boot.node = of_node AND boot.boot_id = of_boot",
        ],
        row_of_file: "SELECT id, node || '|' || boot_id || '|' || reason || '|' || coalesce(from_unix_usec, '') || '|' || to_unix_usec || '|' || \
                          coalesce(first_sequence, '') || '|' || coalesce(last_sequence, '') FROM gap WHERE id > ? ORDER BY id LIMIT ?",
        row_of_database: "SELECT node || '|' || boot_id || '|' || reason || '|' || coalesce(from_unix_usec::text, '') || '|' || to_unix_usec || '|' || \
                              coalesce(first_sequence::text, '') || '|' || coalesce(last_sequence::text, '') FROM meter.gap",
    },
    Part {
        table: "audit_event",
        from: "SELECT id, json_object('at_unix_usec', at_unix_usec, 'kind', kind, 'uid', uid, 'correlation_id', correlation_id, \
                   'subject', replace(subject, char(0), char(9216)), 'detail', replace(detail, char(0), char(9216))) \
               FROM audit_event WHERE id > ? ORDER BY id LIMIT ?",
        into: &["SELECT meter.write_audit($1::jsonb)"],
        row_of_file: "SELECT id, at_unix_usec || '|' || kind || '|' || coalesce(uid, '') || '|' || correlation_id || '|' || \
                          replace(subject, char(0), char(9216)) || '|' || replace(detail, char(0), char(9216)) \
                      FROM audit_event WHERE id > ? ORDER BY id LIMIT ?",
        row_of_database: "SELECT at_unix_usec || '|' || kind || '|' || coalesce(uid::text, '') || '|' || correlation_id || '|' || subject || '|' || detail \
                          FROM meter.audit_event",
    },
    Part {
        table: "tenant_counter",
        from: "SELECT rowid, json_object('node', node, 'boot_id', boot_id, 'tenant', tenant, 'boottime', boottime_usec, \
                   'wall', read_unix_usec, 'cpu', cpu_usage_usec) FROM tenant_counter WHERE rowid > ? ORDER BY rowid LIMIT ?",
        into: &[
            "INSERT INTO meter.tenant_counter (node, boot_id, tenant, boottime_usec, read_unix_usec, cpu_usage_usec) \
                 SELECT node, boot_id, tenant, boottime, wall, cpu FROM jsonb_to_recordset($1::jsonb) \
                     AS r (node text, boot_id uuid, tenant text, boottime bigint, wall bigint, cpu bigint)",
        ],
        row_of_file: "SELECT rowid, node || '|' || boot_id || '|' || tenant || '|' || boottime_usec || '|' || coalesce(cpu_usage_usec, '') \
                      FROM tenant_counter WHERE rowid > ? ORDER BY rowid LIMIT ?",
        row_of_database: "SELECT node || '|' || boot_id || '|' || tenant || '|' || boottime_usec || '|' || coalesce(cpu_usage_usec::text, '') \
                          FROM meter.tenant_counter",
    },
];
