-- Blocks of format 1 (docs/block-format.md): each names the one before it, is signed by its node's
-- key, and is kept whole.

ALTER TABLE block ADD COLUMN previous_sha256 BLOB CHECK (length(previous_sha256) = 32);
ALTER TABLE block ADD COLUMN signer BLOB CHECK (length(signer) = 32);
ALTER TABLE block ADD COLUMN closed_unix_usec INTEGER; -- by the node's clock
CREATE INDEX block_boot ON block (boot_id); -- whose a boot is

-- The keys that nodes sign with. A node's first key is taken with its first block; another one is
-- refused until an administrator trusts it.
CREATE TABLE node_key (
    node                 TEXT    NOT NULL,
    public_key           BLOB    NOT NULL CHECK (length(public_key) = 32),
    trusted_unix_usec    INTEGER NOT NULL,
    PRIMARY KEY (node, public_key)
) STRICT;

-- Times of which a node has no readings, and blocks that never came. Of a job that ran through one
-- the final counters are exact all the same.
CREATE TABLE gap (
    id                 INTEGER PRIMARY KEY,
    node               TEXT    NOT NULL, -- the daemon's node
    boot_id            TEXT    NOT NULL,
    reason             TEXT    NOT NULL, -- down, late, spool_full, spool_failed, spool_lost, blocks_missing
    from_unix_usec     INTEGER,          -- the last moment before it; NULL where that is not known
    to_unix_usec       INTEGER NOT NULL, -- the first moment after it
    from_boottime_usec INTEGER,
    to_boottime_usec   INTEGER NOT NULL,
    first_sequence     INTEGER,          -- blocks_missing: the first and the last of them
    last_sequence      INTEGER,
    block              INTEGER NOT NULL REFERENCES block (id) -- the one that told
) STRICT;
CREATE INDEX gap_node ON gap (node, to_unix_usec);

CREATE TRIGGER gap_is_not_updated BEFORE UPDATE ON gap
BEGIN SELECT RAISE(ABORT, 'a gap is never updated'); END;
CREATE TRIGGER gap_is_not_deleted BEFORE DELETE ON gap
BEGIN SELECT RAISE(ABORT, 'a gap is never deleted'); END;

-- Running jobs: working state, made anew from the blocks that follow.
DROP TABLE running_job;
CREATE TABLE running_job (
    cluster         TEXT,
    node            TEXT    NOT NULL, -- Slurm's
    boot_id         TEXT    NOT NULL,
    job_id          INTEGER NOT NULL,
    began_unix_usec INTEGER NOT NULL,
    registration    TEXT CHECK (json_valid(registration)), -- NULL: its readings came first
    allocation      TEXT CHECK (json_valid(allocation)),   -- NULL: not known yet
    reading         TEXT CHECK (json_valid(reading)),      -- the latest; NULL: none yet
    integral        TEXT CHECK (json_valid(integral)),     -- of all readings so far, and the windows that have no row yet
    record          TEXT CHECK (json_valid(record)),       -- what a reader gets
    tenant          TEXT    AS (record ->> 'tenant'),
    uid             INTEGER AS (record ->> 'uid')
) STRICT;
CREATE UNIQUE INDEX running_job_run
    ON running_job (job_id, node, boot_id, began_unix_usec, coalesce(cluster, ''));
CREATE INDEX running_job_boot ON running_job (boot_id);

-- Figures that records have since.
ALTER TABLE usage ADD COLUMN memory_mib_seconds INTEGER AS (record ->> 'memory_mib_seconds');
ALTER TABLE usage ADD COLUMN memory_mib_seconds_bound INTEGER AS (record ->> 'memory_mib_seconds_bound');
ALTER TABLE usage ADD COLUMN unmeasured_usec INTEGER AS (record ->> 'unmeasured_usec');
