//! The store on SQLite.
//!
//! Invariant: WAL with `synchronous=FULL`, so a transaction is on disk when `commit` returns
//! (<https://www.sqlite.org/pragma.html#pragma_synchronous>). One connection writes; others read,
//! so that reads never wait for writes.

use super::{Change, Check, Entry, Limit, Store, StoreError, Txn, Watch};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, ffi, params};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How each version of the schema (`PRAGMA user_version`) becomes the next, the empty file being
/// version 0. A released step never changes: databases that went through it exist.
const UPGRADES: &[&str] = &[
    "CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
     CREATE TABLE change (revision INTEGER NOT NULL, key TEXT NOT NULL, deleted INTEGER NOT NULL,
                          PRIMARY KEY (revision, key)) WITHOUT ROWID;
     CREATE TABLE txn (revision INTEGER PRIMARY KEY, actor TEXT NOT NULL, operation TEXT, verb TEXT NOT NULL);
     CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
     INSERT INTO head VALUES (1, 0, 0);",
    // "SIST": tells our database from another program's (file(1), and our own doctor).
    "PRAGMA application_id = 1397314388;",
];
/// How many revisions of the change log are kept; older watchers scan again.
const LOG_KEPT: u64 = 100_000;

/// A store in one file.
pub struct Sqlite {
    path: PathBuf,
    // Before the writer, since fields end in this order: only a writer that is the last to go takes
    // the log into the database.
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Connection>,
}

fn failed(e: rusqlite::Error) -> StoreError {
    match e.sqlite_error().map(|why| (why.code, why.extended_code)) {
        Some((ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt, _)) => StoreError::Damaged(e.to_string()),
        // The shared memory beside the database is a file, too.
        Some((ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE)) => StoreError::Full,
        _ => StoreError::Failed(e.to_string()),
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first string after every string that begins with `prefix`; keys are ASCII.
fn prefix_end(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

impl Sqlite {
    /// Opens or makes the database at `path`; an older one is brought up to this version.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it cannot be opened, [`StoreError::Damaged`], [`StoreError::Newer`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Read-only first: a writer of a damaged database would remove the log beside it.
        let looked = Self::inspect(path, &[]);
        if let Err(e @ (StoreError::Damaged(_) | StoreError::Newer { .. })) = looked {
            return Err(e);
        }
        let mut writer = Connection::open(path).map_err(failed)?;
        configure(&writer)?;
        if looked.is_err() {
            // What a kill left for a writer to roll back keeps readers away.
            whole(&writer)?;
        }
        upgrade(&mut writer, UPGRADES)?;
        Ok(Self { path: path.to_owned(), writer: Mutex::new(writer), readers: Mutex::default() })
    }

    /// Looks at the database at `path` without writing to it, whoever else has it open: `None` if
    /// there is none, otherwise everything below these prefixes.
    ///
    /// # Errors
    /// See [`Sqlite::open`].
    pub fn inspect(path: &Path, prefixes: &[&str]) -> Result<Option<Vec<Entry>>, StoreError> {
        match path.metadata() {
            Ok(seen) if seen.len() > 0 => {}
            // A file of no bytes is a database that nothing was written to yet.
            Ok(_) => return Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StoreError::Failed(e.to_string())),
        }
        let reader = reader(path)?;
        whole(&reader)?;
        if version(&reader, UPGRADES)? == 0 {
            return Ok(None);
        }
        let mut all = vec![];
        let mut below = reader
            .prepare("SELECT key, value, revision FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key")
            .map_err(failed)?;
        for prefix in prefixes {
            let rows = below.query_map(params![prefix, prefix_end(prefix)], entry).map_err(failed)?;
            for row in rows {
                all.push(row.map_err(failed)?);
            }
        }
        Ok(Some(all))
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = lock(&self.readers).pop();
        let conn = match idle {
            Some(c) => c,
            None => reader(&self.path)?,
        };
        let result = f(&conn).map_err(failed);
        let mut idle = lock(&self.readers);
        // A burst may open many; keeping few holds the memory of an idle daemon small.
        if idle.len() < 2 {
            idle.push(conn);
        }
        result
    }
}

fn configure(c: &Connection) -> Result<(), StoreError> {
    c.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
    let mode: String = c.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(StoreError::Failed(format!("WAL cannot be used here (journal mode is {mode})")));
    }
    c.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    c.pragma_update(None, "cache_size", -1024).map_err(failed)?;
    c.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let c = Connection::open_with_flags(path, flags).map_err(failed)?;
    c.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
    c.pragma_update(None, "cache_size", -1024).map_err(failed)?;
    Ok(c)
}

/// Whether the database's pages fit together.
fn whole(c: &Connection) -> Result<(), StoreError> {
    let said: String = c.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(failed)?;
    if said == "ok" { Ok(()) } else { Err(StoreError::Damaged(said)) }
}

/// The version of what is there; tables of somebody else's are no version of ours.
fn version(c: &Connection, upgrades: &[&str]) -> Result<usize, StoreError> {
    let have: i64 = c.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(failed)?;
    let known = i64::try_from(upgrades.len()).unwrap_or(i64::MAX);
    if have > known {
        return Err(StoreError::Newer { have, known });
    }
    let ours =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('kv', 'change', 'txn', 'head')";
    let tables: i64 = c.query_row(ours, [], |r| r.get(0)).map_err(failed)?;
    let all: i64 = c
        .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |r| r.get(0))
        .map_err(failed)?;
    match usize::try_from(have) {
        Ok(0) if all == 0 => Ok(0),
        Ok(have) if have > 0 && tables == 4 => Ok(have),
        _ => Err(StoreError::Damaged("it does not have the tables of Sistemo".into())),
    }
}

/// Takes the database through the steps it has not seen, each of them a transaction of its own, so
/// that a kill leaves it at one version or the next.
fn upgrade(c: &mut Connection, upgrades: &[&str]) -> Result<(), StoreError> {
    let have = version(c, upgrades)?;
    for (n, step) in upgrades.iter().enumerate().skip(have) {
        let t = c.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        t.execute_batch(step).map_err(failed)?;
        t.pragma_update(None, "user_version", n + 1).map_err(failed)?;
        t.commit().map_err(failed)?;
        tracing::info!(version = n + 1, "the database was brought up to date");
    }
    Ok(())
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { key: row.get(0)?, value: row.get(1)?, revision: row.get(2)? })
}

impl Store for Sqlite {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.read(|c| {
            c.prepare_cached("SELECT key, value, revision FROM kv WHERE key = ?1")?
                .query_row([key], entry)
                .optional()
        })
    }

    fn scan(&self, prefix: &str, limit: Limit<'_>) -> Result<Vec<Entry>, StoreError> {
        let most = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let end = prefix_end(prefix);
        let (order, n, end) = match limit {
            Limit::All => ("ASC", -1i64, end),
            Limit::First(n) => ("ASC", most(n), end),
            Limit::Last(n) => ("DESC", most(n), end),
            Limit::Before(key, n) => ("DESC", most(n), end.min(key.to_owned())),
        };
        self.read(|c| {
            c.prepare_cached(&format!(
                "SELECT key, value, revision FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key {order} LIMIT ?3"
            ))?
            .query_map(params![prefix, end, n], entry)?
            .collect()
        })
    }

    fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        if !txn.within_limits() {
            return Err(StoreError::TooLarge);
        }
        let mut conn = lock(&self.writer);
        // IMMEDIATE: the checks must see what no other writer can change before the puts.
        let t = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let revision = apply(&t, &txn)?;
        t.commit().map_err(failed)?;
        Ok(revision)
    }

    fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        self.read(|c| {
            let compacted: u64 =
                c.prepare_cached("SELECT compacted FROM head")?.query_row([], |r| r.get(0))?;
            if from < compacted {
                return Ok(Watch::Compacted);
            }
            c.prepare_cached(
                "SELECT revision, key, deleted FROM change
                 WHERE revision > ?1 AND key >= ?2 AND key < ?3 ORDER BY revision, key",
            )?
            .query_map(params![from, prefix, prefix_end(prefix)], |r| {
                Ok(Change { revision: r.get(0)?, key: r.get(1)?, deleted: r.get(2)? })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()
            .map(Watch::Changes)
        })
    }

    fn revision(&self) -> Result<u64, StoreError> {
        self.read(|c| c.prepare_cached("SELECT revision FROM head")?.query_row([], |r| r.get(0)))
    }
}

fn apply(t: &rusqlite::Transaction<'_>, txn: &Txn) -> Result<u64, StoreError> {
    for (key, check) in &txn.checks {
        let have: Option<u64> = t
            .prepare_cached("SELECT revision FROM kv WHERE key = ?1")
            .and_then(|mut s| s.query_row([key], |r| r.get(0)).optional())
            .map_err(failed)?;
        let holds = match check {
            Check::Absent => have.is_none(),
            Check::RevisionIs(r) => have == Some(*r),
        };
        if !holds {
            return Err(StoreError::Conflict(key.clone()));
        }
    }
    write(t, txn).map_err(failed)
}

fn write(t: &rusqlite::Transaction<'_>, txn: &Txn) -> rusqlite::Result<u64> {
    let revision: u64 = t
        .prepare_cached("UPDATE head SET revision = revision + 1 RETURNING revision")?
        .query_row([], |r| r.get(0))?;
    let mut log = t.prepare_cached("INSERT INTO change VALUES (?1, ?2, ?3)")?;
    for (key, value) in &txn.puts {
        t.prepare_cached("INSERT OR REPLACE INTO kv VALUES (?1, ?2, ?3)")?
            .execute(params![key, value, revision])?;
        log.execute(params![revision, key, false])?;
    }
    for key in &txn.deletes {
        if t.prepare_cached("DELETE FROM kv WHERE key = ?1")?.execute([key])? > 0 {
            log.execute(params![revision, key, true])?;
        }
    }
    t.prepare_cached("INSERT INTO txn VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        revision,
        txn.cause.actor.0,
        txn.cause.operation.map(|o| o.to_string()),
        txn.cause.verb.to_string(),
    ])?;
    if revision.is_multiple_of(1000) && revision > LOG_KEPT {
        let upto = revision - LOG_KEPT;
        t.execute("DELETE FROM change WHERE revision <= ?1", [upto])?;
        t.execute("DELETE FROM txn WHERE revision <= ?1", [upto])?;
        t.execute("UPDATE head SET compacted = ?1", [upto])?;
    }
    Ok(revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn conforms() {
        let dir = tempfile::tempdir().unwrap();
        let mut n = 0;
        conformance::all(&mut || {
            n += 1;
            Box::new(Sqlite::open(&dir.path().join(format!("{n}.db"))).unwrap())
        });
    }

    #[test]
    fn is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let store = Sqlite::open(&path).unwrap();
        let revision = store.commit(conformance::put("a/b", "v")).unwrap();
        assert_eq!(store.revision().unwrap(), revision);
        drop(store);
        assert!(!dir.path().join("s.db-wal").exists());
        let store = Sqlite::open(&path).unwrap();
        assert_eq!(store.get("a/b").unwrap().unwrap().revision, revision);
        assert_eq!(store.revision().unwrap(), revision);
    }

    #[test]
    fn what_is_only_in_the_log_is_there_after_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("s.db"), dir.path().join("c.db"));
        let store = Sqlite::open(&path).unwrap();
        let revision = store.commit(conformance::put("volume/a/spec", "v")).unwrap();
        // As a kill leaves it: the log not yet in the database, and no shared memory.
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(dir.path().join("s.db-wal"), dir.path().join("c.db-wal")).unwrap();
        assert_eq!(Sqlite::inspect(&copy, &[""]).unwrap().map(|all| all.len()), Some(1));
        assert_eq!(Sqlite::open(&copy).unwrap().revision().unwrap(), revision);
    }

    #[test]
    fn refuses_a_newer_or_damaged_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        drop(Sqlite::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert_eq!(Sqlite::open(&path).err(), Some(StoreError::Newer { have: 99, known: 2 }));
        let path = dir.path().join("t.db");
        let log = dir.path().join("t.db-wal");
        std::fs::write(&path, vec![0x55u8; 8192]).unwrap();
        std::fs::write(&log, "committed").unwrap();
        assert!(matches!(Sqlite::open(&path), Err(StoreError::Damaged(_))));
        assert!(matches!(Sqlite::inspect(&path, &[]), Err(StoreError::Damaged(_))));
        assert_eq!(std::fs::read(&log).unwrap(), b"committed");
    }

    #[test]
    fn refuses_the_tables_of_another_program() {
        let dir = tempfile::tempdir().unwrap();
        for (n, sql) in
            ["CREATE TABLE theirs (x)", "PRAGMA user_version = 1; CREATE TABLE kv (x)"].iter().enumerate()
        {
            let path = dir.path().join(n.to_string());
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            assert!(matches!(Sqlite::open(&path), Err(StoreError::Damaged(_))), "{sql}");
        }
    }

    #[test]
    fn a_damaged_page_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let store = Sqlite::open(&path).unwrap();
        for n in 0..200 {
            store.commit(conformance::put(&format!("k{n:03}"), &"v".repeat(200))).unwrap();
        }
        drop(store);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0x55);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Sqlite::open(&path), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn each_step_of_an_upgrade_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        drop(Sqlite::open(&path).unwrap());
        let mut c = Connection::open(&path).unwrap();
        let next = |step: &'static str| [UPGRADES, &["CREATE TABLE extra (x)", step]].concat();
        assert!(upgrade(&mut c, &next("CREATE TABLE half (x); nonsense")).is_err());
        assert_eq!(version(&c, &next("")).unwrap(), 3);
        assert!(c.execute("SELECT * FROM half", []).is_err());
        upgrade(&mut c, &next("CREATE TABLE half (x)")).unwrap();
        assert_eq!(version(&c, &next("")).unwrap(), 4);
    }

    #[test]
    fn looking_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        assert_eq!(Sqlite::inspect(&path, &[""]).unwrap(), None);
        assert!(!path.exists());
        let store = Sqlite::open(&path).unwrap();
        assert_eq!(Sqlite::inspect(&path, &[""]).unwrap(), Some(vec![]));
        for key in ["volume/a/spec", "volume/a/status", "machine/b/spec", "network/c/spec"] {
            store.commit(conformance::put(key, "{}")).unwrap();
        }
        let all = Sqlite::inspect(&path, &["volume/", "machine/"]).unwrap().unwrap();
        assert_eq!(
            all,
            [store.scan("volume/", Limit::All).unwrap(), store.scan("machine/", Limit::All).unwrap()]
                .concat()
        );
    }
}
