-- Blocks of format 1 (docs/block-format.md): chained, signed, and kept for a while after the ledger has them.

INSERT INTO rejected SELECT spooled, 'written before format 1', payload FROM block;
DROP TABLE block;
DROP TABLE sequence;
DROP TABLE taken;

CREATE TABLE block (
    spooled                INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which blocks are sent
    boot_id                TEXT    NOT NULL,
    sequence               INTEGER NOT NULL CHECK (sequence > 0),
    closed_unix_usec       INTEGER NOT NULL,
    hash                   BLOB    NOT NULL CHECK (length(hash) = 32),
    bytes                  BLOB    NOT NULL, -- as they are sent
    acknowledged_unix_usec INTEGER,          -- when the ledger had it; NULL while it waits
    UNIQUE (boot_id, sequence)
) STRICT;
CREATE INDEX block_waiting ON block (spooled) WHERE acknowledged_unix_usec IS NULL;
CREATE INDEX block_acknowledged ON block (acknowledged_unix_usec) WHERE acknowledged_unix_usec IS NOT NULL;

-- The last block that was made: what the next one names. It outlives the blocks.
CREATE TABLE tip (
    only          INTEGER PRIMARY KEY CHECK (only = 1),
    boot_id       TEXT    NOT NULL,
    sequence      INTEGER NOT NULL,
    hash          BLOB    NOT NULL CHECK (length(hash) = 32),
    closed        TEXT    NOT NULL CHECK (json_valid(closed)), -- a moment: wall and boottime_usec
    last_reading  TEXT             CHECK (json_valid(last_reading)) -- of the boot, if there was one
) STRICT;

-- Outbox files whose end is in a block, until the ledger has it and the file is gone.
CREATE TABLE taken (
    file    TEXT    NOT NULL PRIMARY KEY, -- its name, without the directory
    spooled INTEGER NOT NULL              -- the block
) STRICT;
CREATE INDEX taken_in ON taken (spooled);
