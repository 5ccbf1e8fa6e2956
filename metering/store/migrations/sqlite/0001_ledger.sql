-- The ledger. This file is never changed after a release: the next change is a new file.
--
-- Times are microseconds since 1970, UTC (..._unix_usec) or since the node's boot (boottime_usec).
-- A record is the JSON text a reader gets; the generated columns are its figures for SQL, absent
-- (NULL) where nothing was measured. Identifiers were parsed before they came here.

-- What nodes sent, by name and hash. The bytes are kept where a usage row came from them, as its
-- evidence; of a block that only had readings of running jobs the hash is enough.
CREATE TABLE block (
    id                 INTEGER PRIMARY KEY,
    node               TEXT    NOT NULL, -- the daemon's node
    boot_id            TEXT    NOT NULL, -- the boot it was written in
    sequence           INTEGER NOT NULL, -- 1, 2, 3, ... within the boot
    payload_sha256     BLOB    NOT NULL CHECK (length(payload_sha256) = 32),
    payload            BLOB,             -- the bytes that were sent
    received_unix_usec INTEGER NOT NULL, -- by the server's clock
    correlation_id     TEXT    NOT NULL, -- the request that brought it
    UNIQUE (node, boot_id, sequence)
) STRICT;

-- Ended runs. Of several revisions of one run the highest counts; a revision is never changed.
CREATE TABLE usage (
    id              INTEGER PRIMARY KEY,
    cluster         TEXT,             -- NULL where slurmd did not say
    node            TEXT    NOT NULL, -- Slurm's node
    boot_id         TEXT    NOT NULL, -- the boot the job ran in
    job_id          INTEGER NOT NULL, -- Slurm's
    began_unix_usec INTEGER NOT NULL, -- when its prolog began
    revision        INTEGER NOT NULL CHECK (revision >= 1),
    block           INTEGER NOT NULL REFERENCES block (id), -- where the record came from
    record          TEXT    NOT NULL CHECK (json_valid(record)),
    tenant                       TEXT    AS (record ->> 'tenant'),
    account                      TEXT    AS (record ->> 'account'),
    uid                          INTEGER AS (record ->> 'uid'),
    quality                      TEXT    AS (record ->> 'quality'), -- exact, estimated, gap
    elapsed_usec                 INTEGER AS (record ->> 'elapsed_usec'),
    cpu_usage_usec               INTEGER AS (record ->> 'cpu_usage_usec'),
    cpu_user_usec                INTEGER AS (record ->> 'cpu_user_usec'),
    cpu_system_usec              INTEGER AS (record ->> 'cpu_system_usec'),
    memory_peak_bytes            INTEGER AS (record ->> 'memory_peak_bytes'),
    io_read_bytes                INTEGER AS (record ->> 'io_read_bytes'),
    io_write_bytes               INTEGER AS (record ->> 'io_write_bytes'),
    allocated_cpus               INTEGER AS (record ->> 'allocated_cpus'),
    allocated_cpu_usec           INTEGER AS (record ->> 'allocated_cpu_usec'),
    allocated_memory_bytes       INTEGER AS (record ->> 'allocated_memory_bytes'),
    allocated_memory_mib_seconds INTEGER AS (record ->> 'allocated_memory_mib_seconds')
) STRICT;

-- A cluster's name is never empty, so '' stands for no name and nothing else.
CREATE UNIQUE INDEX usage_run
    ON usage (job_id, node, boot_id, began_unix_usec, coalesce(cluster, ''), revision);
CREATE INDEX usage_tenant ON usage (tenant);
CREATE INDEX usage_uid ON usage (uid);

-- What somebody should look at: conflicts, refused callers. Kinds are named in the code.
CREATE TABLE audit_event (
    id             INTEGER PRIMARY KEY,
    at_unix_usec   INTEGER NOT NULL,
    kind           TEXT    NOT NULL,
    uid            INTEGER,          -- of the caller, where the kernel told
    correlation_id TEXT    NOT NULL, -- the request in which it happened
    subject        TEXT    NOT NULL, -- the block, the run or the path it is about
    detail         TEXT    NOT NULL
) STRICT;

-- Running jobs' latest readings: working state, not evidence. A row goes when its job ends.
CREATE TABLE running_job (
    cluster         TEXT,
    node            TEXT    NOT NULL,
    boot_id         TEXT    NOT NULL,
    job_id          INTEGER NOT NULL,
    began_unix_usec INTEGER NOT NULL,
    boottime_usec   INTEGER NOT NULL, -- of the reading
    record          TEXT    NOT NULL CHECK (json_valid(record)),
    tenant          TEXT    AS (record ->> 'tenant'),
    uid             INTEGER AS (record ->> 'uid')
) STRICT;

CREATE UNIQUE INDEX running_job_run
    ON running_job (job_id, node, boot_id, began_unix_usec, coalesce(cluster, ''));

-- The tenants' own groups, latest reading of each boot: working state.
CREATE TABLE tenant_counter (
    node           TEXT    NOT NULL, -- Slurm's node
    boot_id        TEXT    NOT NULL,
    tenant         TEXT    NOT NULL,
    boottime_usec  INTEGER NOT NULL, -- of the reading
    read_unix_usec INTEGER NOT NULL,
    cpu_usage_usec INTEGER,
    PRIMARY KEY (node, boot_id, tenant)
) STRICT;

-- Nobody changes what was written. The INSERT triggers are there for INSERT OR REPLACE, which
-- deletes a row without firing its DELETE trigger.
CREATE TRIGGER block_is_not_updated BEFORE UPDATE ON block
BEGIN SELECT RAISE(ABORT, 'a block is never updated'); END;
CREATE TRIGGER block_is_not_deleted BEFORE DELETE ON block
BEGIN SELECT RAISE(ABORT, 'a block is never deleted'); END;
CREATE TRIGGER block_is_not_replaced BEFORE INSERT ON block
WHEN EXISTS (SELECT 1 FROM block WHERE id = new.id)
  OR EXISTS (SELECT 1 FROM block
             WHERE node = new.node AND boot_id = new.boot_id AND sequence = new.sequence)
BEGIN SELECT RAISE(ABORT, 'a block is never replaced'); END;

CREATE TRIGGER usage_is_not_updated BEFORE UPDATE ON usage
BEGIN SELECT RAISE(ABORT, 'a usage row is never updated: a correction is a new revision'); END;
CREATE TRIGGER usage_is_not_deleted BEFORE DELETE ON usage
BEGIN SELECT RAISE(ABORT, 'a usage row is never deleted'); END;
CREATE TRIGGER usage_is_not_replaced BEFORE INSERT ON usage
WHEN EXISTS (SELECT 1 FROM usage WHERE id = new.id)
  OR EXISTS (SELECT 1 FROM usage
             WHERE job_id = new.job_id AND node = new.node AND boot_id = new.boot_id
               AND began_unix_usec = new.began_unix_usec AND cluster IS new.cluster
               AND revision = new.revision)
BEGIN SELECT RAISE(ABORT, 'a usage row is never replaced: a correction is a new revision'); END;

CREATE TRIGGER audit_event_is_not_updated BEFORE UPDATE ON audit_event
BEGIN SELECT RAISE(ABORT, 'an audit event is never updated'); END;
CREATE TRIGGER audit_event_is_not_deleted BEFORE DELETE ON audit_event
BEGIN SELECT RAISE(ABORT, 'an audit event is never deleted'); END;
CREATE TRIGGER audit_event_is_not_replaced BEFORE INSERT ON audit_event
WHEN EXISTS (SELECT 1 FROM audit_event WHERE id = new.id)
BEGIN SELECT RAISE(ABORT, 'an audit event is never replaced'); END;
