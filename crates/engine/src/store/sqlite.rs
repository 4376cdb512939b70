//! The store on SQLite.
//!
//! Invariant: WAL with `synchronous=FULL`, so a transaction is on disk when `commit` returns
//! (<https://www.sqlite.org/pragma.html#pragma_synchronous>). One connection writes; others read,
//! so that reads never wait for writes.

use super::{Change, Check, Entry, Limit, Store, StoreError, Txn, Watch};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The schema's version (`PRAGMA user_version`).
const SCHEMA: i64 = 1;
/// How many revisions of the change log are kept; older watchers scan again.
const LOG_KEPT: u64 = 100_000;

/// A store in one file.
pub struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

fn failed(e: rusqlite::Error) -> StoreError {
    StoreError::Failed(e.to_string())
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first string after every string that begins with `prefix`; keys are ASCII.
fn prefix_end(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

impl Sqlite {
    /// Opens or makes the database at `path`.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it cannot be opened, is damaged, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let writer = Connection::open(path).map_err(failed)?;
        configure(&writer)?;
        let check: String = writer.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(failed)?;
        if check != "ok" {
            return Err(StoreError::Failed(format!("the database is damaged: {check}")));
        }
        let version: i64 = writer.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(failed)?;
        match version {
            0 => writer
                .execute_batch(&format!(
                    "BEGIN IMMEDIATE;
                     CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
                     CREATE TABLE change (revision INTEGER NOT NULL, key TEXT NOT NULL, deleted INTEGER NOT NULL,
                                          PRIMARY KEY (revision, key)) WITHOUT ROWID;
                     CREATE TABLE txn (revision INTEGER PRIMARY KEY, actor TEXT NOT NULL, operation TEXT, verb TEXT NOT NULL);
                     CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
                     INSERT INTO head VALUES (1, 0, 0);
                     PRAGMA user_version = {SCHEMA};
                     COMMIT;"
                ))
                .map_err(failed)?,
            SCHEMA => {}
            newer => {
                return Err(StoreError::Failed(format!(
                    "the database has version {newer}, this program knows {SCHEMA}"
                )));
            }
        }
        Ok(Self { path: path.to_owned(), writer: Mutex::new(writer), readers: Mutex::default() })
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = lock(&self.readers).pop();
        let conn = match idle {
            Some(c) => c,
            None => {
                let c = Connection::open_with_flags(
                    &self.path,
                    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                )
                .map_err(failed)?;
                configure_reader(&c)?;
                c
            }
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

fn configure_reader(c: &Connection) -> Result<(), StoreError> {
    c.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
    c.pragma_update(None, "cache_size", -1024).map_err(failed)
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
    if revision % 1000 == 0 && revision > LOG_KEPT {
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
        drop(store);
        let store = Sqlite::open(&path).unwrap();
        assert_eq!(store.get("a/b").unwrap().unwrap().revision, revision);
        assert_eq!(store.revision().unwrap(), revision);
    }

    #[test]
    fn refuses_a_newer_or_damaged_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        drop(Sqlite::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Sqlite::open(&path), Err(StoreError::Failed(m)) if m.contains("99")));
        let path = dir.path().join("t.db");
        std::fs::write(&path, vec![0x55u8; 8192]).unwrap();
        assert!(matches!(Sqlite::open(&path), Err(StoreError::Failed(_))));
    }
}
