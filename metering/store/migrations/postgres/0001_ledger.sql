-- The ledger in PostgreSQL. This file is never changed after a release: the next change is a new file.
-- packaging/postgres/setup.sql made the roles, the schemas and the guard before it.
--
-- Times are microseconds since 1970, UTC (..._unix_usec) or since the node's boot (boottime_usec).
-- Names that stand in an index are compared byte by byte: an index in a language's order is broken by the system's next
-- C library, which may order otherwise, and then takes a name twice.
-- Evidence is only ever added: block_name, block, usage_name, usage, usage_window, gap, audit_event, node_key. The rest is
-- working state, and can be made again from the blocks.

-- Evidence ------------------------------------------------------------------------------------------------

CREATE TABLE meter.boot (
    boot                integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node                text COLLATE "C" NOT NULL,
    boot_id             uuid   NOT NULL,
    received_unix_usec  bigint NOT NULL,
    UNIQUE (node, boot_id)
);
CREATE INDEX boot_of_any_node ON meter.boot (boot_id);
COMMENT ON TABLE meter.boot IS 'Boots of nodes that sent blocks';
COMMENT ON COLUMN meter.boot.boot IS 'Short name of (node, boot_id)';
COMMENT ON COLUMN meter.boot.node IS 'The daemon''s node';
COMMENT ON COLUMN meter.boot.boot_id IS 'The kernel''s boot id';
COMMENT ON COLUMN meter.boot.received_unix_usec IS 'When its first block came, by the server''s clock, in microseconds since 1970';

-- A name is taken once, whatever the day: no partition can hold that.
CREATE TABLE meter.block_name (
    -- No foreign key: it would lock and log the boot's row with each block, and a boot is never deleted.
    boot                integer NOT NULL,
    sequence            bigint  NOT NULL CHECK (sequence >= 0),
    received_unix_usec  bigint  NOT NULL,
    closed_unix_usec    bigint,
    payload_sha256      bytea   NOT NULL CHECK (octet_length(payload_sha256) = 32),
    PRIMARY KEY (boot, sequence)
);
COMMENT ON TABLE meter.block_name IS 'Names of all blocks, and what stands under them';
COMMENT ON COLUMN meter.block_name.boot IS 'The boot it was written in';
COMMENT ON COLUMN meter.block_name.sequence IS '1, 2, 3, ... within the boot';
COMMENT ON COLUMN meter.block_name.received_unix_usec IS 'When it came, by the server''s clock, in microseconds since 1970: which partition has it';
COMMENT ON COLUMN meter.block_name.closed_unix_usec IS 'When it was closed, by the node''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.block_name.payload_sha256 IS 'The block''s hash: what the next block names it by, 32 bytes';

CREATE TABLE meter.block (
    boot                integer NOT NULL,
    sequence            bigint  NOT NULL,
    received_unix_usec  bigint  NOT NULL,
    correlation_id      text    NOT NULL,
    previous_sha256     bytea   CHECK (octet_length(previous_sha256) = 32),
    signer              bytea   CHECK (octet_length(signer) = 32),
    payload             bytea
) PARTITION BY RANGE (received_unix_usec);
-- It is compressed when it comes.
ALTER TABLE meter.block ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX block_of_name ON meter.block (boot, sequence, received_unix_usec);
CREATE TABLE meter.block_default PARTITION OF meter.block DEFAULT;
COMMENT ON TABLE meter.block IS 'What nodes sent, by the day it came';
COMMENT ON COLUMN meter.block.boot IS 'The boot it was written in';
COMMENT ON COLUMN meter.block.sequence IS '1, 2, 3, ... within the boot';
COMMENT ON COLUMN meter.block.received_unix_usec IS 'When it came, by the server''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.block.correlation_id IS 'The request that brought it';
COMMENT ON COLUMN meter.block.previous_sha256 IS 'The hash of the block that it names as the one before it, 32 bytes';
COMMENT ON COLUMN meter.block.signer IS 'The public key that it is signed with, Ed25519, 32 bytes';
COMMENT ON COLUMN meter.block.payload IS 'The bytes that were sent: docs/block-format.md; NULL in a ledger that was moved here from one of the first schemas';

-- The same for the revisions of runs' records.
CREATE TABLE meter.usage_name (
    job_id              bigint  NOT NULL,
    node                text COLLATE "C" NOT NULL,
    boot_id             uuid    NOT NULL,
    began_unix_usec     bigint  NOT NULL,
    cluster             text COLLATE "C",
    revision            bigint  NOT NULL CHECK (revision >= 1),
    received_unix_usec  bigint  NOT NULL,
    UNIQUE NULLS NOT DISTINCT (job_id, node, boot_id, began_unix_usec, cluster, revision)
);
COMMENT ON TABLE meter.usage_name IS 'Revisions of ended runs'' records, each taken once';
COMMENT ON COLUMN meter.usage_name.job_id IS 'Slurm''s job id';
COMMENT ON COLUMN meter.usage_name.node IS 'Slurm''s node';
COMMENT ON COLUMN meter.usage_name.boot_id IS 'The boot the job ran in';
COMMENT ON COLUMN meter.usage_name.began_unix_usec IS 'When its prolog began, by the node''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.usage_name.cluster IS 'Slurm''s cluster; NULL where slurmd did not say';
COMMENT ON COLUMN meter.usage_name.revision IS '1, 2, 3, ...: the highest counts, and none is ever changed';
COMMENT ON COLUMN meter.usage_name.received_unix_usec IS 'When it came, by the server''s clock, in microseconds since 1970: which partition has it';

-- Figures first: columns of eight bytes need no room between them.
CREATE TYPE meter.usage_record AS (
    restart_count                   bigint,
    uid                             bigint,
    ended_unix_usec                 bigint,
    elapsed_usec                    bigint,
    cpu_usage_usec                  bigint,
    cpu_user_usec                   bigint,
    cpu_system_usec                 bigint,
    steps_cpu_usec                  bigint,
    slurm_overhead_usec             bigint,
    memory_peak_bytes               bigint,
    memory_mib_seconds              bigint,
    memory_mib_seconds_bound        bigint,
    interpolated_usec               bigint,
    unmeasured_usec                 bigint,
    memory_oom_kills                bigint,
    pids_peak                       bigint,
    io_read_bytes                   bigint,
    io_write_bytes                  bigint,
    network_receive_bytes           bigint,
    network_transmit_bytes          bigint,
    allocated_cpus                  bigint,
    allocated_cpu_usec              bigint,
    allocated_memory_bytes          bigint,
    allocated_memory_mib_seconds    bigint,
    cpu_energy_mj                   bigint,
    gpu_energy_mj                   bigint,
    gpu_energy_known_usec           bigint,
    gpu_busy_usec                   bigint,
    gpu_busy_known_usec             bigint,
    gpu_memory_peak_bytes           bigint,
    allocated_gpus                  bigint,
    allocated_gpu_usec              bigint,
    tenant                          text COLLATE "C",
    account                         text,
    partition                       text,
    user_name                       text,
    quality                         text
);
COMMENT ON TYPE meter.usage_record IS 'What one run of a job used of one node; a figure''s name ends with its unit, and what was not measured is NULL';

CREATE TABLE meter.usage (
    job_id              bigint  NOT NULL,
    began_unix_usec     bigint  NOT NULL,
    revision            bigint  NOT NULL,
    received_unix_usec  bigint  NOT NULL,
    block_sequence      bigint  NOT NULL,
    LIKE meter.usage_record,
    block_boot          integer NOT NULL,
    node                text COLLATE "C" NOT NULL,
    boot_id             uuid    NOT NULL,
    cluster             text COLLATE "C"
) PARTITION BY RANGE (received_unix_usec);
ALTER TABLE meter.usage
    ALTER COLUMN uid SET NOT NULL, ALTER COLUMN ended_unix_usec SET NOT NULL, ALTER COLUMN quality SET NOT NULL;
CREATE INDEX usage_of_job ON meter.usage (job_id, received_unix_usec);
CREATE INDEX usage_of_tenant ON meter.usage (tenant, began_unix_usec);
CREATE INDEX usage_of_uid ON meter.usage (uid, began_unix_usec);
CREATE TABLE meter.usage_default PARTITION OF meter.usage DEFAULT;
COMMENT ON TABLE meter.usage IS 'Ended runs, by the day their record came';
COMMENT ON COLUMN meter.usage.job_id IS 'Slurm''s job id';
COMMENT ON COLUMN meter.usage.node IS 'Slurm''s node';
COMMENT ON COLUMN meter.usage.boot_id IS 'The boot the job ran in';
COMMENT ON COLUMN meter.usage.began_unix_usec IS 'When its prolog began, by the node''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.usage.cluster IS 'Slurm''s cluster; NULL where slurmd did not say';
COMMENT ON COLUMN meter.usage.revision IS '1, 2, 3, ...: the highest counts, and none is ever changed';
COMMENT ON COLUMN meter.usage.received_unix_usec IS 'When it came, by the server''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.usage.block_boot IS 'The block that the record came from: its boot';
COMMENT ON COLUMN meter.usage.block_sequence IS 'The block that the record came from: its sequence';
COMMENT ON COLUMN meter.usage.tenant IS 'Who pays; NULL for a refused job';
COMMENT ON COLUMN meter.usage.uid IS 'The job''s owner';

CREATE SEQUENCE meter.usage_window_id;
CREATE TYPE meter.window_record AS (
    restart_count                   bigint,
    uid                             bigint,
    window_to_unix_usec             bigint,
    first_sequence                  bigint,
    last_sequence                   bigint,
    elapsed_usec                    bigint,
    cpu_usage_usec                  bigint,
    memory_byte_seconds             bigint,
    io_read_bytes                   bigint,
    io_write_bytes                  bigint,
    network_receive_bytes           bigint,
    network_transmit_bytes          bigint,
    allocated_cpu_usec              bigint,
    allocated_memory_byte_seconds   bigint,
    correction                      boolean,
    tenant                          text COLLATE "C",
    account                         text,
    partition                       text,
    user_name                       text,
    quality                         text
);
COMMENT ON TYPE meter.window_record IS 'What one run of a job used of one node in one window of time, or what is to be added to that';

CREATE TABLE meter.usage_window (
    id                  bigint  NOT NULL DEFAULT nextval('meter.usage_window_id'),
    job_id              bigint  NOT NULL,
    began_unix_usec     bigint  NOT NULL,
    revision            bigint  NOT NULL CHECK (revision >= 1),
    number              bigint  NOT NULL CHECK (number >= 1),
    window_unix_usec    bigint  NOT NULL,
    received_unix_usec  bigint  NOT NULL,
    block_sequence      bigint  NOT NULL,
    LIKE meter.window_record,
    block_boot          integer NOT NULL,
    node                text COLLATE "C" NOT NULL,
    boot_id             uuid    NOT NULL,
    cluster             text COLLATE "C"
) PARTITION BY RANGE (received_unix_usec);
ALTER TABLE meter.usage_window
    ALTER COLUMN uid SET NOT NULL, ALTER COLUMN window_to_unix_usec SET NOT NULL, ALTER COLUMN correction SET NOT NULL,
    ALTER COLUMN quality SET NOT NULL;
CREATE INDEX usage_window_of_id ON meter.usage_window (id);
CREATE INDEX usage_window_of_time ON meter.usage_window (window_unix_usec);
CREATE INDEX usage_window_of_tenant ON meter.usage_window (tenant, window_unix_usec);
CREATE INDEX usage_window_of_uid ON meter.usage_window (uid, window_unix_usec);
CREATE INDEX usage_window_of_job ON meter.usage_window (job_id, window_unix_usec);
CREATE TABLE meter.usage_window_default PARTITION OF meter.usage_window DEFAULT;
COMMENT ON TABLE meter.usage_window IS 'Usage by windows of time, by the day the row came: a run''s rows add up to its record, and what becomes known later is a row of its own';
COMMENT ON COLUMN meter.usage_window.id IS 'Grows with each row';
COMMENT ON COLUMN meter.usage_window.job_id IS 'Slurm''s job id';
COMMENT ON COLUMN meter.usage_window.node IS 'Slurm''s node';
COMMENT ON COLUMN meter.usage_window.boot_id IS 'The boot the job ran in';
COMMENT ON COLUMN meter.usage_window.began_unix_usec IS 'When its prolog began, by the node''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.usage_window.cluster IS 'Slurm''s cluster; NULL where slurmd did not say';
COMMENT ON COLUMN meter.usage_window.revision IS 'Of the run''s record; rows of 2 and later are differences';
COMMENT ON COLUMN meter.usage_window.number IS '1, 2, 3, ... within the revision';
COMMENT ON COLUMN meter.usage_window.window_unix_usec IS 'Where the window begins, in microseconds since 1970';
COMMENT ON COLUMN meter.usage_window.received_unix_usec IS 'When it came, by the server''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.usage_window.block_boot IS 'The block with which the row became due: its boot';
COMMENT ON COLUMN meter.usage_window.block_sequence IS 'The block with which the row became due: its sequence';
COMMENT ON COLUMN meter.usage_window.tenant IS 'Who pays; NULL for a refused job';
COMMENT ON COLUMN meter.usage_window.uid IS 'The job''s owner';

CREATE TABLE meter.gap (
    gap                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node                text COLLATE "C" NOT NULL,
    boot_id             uuid    NOT NULL,
    reason              text    NOT NULL,
    from_unix_usec      bigint,
    to_unix_usec        bigint  NOT NULL,
    from_boottime_usec  bigint,
    to_boottime_usec    bigint  NOT NULL,
    first_sequence      bigint,
    last_sequence       bigint,
    block_boot          integer NOT NULL,
    block_sequence      bigint  NOT NULL
);
CREATE INDEX gap_of_node ON meter.gap (node, to_unix_usec);
COMMENT ON TABLE meter.gap IS 'Times of which a node has no readings, and blocks that never came';
COMMENT ON COLUMN meter.gap.gap IS 'In the order in which they were written';
COMMENT ON COLUMN meter.gap.node IS 'The daemon''s node';
COMMENT ON COLUMN meter.gap.boot_id IS 'The boot it lies in';
COMMENT ON COLUMN meter.gap.reason IS 'down, late, spool_full, spool_failed, spool_lost, blocks_missing';
COMMENT ON COLUMN meter.gap.from_unix_usec IS 'The last moment before it, in microseconds since 1970; NULL where that is not known';
COMMENT ON COLUMN meter.gap.to_unix_usec IS 'The first moment after it, in microseconds since 1970';
COMMENT ON COLUMN meter.gap.from_boottime_usec IS 'The last moment before it, in microseconds since the boot';
COMMENT ON COLUMN meter.gap.to_boottime_usec IS 'The first moment after it, in microseconds since the boot';
COMMENT ON COLUMN meter.gap.first_sequence IS 'blocks_missing: the first of them';
COMMENT ON COLUMN meter.gap.last_sequence IS 'blocks_missing: the last of them';
COMMENT ON COLUMN meter.gap.block_boot IS 'The block that told: its boot';
COMMENT ON COLUMN meter.gap.block_sequence IS 'The block that told: its sequence';

CREATE TABLE meter.audit_event (
    event               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_unix_usec        bigint NOT NULL,
    kind                text   NOT NULL,
    uid                 bigint,
    correlation_id      text   NOT NULL,
    subject             text   NOT NULL,
    detail              text   NOT NULL
);
COMMENT ON TABLE meter.audit_event IS 'What a person should look at';
COMMENT ON COLUMN meter.audit_event.event IS 'In the order in which they were written';
COMMENT ON COLUMN meter.audit_event.at_unix_usec IS 'When, by the server''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.audit_event.kind IS 'What it is about: docs/ledger.md has the list';
COMMENT ON COLUMN meter.audit_event.uid IS 'The caller, where the kernel told; else NULL';
COMMENT ON COLUMN meter.audit_event.correlation_id IS 'The request in which it happened';
COMMENT ON COLUMN meter.audit_event.subject IS 'The block, the run or the path it is about';
COMMENT ON COLUMN meter.audit_event.detail IS 'What exactly';

CREATE TABLE meter.node_key (
    node                text COLLATE "C" NOT NULL,
    public_key          bytea  NOT NULL CHECK (octet_length(public_key) = 32),
    trusted_unix_usec   bigint NOT NULL,
    PRIMARY KEY (node, public_key)
);
COMMENT ON TABLE meter.node_key IS 'Keys that nodes sign with: the first one came with its first block, others were trusted by an administrator';
COMMENT ON COLUMN meter.node_key.node IS 'The daemon''s node';
COMMENT ON COLUMN meter.node_key.public_key IS 'Ed25519, 32 bytes';
COMMENT ON COLUMN meter.node_key.trusted_unix_usec IS 'Since when, by the server''s clock, in microseconds since 1970';

-- Working state -------------------------------------------------------------------------------------------
-- What is rewritten all the time is cleaned up when a fiftieth of it is dead, not a fifth: so much of the disk it may take.

CREATE TABLE meter.node (
    node                    text COLLATE "C" PRIMARY KEY,
    version                 bigint NOT NULL,
    acknowledged_unix_usec  bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE meter.node IS 'One row a node: every acknowledgement changes it, so that every acknowledgement is in the log that the standby has';
COMMENT ON COLUMN meter.node.node IS 'The daemon''s node';
COMMENT ON COLUMN meter.node.version IS 'Grows with each acknowledgement: what was planned on an older one is planned again';
COMMENT ON COLUMN meter.node.acknowledged_unix_usec IS 'When, by the server''s clock, in microseconds since 1970';

-- Not written with each block: what came after it is read from the blocks themselves.
CREATE TABLE meter.node_running (
    node            text COLLATE "C" PRIMARY KEY,
    state           bytea   NOT NULL,
    boot            integer,
    sequence        bigint,
    window_minutes  integer
) WITH (autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE meter.node_running ALTER COLUMN state SET STORAGE EXTERNAL;
COMMENT ON TABLE meter.node_running IS 'What the ledger has of each node''s running jobs';
COMMENT ON COLUMN meter.node_running.node IS 'The daemon''s node';
COMMENT ON COLUMN meter.node_running.state IS 'Their registrations and latest readings: MessagePack, by zlib';
COMMENT ON COLUMN meter.node_running.boot IS 'The boot whose blocks go on from this state; NULL: none does';
COMMENT ON COLUMN meter.node_running.sequence IS 'The last of that boot''s blocks that is in the state: those after it are to be added';
COMMENT ON COLUMN meter.node_running.window_minutes IS 'How wide the windows are of runs that begin in those blocks, in minutes';

CREATE TABLE meter.running_job (
    job_id              bigint NOT NULL,
    node                text COLLATE "C" NOT NULL,
    boot_id             uuid   NOT NULL,
    began_unix_usec     bigint NOT NULL,
    cluster             text COLLATE "C",
    daemon_node         text   NOT NULL,
    tenant              text COLLATE "C",
    uid                 bigint,
    UNIQUE NULLS NOT DISTINCT (job_id, node, boot_id, began_unix_usec, cluster)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX running_job_of_tenant ON meter.running_job (tenant);
CREATE INDEX running_job_of_uid ON meter.running_job (uid);
COMMENT ON TABLE meter.running_job IS 'Which node''s state has which running job';
COMMENT ON COLUMN meter.running_job.job_id IS 'Slurm''s job id';
COMMENT ON COLUMN meter.running_job.node IS 'Slurm''s node';
COMMENT ON COLUMN meter.running_job.boot_id IS 'The boot it runs in';
COMMENT ON COLUMN meter.running_job.began_unix_usec IS 'When its prolog began, by the node''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.running_job.cluster IS 'Slurm''s cluster; NULL where slurmd did not say';
COMMENT ON COLUMN meter.running_job.daemon_node IS 'The daemon''s node: whose state has its figures';
COMMENT ON COLUMN meter.running_job.tenant IS 'Who pays; NULL for a refused job, or one that is not told yet';
COMMENT ON COLUMN meter.running_job.uid IS 'The job''s owner; NULL for one that is not told yet';

CREATE TABLE meter.tenant_counter (
    node            text COLLATE "C" NOT NULL,
    boot_id         uuid   NOT NULL,
    tenant          text COLLATE "C" NOT NULL,
    boottime_usec   bigint NOT NULL,
    read_unix_usec  bigint NOT NULL,
    cpu_usage_usec  bigint,
    PRIMARY KEY (node, boot_id, tenant)
);
COMMENT ON TABLE meter.tenant_counter IS 'The tenants'' own groups, the latest reading of each boot';
COMMENT ON COLUMN meter.tenant_counter.node IS 'Slurm''s node';
COMMENT ON COLUMN meter.tenant_counter.boot_id IS 'The boot';
COMMENT ON COLUMN meter.tenant_counter.tenant IS 'Whose group';
COMMENT ON COLUMN meter.tenant_counter.boottime_usec IS 'When it was read, in microseconds since the boot';
COMMENT ON COLUMN meter.tenant_counter.read_unix_usec IS 'When it was read, by the node''s clock, in microseconds since 1970';
COMMENT ON COLUMN meter.tenant_counter.cpu_usage_usec IS 'usage_usec of the group, in microseconds; NULL where it was not there';

CREATE TABLE meter.tenant_login (
    role    name PRIMARY KEY,
    tenant  text COLLATE "C" NOT NULL
);
COMMENT ON TABLE meter.tenant_login IS 'Logins for direct SQL: each sees its tenant''s usage, and that of the tenants in it';
COMMENT ON COLUMN meter.tenant_login.role IS 'The login role, a member of meter_tenant';
COMMENT ON COLUMN meter.tenant_login.tenant IS 'The tenant''s path';

-- Nobody changes what was written -------------------------------------------------------------------------

CREATE FUNCTION meter.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: what was written is never changed, a correction is a new row', tg_op, tg_table_name
        USING ERRCODE = 'insufficient_privilege';
END $$;

DO $$
DECLARE
    evidence text;
BEGIN
    FOREACH evidence IN ARRAY ARRAY['boot', 'block_name', 'block', 'usage_name', 'usage', 'usage_window', 'gap', 'audit_event', 'node_key'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON meter.%I FOR EACH ROW EXECUTE FUNCTION meter.refuse_change()',
                       evidence || '_is_not_changed', evidence);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON meter.%I FOR EACH STATEMENT EXECUTE FUNCTION meter.refuse_change()',
                       evidence || '_is_not_emptied', evidence);
    END LOOP;
    -- A parent's TRUNCATE trigger does not stand for its partitions.
    FOREACH evidence IN ARRAY ARRAY['block_default', 'usage_default', 'usage_window_default'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON meter.%I FOR EACH STATEMENT EXECUTE FUNCTION meter.refuse_change()',
                       evidence || '_is_not_emptied', evidence);
    END LOOP;
END $$;

-- How far tenantry-server migrate-to-postgres has come: only its owner's business.
CREATE TABLE meter.moved (
    part     text COLLATE "C" PRIMARY KEY,
    last_id  bigint NOT NULL
);
COMMENT ON TABLE meter.moved IS 'How far an embedded ledger has been moved here';
COMMENT ON COLUMN meter.moved.part IS 'The table of the embedded ledger';
COMMENT ON COLUMN meter.moved.last_id IS 'The last of its rows that is here';
