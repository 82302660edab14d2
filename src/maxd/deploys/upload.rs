//! Uploads: of a whole archive, or of a manifest and then of the contents that are missing. A
//! deploy has one at a time. What comes of an archive is lost with its connection, and so is
//! its deploy; contents stay, and their deploy waits for the rest.

use super::incoming::{Incoming, too_large};
use super::rows::{fail, find, missing, word};
use super::{blocking, closed, deleted, over, sent};
use crate::archive::{Limits, Tree, read_changes};
use crate::error::{Error, Kind, Result};
use crate::manifest::{Hash, hex, parse_hex, write_ranges};
use crate::maxd::access::Access;
use crate::maxd::contents::{Pool, Receiver, each_once};
use crate::maxd::platform::Platform;
use crate::maxd::store::{disk, explain, held};
use crate::time::rfc3339;
use crate::wire::deploy::{Deploy, Partial, Progress, State};
use axum::body::Body;
use flate2::bufread::MultiGzDecoder;
use rusqlite::{Transaction, params};
use std::collections::HashMap;
use std::fs;
use std::io::{BufReader, Seek};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// The uploads that stay away for too long: an hour, or a minute when the same user has sent the
/// source of a later deploy of the app; with that one's number.
const STALE: &str = "
    SELECT id, later FROM (
        SELECT id, ifnull(sent_at, created_at) AS seen,
            (SELECT max(l.id) FROM deploys l WHERE l.app = d.app AND l.user = d.user AND l.id > d.id
             AND l.state NOT IN ('uploading', 'failed')) AS later
        FROM deploys d WHERE state = 'uploading'
    ) WHERE datetime(seen) < datetime('now', iif(later IS NULL, '-1 hour', '-1 minute'))";
/// What compression may add to incompressible source.
const ARCHIVE_SLACK: u64 = 64 << 20;
/// The largest manifest as it is sent.
pub(super) const MANIFEST_MAX: u64 = 64 << 20;
/// Uploads of one user at a time.
const UPLOADS: usize = 32;
/// How many partials an answer names at most.
const PARTIALS: usize = 1000;

/// What a release is made from.
pub enum Source {
    /// An archive in this file.
    Archive(PathBuf),
    /// The manifest with this name.
    Manifest(Hash),
}

/// The uploads under way, by their deploys.
#[derive(Default)]
pub struct Uploads(Mutex<HashMap<u64, UnderWay>>);

struct UnderWay {
    user: i64,
    app: i64,
    /// What a newer request may take over.
    resumable: bool,
    /// Ends it.
    end: CancellationToken,
    /// It has ended.
    ended: CancellationToken,
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, UnderWay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read a manifest that is no deploy's, under a number that is no deploy's.
    pub fn look(&self, who: &Access) -> Result<(u64, CancellationToken)> {
        let mut uploads = self.lock();
        let number = (0..u64::MAX).rev().find(|number| !uploads.contains_key(number)).unwrap_or(0);
        begin(&mut uploads, who, number, (0, false)).map(|(end, _)| (number, end))
    }

    /// The one with this number has ended.
    pub fn over(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Ends those of some deploys, by their number and their app.
    pub async fn end(&self, which: impl Fn(u64, i64) -> bool) {
        let ended: Vec<CancellationToken> = {
            let uploads = self.lock();
            let of_them = uploads.iter().filter(|(id, upload)| which(**id, upload.app));
            of_them
                .inspect(|(_, upload)| upload.end.cancel())
                .map(|(_, upload)| upload.ended.clone())
                .collect()
        };
        for ended in ended {
            ended.cancelled().await;
        }
    }
}

/// Begins an upload, of which a user has not too many; its end and that it has ended.
fn begin(
    uploads: &mut HashMap<u64, UnderWay>,
    who: &Access,
    id: u64,
    (app, resumable): (i64, bool),
) -> Result<(CancellationToken, CancellationToken)> {
    if uploads.values().filter(|upload| upload.user == who.user).count() >= UPLOADS {
        let message = format!("{UPLOADS} uploads of '{}' are under way", who.name);
        return Err(Error::new(Kind::TooLarge, message).hint("wait until one has ended"));
    }
    let (end, ended) = (CancellationToken::new(), CancellationToken::new());
    let under_way = UnderWay { user: who.user, app, resumable, end: end.clone(), ended: ended.clone() };
    uploads.insert(id, under_way);
    Ok((end, ended))
}

/// An upload that may be received now. Dropping it ends the claim.
pub struct Upload {
    platform: Arc<Platform>,
    /// The deploy.
    pub deploy: Deploy,
    app: i64,
    network: i64,
    end: CancellationToken,
    ended: CancellationToken,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.platform.deploys.uploads.over(self.deploy.id);
        self.ended.cancel();
    }
}

impl Upload {
    /// What comes of a request's body, within limits.
    fn incoming(&self, body: Body, limit: u64, what: &'static str) -> Incoming {
        Incoming::new(&self.platform, self.deploy.id, self.end.clone(), body, limit, what)
    }

    fn pool(&self) -> Arc<Pool> {
        self.platform.contents.pool(self.network)
    }
}

impl Platform {
    /// What a source may hold.
    pub fn source_limits(&self) -> Limits {
        Limits { bytes: self.limits.source_bytes, entries: self.limits.files }
    }

    /// Claims the upload of a deploy; `resumable` ones take over from each other.
    async fn claim(self: &Arc<Platform>, who: &Access, id: u64, resumable: bool) -> Result<Upload> {
        let (deploy, app, network) = self.deploy_status(who, id).await?;
        if deploy.user != who.name {
            let message = format!("deploy {id} was begun by '{}', who alone sends its source", deploy.user);
            return Err(Error::new(Kind::Forbidden, message).hint("begin one: `rig deploy`"));
        }
        loop {
            let ended = {
                let mut uploads = self.deploys.uploads.lock();
                match uploads.get(&id) {
                    Some(other) if resumable && other.resumable => {
                        other.end.cancel();
                        other.ended.clone()
                    }
                    Some(_) => return Err(sent(id)),
                    None => {
                        let (end, ended) = begin(&mut uploads, who, id, (app, resumable))?;
                        return Ok(Upload { platform: Arc::clone(self), deploy, app, network, end, ended });
                    }
                }
            };
            ended.cancelled().await;
        }
    }

    /// `PUT …/source`: an archive.
    pub async fn take_source(
        self: &Arc<Platform>,
        who: &Access,
        id: u64,
        length: Option<u64>,
        body: Body,
    ) -> Result<Deploy> {
        let claimed = self.claim(who, id, false).await;
        let upload = self.witness(who, claimed).await?;
        let state = self.store.with(move |t| uploading(t, id)).await?;
        match state {
            (State::Uploading, None) => {}
            (State::Uploading, Some(_)) => {
                let message = format!("deploy {id} has a manifest: send its contents");
                return Err(Error::new(Kind::Conflict, message));
            }
            _ => return Err(sent(id)),
        }
        let path = self.data.join("uploads").join(format!("{id}.tar.gz"));
        let limit = self.limits.source_bytes.saturating_add(ARCHIVE_SLACK);
        let stored = match length {
            Some(length) if length > limit => Err(too_large("archive", limit)),
            _ => match upload.incoming(body, limit, "archive").store(&path).await {
                Ok(file) => file.sync_all().await.map_err(|error| disk("write", &path, &error)),
                Err(error) => Err(error),
            },
        };
        match stored {
            Ok(()) => self.queue(upload, Source::Archive(path)).await,
            Err(error) => {
                let _ = tokio::task::spawn_blocking(move || fs::remove_file(path)).await;
                if let Err(error) = self.end(&upload.deploy, State::Uploading, upload.app, Err(&error)).await
                {
                    say!("cannot record that deploy {id} failed: {error}");
                }
                Err(error)
            }
        }
    }

    /// `PUT …/manifest`.
    pub async fn take_manifest(self: &Arc<Platform>, who: &Access, id: u64, body: Body) -> Result<Progress> {
        let claimed = self.claim(who, id, true).await;
        let upload = self.witness(who, claimed).await?;
        let network = upload.network;
        let taken = self.receive_manifest(upload, body).await;
        self.conclude(id, network, taken).await
    }

    async fn receive_manifest(self: &Arc<Platform>, upload: Upload, body: Body) -> Result<Progress> {
        let path = self.data.join("uploads").join(format!("{}.manifest", upload.deploy.id));
        let stored = upload.incoming(body, MANIFEST_MAX, "manifest").store(&path).await;
        // Whatever happens from here on, nothing of it stays.
        let _ = tokio::fs::remove_file(&path).await;
        let file = stored?.into_std().await;
        let _place = self.deploys.readers.acquire().await;
        let (upload, name, found) = blocking(move || {
            let (name, found) = record(&upload, file)?;
            Ok((upload, name, found))
        })
        .await?;
        match found {
            Found::Ended(deploy) => {
                Ok(Progress { deploy: *deploy, missing: String::new(), partial: Vec::new() })
            }
            Found::Lacks(missing, partial) => self.proceed(upload, name, missing, partial).await,
        }
    }

    /// `PUT …/contents`.
    pub async fn take_contents(self: &Arc<Platform>, who: &Access, id: u64, body: Body) -> Result<Progress> {
        let claimed = self.claim(who, id, true).await;
        let upload = self.witness(who, claimed).await?;
        let network = upload.network;
        let taken = self.receive_contents(upload, body).await;
        self.conclude(id, network, taken).await
    }

    async fn receive_contents(self: &Arc<Platform>, upload: Upload, body: Body) -> Result<Progress> {
        let limit = self.limits.source_bytes.saturating_add(ARCHIVE_SLACK);
        let mut incoming = upload.incoming(body, limit, "contents");
        let place = self.deploys.readers.acquire().await;
        let mut receiving = blocking(move || Receiving::begin(upload)).await?;
        drop(place);
        while let Some(chunk) = incoming.next().await.map_err(resumable)? {
            receiving = blocking(move || {
                receiving.receiver.push(&chunk)?;
                Ok(receiving)
            })
            .await?;
        }
        let (upload, name, missing, partial) = blocking(move || {
            receiving.receiver.finish()?;
            let Receiving { upload, name, list, .. } = receiving;
            let (missing, partial) = look(&upload.pool(), &list)?;
            Ok((upload, name, missing, partial))
        })
        .await?;
        self.proceed(upload, name, missing, partial).await
    }

    /// What is refused, and would be again, has failed its deploy. So has what fills the disk, and
    /// that does not stay to be gone on with: what no other needs is removed at once.
    async fn conclude<T>(&self, id: u64, network: i64, taken: Result<T>) -> Result<T> {
        let Err(error) = &taken else { return taken };
        let full = match error.kind() {
            Kind::NoSpace => true,
            Kind::Usage | Kind::TooLarge => false,
            _ => return taken,
        };
        if full {
            // While the disk is full nothing can be recorded.
            self.give_up_partials(network).await;
        }
        let (reason, which) = (error.message().to_owned(), "id = ?1 AND state = 'uploading'");
        if let Err(error) = self.store.with(move |t| fail(t, which, &id.to_string(), &reason)).await {
            say!("cannot record that deploy {id} failed: {error}");
        }
        self.deploys.changed();
        if full {
            self.collect(network, Duration::ZERO).await;
        }
        taken
    }

    /// With nothing missing the deploy goes on.
    async fn proceed(
        self: &Arc<Platform>,
        upload: Upload,
        name: Hash,
        missing: String,
        partial: Vec<Partial>,
    ) -> Result<Progress> {
        let deploy = match missing.is_empty() {
            true => self.queue(upload, Source::Manifest(name)).await?,
            false => upload.deploy.clone(),
        };
        Ok(Progress { deploy, missing, partial })
    }

    /// The source is on the disk: the deploy is queued and goes on by itself.
    async fn queue(self: &Arc<Platform>, upload: Upload, source: Source) -> Result<Deploy> {
        let (id, app, address) = (upload.deploy.id, upload.app, self.address.clone());
        let platform = Arc::clone(self);
        let (deploy, turn) = self
            .store
            .with(move |t| {
                t.execute("UPDATE all_apps SET releases = releases + 1 WHERE id = ?1", [app])
                    .map_err(explain)?;
                let set = "UPDATE deploys SET state = ?2, release = (SELECT releases FROM apps WHERE id = ?3)
                           WHERE id = ?1 AND state = ?4";
                let with = params![id, word(State::Queued), app, word(State::Uploading)];
                if t.execute(set, with).map_err(explain)? == 0 {
                    return Err(over(t, id)?);
                }
                let deploy = find(t, held(id), &address)?.ok_or_else(|| missing(id))?;
                // Here, so that the queue has the order of the releases' numbers.
                Ok((deploy, platform.deploys.queues.join(app)))
            })
            .await?;
        self.deploys.changed();
        let (platform, queued, rows) = (Arc::clone(self), deploy.clone(), (app, upload.network));
        self.deploys.tasks.spawn(async move { platform.run(queued, turn, rows, source).await });
        Ok(deploy)
    }

    /// Fails the deploys whose source never came.
    pub async fn fail_stale_uploads(&self) -> Result<()> {
        let active: Vec<u64> = self.deploys.uploads.lock().keys().copied().collect();
        let failed = self.store.with(move |t| {
            for id in &active {
                sent_now(t, *id)?;
            }
            let mut query = t.prepare(STALE).map_err(explain)?;
            let stale = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            let stale: Vec<(u64, Option<u64>)> = stale.and_then(Iterator::collect).map_err(explain)?;
            for (id, later) in &stale {
                let why = later.map_or_else(
                    || "the source was not sent within an hour".to_owned(),
                    |later| format!("its source was not sent, and deploy {later} came in its place"),
                );
                fail(t, "id = ?1", &id.to_string(), &why)?;
            }
            Ok(!stale.is_empty())
        });
        if failed.await? {
            self.deploys.changed();
        }
        Ok(())
    }
}

/// What has come of contents stays.
fn resumable(error: Error) -> Error {
    match error.kind() {
        Kind::Failed | Kind::TimedOut => error.hint("what has arrived is kept; send the rest"),
        _ => error,
    }
}

/// A deploy's state and the manifest it has.
fn uploading(t: &Transaction<'_>, id: u64) -> Result<(State, Option<String>)> {
    let query = "SELECT state, manifest FROM deploys WHERE id = ?1";
    let row = t.query_row(query, [held(id)], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
    row.map(|(state, manifest)| (super::rows::state(&state), manifest)).map_err(|_| deleted())
}

fn sent_now(t: &Transaction<'_>, id: u64) -> Result<()> {
    let set = "UPDATE deploys SET sent_at = ?2 WHERE id = ?1";
    t.execute(set, params![held(id), rfc3339(SystemTime::now())]).map(drop).map_err(explain)
}

/// What there is for a manifest.
enum Found {
    /// The deploy does not wait for it any more, and it is its own.
    Ended(Box<Deploy>),
    /// These are missing, some of them in part.
    Lacks(String, Vec<Partial>),
}

/// Reads a manifest as it was sent. Blocks.
pub(super) fn read(platform: &Platform, pool: &Pool, mut file: fs::File) -> Result<(Hash, Tree)> {
    file.rewind().map_err(|error| Error::io("read", "the manifest", &error))?;
    let gzip = MultiGzDecoder::new(BufReader::with_capacity(64 << 10, file));
    let text = BufReader::with_capacity(64 << 10, gzip);
    read_changes(text, &platform.source_limits(), |base| pool.manifest_text(base))
}

/// Reads a manifest, records it with its deploy and looks what is missing. Blocks.
fn record(upload: &Upload, file: fs::File) -> Result<(Hash, Found)> {
    let (platform, pool, id) = (&upload.platform, upload.pool(), upload.deploy.id);
    let (name, tree) = read(platform, &pool, file)?;
    let list = each_once(&tree);
    let held_pool = pool.hold();
    match platform.store.run(|t| uploading(t, id))? {
        (State::Uploading, _) => {}
        (_, Some(known)) if known == hex(&name) => {
            let deploy = platform.store.run(|t| find(t, held(id), &platform.address))?.ok_or_else(deleted)?;
            return Ok((name, Found::Ended(Box::new(deploy))));
        }
        _ => return Err(platform.store.run(|t| closed(t, id))?),
    }
    pool.put(&tree, &name)?;
    platform.store.run(|t| {
        let set = "UPDATE deploys SET manifest = ?2 WHERE id = ?1 AND state = ?3";
        let with = params![held(id), hex(&name), word(State::Uploading)];
        match t.execute(set, with).map_err(explain)? {
            0 => Err(over(t, id)?),
            _ => sent_now(t, id),
        }
    })?;
    drop(held_pool);
    let (missing, partial) = look(&pool, &list)?;
    Ok((name, Found::Lacks(missing, partial)))
}

/// Contents that are being received. It goes where the work is, so that the claim, which is
/// dropped last, is not over while something is still written.
struct Receiving {
    receiver: Receiver,
    upload: Upload,
    name: Hash,
    list: Vec<(Hash, u64)>,
}

impl Receiving {
    /// Blocks.
    fn begin(upload: Upload) -> Result<Receiving> {
        let (name, list) = wanted(&upload)?;
        Ok(Receiving { receiver: Receiver::new(upload.pool(), name, &list), upload, name, list })
    }
}

/// The manifest of a deploy and its contents. Blocks.
fn wanted(upload: &Upload) -> Result<(Hash, Vec<(Hash, u64)>)> {
    let id = upload.deploy.id;
    let name = match upload.platform.store.run(|t| uploading(t, id))? {
        (State::Uploading, Some(name)) => parse_hex(name.as_bytes()),
        (State::Uploading, None) => None,
        _ => return Err(upload.platform.store.run(|t| closed(t, id))?),
    };
    let missing = || {
        Error::new(Kind::Conflict, format!("deploy {id} has no manifest yet"))
            .hint("send it first")
            .field("manifest")
    };
    let name = name.ok_or_else(missing)?;
    let tree = upload.pool().manifest(&name)?.ok_or_else(missing)?;
    upload.platform.store.run(|t| sent_now(t, id))?;
    Ok((name, each_once(&tree)))
}

/// Which contents are missing, and which of them are there in part. What is not missing will
/// be there after a crash of the machine too. Blocks.
pub(super) fn look(pool: &Pool, list: &[(Hash, u64)]) -> Result<(String, Vec<Partial>)> {
    let (partials, mut partial) = (pool.partials()?, Vec::new());
    let numbered = (0..).zip(list);
    let missing: Vec<u64> =
        numbered.filter(|(_, (hash, _))| !pool.has(hash)).map(|(index, _)| index).collect();
    for index in &missing {
        let content = usize::try_from(*index).ok().and_then(|index| list.get(index));
        let Some((hash, size)) = content else { continue };
        if let Some(bytes) = partials.get(hash).filter(|bytes| *bytes <= size) {
            partial.push(Partial { index: *index, bytes: *bytes });
        }
    }
    partial.truncate(PARTIALS);
    pool.sync()?;
    Ok((write_ranges(missing), partial))
}
