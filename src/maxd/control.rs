//! The events of the topic `control`: which request leads to which use-case.

use super::access::{Access, unknown};
use super::auth::Identity;
use super::once::Once;
use super::page;
use super::platform::Platform;
use crate::error::{Error, Result};
use crate::wire::{
    alert, app, audit, config, deploy, exec, member, metrics, network, release, secret, token, trash,
    variable, webhook,
};
use miniserde::{Deserialize, Serialize, json};
use std::sync::Arc;

/// Answers one request with a document.
pub async fn handle(platform: &Arc<Platform>, who: &Identity, event: &str, payload: &str) -> Result<String> {
    let who = who.asks(event)?;
    platform.metrics.count(who.what());
    let done = answer(platform, &who, event, payload).await;
    platform.witness(&who, done).await.and_then(|answer| page::of(event, payload, answer))
}

async fn answer(platform: &Arc<Platform>, who: &Access, event: &str, payload: &str) -> Result<String> {
    let once = || Once::new(who, payload);
    match event {
        "session:show" => write(platform.auth.show(who).await),
        "network:create" => {
            write(platform.create_network(who, once()?, read::<network::Create>(event, payload)?).await)
        }
        "network:list" => write(platform.list_networks(who).await),
        "network:status" => {
            write(platform.network_status(who, read::<network::Select>(event, payload)?).await)
        }
        "network:delete" => {
            write(platform.delete_network(who, once()?, read::<network::Delete>(event, payload)?).await)
        }
        "network:rename" => {
            write(platform.rename_network(who, once()?, read::<network::Rename>(event, payload)?).await)
        }
        "network:restore" => {
            write(platform.restore_network(who, once()?, read::<network::Restore>(event, payload)?).await)
        }
        "app:create" => write(platform.create_app(who, once()?, read::<app::Select>(event, payload)?).await),
        "network:details" => {
            write(platform.network_details(who, read::<config::Select>(event, payload)?).await)
        }
        "app:details" => write(platform.app_details(who, read::<config::Select>(event, payload)?).await),
        "config:history" => write(platform.history(who, read::<config::Filter>(event, payload)?).await),
        "config:export" => write(platform.export_config(who, read::<config::Export>(event, payload)?).await),
        "config:import" => {
            write(platform.import_config(who, once()?, read::<config::Import>(event, payload)?).await)
        }
        "config:diff" => write(platform.diff_config(who, read::<config::Diff>(event, payload)?).await),
        "config:rollback" => {
            write(platform.roll_back(who, once()?, read::<config::Rollback>(event, payload)?).await)
        }
        "app:list" => write(platform.list_apps(who, read::<app::Filter>(event, payload)?).await),
        "app:status" => write(platform.app_status(who, read::<app::Select>(event, payload)?).await),
        "app:metrics" => write(platform.app_metrics(who, read::<metrics::Query>(event, payload)?).await),
        "app:rename" => write(platform.rename_app(who, once()?, read::<app::Rename>(event, payload)?).await),
        "app:delete" => write(platform.delete_app(who, once()?, read::<app::Delete>(event, payload)?).await),
        "app:restore" => {
            write(platform.restore_app(who, once()?, read::<app::Restore>(event, payload)?).await)
        }
        "trash:list" => write(platform.list_trash(who).await),
        "trash:delete" => {
            write(platform.delete_trash(who, once()?, read::<trash::Select>(event, payload)?).await)
        }
        "app:start" => write(platform.start_app(who, once()?, read::<app::Select>(event, payload)?).await),
        "app:stop" => write(platform.stop_app(who, once()?, read::<app::Select>(event, payload)?).await),
        "app:restart" => {
            write(platform.restart_app(who, once()?, read::<app::Select>(event, payload)?).await)
        }
        "app:scale" => write(platform.scale_app(who, once()?, read::<app::Scale>(event, payload)?).await),
        "app:rollback" => {
            write(platform.roll_back_app(who, once()?, read::<release::Rollback>(event, payload)?).await)
        }
        "release:list" => write(platform.list_releases(who, read::<app::Select>(event, payload)?).await),
        "release:diff" => write(platform.diff_releases(who, read::<release::Diff>(event, payload)?).await),
        "deploy:create" => {
            write(platform.create_deploy(who, once()?, read::<deploy::Create>(event, payload)?).await)
        }
        "deploy:status" => {
            let request = read::<deploy::Select>(event, payload)?;
            write(platform.deploy_status(who, request.id).await.map(|(deploy, ..)| deploy))
        }
        "deploy:cancel" => {
            write(platform.cancel_deploy(who, once()?, read::<deploy::Select>(event, payload)?.id).await)
        }
        "alert:list" => write(platform.list_alerts(who, read::<alert::Filter>(event, payload)?).await),
        "webhook:create" => {
            write(platform.create_webhook(who, once()?, read::<webhook::Create>(event, payload)?).await)
        }
        "webhook:list" => write(platform.list_webhooks(who, read::<webhook::Filter>(event, payload)?).await),
        "webhook:delete" => {
            write(platform.delete_webhook(who, once()?, read::<webhook::Select>(event, payload)?).await)
        }
        "var:change" => {
            write(platform.change_variables(who, once()?, read::<variable::Change>(event, payload)?).await)
        }
        "var:apply" => {
            write(platform.apply_variables(who, once()?, read::<variable::Select>(event, payload)?).await)
        }
        "var:list" => write(platform.list_variables(who, read::<variable::Select>(event, payload)?).await),
        "var:export" => write(platform.export_variables(who, read::<variable::Query>(event, payload)?).await),
        "secret:key" => write(platform.secret_key(who, read::<secret::Select>(event, payload)?).await),
        "secret:change" => {
            write(platform.change_secrets(who, once()?, read::<secret::Change>(event, payload)?).await)
        }
        "secret:list" => write(platform.list_secrets(who, read::<variable::Select>(event, payload)?).await),
        "secret:rotate" => {
            write(platform.rotate_key(who, once()?, read::<secret::Select>(event, payload)?).await)
        }
        "exec:create" => {
            write(platform.create_exec(who, once()?, read::<exec::Create>(event, payload)?).await)
        }
        "exec:list" => write(platform.list_execs(who).await),
        "exec:delete" => write(platform.delete_exec(who, read::<exec::Select>(event, payload)?.id).await),
        "audit:list" => write(platform.audit(who, read::<audit::Filter>(event, payload)?).await),
        "token:create" => {
            write(platform.create_token(who, once()?, read::<token::Create>(event, payload)?).await)
        }
        "token:list" => write(platform.list_own_tokens(who).await),
        "token:delete" => {
            write(platform.delete_token(who, once()?, read::<token::Select>(event, payload)?).await)
        }
        "member:create" => {
            write(platform.create_member(who, once()?, read::<member::Create>(event, payload)?).await)
        }
        "member:list" => write(platform.list_members(who, read::<member::Filter>(event, payload)?).await),
        "member:delete" => {
            write(platform.delete_member(who, once()?, read::<member::Select>(event, payload)?).await)
        }
        _ => Err(unknown(event)),
    }
}

/// Reads a request.
pub fn read<T: Deserialize>(event: &str, payload: &str) -> Result<T> {
    json::from_str(payload).map_err(|_| Error::usage(format!("the request '{event}' is malformed")))
}

fn write<T: Serialize>(answer: Result<T>) -> Result<String> {
    answer.map(|document| json::to_string(&document))
}
