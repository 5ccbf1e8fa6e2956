-- The node's spool: what was seen and is not yet known to be in the ledger.

CREATE TABLE block (
    spooled      INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which blocks are sent
    boot_id      TEXT    NOT NULL,
    sequence     INTEGER NOT NULL CHECK (sequence > 0),
    payload      BLOB    NOT NULL,                  -- the block as it is sent, to the byte
    UNIQUE (boot_id, sequence)
) STRICT;

-- Blocks that the server will never take: kept, whole, for the person who looks into it.
CREATE TABLE rejected (
    spooled INTEGER PRIMARY KEY,
    reason  TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;

-- The last sequence given out in a boot; it outlives the blocks.
CREATE TABLE sequence (
    boot_id TEXT    NOT NULL PRIMARY KEY,
    last    INTEGER NOT NULL CHECK (last > 0)
) STRICT;

-- Outbox files whose entry is in a block, until the file is gone.
CREATE TABLE taken (
    file TEXT NOT NULL PRIMARY KEY
) STRICT;
