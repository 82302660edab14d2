//! The use-cases of secrets, which never see a value: keys, changes, lists.

use super::variables::Request;
use super::{Platform, find_network};
use crate::error::{Error, Result};
use crate::maxd::access::Access;
use crate::maxd::config;
use crate::maxd::once::Once;
use crate::maxd::secrets::Key;
use crate::maxd::variables::{self, Content, Scope, Setting, Variable};
use crate::wire::secret::{self, Change, List, Select};
use crate::wire::variable::{self, Changed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Transaction;
use std::sync::Arc;

impl Platform {
    /// `secret:key`: made when it is asked for first.
    pub async fn secret_key(&self, who: &Access, request: Select) -> Result<secret::Key> {
        let (asks, vault) = (who.clone(), Arc::clone(&self.vault));
        let read = move |t: &Transaction<'_>| {
            let id = find_network(t, &asks, &request.network)?;
            let sealed = variables::sealed_in(t, id)?.len();
            Ok(document(request.network, &vault.key(t, id)?, sealed))
        };
        self.store.with(read).await
    }

    /// `secret:rotate`.
    pub async fn rotate_key(&self, who: &Access, once: Once, request: Select) -> Result<secret::Key> {
        let (asks, vault) = (who.clone(), Arc::clone(&self.vault));
        let rotated = self.store.with(move |t| {
            once.run(t, || {
                let id = find_network(t, &asks, &request.network)?;
                let all = variables::sealed_in(t, id)?;
                let key = vault.rotate(t, id, &all)?;
                config::record(t, Scope { network: id, app: None }, &asks.name, "key_rotated")?;
                Ok((document(request.network, &key, all.len()), id))
            })
        });
        let (key, first) = rotated.await?;
        if let Some(id) = first {
            self.event(id, None, format!("key for secrets rotated by {}", who.name)).await;
        }
        Ok(key)
    }

    /// `secret:list`.
    pub async fn list_secrets(&self, who: &Access, request: variable::Select) -> Result<List> {
        let (secrets, staged, version) = self.listed(who, &request, true, Variable::secret_document).await?;
        let variable::Select { network, app } = request;
        Ok(List { network, app, secrets, staged, version })
    }

    /// `secret:change`.
    pub async fn change_secrets(
        self: &Arc<Self>,
        who: &Access,
        once: Once,
        request: Change,
    ) -> Result<Changed> {
        let Change { network, app, key, set, delete, prune, version, stage, preview } = request;
        let set = set.into_iter().map(|one| {
            let bytes = STANDARD.decode(&one.sealed).map_err(|_| {
                Error::usage(format!("'{}' is not sealed: that is no base64", one.name)).field("sealed")
            })?;
            Ok(Setting { name: one.name, content: Content::Sealed(bytes, key) })
        });
        let change = variables::Change { secret: true, set: set.collect::<Result<_>>()?, delete, prune };
        self.change_environment(who, once, Request { network, app, change, version, stage, preview }).await
    }
}

fn document(network: String, key: &Key, secrets: usize) -> secret::Key {
    secret::Key {
        network,
        number: key.number,
        public_key: STANDARD.encode(&key.public),
        created_at: key.created_at.clone(),
        secrets: secrets as u64,
    }
}
