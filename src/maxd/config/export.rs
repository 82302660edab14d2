//! Writes the document of an export.

use super::Items;
use crate::error::{Error, Kind, Result};
use crate::maxd::secrets::Vault;
use crate::maxd::store::explain;
use crate::maxd::variables::{self, Scope};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Transaction, params};
use serde_json::{Map, Value, json};

/// The document of a network with all its apps, or of one app, for `user`. Sealed secrets are in
/// it with `vault`; without, only which they are.
pub fn export(t: &Transaction<'_>, scope: Scope, user: &str, vault: Option<&Vault>) -> Result<String> {
    let name =
        |query: &str, id: i64| t.query_row(query, [id], |row| row.get::<_, String>(0)).map_err(explain);
    let network = name("SELECT name FROM networks WHERE id = ?1", scope.network)?;
    let mut document = Map::new();
    document.insert("schema".to_owned(), json!(1));
    if let Some(vault) = vault
        && !variables::sealed_in(t, scope.network)?.is_empty()
    {
        let (public, wrapped) = vault.wrap(&vault.key(t, scope.network)?, user)?;
        document.insert("key".to_owned(), json!({"public_key": public, "user": user, "wrapped": wrapped}));
    }
    document.extend(part(t, scope, vault.is_some())?);
    if let Some(app) = scope.app {
        document.insert("kind".to_owned(), json!("app"));
        document.insert("network".to_owned(), json!(network));
        document.insert("name".to_owned(), json!(name("SELECT name FROM apps WHERE id = ?1", app)?));
    } else {
        document.insert("kind".to_owned(), json!("network"));
        document.insert("name".to_owned(), json!(network));
        let mut apps = Map::new();
        let mut query = t.prepare("SELECT id, name FROM apps WHERE network = ?1").map_err(explain)?;
        let rows = query.query_map(params![scope.network], |row| Ok((row.get(0)?, row.get(1)?)));
        let rows: Vec<(i64, String)> = rows.and_then(Iterator::collect).map_err(explain)?;
        for (app, name) in rows {
            apps.insert(name, part(t, Scope { app: Some(app), ..scope }, vault.is_some())?.into());
        }
        document.insert("apps".to_owned(), apps.into());
    }
    serde_json::to_string_pretty(&Value::Object(document))
        .map_err(|_| Error::new(Kind::Internal, "the document can't be written"))
}

/// What is set in one scope, as members of the document.
fn part(t: &Transaction<'_>, scope: Scope, sealed: bool) -> Result<Map<String, Value>> {
    let (mut variables, mut secrets, mut part) = (Map::new(), Map::new(), Map::new());
    for one in variables::own(t, scope)? {
        match (one.fingerprint(), one.sealed()) {
            (Some(fingerprint), Some(secret)) => {
                let sealed = sealed.then(|| STANDARD.encode(&secret.bytes));
                secrets.insert(one.name.clone(), json!({"fingerprint": fingerprint, "sealed": sealed}));
            }
            _ => drop(variables.insert(one.name.clone(), json!(one.value))),
        }
    }
    part.insert("variables".to_owned(), variables.into());
    part.insert("secrets".to_owned(), secrets.into());
    let settings: Items = super::settings(t, scope)?.into_iter().collect();
    match scope.app {
        Some(_) => part.insert("instances".to_owned(), json!(super::instances(&settings))),
        None => part.insert("webhooks".to_owned(), json!(super::webhooks(&settings))),
    };
    Ok(part)
}
