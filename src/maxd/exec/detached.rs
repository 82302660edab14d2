//! Commands that go on without a client: they have nothing to read, and what they write
//! goes to the log, under their number.

use super::{Orders, Session, run};
use crate::error::{Error, Kind, Result};
use crate::maxd::access::{self, Access, Level};
use crate::maxd::audit::LASTS;
use crate::maxd::line::NewLine;
use crate::maxd::platform::Platform;
use crate::maxd::pump::Journal;
use crate::maxd::store::{explain, held};
use crate::maxd::supervisor::Release;
use crate::time::human;
use crate::wire::exec::Create;
use crate::wire::log::Source;
use rusqlite::{OptionalExtension, Transaction};
use std::sync::Arc;

/// Runs the program from beginning to end.
pub async fn run(
    platform: Arc<Platform>,
    session: Arc<Session>,
    request: Create,
    release: Release,
    mut orders: Orders,
) {
    let journal = Journal::of_command(&release, session.id, &platform.lines);
    let (code, reason) = match run::start(&platform, &request, &release).await {
        Ok(mut job) => {
            drop(job.input());
            let pumps = journal.follow(&mut *job, Source::Stdout, Source::Stderr);
            let (exit, reason) = run::until_end(&mut *job, request.timeout_ms, &mut orders).await;
            pumps.drain().await;
            (u64::try_from(exit.code).unwrap_or(255), reason)
        }
        Err(error) => {
            journal.write(Source::Stderr, error.message()).await;
            (run::CANNOT_RUN, None)
        }
    };
    let why = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let last = format!("ended with exit code {code} after {}{why}", human(session.began.elapsed()));
    // Who follows is told of the end by the session, and has to find this line then.
    journal.write_last(Source::Event, last).await;
    run::note_end(&platform, &session, code, reason).await;
    platform.execs.all().remove(&session.id);
}

/// A detached command as its log's readers need it.
pub struct Log {
    /// The app's row.
    pub app: i64,
    /// The network's row.
    pub network: i64,
    /// The command, while it runs.
    pub running: Option<Arc<Session>>,
}

impl Platform {
    /// Where to find what a detached command writes.
    pub async fn command_log(&self, who: &Access, id: u64) -> Result<Log> {
        let running = self.execs.find(id).ok().filter(|session| session.exit.get().is_none());
        let (who, key) = (who.clone(), held(id));
        let found: Option<(bool, Option<i64>, Option<i64>)> = self
            .store
            .with(move |t| {
                let query = format!(
                    "SELECT user, detached, app_id, apps.network, network_id
                     FROM audit LEFT JOIN apps ON apps.id = app_id WHERE audit.id = ?1 AND {LASTS}"
                );
                let row = |row: &rusqlite::Row<'_>| {
                    let own = row.get::<_, i64>(0)? == who.user;
                    Ok((own, row.get::<_, Option<i64>>(4)?, (row.get(1)?, row.get(2)?, row.get(3)?)))
                };
                let found = t.query_row(&query, [key], row).optional().map_err(explain)?;
                let Some((own, network, found)) = found else { return Ok(None) };
                let role = match network {
                    Some(network) => access::role(t, &who, network)?,
                    // Its network is gone: nobody but its user knows of it.
                    None => Some(Level::Read).filter(|_| who.network.is_none()),
                };
                Ok(role.filter(|role| own || *role == Level::Admin).map(|_| found))
            })
            .await?;
        match found {
            Some((true, Some(app), Some(network))) => Ok(Log { app, network, running }),
            Some((true, ..)) => {
                let message = format!("the app of session {id} was deleted, and its log with it");
                Err(Error::new(Kind::NotFound, message).hint("see `rig list audit`"))
            }
            Some((false, ..)) => {
                let message = format!("session {id} was not detached: what it writes is not kept");
                Err(Error::new(Kind::Conflict, message).hint("begin it with `rig command --detach`"))
            }
            None => {
                let message = format!("session {id} does not exist");
                Err(Error::new(Kind::NotFound, message).hint("see `rig list audit`"))
            }
        }
    }
}

/// The last lines of the detached commands that ended when maxd was killed, as far as that
/// is not noted yet.
pub fn killed(t: &Transaction<'_>) -> Result<Vec<NewLine>> {
    let query = "SELECT apps.network, apps.id, audit.id FROM audit JOIN apps ON apps.id = app_id
                 WHERE ended_at IS NULL AND detached";
    let mut query = t.prepare(query).map_err(explain)?;
    let rows = query.query_map([], |row| {
        let text = "ended because Max was killed".to_owned();
        let line = NewLine::new(row.get(0)?, row.get(1)?, None, Source::Event, text);
        Ok(NewLine { command: row.get(2)?, ..line })
    });
    rows.and_then(Iterator::collect).map_err(explain)
}
