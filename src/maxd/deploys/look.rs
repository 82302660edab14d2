//! What a deploy would have to send: a manifest that is only looked at.

use super::blocking;
use super::incoming::Incoming;
use super::manifest::preview;
use super::upload::MANIFEST_MAX;
use crate::error::Result;
use crate::maxd::access::Access;
use crate::maxd::platform::{Platform, find_network};
use crate::wire::deploy::Missing;
use axum::body::Body;
use std::sync::Arc;

/// A place among a user's uploads, until it is dropped.
struct Place {
    platform: Arc<Platform>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.platform.deploys.uploads.over(self.number);
    }
}

impl Platform {
    /// `PUT /api/v1/networks/NAME/manifest`. Nothing of it stays.
    pub async fn look_at_manifest(
        self: &Arc<Platform>,
        who: &Access,
        network: String,
        body: Body,
    ) -> Result<Missing> {
        let asks = who.clone();
        let found = self.store.with(move |t| find_network(t, &asks, &network)).await;
        let network = self.witness(who, found).await?;
        let (number, end) = self.deploys.uploads.look(who)?;
        let place = Place { platform: Arc::clone(self), number };
        let path = self.data.join("uploads").join(format!("{number}.manifest"));
        let incoming = Incoming::new(self, number, end, body, MANIFEST_MAX, "manifest");
        let stored = incoming.store(&path).await;
        let _ = tokio::fs::remove_file(&path).await;
        let file = stored?.into_std().await;
        let _reader = self.deploys.readers.acquire().await;
        blocking(move || {
            let pool = place.platform.contents.pool(network);
            let (looked, partial) = preview(&place.platform, &pool, file)?;
            Ok(Missing { missing: looked.ranges(), partial })
        })
        .await
    }
}
