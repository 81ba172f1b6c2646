/// The schema of the embedded store, as a list of migrations: `PRAGMA user_version` says how many have been applied.
///
/// A migration that was released is never changed; a new one is appended.
enum SQLiteSchema {
    /// "RLCL": marks the file as ours (https://www.sqlite.org/pragma.html#pragma_application_id).
    static let applicationID: Int64 = 0x524c_434c

    static let migrations = [first, keys, overlaps, retention, counts, historyIndices]

    /// `sequence` numbers everything that is published, across the whole database, and is never reused.
    private static let first = """
        CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

        CREATE TABLE partitions(
            number INTEGER PRIMARY KEY,
            epoch INTEGER NOT NULL,
            instance TEXT NOT NULL,
            incarnation TEXT NOT NULL,
            stream TEXT NOT NULL,
            applied_seq INTEGER NOT NULL);

        -- The record lies inside state, at record_start.
        CREATE TABLE agents(
            address TEXT PRIMARY KEY,
            partition INTEGER NOT NULL,
            gateway TEXT NOT NULL,
            board TEXT,
            role TEXT NOT NULL,
            status TEXT NOT NULL,
            stale INTEGER NOT NULL,
            changed_at_sequence INTEGER NOT NULL,
            record_start INTEGER NOT NULL,
            record_length INTEGER NOT NULL,
            state BLOB NOT NULL);
        CREATE INDEX agents_by_gateway ON agents(partition, gateway, status);
        CREATE INDEX agents_by_status ON agents(status, address);
        CREATE INDEX agents_by_change ON agents(changed_at_sequence);

        -- What is newer than an agent's state and has no event: narrow rows, many to a page, since they change most often.
        CREATE TABLE sightings(
            address TEXT PRIMARY KEY,
            seen_at INTEGER,
            rejection BLOB) WITHOUT ROWID;

        CREATE TABLE tombstones(
            address TEXT PRIMARY KEY,
            partition INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            changed_at_sequence INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX tombstones_by_change ON tombstones(changed_at_sequence);

        CREATE TABLE history(
            sequence INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            agent TEXT NOT NULL,
            revision INTEGER NOT NULL,
            event TEXT NOT NULL,
            reason TEXT,
            time INTEGER NOT NULL,
            source TEXT NOT NULL,
            traceparent TEXT,
            record BLOB);
        CREATE INDEX history_by_agent ON history(agent, sequence);

        -- What was committed and is still to be published. An event's content lies in history, under the same sequence.
        CREATE TABLE outbox(
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            kind INTEGER NOT NULL,
            target TEXT NOT NULL,
            payload BLOB);

        CREATE TABLE orders(
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            agent TEXT NOT NULL UNIQUE,
            wake BLOB NOT NULL);

        CREATE TABLE gateways(
            gateway TEXT PRIMARY KEY,
            partition INTEGER NOT NULL,
            state BLOB NOT NULL) WITHOUT ROWID;

        CREATE TABLE board_pauses(
            partition INTEGER NOT NULL,
            board TEXT NOT NULL,
            until INTEGER,
            PRIMARY KEY(partition, board)) WITHOUT ROWID;

        CREATE TABLE requests(
            partition INTEGER NOT NULL,
            id TEXT NOT NULL,
            digest TEXT NOT NULL,
            until INTEGER NOT NULL,
            minted_for TEXT,
            outcome BLOB,
            undertaking BLOB,
            PRIMARY KEY(partition, id));
        CREATE INDEX requests_by_end ON requests(until);

        CREATE TABLE identities(username TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;

        CREATE TABLE dead_letters(
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            stream TEXT NOT NULL,
            seq INTEGER NOT NULL,
            frame BLOB NOT NULL,
            error TEXT NOT NULL);
        """

    /// Idempotency keys by the first request that claimed each, whichever partition it is for. What was executed before
    /// there were claims keeps its key; a request for all partitions is `ID/PARTITION` in `requests`.
    private static let keys = """
        CREATE TABLE keys(id TEXT PRIMARY KEY, digest TEXT NOT NULL, until INTEGER NOT NULL);
        CREATE INDEX keys_by_end ON keys(until);
        INSERT OR IGNORE INTO keys
            SELECT iif(instr(id, '/') > 0, substr(id, 1, instr(id, '/') - 1), id), digest, until
            FROM requests ORDER BY rowid;
        """

    /// While two tokens of an identity overlap: the digests before the newest, oldest first with a space between, and until
    /// when (`Identity.Overlap`).
    private static let overlaps = """
        ALTER TABLE identities ADD COLUMN superseded TEXT;
        ALTER TABLE identities ADD COLUMN overlap_until INTEGER;
        """

    /// Which events were committed by when, by the store's own clock, about once an hour; and how much history there is, as
    /// `HistoryUpkeep` counts it.
    private static let retention = """
        CREATE TABLE history_marks(sequence INTEGER PRIMARY KEY, at INTEGER NOT NULL);
        INSERT INTO meta SELECT 'history_bytes', coalesce(sum(coalesce(length(record), 0) + 300), 0) FROM history;
        """

    /// How many agents of each gateway are in each status, so that nobody counts them.
    private static let counts = """
        CREATE TABLE status_counts(
            gateway TEXT NOT NULL, status TEXT NOT NULL, agents INTEGER NOT NULL, PRIMARY KEY(gateway, status)) WITHOUT ROWID;
        INSERT INTO status_counts SELECT gateway, status, count(*) FROM agents GROUP BY gateway, status;
        CREATE TRIGGER agent_added AFTER INSERT ON agents BEGIN
            INSERT INTO status_counts VALUES(NEW.gateway, NEW.status, 1)
            ON CONFLICT(gateway, status) DO UPDATE SET agents = agents + 1;
        END;
        CREATE TRIGGER agent_removed AFTER DELETE ON agents BEGIN
            UPDATE status_counts SET agents = agents - 1 WHERE gateway = OLD.gateway AND status = OLD.status;
        END;
        CREATE TRIGGER agent_moved AFTER UPDATE OF status ON agents WHEN OLD.status <> NEW.status BEGIN
            UPDATE status_counts SET agents = agents - 1 WHERE gateway = OLD.gateway AND status = OLD.status;
            INSERT INTO status_counts VALUES(NEW.gateway, NEW.status, 1)
            ON CONFLICT(gateway, status) DO UPDATE SET agents = agents + 1;
        END;
        """

    /// Of what gateway an event is: the same words in the index and in its queries.
    static let historyGateway = "substr(agent, 1, instr(agent, '/') - 1)"

    private static let historyIndices = """
        CREATE INDEX history_by_gateway ON history(\(historyGateway), sequence);
        CREATE INDEX history_by_time ON history(time);
        """
}
