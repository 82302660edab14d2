//! The session with Max: an API token is exchanged for an access token, which is
//! renewed before it ends.

use crate::error::{Error, Kind, Result};
use crate::net::http::Http;
use crate::redact::Secret;
use crate::store::atomic;
use crate::store::config::Place;
use crate::store::vault::Vault;
use crate::time::parse_rfc3339;
use crate::wire::auth::{Exchange, Refresh, Tokens};
use miniserde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// An access token that ends sooner than this is renewed first.
const MARGIN: Duration = Duration::from_secs(60);

/// What the vault keeps: the tokens and the server they are for, so that they can't
/// be sent to another one.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    /// The server.
    pub url: String,
    /// The session.
    pub tokens: Tokens,
}

/// Where sessions come from.
pub enum Source {
    /// An API token (`RIG_TOKEN`), exchanged anew by each rig.
    ApiToken(Secret),
    /// The session of an earlier `rig login`.
    Vault(Vault, Place),
}

/// Gives out access tokens that are valid now.
pub struct Auth {
    http: Arc<Http>,
    url: String,
    source: Source,
    tokens: Mutex<Option<Tokens>>,
}

impl Auth {
    /// Nothing is sent or read yet.
    pub fn new(http: Arc<Http>, url: String, source: Source) -> Auth {
        Auth { http, url, source, tokens: Mutex::new(None) }
    }

    /// A valid access token; the stored one, a refreshed one, or one for the API token.
    pub fn access(&self) -> Result<Secret> {
        let mut held = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = match held.take() {
            Some(tokens) if fresh(&tokens) => tokens,
            _ => self.obtain(None)?,
        };
        Ok(Secret::new(held.insert(tokens).access_token.clone()))
    }

    /// Replaces the access token `refused` by Max (revoked, or this machine's clock is
    /// wrong) by a new one.
    pub fn renew(&self, refused: &Secret) -> Result<Secret> {
        let mut held = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = self.obtain(Some(refused))?;
        Ok(Secret::new(held.insert(tokens).access_token.clone()))
    }

    fn obtain(&self, refused: Option<&Secret>) -> Result<Tokens> {
        let (vault, place) = match &self.source {
            Source::ApiToken(token) => return exchange(&self.http, token),
            Source::Vault(vault, place) => (vault, *place),
        };
        let good = |tokens: &Tokens| {
            fresh(tokens) && refused.is_none_or(|refused| refused.reveal() != tokens.access_token)
        };
        let kept = self.load(vault, place)?;
        if good(&kept) {
            return Ok(kept);
        }
        // Another rig may be renewing: wait for it and look again. On a read-only disk
        // nothing can be kept either way.
        let _lock = atomic::lock(&vault.lock())?;
        let kept = self.load(vault, place)?;
        if good(&kept) {
            return Ok(kept);
        }
        let body = Refresh { refresh_token: kept.refresh_token.clone() };
        let answer = self.http.post("/api/v1/auth/refresh", None, &miniserde::json::to_string(&body));
        let tokens = tokens(&answer.map_err(|error| match error.kind() {
            Kind::Unauthenticated => ended(),
            _ => error,
        })?)?;
        let kept = Kept { url: self.url.clone(), tokens };
        vault.replace(place, &miniserde::json::to_string(&kept))?;
        Ok(kept.tokens)
    }

    fn load(&self, vault: &Vault, place: Place) -> Result<Tokens> {
        let text = vault.load(place)?.ok_or_else(|| match place {
            Place::Keyring => Error::new(Kind::Unauthenticated, "the keyring no longer holds your session")
                .hint("run `rig login`; the kernel's keyring is emptied at a restart, `rig login --store file` outlives it"),
            Place::File => ended(),
        })?;
        let kept: Kept = miniserde::json::from_str(text.reveal()).map_err(|_| {
            Error::new(Kind::Unauthenticated, "the stored session is damaged").hint("run `rig login`")
        })?;
        if kept.url != self.url {
            return Err(Error::new(
                Kind::Unauthenticated,
                format!("you are not logged in to '{}'", self.url),
            )
            .hint(format!("run `rig login --url {}`", self.url)));
        }
        Ok(kept.tokens)
    }
}

/// Exchanges an API token for a session.
pub fn exchange(http: &Http, token: &Secret) -> Result<Tokens> {
    let body = miniserde::json::to_string(&Exchange { token: token.reveal().to_owned() });
    let body = Secret::new(body);
    tokens(&http.post("/api/v1/auth/exchange", None, body.reveal())?)
}

/// Ends the session that `access` belongs to.
pub fn revoke(http: &Http, access: &Secret) -> Result<()> {
    http.post("/api/v1/auth/revoke", Some(access), "{}").map(drop)
}

fn tokens(answer: &str) -> Result<Tokens> {
    miniserde::json::from_str(answer)
        .map_err(|_| Error::new(Kind::Failed, "Max's answer to the login is malformed"))
}

fn fresh(tokens: &Tokens) -> bool {
    parse_rfc3339(&tokens.access_expires_at).is_some_and(|end| end > SystemTime::now() + MARGIN)
}

fn ended() -> Error {
    Error::new(Kind::Unauthenticated, "your session has ended").hint("run `rig login`")
}
