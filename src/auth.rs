//! The session with Max: an API token is exchanged for an access token, which is
//! renewed before it ends.

use crate::error::{Error, Kind, Result};
use crate::net::http::Http;
use crate::packed::packed;
use crate::redact::Secret;
use crate::store::atomic;
use crate::store::config::Place;
use crate::store::vault::Vault;
use crate::time::parse_rfc3339;
use crate::wire::auth::{Exchange, Refresh, Tokens};
use miniserde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long before its end an access token is renewed; a short-lived one in the last
/// quarter of its life.
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
    held: Mutex<Option<Held>>,
}

/// An access token, and when to ask for the next one.
pub struct Access {
    /// The token.
    pub token: Secret,
    /// When to renew it.
    pub renew_at: Instant,
}

struct Held {
    tokens: Tokens,
    renew_at: Instant,
}

impl Held {
    /// Tokens that have just arrived.
    fn new(tokens: Tokens) -> Held {
        let lifetime = Duration::from_secs(tokens.access_expires_in);
        Held { tokens, renew_at: Instant::now() + lifetime - MARGIN.min(lifetime / 4) }
    }

    /// Tokens that were kept: all there is to go by is the clock.
    fn kept(tokens: Tokens) -> Held {
        let left = parse_rfc3339(&tokens.access_expires_at)
            .and_then(|end| end.duration_since(SystemTime::now()).ok())
            .unwrap_or_default();
        let margin = MARGIN.min(Duration::from_secs(tokens.access_expires_in) / 4);
        Held { tokens, renew_at: Instant::now() + left.saturating_sub(margin) }
    }

    fn fresh(&self) -> bool {
        self.renew_at > Instant::now()
    }

    fn access(&self) -> Access {
        Access { token: Secret::new(self.tokens.access_token.clone()), renew_at: self.renew_at }
    }
}

impl Auth {
    /// Nothing is sent or read yet.
    pub fn new(http: Arc<Http>, url: String, source: Source) -> Auth {
        Auth { http, url, source, held: Mutex::new(None) }
    }

    /// A valid access token: the one that is held, the one that is kept, or a new one.
    /// `refused` is one that Max did not take (it was revoked, or this machine's clock is
    /// wrong).
    pub fn access(&self, refused: Option<&Secret>) -> Result<Access> {
        let good = |held: &Held| {
            held.fresh() && refused.is_none_or(|refused| refused.reveal() != held.tokens.access_token)
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_ref().filter(|held| good(held)) {
            return Ok(held.access());
        }
        let renewed = match &self.source {
            Source::ApiToken(token) => self.exchanged(token, held.as_ref())?,
            Source::Vault(vault, place) => self.renewed(vault, *place, good)?,
        };
        Ok(held.insert(renewed).access())
    }

    /// The session goes on as long as it can; one that has ended is begun anew.
    fn exchanged(&self, token: &Secret, former: Option<&Held>) -> Result<Held> {
        let refreshed = former.map(|held| self.refresh(&held.tokens));
        match refreshed {
            Some(Err(error)) if error.kind() != Kind::Unauthenticated => Err(error),
            Some(Ok(held)) => Ok(held),
            _ => exchange(&self.http, token, true).map(Held::new),
        }
    }

    fn renewed(&self, vault: &Vault, place: Place, good: impl Fn(&Held) -> bool) -> Result<Held> {
        let kept = Held::kept(self.load(vault, place)?);
        if good(&kept) {
            return Ok(kept);
        }
        // Another rig may be renewing: wait for it and look again. On a read-only disk
        // nothing can be kept either way.
        let _lock = atomic::lock(&vault.lock())?;
        let kept = Held::kept(self.load(vault, place)?);
        if good(&kept) {
            return Ok(kept);
        }
        let held = self.refresh(&kept.tokens)?;
        let kept = Kept { url: self.url.clone(), tokens: held.tokens };
        vault.replace(place, &miniserde::json::to_string(&kept))?;
        Ok(Held { tokens: kept.tokens, renew_at: held.renew_at })
    }

    fn refresh(&self, former: &Tokens) -> Result<Held> {
        let body =
            Secret::new(miniserde::json::to_string(&Refresh { refresh_token: former.refresh_token.clone() }));
        let answer = self.http.post("/api/v1/auth/refresh", None, body.reveal());
        let answer = answer.map_err(|error| match error.kind() {
            Kind::Unauthenticated => ended(),
            _ => error,
        })?;
        tokens(&answer).map(Held::new)
    }

    fn load(&self, vault: &Vault, place: Place) -> Result<Tokens> {
        let text = vault.load(place)?.ok_or_else(|| match place {
            Place::Keyring => Error::new(Kind::Unauthenticated, packed!("the keyring no longer holds your session"))
                .hint(packed!("run `rig login`; the kernel's keyring is emptied at a restart, `rig login --store file` outlives it")),
            Place::File => ended(),
        })?;
        let kept: Kept = miniserde::json::from_str(text.reveal()).map_err(|_| {
            Error::new(Kind::Unauthenticated, packed!("the stored session is damaged"))
                .hint("run `rig login`")
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

/// Exchanges an API token for a session; a `brief` one is kept nowhere.
pub fn exchange(http: &Http, token: &Secret, brief: bool) -> Result<Tokens> {
    let body = miniserde::json::to_string(&Exchange { token: token.reveal().to_owned(), brief: Some(brief) });
    let body = Secret::new(body);
    tokens(&http.post("/api/v1/auth/exchange", None, body.reveal())?)
}

/// Ends the session that `access` belongs to.
pub fn revoke(http: &Http, access: &Secret) -> Result<()> {
    http.post("/api/v1/auth/revoke", Some(access), "{}").map(drop)
}

fn tokens(answer: &str) -> Result<Tokens> {
    miniserde::json::from_str(answer)
        .map_err(|_| Error::new(Kind::Failed, packed!("Max's answer to the login is malformed")))
}

fn ended() -> Error {
    Error::new(Kind::Unauthenticated, packed!("your session has ended")).hint("run `rig login`")
}
