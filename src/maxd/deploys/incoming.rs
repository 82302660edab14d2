//! The body of an upload as it comes, within limits of size and of time.

use super::check;
use crate::error::{Error, Kind, Result};
use crate::maxd::platform::Platform;
use crate::maxd::store::{Store, disk};
use crate::time::human;
use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The body of an upload.
pub struct Incoming {
    chunks: BodyDataStream,
    deploy: u64,
    store: Arc<Store>,
    end: CancellationToken,
    stopping: watch::Receiver<bool>,
    idle: Duration,
    limit: u64,
    left: u64,
    what: &'static str,
}

impl Incoming {
    /// At most `limit` bytes of `what`, until `end` says that nobody wants them any more.
    pub fn new(
        platform: &Platform,
        deploy: u64,
        end: CancellationToken,
        body: Body,
        limit: u64,
        what: &'static str,
    ) -> Incoming {
        let (store, stopping) = (Arc::clone(&platform.store), platform.stopping.clone());
        let (chunks, idle) = (body.into_data_stream(), platform.sockets.trial.idle);
        Incoming { chunks, deploy, store, end, stopping, idle, limit, left: limit, what }
    }

    /// What comes next; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let chunk = tokio::select! {
            biased;
            () = self.end.cancelled() => None,
            _ = self.stopping.wait_for(|stopping| *stopping) => {
                return Err(Error::new(Kind::Failed, "the server is stopping").hint("deploy again"));
            }
            chunk = tokio::time::timeout(self.idle, self.chunks.next()) => Some(chunk),
        };
        let chunk = match chunk {
            None => {
                let id = self.deploy;
                self.store.with(move |t| check(t, id)).await?;
                let message = format!("the upload of deploy {id} was ended by another request");
                return Err(Error::new(Kind::Conflict, message));
            }
            Some(Err(_)) => {
                let message = format!("nothing of the upload came for {}", human(self.idle));
                return Err(Error::new(Kind::TimedOut, message).hint("deploy again"));
            }
            Some(Ok(None)) => return Ok(None),
            Some(Ok(Some(Err(_)))) => {
                return Err(Error::new(Kind::Failed, "the upload ended early").hint("deploy again"));
            }
            Some(Ok(Some(Ok(chunk)))) => chunk,
        };
        let left = self.left.checked_sub(chunk.len() as u64);
        self.left = left.ok_or_else(|| too_large(self.what, self.limit))?;
        Ok(Some(chunk))
    }

    /// Writes all of it into a file, at constant memory.
    pub async fn store(mut self, path: &Path) -> Result<File> {
        let failed = |error: io::Error| disk("write", path, &error);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(true).open(path);
        let mut file = opened.await.map_err(failed)?;
        while let Some(chunk) = self.next().await? {
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        Ok(file)
    }
}

/// The error for a body of more bytes.
pub fn too_large(what: &str, limit: u64) -> Error {
    let verb = if what.ends_with('s') { "have" } else { "has" };
    Error::new(Kind::TooLarge, format!("the {what} {verb} more than {limit} bytes"))
}
