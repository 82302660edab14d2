//! Who may do what: every request, topic and path with every role and every scope.

use crate::harness::{Max, Ran, Rig, project, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

const SCOPES: [&str; 3] = ["read", "deploy", "admin"];
const MEMBERS: [(&str, &str); 3] = [("vic", "viewer"), ("dan", "deployer"), ("ann", "owner")];

/// A network with an app, its members, and everybody's tokens.
pub struct World {
    pub max: Max,
    /// Each user with an admin token.
    users: Vec<(&'static str, Rig)>,
    transport: &'static str,
}

impl World {
    pub fn new(transport: &'static str) -> World {
        let max = Max::with(&["--webhook-private"]);
        let users = ["ann", "dan", "vic", "eve", "guest"].map(|name| (name, max.rig(name))).into();
        let world = World { max, users, transport };
        let ann = world.user("ann");
        for network in ["blue", "green"] {
            ann.ok(&["create", "network", network]);
        }
        let files = project(&[("index.html", "hi")]);
        ann.ok(&["deploy", files.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
        for (user, role) in MEMBERS {
            ann.ok(&["create", "member", user, "-n", "blue", "--role", role]);
        }
        world
    }

    pub fn user(&self, name: &str) -> &Rig {
        &self.users.iter().find(|user| user.0 == name).unwrap().1
    }

    /// The user with a token of this scope, for one network or for all.
    pub fn with(&self, user: &str, scope: &str, network: Option<&str>) -> Rig {
        let mut args = vec!["create", "token", "--scope", scope];
        args.extend(network.into_iter().flat_map(|network| ["--network", network]));
        let token = self.user(user).ok(&args);
        let mut rig = Rig::new();
        rig.set("RIG_URL", &self.max.url);
        rig.set("RIG_TOKEN", token.trim());
        rig
    }

    fn api(&self, rig: &Rig, event: &str, payload: &Value) -> Ran {
        rig.run(&["api", event, &payload.to_string(), "--transport", self.transport])
    }

    /// The answer to a request that must succeed.
    #[track_caller]
    fn made(&self, user: &str, event: &str, payload: Value) -> Value {
        let ran = self.api(self.user(user), event, &payload);
        assert_eq!(ran.code, 0, "{event} {payload}: {}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    fn topic(&self, rig: &Rig, topic: &str, payload: &Value) -> Ran {
        let args = ["api", "--topic", topic, "--listen", &payload.to_string(), "--transport", self.transport];
        rig.run(&args)
    }
}

/// Somebody who asks.
#[derive(Clone, Copy)]
struct Caller {
    user: &'static str,
    role: usize,
    scope: usize,
    bound: bool,
}

impl Caller {
    /// What he may do in the network.
    fn level(self) -> usize {
        self.role.min(self.scope)
    }
}

fn callers() -> Vec<Caller> {
    let mut all = Vec::new();
    for (role, (user, _)) in MEMBERS.into_iter().enumerate() {
        for scope in 0..3 {
            all.extend([false, true].map(|bound| Caller { user, role, scope, bound }));
        }
    }
    all
}

const READ: usize = 0;
const DEPLOY: usize = 1;
const ADMIN: usize = 2;

/// The requests about the network blue: what each takes, its payload, and the exit code of
/// who may.
fn requests() -> Vec<(&'static str, usize, Value, i32)> {
    let blue = json!({"network": "blue"});
    let web = json!({"network": "blue", "app": "web"});
    let with = |more: Value| {
        let mut all = web.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let change =
        |preview| with(json!({"set": [], "delete": [], "prune": false, "stage": false, "preview": preview}));
    let document = json!({"schema": 1, "kind": "app", "network": "blue", "name": "web"});
    let import = |preview| json!({"document": document.to_string(), "prune": false, "secrets": true, "stage": true, "preview": preview});
    let deploy = json!({"create": false, "source_bytes": 1, "files": 1});
    let mut secrets = change(false);
    secrets["key"] = json!(1);
    let run = |more: Value| {
        let mut all = with(json!({"argv": ["true"], "env": [], "keep": 0}));
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    vec![
        ("network:status", READ, blue.clone(), 0),
        ("app:list", READ, blue.clone(), 0),
        ("app:status", READ, web.clone(), 0),
        ("app:metrics", READ, with(json!({"seconds": 60})), 0),
        ("alert:list", READ, blue.clone(), 0),
        ("webhook:list", READ, blue.clone(), 0),
        ("member:list", READ, blue.clone(), 0),
        ("app:details", READ, web.clone(), 0),
        ("network:details", READ, blue.clone(), 0),
        ("config:history", READ, web.clone(), 0),
        ("config:export", READ, with(json!({"secrets": false})), 0),
        ("config:export", DEPLOY, with(json!({"secrets": true})), 0),
        ("config:import", ADMIN, import(true), 0),
        ("config:import", ADMIN, import(false), 0),
        ("config:diff", READ, json!({"document": document.to_string()}), 0),
        (
            "config:diff",
            READ,
            json!({"network": "blue", "app": "web", "other_network": "blue", "other_app": "web"}),
            0,
        ),
        ("config:rollback", DEPLOY, with(json!({"to": 1, "stage": true, "preview": true})), 0),
        ("var:list", READ, web.clone(), 0),
        ("secret:list", READ, web.clone(), 0),
        ("secret:key", DEPLOY, blue.clone(), 0),
        ("secret:rotate", ADMIN, blue.clone(), 0),
        ("secret:change", DEPLOY, secrets, 0),
        ("var:export", READ, with(json!({"own": false})), 0),
        ("app:start", DEPLOY, web.clone(), 0),
        ("app:stop", DEPLOY, web.clone(), 0),
        ("app:start", DEPLOY, web.clone(), 0),
        ("app:restart", DEPLOY, web.clone(), 0),
        ("app:scale", DEPLOY, with(json!({"instances": 1})), 0),
        ("release:list", READ, web.clone(), 0),
        // There is none before.
        ("release:diff", READ, web.clone(), 6),
        // It serves already.
        ("app:rollback", DEPLOY, with(json!({"to": 1})), 0),
        ("deploy:create", DEPLOY, with(deploy.clone()), 0),
        ("var:change", DEPLOY, change(false), 0),
        ("var:change", DEPLOY, change(true), 0),
        ("var:apply", DEPLOY, web.clone(), 0),
        ("exec:create", DEPLOY, run(json!({})), 0),
        ("exec:create", DEPLOY, run(json!({"detach": true})), 0),
        (
            "exec:create",
            DEPLOY,
            run(json!({"app": null, "argv": [], "tty": {"term": "xterm", "columns": 80, "rows": 24}})),
            0,
        ),
        // There is one already.
        ("app:create", ADMIN, web.clone(), 6),
        ("app:delete", ADMIN, json!({"network": "blue", "app": "none"}), 3),
        ("app:delete", ADMIN, with(json!({"preview": true})), 0),
        ("app:restore", ADMIN, json!({"network": "blue", "app": "none"}), 3),
        // Nothing happens: it is called so.
        ("app:rename", ADMIN, with(json!({"name": "web"})), 0),
        ("network:rename", ADMIN, json!({"network": "blue", "name": "blue"}), 0),
        ("network:delete", ADMIN, json!({"network": "blue", "preview": true}), 0),
        ("webhook:create", ADMIN, json!({"network": "blue", "url": "http://127.0.0.1:9/"}), 0),
        ("member:create", ADMIN, json!({"network": "blue", "user": "guest"}), 0),
        ("member:create", ADMIN, json!({"network": "blue", "user": "guest", "role": "viewer"}), 0),
        ("member:delete", ADMIN, json!({"network": "blue", "user": "eve"}), 3),
    ]
}

/// What is asked for otherwise in [`every_cell`].
const OTHERS: [&str; 15] = [
    "session:show",
    "network:create",
    "network:list",
    "network:restore",
    "trash:list",
    "trash:delete",
    "deploy:status",
    "deploy:cancel",
    "webhook:delete",
    "exec:list",
    "exec:delete",
    "audit:list",
    "token:create",
    "token:list",
    "token:delete",
];

/// Which requests the server knows, as its table says.
fn known() -> BTreeSet<String> {
    let source = include_str!("../../src/maxd/access.rs");
    let rows = source.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", Some("));
    rows.map(|row| row.0.to_owned()).filter(|name| !name.contains(' ')).collect()
}

#[test]
fn every_request_is_asked_for_here() {
    let mut asked: BTreeSet<String> = requests().iter().map(|row| row.0.to_owned()).collect();
    asked.extend(OTHERS.iter().map(|name| (*name).to_owned()));
    assert_eq!(asked, known());
}

#[test]
fn every_role_and_scope_may_what_it_may_over_a_websocket() {
    every_cell("websocket");
}

#[test]
fn every_role_and_scope_may_what_it_may_by_long_polling() {
    every_cell("longpoll");
}

fn every_cell(transport: &'static str) {
    let world = World::new(transport);
    // Whatever one may do: some things can be asked for again and again.
    let deploy = world.made("dan", "deploy:create", deploy_of("web"))["id"].as_u64().unwrap();
    let lasting =
        world.made("ann", "webhook:create", json!({"network": "blue", "url": "http://127.0.0.1:9/"}));
    for caller in callers() {
        cells(&world, caller, deploy, &lasting["id"]);
    }
    the_network_itself(&world);
}

fn deploy_of(app: &str) -> Value {
    json!({"network": "blue", "app": app, "create": false, "source_bytes": 1, "files": 1})
}

/// All that one caller asks for.
fn cells(world: &World, caller: Caller, deploy: u64, lasting: &Value) {
    let Caller { user, role, scope, bound } = caller;
    let name = format!("{user}, {}, bound: {bound}", SCOPES[scope]);
    let rig = world.with(user, SCOPES[scope], bound.then_some("blue"));
    let is = |ran: &Ran, what: &str, code: i32| {
        assert_eq!(ran.code, code, "{name}: {what}: {}{}", ran.stdout, ran.stderr);
        // What is missing, and who can give it.
        if code == 4 {
            let hint = ran.stderr.lines().nth(1).unwrap_or_default();
            let told = [
                "ask an owner: ann",
                "use another token; an admin token makes one",
                "use a token that is",
                "begin one: `rig deploy`",
            ];
            assert!(told.iter().any(|told| hint.contains(told)), "{name}: {what}: {}", ran.stderr);
        }
    };
    let ask = |event: &str, payload: Value, code: i32| {
        let ran = world.api(&rig, event, &payload);
        is(&ran, &format!("{event} {payload}"), code);
        ran
    };
    let may = |least: usize, code: i32| if caller.level() >= least { code } else { 4 };
    for (event, least, payload, code) in requests() {
        ask(event, payload, may(least, code));
    }
    // An app that is made by its deploy is made.
    let new = format!("new-{user}-{scope}-{bound}");
    let mut making = deploy_of(&new);
    making["create"] = json!(true);
    ask("deploy:create", making, may(ADMIN, 0));
    let begun = world.made("dan", "deploy:create", deploy_of("web"))["id"].clone();
    ask("deploy:cancel", json!({"id": begun}), may(DEPLOY, 0));
    // What one sees is what there is, but for other networks.
    ask("session:show", json!({}), 0);
    ask("deploy:status", json!({"id": deploy}), 0);
    for event in ["exec:list", "audit:list", "token:list", "network:list"] {
        let seen = ask(event, json!({}), 0).stdout;
        assert!(event != "network:list" || seen.contains("\"blue\""), "{name}: {seen}");
        assert!(!seen.contains("\"green\"") || (user == "ann" && !bound), "{name}: {event}: {seen}");
    }
    // What a token may besides networks goes by its scope.
    let admin = |code: i32| if scope == ADMIN { code } else { 4 };
    ask("network:create", json!({}), if bound { 4 } else { admin(0) });
    ask("token:create", json!({"network": "blue"}), admin(0));
    let own = world.made(user, "token:create", json!({"network": "blue"}));
    ask("token:delete", json!({"id": own["id"]}), admin(0));
    let webhook =
        match may(ADMIN, 0) {
            0 => {
                world.made("ann", "webhook:create", json!({"network": "blue", "url": "http://127.0.0.1:9/"}))
                    ["id"]
                    .clone()
            }
            _ => lasting.clone(),
        };
    ask("webhook:delete", json!({"id": webhook}), may(ADMIN, 0));
    if caller.level() < ADMIN {
        ask("network:delete", json!({"network": "blue"}), 4);
    }
    // Something in the trash.
    let gone = json!({"network": "blue", "app": new});
    world.api(world.user("ann"), "app:create", &gone);
    let id = world.made("ann", "app:delete", gone)["id"].clone();
    assert!(ask("trash:list", json!({}), 0).stdout.contains(&new), "{name}");
    ask("app:restore", json!({"id": id}), may(ADMIN, 0));
    world.api(world.user("ann"), "app:delete", &json!({"network": "blue", "app": new}));
    ask("trash:delete", json!({"kind": "app", "id": id}), may(ADMIN, 0));
    ask("network:restore", json!({"network": "none"}), 3);
    // Sessions: one's own from a deployer on, an owner's all.
    let sleep = json!({"network": "blue", "app": "web", "argv": ["sleep", "1000"], "env": [], "keep": 0,
        "detach": true});
    let session = |user: &str| world.made(user, "exec:create", sleep.clone())["id"].clone();
    let of_other = session(if user == "dan" { "ann" } else { "dan" });
    let of_own = if role >= DEPLOY { session(user) } else { of_other.clone() };
    let (seen, member) = (ask("exec:list", json!({}), 0).stdout, role >= DEPLOY);
    assert_eq!(seen.contains(&format!("\"id\":{of_own},")), member, "{name}: {seen}");
    assert_eq!(seen.contains(&format!("\"id\":{of_other},")), role == ADMIN, "{name}: {seen}");
    let log = json!({"follow": false, "credit": 100});
    let topic = |topic: &str, payload: &Value, code: i32| is(&world.topic(&rig, topic, payload), topic, code);
    topic(&format!("logs:command:{of_own}"), &log, if member { 0 } else { 3 });
    topic(&format!("logs:command:{of_other}"), &log, if role == ADMIN { 0 } else { 3 });
    // It is detached, so that who may join it can't.
    let attach = json!({"out": null, "err": null});
    topic(&format!("exec:{of_own}"), &attach, if member { may(DEPLOY, 6) } else { 3 });
    topic(&format!("exec:{of_other}"), &attach, 3);
    ask("exec:delete", json!({"id": of_own}), if member { may(DEPLOY, 0) } else { 3 });
    ask("exec:delete", json!({"id": of_other}), if role == ADMIN { may(ADMIN, 0) } else { 3 });
    for session in [&of_own, &of_other] {
        world.api(world.user("ann"), "exec:delete", &json!({"id": session}));
    }
    for kind in ["logs:app:blue:web", "logs:build:blue:web", "logs:network:blue"] {
        topic(kind, &log, 0);
    }
    topic("dashboard", &json!({"follow": false}), 0);
    topic("dashboard", &json!({"network": "blue", "follow": false}), 0);
    topic("deploy:1", &json!({"credit": 100}), 0);
    // The source of a deploy comes from who began it.
    for what in ["manifest", "contents"] {
        let own = user == "dan" && scope >= DEPLOY;
        assert_eq!(put(world, &rig, &deploys(deploy), what) == 403, !own, "{name} {what}");
    }
    // Nothing is no manifest.
    let looked = if caller.level() >= DEPLOY { 400 } else { 403 };
    assert_eq!(put(world, &rig, "networks/blue", "manifest"), looked, "{name}");
    let others = put(world, &rig, &deploys(deploy), "source");
    assert_eq!(others, if user == "dan" && scope >= DEPLOY { others } else { 403 }, "{name}");
    if member {
        let own = world.made(user, "deploy:create", deploy_of("web"))["id"].as_u64().unwrap();
        assert_eq!(
            put(world, &rig, &deploys(own), "source"),
            if scope >= DEPLOY { 202 } else { 403 },
            "{name}"
        );
    }
}

/// The owner's admin tokens, at last: the one for the network ends with it.
fn the_network_itself(world: &World) {
    let bound = world.with("ann", "admin", Some("blue"));
    assert_eq!(world.api(&bound, "network:delete", &json!({"network": "green"})).code, 3);
    assert_eq!(world.api(&bound, "network:delete", &json!({"network": "blue"})).code, 0);
    assert_eq!(bound.run(&["list", "networks"]).code, 4);
    let ann = world.with("ann", "admin", None);
    assert_eq!(world.api(&ann, "network:delete", &json!({"network": "green"})).code, 0);
}

fn deploys(id: u64) -> String {
    format!("deploys/{id}")
}

/// The status of an upload that has nothing to say.
fn put(world: &World, rig: &Rig, of: &str, what: &str) -> u16 {
    let body = json!({"token": rig.get("RIG_TOKEN"), "brief": true}).to_string();
    let session = http(&world.max, "POST /api/v1/auth/exchange", "", &body);
    let session: Value = serde_json::from_str(session.split_once("\r\n\r\n").unwrap().1).unwrap();
    let access = session["access_token"].as_str().unwrap();
    let answer = http(&world.max, &format!("PUT /api/v1/{of}/{what}"), access, "");
    answer.get(9..12).unwrap().parse().unwrap()
}

fn http(max: &Max, request: &str, access: &str, body: &str) -> String {
    let address = max.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {access}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_network_that_one_is_no_member_of_looks_as_if_it_did_not_exist() {
    let world = World::new("websocket");
    let deploy = world.made("ann", "deploy:create", deploy_of("web"))["id"].as_u64().unwrap();
    let webhook =
        world.made("ann", "webhook:create", json!({"network": "blue", "url": "http://127.0.0.1:9/"}));
    let run = json!({"network": "blue", "app": "web", "argv": ["sleep", "1000"], "env": [], "keep": 0, "detach": true});
    let session = world.made("ann", "exec:create", run)["id"].clone();
    // A stranger, and an owner whose token is for another network.
    let strangers = [
        world.with("eve", "admin", None),
        world.with("eve", "read", None),
        world.with("ann", "admin", Some("green")),
        world.with("ann", "read", Some("green")),
    ];
    for rig in &strangers {
        for (event, _, payload, _) in requests() {
            let real = world.api(rig, event, &payload);
            let none = world.api(
                rig,
                event,
                &serde_json::from_str(&payload.to_string().replace("blue", "none")).unwrap(),
            );
            assert_eq!((real.code, real.stderr.replace("blue", "none")), (3, none.stderr), "{event}");
        }
        let same = |event: &str, id: &Value| {
            let (real, none) =
                (world.api(rig, event, &json!({"id": id})), world.api(rig, event, &json!({"id": 999_999})));
            assert_eq!(real.code, 3, "{event}: {}", real.stderr);
            assert_eq!(real.stderr.replace(&id.to_string(), "999999"), none.stderr);
        };
        same("deploy:status", &json!(deploy));
        same("webhook:delete", &webhook["id"]);
        same("exec:delete", &session);
        for topic in ["logs:app:blue:web", "logs:build:blue:web", "logs:network:blue"] {
            let payload = json!({"follow": true, "credit": 100});
            let (real, none) = (
                world.topic(rig, topic, &payload),
                world.topic(rig, &topic.replace("blue", "none"), &payload),
            );
            assert_eq!((real.code, real.stderr.replace("blue", "none")), (3, none.stderr));
        }
        for event in ["network:list", "app:list", "alert:list", "webhook:list", "exec:list"] {
            assert!(!world.api(rig, event, &json!({})).stdout.contains("blue"), "{event}");
        }
        assert!(!world.topic(rig, "dashboard", &json!({"follow": false})).stdout.contains("blue"));
        for what in ["source", "manifest", "contents"] {
            assert_eq!(put(&world, rig, &deploys(deploy), what), 404);
        }
        assert_eq!(put(&world, rig, "networks/blue", "manifest"), 404);
    }
}

#[test]
fn the_last_owner_stays_and_roles_are_given_once() {
    let world = World::new("websocket");
    let ann = world.user("ann");
    let stays = "rig: user 'ann' is the last owner of network 'blue'\n  make another one first: `rig create \
                 member USER --network blue --role owner`\n";
    ann.run(&["delete", "member", "ann", "-n", "blue"]).fails(6, stays);
    ann.run(&["create", "member", "ann", "-n", "blue", "--role", "viewer"]).fails(6, stays);
    ann.run(&["create", "member", "nobody", "-n", "blue"]).fails(
        3,
        "rig: user 'nobody' does not exist\n  a user begins with a token, made on the server: `maxd token \
         create --user nobody`\n",
    );
    ann.run(&["create", "member", "eve", "-n", "blue", "--role", "boss"]).fails(
        2,
        "rig: --role takes viewer, deployer, owner, not 'boss'\n  for instance `--role deployer`\n",
    );
    ann.run(&["delete", "member", "eve", "-n", "blue"]).fails(
        3,
        "rig: user 'eve' is no member of network 'blue'\n  see `rig list members --network blue`\n",
    );
    assert_eq!(ann.ok(&["create", "member", "eve", "-n", "blue"]), "eve is viewer of network blue\n");
    assert_eq!(
        ann.ok(&["create", "member", "eve", "-n", "blue", "--role", "owner"]),
        "eve is owner of network blue\n"
    );
    // Without a role a member stays what he is.
    assert_eq!(ann.ok(&["create", "member", "eve", "-n", "blue"]), "eve is owner of network blue\n");
    world.user("eve").ok(&["delete", "member", "ann", "-n", "blue"]);
    assert_eq!(ann.run(&["status", "network", "blue"]).code, 3);
    let rows = world.user("eve").ok(&["list", "members", "-n", "blue"]);
    let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows, [["USER", "ROLE"], ["dan", "deployer"], ["eve", "owner"], ["vic", "viewer"]]);
    let told =
        world.user("eve").json(&["list", "audit", "-n", "blue"])["entries"].as_array().unwrap().clone();
    let told: Vec<String> =
        told.iter().map(|entry| format!("{} {}", entry["what"], entry["about"])).collect();
    let wanted = [
        "\"member_removed\" \"ann as owner\"",
        "\"member_changed\" \"eve from viewer to owner\"",
        "\"member_added\" \"eve as viewer\"",
    ];
    assert_eq!(told[..3], wanted, "{told:?}");
    let key = json!({"network": "blue", "user": "guest", "role": "deployer", "idempotency_key": "k"});
    let made = world.made("eve", "member:create", key.clone());
    world.made("eve", "member:delete", json!({"network": "blue", "user": "guest"}));
    assert_eq!(world.made("eve", "member:create", key), made);
    wait_for("the events", || {
        let log = world.user("eve").ok(&["logs", "network", "blue", "--tail", "100"]);
        (log.matches("member guest added as deployer by eve").count() == 1).then_some(())
    });
}
