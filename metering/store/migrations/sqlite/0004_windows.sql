-- Usage by windows of time. A run's rows add up to its record; what becomes known of a window after its row was
-- written is a row of its own. A record is the JSON text a reader gets; the generated columns are its figures for SQL.

CREATE TABLE usage_window (
    id               INTEGER PRIMARY KEY, -- in the order in which they were written
    cluster          TEXT,                -- NULL where slurmd did not say
    node             TEXT    NOT NULL,    -- Slurm's node
    boot_id          TEXT    NOT NULL,    -- the boot the job ran in
    job_id           INTEGER NOT NULL,    -- Slurm's
    began_unix_usec  INTEGER NOT NULL,    -- when its prolog began
    revision         INTEGER NOT NULL CHECK (revision >= 1), -- of the run's record: 2 and later have differences only
    number           INTEGER NOT NULL CHECK (number >= 1),   -- 1, 2, 3, ... within the revision
    window_unix_usec INTEGER NOT NULL,    -- where the window begins
    block            INTEGER NOT NULL REFERENCES block (id), -- with which the row became due
    record           TEXT    NOT NULL CHECK (json_valid(record)),
    tenant                        TEXT    AS (record ->> 'tenant'),
    account                       TEXT    AS (record ->> 'account'),
    uid                           INTEGER AS (record ->> 'uid'),
    user_name                     TEXT    AS (record ->> 'user'),
    quality                       TEXT    AS (record ->> 'quality'), -- exact, interpolated, estimated, gap
    correction                    INTEGER AS (record ->> 'correction'), -- 1: a difference to earlier rows
    elapsed_usec                  INTEGER AS (record ->> 'elapsed_usec'),
    cpu_usage_usec                INTEGER AS (record ->> 'cpu_usage_usec'),
    memory_byte_seconds           INTEGER AS (record ->> 'memory_byte_seconds'),
    io_read_bytes                 INTEGER AS (record ->> 'io_read_bytes'),
    io_write_bytes                INTEGER AS (record ->> 'io_write_bytes'),
    network_receive_bytes         INTEGER AS (record ->> 'network_receive_bytes'),
    network_transmit_bytes        INTEGER AS (record ->> 'network_transmit_bytes'),
    allocated_cpu_usec            INTEGER AS (record ->> 'allocated_cpu_usec'),
    allocated_memory_byte_seconds INTEGER AS (record ->> 'allocated_memory_byte_seconds')
) STRICT;
CREATE UNIQUE INDEX usage_window_row
    ON usage_window (job_id, node, boot_id, began_unix_usec, coalesce(cluster, ''), revision, number);
CREATE INDEX usage_window_time ON usage_window (window_unix_usec);
CREATE INDEX usage_window_tenant ON usage_window (tenant, window_unix_usec);
CREATE INDEX usage_window_uid ON usage_window (uid, window_unix_usec);

-- Per tenant and UTC day: made of the rows each time it is asked, and nothing of its own. A sum that does not fit
-- 64 bits is an error; GET /v1/usage?group_by= has no such bound.
CREATE VIEW usage_by_tenant_and_day AS
    SELECT tenant, date(window_unix_usec / 1000000, 'unixepoch') AS day, count(*) AS windows,
           sum(elapsed_usec) AS elapsed_usec, sum(cpu_usage_usec) AS cpu_usage_usec,
           sum(memory_byte_seconds) AS memory_byte_seconds,
           sum(io_read_bytes) AS io_read_bytes, sum(io_write_bytes) AS io_write_bytes,
           sum(network_receive_bytes) AS network_receive_bytes, sum(network_transmit_bytes) AS network_transmit_bytes,
           sum(allocated_cpu_usec) AS allocated_cpu_usec,
           sum(allocated_memory_byte_seconds) AS allocated_memory_byte_seconds
    FROM usage_window GROUP BY tenant, day;

CREATE TRIGGER usage_window_is_not_updated BEFORE UPDATE ON usage_window
BEGIN SELECT RAISE(ABORT, 'a row of a window is never updated: a correction is a new row'); END;
CREATE TRIGGER usage_window_is_not_deleted BEFORE DELETE ON usage_window
BEGIN SELECT RAISE(ABORT, 'a row of a window is never deleted'); END;
CREATE TRIGGER usage_window_is_not_replaced BEFORE INSERT ON usage_window
WHEN EXISTS (SELECT 1 FROM usage_window WHERE id = new.id)
  OR EXISTS (SELECT 1 FROM usage_window
             WHERE job_id = new.job_id AND node = new.node AND boot_id = new.boot_id
               AND began_unix_usec = new.began_unix_usec AND cluster IS new.cluster
               AND revision = new.revision AND number = new.number)
BEGIN SELECT RAISE(ABORT, 'a row of a window is never replaced: a correction is a new row'); END;
