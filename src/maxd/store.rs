//! The state database: one SQLite file, one writer at a time, versioned migrations.
//!
//! Every change that is acknowledged is one transaction and on the disk
//! (`synchronous=FULL`) before the answer leaves.

use crate::error::{Error, Kind, Result};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Each brings the schema one version further; `PRAGMA user_version` counts them.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
    include_str!("schema/10.sql"),
    include_str!("schema/11.sql"),
    include_str!("schema/12.sql"),
    include_str!("schema/13.sql"),
    include_str!("schema/14.sql"),
    include_str!("schema/15.sql"),
    include_str!("schema/16.sql"),
];

/// The database.
pub struct Store(Mutex<Connection>);

impl Store {
    /// Opens (or makes) the database and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Arc<Store>> {
        let mut connection = connect(path, "FULL")?;
        migrate(&mut connection, MIGRATIONS, path)?;
        Ok(Arc::new(Store(Mutex::new(connection))))
    }

    /// Runs `work` in one transaction, which an error rolls back. Blocks.
    pub fn run<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(explain)?;
        let done = work(&transaction)?;
        transaction.commit().map_err(explain)?;
        Ok(done)
    }

    /// [`Store::run`] from asynchronous code.
    pub async fn with<T: Send + 'static>(
        self: &Arc<Store>,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || store.run(work)).await;
        done.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the server failed at its database")))
    }
}

impl Store {
    /// Writes something that changes nothing, to see whether it works.
    pub async fn try_write(self: &Arc<Store>) -> Result<()> {
        // Written into the first page whether it is new or not.
        self.with(|t| t.pragma_update(None, "application_id", 0x4d61_7864).map_err(explain)).await
    }
}

/// A connection as both databases use it.
pub fn connect(path: &Path, synchronous: &str) -> Result<Connection> {
    let failed = |error| explain(error).hint(format!("the database is '{}'", path.display()));
    // SQLite gives its other files the permissions of this one. One that is there is not opened
    // here: to close it again would end SQLite's locks (https://sqlite.org/howtocorrupt.html, 2.2).
    let made = match path.exists() {
        true => fs::set_permissions(path, Permissions::from_mode(0o600)),
        false => fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop),
    };
    made.map_err(|error| disk("open", path, &error))?;
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", synchronous).map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    Ok(connection)
}

/// Applies the migrations the database has not seen yet.
pub fn migrate(connection: &mut Connection, migrations: &[&str], path: &Path) -> Result<()> {
    let failed = |error| explain(error).hint(format!("the database is '{}'", path.display()));
    // So that a table can be made anew (https://sqlite.org/lang_altertable.html#otheralter).
    connection.pragma_update(None, "foreign_keys", false).map_err(failed)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version: usize =
        transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if version > migrations.len() {
        let message = format!("'{}' was written by a newer maxd (schema {version})", path.display());
        return Err(Error::new(Kind::Failed, message).hint("start that version, or restore a backup"));
    }
    for script in migrations.iter().skip(version) {
        transaction.execute_batch(script).map_err(failed)?;
    }
    if version < migrations.len() {
        let broken = transaction.prepare("PRAGMA foreign_key_check").and_then(|mut check| check.exists([]));
        if broken.map_err(failed)? {
            let message = format!("'{}' holds what belongs to nothing", path.display());
            return Err(Error::new(Kind::Internal, message).hint("restore a backup"));
        }
    }
    transaction.pragma_update(None, "user_version", migrations.len()).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)
}

/// Makes the data directory if need be, for maxd's own user alone.
pub fn make_private(directory: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| disk("make", directory, &error))
}

/// A database error in the server's words.
pub fn explain(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => no_space(),
        Some(ErrorCode::DatabaseBusy) => {
            Error::new(Kind::TimedOut, "the server's database is busy").hint("try again")
        }
        _ => Error::new(Kind::Internal, format!("the server's database failed: {error}")),
    }
}

/// A number from outside as the database holds it: what is too large for that is the number
/// of nothing.
pub fn held(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The disk is full.
pub fn no_space() -> Error {
    Error::new(Kind::NoSpace, "the server's disk is full").hint("free some space on it and try again")
}

/// An I/O error in the data directory.
pub fn disk(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => no_space(),
        _ => Error::io(doing, &path.to_string_lossy(), error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_error_rolls_everything_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        let insert = |t: &Transaction<'_>| {
            t.execute("INSERT INTO users(name, created_at) VALUES ('ada', '')", []).map_err(explain)
        };
        let failed = store.run(|t| {
            insert(t)?;
            Err::<(), _>(Error::usage("no"))
        });
        assert!(failed.is_err());
        store.run(insert).unwrap();
        assert_eq!(store.run(insert).err().unwrap().kind().code(), "internal");
    }

    #[tokio::test]
    async fn whether_it_can_be_written_is_seen_by_writing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let store = Store::open(&path).unwrap();
        let size = || std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
        store.try_write().await.unwrap();
        let before = size();
        store.try_write().await.unwrap();
        assert!(size() > before);
        store.0.lock().unwrap().pragma_update(None, "query_only", true).unwrap();
        assert_eq!(store.try_write().await.err().unwrap().kind().code(), "internal");
    }

    #[test]
    fn migrations_run_once_and_a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let mut connection = connect(&path, "NORMAL").unwrap();
        migrate(&mut connection, &["CREATE TABLE a(x)"], &path).unwrap();
        migrate(&mut connection, &["CREATE TABLE a(x)", "CREATE TABLE b(x)"], &path).unwrap();
        let error = migrate(&mut connection, &["CREATE TABLE a(x)"], &path).err().unwrap();
        assert_eq!(error.message(), format!("'{}' was written by a newer maxd (schema 2)", path.display()));
    }

    #[test]
    fn who_owned_a_network_owns_it_and_what_ran_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let mut connection = connect(&path, "NORMAL").unwrap();
        migrate(&mut connection, MIGRATIONS.get(..9).unwrap(), &path).unwrap();
        let before = "INSERT INTO users(name, created_at) VALUES ('ada', ''), ('bob', '');
            INSERT INTO networks(owner, name, created_at) VALUES (2, 'blue', '1'), (1, 'red', '3');
            INSERT INTO apps(network, name, created_at) VALUES (1, 'web', '1');
            INSERT INTO execs(user, network, app, tty, started_at, app_id) VALUES
                (2, 'blue', 'web', 0, '2', 1), (2, 'red', '', 1, '2', NULL);
            INSERT INTO answers VALUES (1, 'k', 'app:list', '{}', 5);";
        connection.execute_batch(before).unwrap();
        migrate(&mut connection, MIGRATIONS, &path).unwrap();
        let text = |query: &str| connection.query_row(query, [], |row| row.get::<_, String>(0)).unwrap();
        let members = "SELECT group_concat(network || user || level || added_at) FROM members";
        assert_eq!(text(members), "1231,2133");
        // A network that was made later has another's name.
        let audit = "SELECT group_concat(id || what || network || ifnull(network_id, '-') || ifnull(app, '-')) FROM audit";
        assert_eq!(text(audit), "1commandblue1web,2consolered--");
        assert_eq!(text("SELECT user || bound || key FROM answers"), "10k");
        assert_eq!(text("SELECT count(*) || '' FROM apps"), "1");
        let changes = "DELETE FROM all_networks WHERE id = 2;
            INSERT INTO all_networks(name, created_at) VALUES ('red', '');
            UPDATE all_apps SET deleted_at = '';
            INSERT INTO all_apps(network, name, created_at) VALUES (1, 'web', '');";
        connection.execute_batch(changes).unwrap();
        assert_eq!(text("SELECT group_concat(id || name) FROM networks"), "1blue,3red");
        assert_eq!(text("SELECT group_concat(id || name) FROM apps"), "2web");
        assert_eq!(text("SELECT group_concat(network) FROM members"), "1");
    }

    #[test]
    fn a_full_disk_is_said_and_nothing_is_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        store.0.lock().unwrap().pragma_update(None, "max_page_count", 40).unwrap();
        let insert = |name: String| {
            store.run(|t| {
                t.execute("INSERT INTO users(name, created_at) VALUES (?1, '')", [name]).map_err(explain)
            })
        };
        let error = (0..).find_map(|n| insert(format!("{n}{}", "x".repeat(4000))).err()).unwrap();
        assert!(error.kind() == Kind::NoSpace, "{error:?}");
        let check = |t: &Transaction<'_>| {
            t.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).map_err(explain)
        };
        assert_eq!(store.run(check).unwrap(), "ok");
    }
}
