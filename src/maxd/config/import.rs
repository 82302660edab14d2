//! Makes the configuration in the database what a document says.

use super::document::{Document, Part, Secret};
use super::{differences, present, record};
use crate::env::check_size;
use crate::error::{Error, Result};
use crate::maxd::secrets::{PrivateKey, Sealed, Vault};
use crate::maxd::store::{explain, held};
use crate::maxd::variables::{self, Scope, Variable};
use crate::maxd::webhooks;
use crate::wire::config::Change;
use crate::wire::secret::about;
use crate::wire::webhook::{Create, Webhook};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Transaction, params};

/// How a document is imported.
pub struct Import<'a> {
    /// What is imported.
    pub document: &'a Document,
    /// The name of the network that it is imported to.
    pub network: &'a str,
    /// What opens the networks' keys.
    pub vault: &'a Vault,
    /// What opens the document's secrets; none when nothing of it stays.
    pub key: Option<PrivateKey>,
    /// Whether secrets are looked at.
    pub secrets: bool,
    /// Whether what is not in the document is removed.
    pub prune: bool,
    /// Who does it.
    pub user: &'a str,
}

/// What came of a scope.
#[derive(Default)]
pub struct Outcome {
    /// What is different.
    pub changes: Vec<Change>,
    /// Secrets whose value the document does not hold.
    pub unset: Vec<String>,
    /// Webhooks that were created, with their secrets.
    pub webhooks: Vec<Webhook>,
}

impl Import<'_> {
    /// Makes one scope what its part of the document says. `name` is the app's name there, and
    /// `target` the one that it has here.
    pub fn apply(
        &self,
        t: &Transaction<'_>,
        scope: Scope,
        (name, target): (Option<&str>, Option<&str>),
        part: &Part,
    ) -> Result<Outcome> {
        let before = present(t, scope)?;
        let number = super::version(t, scope)? + 1;
        let now = variables::own(t, scope)?;
        let mut outcome = Outcome::default();
        if let Some(all) = &part.variables {
            for (name, value) in all {
                let found = now.iter().find(|one| one.name == *name);
                if found.is_some_and(|one| !one.secret() && one.value == *value) {
                    continue;
                }
                end(t, found, number)?;
                variables::add(t, scope, (name, value), (None, None), self.user, number)?;
            }
            let gone = |one: &&Variable| !one.secret() && !all.contains_key(&one.name);
            self.prune(t, now.iter().filter(gone), number)?;
        }
        if let Some(all) = part.secrets.as_ref().filter(|_| self.secrets) {
            for (secret, given) in all {
                let found = now.iter().find(|one| one.name == *secret);
                if found.is_some_and(|one| one.fingerprint() == Some(&given.fingerprint)) {
                    continue;
                }
                let Some(sealed) = self.seal(t, scope, (name, target), secret, given)? else {
                    outcome.unset.push(secret.clone());
                    continue;
                };
                end(t, found, number)?;
                let sealed = (Some(sealed.as_slice()), Some(given.fingerprint.as_str()));
                variables::add(t, scope, (secret, ""), sealed, self.user, number)?;
            }
            let gone = |one: &&Variable| one.secret() && !all.contains_key(&one.name);
            self.prune(t, now.iter().filter(gone), number)?;
        }
        if let (Some(app), Some(instances)) = (scope.app, part.instances) {
            let query = "UPDATE all_apps SET instances = ?2 WHERE id = ?1";
            t.execute(query, params![app, held(instances)]).map_err(explain)?;
        }
        if let Some(all) = &part.webhooks {
            let there = super::webhooks(&before);
            for url in there.iter().filter(|url| self.prune && !all.contains(url)) {
                let query = "DELETE FROM webhooks WHERE network = ?1 AND url = ?2";
                t.execute(query, params![scope.network, url]).map_err(explain)?;
            }
            for url in all.iter().filter(|url| !there.contains(url)) {
                let create = Create { network: self.network.to_owned(), url: url.clone() };
                outcome.webhooks.push(webhooks::insert(t, scope.network, &create)?);
            }
        }
        outcome.changes = differences(&before, &present(t, scope)?, target);
        if !outcome.changes.is_empty() {
            variables::check_limits(t, scope)?;
            record(t, scope, self.user, "imported")?;
        }
        Ok(outcome)
    }

    /// Ends what the document does not have.
    fn prune<'a>(
        &self,
        t: &Transaction<'_>,
        gone: impl Iterator<Item = &'a Variable>,
        number: u64,
    ) -> Result<()> {
        let mut gone = gone.filter(|_| self.prune);
        gone.try_for_each(|one| variables::end(t, one, number))
    }

    /// A secret, sealed to the network's key; none when the document does not hold its value.
    fn seal(
        &self,
        t: &Transaction<'_>,
        scope: Scope,
        (name, target): (Option<&str>, Option<&str>),
        secret: &str,
        given: &Secret,
    ) -> Result<Option<Vec<u8>>> {
        let Some(sealed) = &given.sealed else { return Ok(None) };
        let bytes = STANDARD.decode(sealed).map_err(|_| {
            Error::usage(format!("secret '{secret}' is not sealed: that is no base64")).field("document")
        })?;
        let Some(key) = &self.key else { return Ok(Some(bytes)) };
        let about_then = about(&self.document.network, name, secret);
        let value = key.open(&Sealed { name: secret.to_owned(), about: about_then, bytes })?;
        check_size(secret, value.reveal().len())?;
        let to = self.vault.key(t, scope.network)?;
        to.sealed(&value, &about(self.network, target, secret)).map(Some)
    }
}

/// Has what is there of a name be former.
fn end(t: &Transaction<'_>, found: Option<&Variable>, number: u64) -> Result<()> {
    found.map_or(Ok(()), |one| variables::end(t, one, number))
}
