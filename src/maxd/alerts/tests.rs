//! The engine over a real database, without the world it looks at.

#![allow(clippy::unwrap_used)]

use super::rows::{deploys, list};
use super::*;
use crate::maxd::access::Level;
use crate::maxd::auth::Identity;
use crate::maxd::store::explain;
use crate::time::rfc3339;
use crate::wire::app::State;
use crate::wire::metrics::{Traffic, Usage};
use tempfile::TempDir;

const AT_ONCE: Settings = Settings { pace: Pace { fixed: Some(Duration::ZERO) }, disk: None };

/// Two users, the networks blue of one and red of the other, with the apps 1, 2 and 3.
fn world() -> (TempDir, Arc<Store>, Arc<Alerts>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state.db")).unwrap();
    run(
        &store,
        "INSERT INTO users(name, created_at) VALUES ('ada', ''), ('bob', '');
         INSERT INTO all_networks(name, created_at) VALUES ('blue', ''), ('red', '');
         INSERT INTO members VALUES (1, 1, 1, ''), (2, 2, 3, '');
         INSERT INTO all_apps(network, name, created_at) VALUES (1, 'web', ''), (1, 'api', ''), (2, 'web', '');
         INSERT INTO webhooks(network, url, secret, created_at) VALUES (1, 'u', 's', '');",
    );
    let alerts = Alerts::open(Arc::clone(&store), AT_ONCE).unwrap();
    (dir, store, alerts)
}

fn user(user: i64) -> Identity {
    Identity { user, name: String::new(), session: 1, token: 1, scope: Level::Read, network: None }
}

fn run(store: &Store, script: &str) {
    store.run(|t| t.execute_batch(script).map_err(explain)).unwrap();
}

fn in_state(app: i64, state: State) -> (i64, Sight) {
    let (usage, traffic) = (Usage::default(), Traffic::default());
    (
        app,
        Sight {
            state,
            instances: vec![(state, Some("it fell".to_owned()))],
            release: Some(1),
            usage,
            traffic,
        },
    )
}

async fn see(alerts: &Alerts, apps: Vec<(i64, Sight)>) {
    alerts.judge(Looked { apps, deploys: None, disk: None }).await.unwrap();
}

async fn see_disk(alerts: &Alerts, free: u64) {
    alerts.judge(Looked { apps: Vec::new(), deploys: None, disk: Some((free, 100 << 30)) }).await.unwrap();
}

fn names(alerts: &Alerts, scope: Scope) -> Vec<String> {
    let name = |alert: Alert| match (alert.network, alert.app) {
        (Some(network), Some(app)) => format!("{app}.{network}"),
        _ => alert.message,
    };
    alerts.active(scope).into_iter().map(name).collect()
}

/// The events that wait for the webhook.
fn messages(store: &Store) -> Vec<String> {
    let read = |t: &rusqlite::Transaction<'_>| {
        let mut query = t.prepare("SELECT body FROM deliveries ORDER BY id").map_err(explain)?;
        let bodies = query.query_map([], |row| row.get::<_, String>(0)).map_err(explain)?;
        let bodies: Vec<String> = bodies.collect::<rusqlite::Result<_>>().map_err(explain)?;
        Ok(bodies)
    };
    let event = |body: &String| {
        let message: crate::wire::webhook::Message = miniserde::json::from_str(body).unwrap();
        format!("{} {}", message.event, message.alert.app.unwrap_or_default())
    };
    store.run(read).unwrap().iter().map(event).collect()
}

#[tokio::test]
async fn everybody_sees_what_is_theirs_and_what_concerns_the_host() {
    let (_dir, _store, alerts) = world();
    let mut changes = alerts.changes();
    see(&alerts, (1..=3).map(|app| in_state(app, State::CrashLoop)).collect()).await;
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    see(&alerts, (1..=3).map(|app| in_state(app, State::CrashLoop)).collect()).await;
    assert!(!changes.has_changed().unwrap());
    see_disk(&alerts, 1 << 30).await;
    let full = "1.0 GiB of 100.0 GiB are free on the disk of Max";
    assert_eq!(names(&alerts, Scope::Networks(vec![1])), [full, "api.blue", "web.blue"]);
    assert_eq!(names(&alerts, Scope::Networks(vec![2])), [full, "web.red"]);
    assert_eq!(names(&alerts, Scope::Network(1)), [full, "api.blue", "web.blue"]);
    assert_eq!(names(&alerts, Scope::App(3)), ["web.red"]);
    see_disk(&alerts, 50 << 30).await;
    see_disk(&alerts, 50 << 30).await;
    assert_eq!(names(&alerts, Scope::Networks(vec![2])), ["web.red"]);
}

#[tokio::test]
async fn a_restart_keeps_alerts_and_tells_nobody_twice() {
    let (_dir, store, alerts) = world();
    see(&alerts, vec![in_state(1, State::CrashLoop)]).await;
    let again = Alerts::open(Arc::clone(&store), AT_ONCE).unwrap();
    assert_eq!(names(&again, Scope::Networks(vec![1])), ["web.blue"]);
    for state in [State::Starting, State::Restarting, State::CrashLoop] {
        see(&again, vec![in_state(1, state)]).await;
    }
    assert_eq!(messages(&store), ["alert.raised web"]);
    see(&again, vec![in_state(1, State::Running)]).await;
    assert_eq!(messages(&store), ["alert.raised web", "alert.resolved web"]);
    assert!(again.active(Scope::Networks(vec![1])).is_empty());
    // Even if memory had forgotten that one lasts.
    see(&again, vec![in_state(2, State::CrashLoop)]).await;
    let forgetful = Alerts::open(Arc::clone(&store), AT_ONCE).unwrap();
    forgetful.forget(&[2]).await;
    see(&forgetful, vec![in_state(2, State::CrashLoop)]).await;
    assert_eq!(names(&forgetful, Scope::Networks(vec![1])), ["api.blue"]);
    assert_eq!(messages(&store).len(), 3);
}

#[tokio::test]
async fn nothing_is_raised_for_an_app_that_is_gone() {
    let (_dir, store, alerts) = world();
    see(&alerts, vec![in_state(1, State::CrashLoop)]).await;
    store.run(|t| resolve_app(t, 1, SystemTime::now())).unwrap();
    run(&store, "DELETE FROM all_apps WHERE id = 1");
    alerts.forget(&[1]).await;
    see(&alerts, vec![in_state(1, State::CrashLoop)]).await;
    assert!(alerts.active(Scope::Networks(vec![1])).is_empty());
    assert_eq!(messages(&store), ["alert.raised web", "alert.resolved web"]);
    let all = store.run(|t| list(t, &user(1), None, true)).unwrap();
    assert_eq!((all.len(), all[0].app.as_deref(), all[0].resolved_at.is_some()), (1, Some("web"), true));
}

#[tokio::test]
async fn a_change_that_can_not_be_stored_is_made_later() {
    let (_dir, store, alerts) = world();
    run(&store, "ALTER TABLE alerts RENAME TO away");
    let apps = || vec![in_state(1, State::CrashLoop)];
    assert!(alerts.judge(Looked { apps: apps(), deploys: None, disk: None }).await.is_err());
    assert!(alerts.active(Scope::Networks(vec![1])).is_empty());
    run(&store, "ALTER TABLE away RENAME TO alerts");
    see(&alerts, apps()).await;
    assert_eq!(names(&alerts, Scope::Networks(vec![1])), ["web.blue"]);
    assert_eq!(messages(&store), ["alert.raised web"]);
}

#[test]
fn the_newest_deploy_that_has_ended_counts() {
    let (_dir, store, _alerts) = world();
    run(
        &store,
        "INSERT INTO deploys(app, user, state, phase, error, created_app, created_at, finished_at) VALUES
             (1, 1, 'failed', 'building', 'no', 0, '', ''), (1, 1, 'live', NULL, NULL, 0, '', ''),
             (1, 1, 'building', NULL, NULL, 0, '', NULL), (2, 1, 'live', NULL, NULL, 0, '', ''),
             (2, 1, 'failed', 'starting', 'it fell', 0, '', ''), (3, 2, 'uploading', NULL, NULL, 0, '', NULL);",
    );
    let found = store.run(deploys).unwrap();
    assert_eq!(found, [(1, None), (2, Some("deploy 5 failed while starting: it fell".to_owned()))]);
}

#[test]
fn the_past_is_bounded_in_time_and_number() {
    let (_dir, store, _alerts) = world();
    let ago = |days: u64| rfc3339(SystemTime::now() - Duration::from_secs(days * 24 * 3600));
    run(
        &store,
        &format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1005)
             INSERT INTO alerts(cause, network, message, since, resolved_at)
                 SELECT 'memory', 1, 'bad', '', '{recent}' FROM n;
             INSERT INTO alerts(cause, network, message, since, resolved_at) VALUES
                 ('memory', 2, 'bad', '', '{old}'), ('memory', 2, 'bad', '', '{recent}'),
                 ('disk', NULL, 'full', '', '{old}');
             INSERT INTO alerts(cause, network, app, message, since) VALUES ('memory', 1, 1, 'bad', '{old}');",
            recent = ago(29),
            old = ago(31)
        ),
    );
    store.run(forget_old).unwrap();
    let of = |one, all| store.run(|t| list(t, &user(one), None, all)).unwrap();
    assert_eq!((of(1, false).len(), of(1, true).len()), (1, 1001));
    assert_eq!(of(2, true).len(), 1);
    // Those that last come first, the others newest first.
    assert_eq!((of(1, true)[0].id, of(1, true)[1].id, of(1, true)[1000].id), (1009, 1005, 6));
}
